//! Numbers in texts for people, and the order of names.

use std::cmp::Ordering;

/// Groups a number's digits by thousands: `12,345`.
#[must_use]
pub fn grouped(digits: &str) -> String {
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Renders a number with its digits grouped by thousands.
#[must_use]
pub fn count(number: u64) -> String {
    grouped(&number.to_string())
}

/// A number with its noun: `1 page`, `1,204 pages`.
#[must_use]
pub fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Orders names as people count: `s2` before `s10`. Names that differ only in leading zeros are ordered as texts.
#[must_use]
pub fn natural_order(one: &str, other: &str) -> Ordering {
    fn number(text: &str) -> (&str, &str) {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        text.split_at(digits)
    }
    let (mut left, mut right) = (one, other);
    loop {
        let ((number_left, rest_left), (number_right, rest_right)) = (number(left), number(right));
        let order = match (number_left.is_empty(), number_right.is_empty()) {
            (false, false) => {
                let [left, right] = [number_left, number_right].map(|digits| digits.trim_start_matches('0'));
                left.len().cmp(&right.len()).then_with(|| left.cmp(right))
            }
            // A digit and something else, or two that are no digits: their first characters decide.
            _ if number_left.is_empty() == number_right.is_empty() => Ordering::Equal,
            _ => left.cmp(right),
        };
        let (mut chars_left, mut chars_right) = (rest_left.chars(), rest_right.chars());
        match order.then_with(|| chars_left.next().cmp(&chars_right.next())) {
            Ordering::Equal if rest_left.is_empty() => return one.cmp(other),
            Ordering::Equal => (left, right) = (chars_left.as_str(), chars_right.as_str()),
            order => return order,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_ordered_as_people_count() {
        let mut names =
            ["s10", "s2", "s", "t1", "s1", "s1-b", "s01", "s1-a", "10", "9", "s-1", "shop_2x3", "shop_2x20"];
        names.sort_by(|one, other| natural_order(one, other));
        let expected = ["9", "10", "s", "s-1", "s01", "s1", "s1-a", "s1-b", "s2", "s10", "shop_2x3", "shop_2x20", "t1"];
        assert_eq!(names, expected);
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (12_345, "12,345"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
    }
}

//! Exact decimals from text, never rounded. A number that PHP wrote from a float is read as the decimal that the float
//! stood for.

use std::borrow::Cow;

use rust_decimal::Decimal;

use crate::order::Order;

pub(super) const NOT_A_NUMBER: &str = "the value is not a plain decimal number";
const TOO_FINE: &str = "the number has more than 4 decimal places, and would have to be rounded";
const TOO_LARGE: &str = "the number has more than 14 digits before the decimal point";

/// Parses a decimal as JSON writes it, but also allows leading zeros. The result has [`Order::SCALE`].
///
/// # Errors
/// The number does not fit `decimal(18,4)` exactly, or is not a plain number: `129.900,00` or `$129` could only be
/// guessed at.
pub(super) fn parse(text: &str) -> Result<Decimal, &'static str> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(NOT_A_NUMBER),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    // Trailing zeros carry no value. Without them most numbers have no fraction, which saves building a string.
    let zeros = fraction.len() - fraction.trim_end_matches('0').len();
    let fraction = &fraction[..fraction.len() - zeros];
    let digits = if fraction.is_empty() { Cow::Borrowed(whole) } else { Cow::Owned([whole, fraction].concat()) };
    if whole.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(NOT_A_NUMBER);
    }
    let significant = digits.trim_end_matches('0');
    // The value is `significant` times ten to the `power`, in units of the smallest decimal place.
    let dropped = (digits.len() - significant.len()) as i64;
    let power = exponent - fraction.len() as i64 + dropped + i64::from(Order::SCALE);
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Ok(Decimal::new(0, Order::SCALE));
    }
    if power < 0 {
        return Err(TOO_FINE);
    }
    if significant.len() as i64 + power > i64::from(Order::PRECISION) {
        return Err(TOO_LARGE);
    }
    let unscaled = significant.parse::<i64>().map_err(|_| TOO_LARGE)? * 10_i64.pow(power as u32);
    Ok(Decimal::new(if negative { -unscaled } else { unscaled }, Order::SCALE))
}

/// Parses a JSON number as [`parse`] does. A number of 16 or 17 digits that has too many decimal places is read as the
/// shortest decimal with the same nearest float. PHP with `serialize_precision = 17` writes `64949.989999999998` for
/// 64949.99.
///
/// From 10^12 on, the last of 17 digits is at the fourth decimal place or before it. Such a number fits as it is
/// written, and is read so: nothing tells it from one that was never a float.
pub(super) fn parse_number(text: &str) -> Result<Decimal, &'static str> {
    match parse(text) {
        Err(TOO_FINE) => parse_float(text).ok_or(TOO_FINE),
        read => read,
    }
}

/// Whether [`parse_number`] reads another value than is written.
pub(super) fn was_float(number: &str) -> bool {
    // A float of 16 digits has a decimal point too, which makes it longer than 16 characters.
    number.len() > 16 && parse(number) == Err(TOO_FINE)
}

fn parse_float(text: &str) -> Option<Decimal> {
    let mantissa = text.split(['e', 'E']).next()?;
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    let float: f64 = text.parse().ok()?;
    // A number too small for a normal float would read as zero, which would be rounding.
    if !matches!(significant.len(), 16 | 17) || !float.is_normal() {
        return None;
    }
    // The standard library writes the shortest decimal with this nearest float, as PHP does by default.
    parse(&float.to_string()).ok()
}

/// Far beyond every amount, and far below the point where sums of exponents and lengths overflow.
const FARTHEST: i64 = 1 << 32;

fn exponent_of(text: &str) -> Result<i64, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|c| c.is_ascii_digit()) {
        return Err(NOT_A_NUMBER);
    }
    let size = digits.parse().unwrap_or(FARTHEST).min(FARTHEST);
    Ok(if text.starts_with('-') { -size } else { size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_that_fit_are_read_exactly() {
        for (text, expected) in [
            ("129900", "129900"),
            ("129900.00", "129900"),
            ("129900.0000000", "129900"),
            ("0.0001", "0.0001"),
            ("-0.5", "-0.5"),
            ("-0", "0"),
            ("0.0000000000000000000000000000", "0"),
            ("0e99999999999999999999", "0"),
            ("007", "7"),
            ("1.299e5", "129900"),
            ("1299E+2", "129900"),
            ("1299000e-1", "129900"),
            ("10000e-8", "0.0001"),
            ("1e13", "10000000000000"),
            ("99999999999999.9999", "99999999999999.9999"),
            ("-99999999999999.9999", "-99999999999999.9999"),
            // A float would read 0.30000000000000004 and 9007199254740992.
            ("0.3", "0.3"),
            ("90071992547409.93", "90071992547409.93"),
        ] {
            let read = parse(text).unwrap_or_else(|reason| panic!("{text}: {reason}"));
            assert_eq!((read, read.scale()), (expected.parse().unwrap(), 4), "{text}");
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_or_cut_are_refused() {
        for text in ["0.00001", "1e-5", "1.23456", "-0.12345", "1e-99999999999999999999"] {
            assert_eq!(parse(text), Err(TOO_FINE), "{text}");
        }
        for text in ["100000000000000", "1e14", "999999999999999.9999", "1e99999999999999999999", &"9".repeat(5000)] {
            assert_eq!(parse(text), Err(TOO_LARGE), "{text}");
        }
    }

    #[test]
    fn what_is_no_plain_number_is_refused() {
        for text in [
            "129.900,00",
            "129,900.00",
            "129,9",
            "1.299.900",
            "$129",
            "129 COP",
            "1 000",
            "+5",
            "--5",
            "-",
            ".",
            ".5",
            "5.",
            "1e",
            "1e+",
            "1e1.5",
            "e5",
            "0x10",
            "NaN",
            "Infinity",
            "١٢",
            "1_000",
            "1.-5",
            "1.+5",
            "5-",
            "",
        ] {
            assert_eq!(parse(text), Err(NOT_A_NUMBER), "{text}");
        }
    }

    #[test]
    fn a_float_written_with_17_digits_is_the_decimal_that_it_was() {
        for (text, expected) in [
            ("64949.989999999998", "64949.99"),
            ("-64949.989999999998", "-64949.99"),
            ("6.4949989999999998E+4", "64949.99"),
            ("0.10000000000000001", "0.1"),
            ("0.00029999999999999997", "0.0003"),
            ("2.9999999999999997e-4", "0.0003"),
            ("64949.9899999999980", "64949.99"),
            ("999999999999.44995", "999999999999.45"),
        ] {
            assert_eq!(parse_number(text).ok(), expected.parse().ok(), "{text}");
            assert_eq!(parse(text), Err(TOO_FINE), "{text}: text was no float");
        }
        for text in [
            "0.30000000000000004",
            "64949.98999999999",
            "64949.9899999999",
            "1234567890.1234569",
            "64949.98999999999854",
            "0.123456789012345678",
            "1.0000000000000001e-5",
            "1.0000000000000001e-400",
            "0.00001",
        ] {
            assert_eq!(parse_number(text), Err(TOO_FINE), "{text}");
        }
        assert_eq!(parse_number("1e14"), Err(TOO_LARGE));
    }

    /// Formats a float as PHP does with `serialize_precision = 17`: C's `%.17g`, except for the exponent of small
    /// numbers.
    fn with_17_digits(float: f64) -> String {
        let text = format!("{float:.16e}");
        let (mantissa, exponent) = text.split_once('e').unwrap();
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |mantissa| ("-", mantissa));
        let exponent: i32 = exponent.parse().unwrap();
        let digits = mantissa.replace('.', "");
        if exponent < -5 {
            return format!("{sign}{}.{}e{exponent}", &digits[..1], digits[1..].trim_end_matches('0'));
        }
        let zeros = "0".repeat(usize::try_from(-exponent).unwrap_or(0));
        let digits = zeros + &digits;
        let (whole, fraction) = digits.split_at(usize::try_from(exponent).unwrap_or(0) + 1);
        let fraction = fraction.trim_end_matches('0');
        format!("{sign}{whole}{}{fraction}", if fraction.is_empty() { "" } else { "." })
    }

    #[test]
    fn the_tests_write_floats_as_php_does() {
        for (float, expected) in [
            (64949.99, "64949.989999999998"),
            (-0.1, "-0.10000000000000001"),
            (0.0003, "0.00029999999999999997"),
            (129_900.0, "129900"),
            (0.5, "0.5"),
        ] {
            assert_eq!(with_17_digits(float), expected);
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_the_way_through_a_float_with_17_digits(
            unscaled in -999_999_999_999_999_i64..=999_999_999_999_999,
            places in 0_u32..=4,
        ) {
            let value = Decimal::new(unscaled, places);
            prop_assume!(value.abs() < Decimal::new(1_000_000_000_000, 0));
            let written = with_17_digits(value.to_string().parse().unwrap());
            prop_assert_eq!(parse_number(&written), Ok(value), "{}", written);
            prop_assert_eq!(was_float(&written), parse(&written).is_err());
        }

        #[test]
        fn a_number_that_can_be_read_as_it_is_written_is(text in "-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,18})?([eE][+-]?[0-9]{1,2})?") {
            match parse(&text) {
                Err(TOO_FINE) => prop_assert!(parse_number(&text).is_err() || text.len() > 16),
                read => {
                    prop_assert_eq!(parse_number(&text), read);
                    prop_assert!(!was_float(&text));
                }
            }
        }

        #[test]
        fn every_decimal_that_fits_survives_the_way_through_text(
            unscaled in -999_999_999_999_999_999_i64..=999_999_999_999_999_999,
            shift in -30_i32..30,
            zeros in 0_usize..30,
        ) {
            let value = Decimal::new(unscaled, 4);
            prop_assert_eq!(parse(&value.to_string()), Ok(value));
            prop_assert_eq!(parse(&format!("{value}{}", "0".repeat(zeros))), Ok(value));
            // 12345e-4 is also 0.00012345e4: move the point and adjust the exponent.
            prop_assert_eq!(parse(&format!("{unscaled}e-4")), Ok(value));
            let moved = format!("{}0.{}{:018}e{}", if unscaled < 0 { "-" } else { "" }, "0".repeat(shift.unsigned_abs() as usize), unscaled.unsigned_abs(), 14 + shift.abs());
            prop_assert_eq!(parse(&moved), Ok(value));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[-+0-9.eE]{0,40}|.{0,40}") {
            prop_assert!(parse(&text).is_ok_and(|value| value.scale() == 4) || parse(&text).is_err());
        }
    }
}

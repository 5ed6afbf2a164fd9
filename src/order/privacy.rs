//! Which fields of an order are personal data, and what is left of them for those who may not see them.
//!
//! The schema marks the same fields with `"pii": true`; a test holds the two together.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::model::{Buyer, Line, Order};

/// How much of the buyer is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Personal {
    /// Everything.
    #[default]
    Full,
    /// What helps to tell orders apart, and names nobody: see [`Order::for_readers`].
    Masked,
    /// Nothing.
    None,
}

impl Order {
    /// The order as it may be shown. Masked are a name to its initials, an address for mail to its first letter and its
    /// domain, a telephone number and a document to their last three digits. City and region stay. Street, postal code and
    /// fields that nobody knows the meaning of go.
    #[must_use]
    pub fn for_readers(&self, personal: Personal) -> Cow<'_, Self> {
        let buyer = match personal {
            Personal::Full => return Cow::Borrowed(self),
            Personal::Masked => self.buyer.masked(),
            Personal::None => Buyer::default(),
        };
        let lines = self.lines.iter().map(|line| Line { extra: None, ..line.clone() }).collect();
        Cow::Owned(Self { buyer, lines, extra: None, ..self.clone() })
    }
}

impl Buyer {
    fn masked(&self) -> Self {
        let Self { name, email, mobile, document, address: _, city, region, postal_code: _, extra: _ } = self;
        Self {
            name: name.as_deref().map(initials),
            email: email.as_deref().map(masked_email),
            mobile: mobile.as_deref().map(last_digits),
            document: document.as_deref().map(last_digits),
            city: city.clone(),
            region: region.clone(),
            ..Self::default()
        }
    }
}

fn initials(name: &str) -> String {
    let initials: Vec<String> =
        name.split_whitespace().filter_map(|word| Some(format!("{}.", word.chars().next()?))).collect();
    initials.join(" ")
}

fn masked_email(email: &str) -> String {
    let (mailbox, domain) = email.rsplit_once('@').unwrap_or((email, ""));
    let first = mailbox.chars().next().map(String::from).unwrap_or_default();
    format!("{first}***@{domain}")
}

fn last_digits(number: &str) -> String {
    let digits: Vec<char> = number.chars().filter(char::is_ascii_alphanumeric).collect();
    // Of a short number three digits would be most of it.
    let shown = digits.len().saturating_sub(3);
    if digits.len() < 6 { "***".to_owned() } else { format!("***{}", String::from_iter(&digits[shown..])) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(text: &str) -> Order {
        let some = || Some(text.to_owned());
        Order {
            id: "1".parse().unwrap(),
            status: Some("pagado".to_owned()),
            payment_status: None,
            payment_method: None,
            currency: "COP".to_owned(),
            created_at: None,
            updated_at: None,
            total: Some(25.into()),
            subtotal: None,
            shipping: None,
            discount: None,
            tax: None,
            buyer: Buyer {
                name: some(),
                email: some(),
                mobile: some(),
                document: some(),
                address: some(),
                city: Some("Bogotá".to_owned()),
                region: Some("Cundinamarca".to_owned()),
                postal_code: some(),
                extra: some(),
            },
            lines: vec![Line { name: Some("mesa".to_owned()), extra: some(), ..Line::default() }],
            extra: some(),
        }
    }

    #[test]
    fn a_masked_buyer_is_told_apart_and_not_named() {
        let mut order = order("x");
        order.buyer.name = Some("María José Gómez".to_owned());
        order.buyer.email = Some("maria.gomez@example.co".to_owned());
        order.buyer.mobile = Some("+57 300 123-4567".to_owned());
        order.buyer.document = Some("12345".to_owned());
        let masked = order.for_readers(Personal::Masked).into_owned();
        let Buyer { name, email, mobile, document, address, city, postal_code, extra, .. } = masked.buyer;
        let shown = [name, email, mobile, document, city].map(Option::unwrap);
        assert_eq!(shown, ["M. J. G.", "m***@example.co", "***567", "***", "Bogotá"]);
        assert_eq!([address, postal_code, extra, masked.extra, masked.lines[0].extra.clone()], [const { None }; 5]);
        assert_eq!((masked.total, masked.status), (order.total, order.status.clone()));
        assert_eq!(order.for_readers(Personal::None).buyer, Buyer::default());
        assert_eq!(*order.for_readers(Personal::Full), order);
    }

    proptest! {
        #[test]
        fn nothing_personal_is_left_whole(text in "[a-zA-Z0-9ñ ]{8,40}[a-z]{4}") {
            let order = order(&text);
            for personal in [Personal::Masked, Personal::None] {
                let shown = format!("{:?}", order.for_readers(personal).into_owned());
                prop_assert!(!shown.contains(&text), "{shown}");
            }
        }
    }
}

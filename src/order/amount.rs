//! A monetary amount or quantity as an event carries it: exact, with four decimal places.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::{Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::order::Order;
use crate::platform::text::grouped;

/// A decimal that fits Avro's `decimal(18, 4)` exactly. The Avro library does not check the range, so this type does:
/// writing an `Amount` can neither fail nor round.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Amount {
    /// The value × 10⁴; its magnitude is below 10¹⁸.
    unscaled: i64,
}

/// Why a decimal does not fit an [`Amount`]. The error omits the value, which may be personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AmountError {
    /// The value would have to be rounded.
    #[error("it has more than 4 decimal places")]
    Inexact,
    /// The value is too large.
    #[error("it has more than 14 digits before the decimal point")]
    TooLarge,
}

impl Amount {
    const LIMIT: i128 = 10_i128.pow(Order::PRECISION);

    /// Calls `f` with the unscaled value as Avro encodes it: two's complement, big-endian, in as few bytes as possible.
    pub(crate) fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        let bytes = self.unscaled.to_be_bytes();
        let spare = match self.unscaled {
            0.. => self.unscaled.leading_zeros(),
            _ => self.unscaled.leading_ones(),
        };
        // Keep one of the redundant sign bits: it is the sign.
        f(&bytes[(spare as usize - 1) / 8..])
    }

    /// Renders it for people: with all its digits and at least two decimals, the thousands grouped.
    #[must_use]
    pub fn grouped(self) -> String {
        let mut value = Decimal::from(self);
        value.rescale(value.scale().max(2));
        let text = value.abs().to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, "00"));
        let sign = if value.is_sign_negative() { "-" } else { "" };
        format!("{sign}{}.{fraction}", grouped(whole))
    }

    /// Decodes an Avro decimal, whether or not its writer padded it.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() || bytes.len() > 16 {
            return None;
        }
        let sign = if bytes[0] & 0x80 == 0 { 0 } else { -1_i128 };
        let unscaled = bytes.iter().fold(sign, |value, byte| value << 8 | i128::from(*byte));
        Self::from_unscaled(unscaled)
    }

    fn from_unscaled(unscaled: i128) -> Option<Self> {
        let fits = -Self::LIMIT < unscaled && unscaled < Self::LIMIT;
        i64::try_from(unscaled).ok().filter(|_| fits).map(|unscaled| Self { unscaled })
    }
}

impl TryFrom<Decimal> for Amount {
    type Error = AmountError;

    fn try_from(value: Decimal) -> Result<Self, AmountError> {
        // Only zeros beyond the fourth place can be dropped, and the mapping leaves none.
        let value = if value.scale() > Order::SCALE { value.normalize() } else { value };
        let missing = Order::SCALE.checked_sub(value.scale()).ok_or(AmountError::Inexact)?;
        // A mantissa has 96 bits, and four more digits take 14, so i128 can't overflow.
        Self::from_unscaled(value.mantissa() * 10_i128.pow(missing)).ok_or(AmountError::TooLarge)
    }
}

impl From<Amount> for Decimal {
    fn from(amount: Amount) -> Self {
        Decimal::new(amount.unscaled, Order::SCALE).normalize()
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal::from(*self).fmt(f)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_bytes(|bytes| serializer.serialize_bytes(bytes))
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl Visitor<'_> for Bytes {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("1 to 16 bytes of a decimal below 10^18")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Amount, E> {
                Amount::from_bytes(bytes).ok_or_else(|| E::invalid_value(Unexpected::Other("other bytes"), &self))
            }
        }

        deserializer.deserialize_bytes(Bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: i64 = 10_i64.pow(18) - 1;

    fn bytes(unscaled: i64) -> Vec<u8> {
        Amount { unscaled }.with_bytes(<[u8]>::to_vec)
    }

    #[test]
    fn an_amount_takes_as_few_bytes_as_its_sign_allows() {
        for (unscaled, expected) in [
            (0, &[0][..]),
            (1, &[1]),
            (127, &[0x7f]),
            (128, &[0, 0x80]),
            (-1, &[0xff]),
            (-128, &[0x80]),
            (-129, &[0xff, 0x7f]),
            (MAX, &[0x0d, 0xe0, 0xb6, 0xb3, 0xa7, 0x63, 0xff, 0xff]),
        ] {
            assert_eq!(bytes(unscaled), expected, "{unscaled}");
        }
    }

    #[test]
    fn what_would_be_rounded_or_does_not_fit_is_refused() {
        let amount = |text: &str| Amount::try_from(text.parse::<Decimal>().unwrap());
        assert_eq!(amount("0.00001"), Err(AmountError::Inexact));
        assert_eq!(amount("100000000000000"), Err(AmountError::TooLarge));
        assert_eq!(amount("-79228162514264337593543950335"), Err(AmountError::TooLarge));
        assert_eq!(amount("99999999999999.9999").unwrap().unscaled, MAX);
        assert_eq!(amount("-99999999999999.9999").unwrap().unscaled, -MAX);
        assert_eq!(amount("1.50000000").unwrap().to_string(), "1.5");
        assert_eq!(amount("-0").unwrap().unscaled, 0);
    }

    #[test]
    fn people_see_every_digit() {
        for (value, text) in [
            ("0", "0.00"),
            ("129900", "129,900.00"),
            ("-1234.5", "-1,234.50"),
            ("0.1234", "0.1234"),
            ("99999999999999.9999", "99,999,999,999,999.9999"),
        ] {
            assert_eq!(Amount::try_from(value.parse::<Decimal>().unwrap()).unwrap().grouped(), text);
        }
    }

    #[test]
    fn bytes_that_are_no_amount_are_refused() {
        assert_eq!(Amount::from_bytes(&[]), None);
        assert_eq!(Amount::from_bytes(&[0; 17]), None);
        assert_eq!(Amount::from_bytes(&(MAX + 1).to_be_bytes()), None);
        assert_eq!(Amount::from_bytes(&i64::MIN.to_be_bytes()), None);
        assert_eq!(Amount::from_bytes(&[0x80; 16]), None);
    }

    proptest! {
        #[test]
        fn an_amount_survives_the_way_to_bytes_and_back(unscaled in -MAX..=MAX, padding in 0_usize..=8) {
            let mut padded = vec![if unscaled < 0 { 0xff } else { 0 }; padding];
            padded.extend(bytes(unscaled));
            prop_assert_eq!(Amount::from_bytes(&padded), Some(Amount { unscaled }));
        }

        #[test]
        fn an_amount_survives_the_way_to_a_decimal_and_back(unscaled in -MAX..=MAX, zeros in 0_u32..=8) {
            let amount = Amount { unscaled };
            let mut decimal = Decimal::from(amount);
            decimal.rescale(Order::SCALE + zeros);
            prop_assert_eq!(Amount::try_from(decimal), Ok(amount));
        }

        #[test]
        fn no_decimal_makes_the_conversion_panic(mantissa in any::<i128>(), scale in 0_u32..=28) {
            if let Ok(decimal) = Decimal::try_from_i128_with_scale(mantissa >> 32, scale)
                && let Ok(amount) = Amount::try_from(decimal)
            {
                prop_assert_eq!(Decimal::from(amount), decimal);
            }
        }
    }
}

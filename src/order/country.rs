//! The four countries of the marketplace, with the host, currency and time zone of each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A country of the marketplace, by its ISO 3166-1 code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Country {
    Co,
    Mx,
    Ec,
    Cr,
}

impl Country {
    /// All countries, in the order of the marketplace's documentation.
    pub const ALL: [Self; 4] = [Self::Co, Self::Mx, Self::Ec, Self::Cr];

    /// The ISO 3166-1 code in capitals.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Co => "CO",
            Self::Mx => "MX",
            Self::Ec => "EC",
            Self::Cr => "CR",
        }
    }

    /// The base URL of the country's marketplace.
    #[must_use]
    pub fn base_url(self) -> &'static str {
        match self {
            Self::Co => "https://www.imotriz.com",
            Self::Mx => "https://www.imotriz.com.mx",
            Self::Ec => "https://www.imotriz.com.ec",
            Self::Cr => "https://www.imotriz.co.cr",
        }
    }

    /// The ISO 4217 code of the currency in which the marketplace prices orders.
    #[must_use]
    pub fn currency(self) -> &'static str {
        match self {
            Self::Co => "COP",
            Self::Mx => "MXN",
            Self::Ec => "USD",
            Self::Cr => "CRC",
        }
    }

    /// The IANA time zone in which a date without a zone is read.
    #[must_use]
    pub fn time_zone(self) -> &'static str {
        match self {
            Self::Co => "America/Bogota",
            Self::Mx => "America/Mexico_City",
            Self::Ec => "America/Guayaquil",
            Self::Cr => "America/Costa_Rica",
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl FromStr for Country {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|country| country.code().eq_ignore_ascii_case(text))
            .ok_or_else(|| format!("`{text}` is no country of the marketplace: use CO, MX, EC or CR"))
    }
}

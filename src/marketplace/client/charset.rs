//! Decodes bodies in a single-byte character set, which a PHP back end declares in `Content-Type`. JSON is UTF-8, so a
//! body that is valid UTF-8 is taken as such whatever is declared: many servers declare a default that their JSON does
//! not use.

use bytes::Bytes;

/// The supported character sets, by their WHATWG names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    /// Also covers ISO-8859-1, as in browsers.
    Windows1252,
    Iso8859_15,
}

/// Windows-1252 from 0x80 to 0x9F. Its five unassigned bytes map to the control characters of the same number.
const WINDOWS: [char; 32] = [
    '€', '\u{81}', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', '\u{8d}', 'Ž', '\u{8f}', '\u{90}', '‘', '’',
    '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', '\u{9d}', 'ž', 'Ÿ',
];

impl Charset {
    fn declared(content_type: &str) -> Option<Self> {
        let mut parameters = content_type.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
        let (_, name) = parameters.find(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))?;
        match name.trim().trim_matches(['"', '\'']).to_ascii_lowercase().as_str() {
            "windows-1252" | "cp1252" | "x-cp1252" | "iso-8859-1" | "iso8859-1" | "iso88591" | "iso_8859-1"
            | "iso_8859-1:1987" | "iso-ir-100" | "csisolatin1" | "latin1" | "l1" | "cp819" | "ibm819" | "ascii"
            | "us-ascii" | "ansi_x3.4-1968" => Some(Self::Windows1252),
            "iso-8859-15" | "iso8859-15" | "iso885915" | "iso_8859-15" | "csisolatin9" | "l9" | "latin9" => {
                Some(Self::Iso8859_15)
            }
            _ => None,
        }
    }

    fn char_of(self, byte: u8) -> char {
        match (self, byte) {
            (Self::Windows1252, 0x80..=0x9f) => WINDOWS[usize::from(byte - 0x80)],
            (Self::Iso8859_15, 0xa4) => '€',
            (Self::Iso8859_15, 0xa6) => 'Š',
            (Self::Iso8859_15, 0xa8) => 'š',
            (Self::Iso8859_15, 0xb4) => 'Ž',
            (Self::Iso8859_15, 0xb8) => 'ž',
            (Self::Iso8859_15, 0xbc) => 'Œ',
            (Self::Iso8859_15, 0xbd) => 'œ',
            (Self::Iso8859_15, 0xbe) => 'Ÿ',
            (_, byte) => char::from(byte),
        }
    }
}

/// Converts the body to UTF-8 if it is not UTF-8 and a supported character set is declared; otherwise returns it as it
/// came.
pub(super) fn decoded(body: Bytes, content_type: Option<&str>) -> Bytes {
    match content_type.and_then(Charset::declared) {
        Some(charset) if std::str::from_utf8(&body).is_err() => {
            body.iter().map(|byte| charset.char_of(*byte)).collect::<String>().into()
        }
        _ => body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, body: &[u8]) -> Vec<u8> {
        decoded(Bytes::copy_from_slice(body), Some(content_type)).to_vec()
    }

    #[test]
    fn a_declared_set_of_one_byte_is_decoded() {
        let euro = b"Pe\xf1a \x80 \xa4 \x93x\x94 \x81";
        for name in ["ISO-8859-1", "\"windows-1252\"", "latin1", " cp1252 "] {
            let content_type = format!("application/json; charset={name}");
            assert_eq!(read(&content_type, euro), "Peña € ¤ “x” \u{81}".as_bytes(), "{name}");
        }
        assert_eq!(read("text/html;Charset=iso-8859-15", b"\xf1 \xa4\xbd"), "ñ €œ".as_bytes());
    }

    #[test]
    fn what_is_utf_8_or_is_declared_as_something_else_stays_as_it_came() {
        assert_eq!(read("application/json; charset=ISO-8859-1", "Peña".as_bytes()), "Peña".as_bytes());
        for content_type in ["application/json", "application/json; charset=utf-8", "x; charset=klingon", ""] {
            assert_eq!(read(content_type, b"Pe\xf1a"), b"Pe\xf1a", "{content_type}");
        }
    }
}

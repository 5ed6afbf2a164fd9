//! The frame before the Avro datum in a message, which names the writer's schema.
//!
//! | registry | frame | format |
//! |---|---|---|
//! | with a schema registry | `00`, schema ID (4 bytes, big-endian), datum | Confluent's wire format |
//! | without one | `C3 01`, fingerprint (8 bytes, little-endian), datum | Avro's single-object encoding |

use apache_avro::Schema;
use apache_avro::schema::Name;
use thiserror::Error;

/// How a message names its schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Frame {
    /// By its ID in the registry.
    Confluent { id: u32 },
    /// By the fingerprint of its canonical form.
    SingleObject {
        /// CRC-64-AVRO, see [`fingerprint`].
        fingerprint: u64,
    },
}

/// Why a message has no valid frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The message is shorter than a frame.
    #[error("the message is too short for an Avro message: {0} bytes")]
    TooShort(usize),
    /// The message starts with neither of the two magic numbers.
    #[error("the message starts neither with 00 nor with C3 01, so it is no framed Avro: which program wrote it?")]
    Unknown,
}

impl Frame {
    const CONFLUENT: u8 = 0;
    const SINGLE_OBJECT: [u8; 2] = [0xc3, 0x01];

    /// Appends the frame; the datum must follow.
    pub fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Confluent { id } => {
                out.push(Self::CONFLUENT);
                out.extend(id.to_be_bytes());
            }
            Self::SingleObject { fingerprint } => {
                out.extend(Self::SINGLE_OBJECT);
                out.extend(fingerprint.to_le_bytes());
            }
        }
    }

    /// Splits a message into its frame and its datum.
    ///
    /// # Errors
    /// [`FrameError`] if the message starts with no known frame.
    pub fn split(message: &[u8]) -> Result<(Self, &[u8]), FrameError> {
        let too_short = || FrameError::TooShort(message.len());
        if let Some(rest) = message.strip_prefix(&[Self::CONFLUENT]) {
            let (id, datum) = rest.split_first_chunk().ok_or_else(too_short)?;
            Ok((Self::Confluent { id: u32::from_be_bytes(*id) }, datum))
        } else if let Some(rest) = message.strip_prefix(&Self::SINGLE_OBJECT) {
            let (fingerprint, datum) = rest.split_first_chunk().ok_or_else(too_short)?;
            Ok((Self::SingleObject { fingerprint: u64::from_le_bytes(*fingerprint) }, datum))
        } else if message.len() < 2 {
            Err(too_short())
        } else {
            Err(FrameError::Unknown)
        }
    }
}

/// The CRC-64-AVRO fingerprint of a schema's Parsing Canonical Form, as the Avro specification defines it.
///
/// The library's canonical form keeps the attributes of logical types. Its fingerprints therefore differ from those of
/// Java, Python and Go, which must find our schema by this number.
#[must_use]
pub fn fingerprint(schema: &Schema) -> u64 {
    let mut canonical = String::new();
    write_canonical(schema, &mut canonical);
    crc_64_avro(canonical.as_bytes())
}

fn crc_64_avro(bytes: &[u8]) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    bytes.iter().fold(EMPTY, |crc, byte| {
        (0..8).fold(crc ^ u64::from(*byte), |crc, _| (crc >> 1) ^ (EMPTY & (crc & 1).wrapping_neg()))
    })
}

/// Names need no escaping: Avro allows only letters, digits, `_` and `.` in them.
fn write_canonical(schema: &Schema, out: &mut String) {
    match schema {
        Schema::Record(record) => {
            open_named(&record.name, "record", out);
            out.push_str(r#","fields":"#);
            write_list(&record.fields, out, |field, out| {
                out.push_str(&format!(r#"{{"name":"{}","type":"#, field.name));
                write_canonical(&field.schema, out);
                out.push('}');
            });
            out.push('}');
        }
        Schema::Enum(symbols) => {
            open_named(&symbols.name, "enum", out);
            out.push_str(r#","symbols":"#);
            write_list(&symbols.symbols, out, |symbol, out| out.push_str(&format!("\"{symbol}\"")));
            out.push('}');
        }
        Schema::Array(array) => {
            out.push_str(r#"{"type":"array","items":"#);
            write_canonical(&array.items, out);
            out.push('}');
        }
        Schema::Map(map) => {
            out.push_str(r#"{"type":"map","values":"#);
            write_canonical(&map.types, out);
            out.push('}');
        }
        Schema::Union(union) => write_list(union.variants(), out, write_canonical),
        Schema::Ref { name } => out.push_str(&format!("\"{}\"", name.fullname(None))),
        other => out.push_str(&format!("\"{}\"", primitive(other))),
    }
}

fn open_named(name: &Name, kind: &str, out: &mut String) {
    out.push_str(&format!(r#"{{"name":"{}","type":"{kind}""#, name.fullname(None)));
}

fn write_list<T>(items: &[T], out: &mut String, write: impl Fn(&T, &mut String)) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(item, out);
    }
    out.push(']');
}

/// The primitive type under a logical type. `fixed` is not handled: our schemas have none.
fn primitive(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "boolean",
        Schema::Int | Schema::Date | Schema::TimeMillis => "int",
        Schema::Float => "float",
        Schema::Double => "double",
        Schema::Bytes | Schema::Decimal(_) | Schema::BigDecimal => "bytes",
        Schema::String | Schema::Uuid(_) => "string",
        _ => "long",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fingerprint_of(schema: &str) -> u64 {
        fingerprint(&Schema::parse_str(schema).unwrap())
    }

    #[test]
    fn fingerprints_are_those_of_the_specification() {
        // From share/test/data/schema-tests.txt of Apache Avro.
        assert_eq!(fingerprint_of(r#""null""#).cast_signed(), 7_195_948_357_588_979_594);
        assert_eq!(fingerprint_of(r#"{"type":"int"}"#).cast_signed(), 8_247_732_601_305_521_295);
        assert_eq!(
            fingerprint_of(r#"{"type":"record","name":"foo","doc":"x","fields":[]}"#).cast_signed(),
            -4_824_392_279_771_201_922
        );
    }

    #[test]
    fn a_logical_type_has_the_fingerprint_of_the_type_beneath() {
        let money = r#"{"type":"bytes","logicalType":"decimal","precision":18,"scale":4}"#;
        assert_eq!(fingerprint_of(money), fingerprint_of(r#""bytes""#));
        let time = r#"{"type":"long","logicalType":"timestamp-millis"}"#;
        assert_eq!(fingerprint_of(time), fingerprint_of(r#""long""#));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        assert_eq!(Frame::split(b""), Err(FrameError::TooShort(0)));
        assert_eq!(Frame::split(b"\0\0\0\x01"), Err(FrameError::TooShort(4)));
        assert_eq!(Frame::split(b"\xc3\x01\0\0\0"), Err(FrameError::TooShort(5)));
        assert_eq!(Frame::split(b"{}"), Err(FrameError::Unknown));
    }

    #[test]
    fn both_frames_have_the_bytes_of_their_specification() {
        let mut out = Vec::new();
        Frame::Confluent { id: 258 }.write(&mut out);
        Frame::SingleObject { fingerprint: 0x0102 }.write(&mut out);
        assert_eq!(out, [0, 0, 0, 1, 2, 0xc3, 1, 2, 1, 0, 0, 0, 0, 0, 0]);
    }

    fn frames() -> impl Strategy<Value = Frame> {
        prop_oneof![
            any::<u32>().prop_map(|id| Frame::Confluent { id }),
            any::<u64>().prop_map(|fingerprint| Frame::SingleObject { fingerprint }),
        ]
    }

    proptest! {
        #[test]
        fn a_frame_survives_the_way_to_bytes_and_back(frame in frames(), datum in any::<Vec<u8>>()) {
            let mut message = Vec::new();
            frame.write(&mut message);
            message.extend(&datum);
            prop_assert_eq!(Frame::split(&message), Ok((frame, &datum[..])));
        }

        #[test]
        fn no_bytes_make_the_split_panic(bytes in any::<Vec<u8>>()) {
            Frame::split(&bytes).ok();
        }
    }
}

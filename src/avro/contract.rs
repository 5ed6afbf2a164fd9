//! The contract with the readers of a topic: its Avro schema, and how records are encoded and decoded.
//!
//! Decoding goes straight from bytes to structs by the writer's schema. Fields are matched by name; a missing field
//! takes the default of the struct, which equals the schema's. The library's own schema resolution is not used, because
//! it rejects decimals that take fewer bytes than their precision allows. What matching by name can't do (aliases,
//! promoted numbers) is an error, never a wrong value; FULL_TRANSITIVE compatibility rules it out.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::avro::framing::{Frame, fingerprint};

/// Upper bound for the memory of one string or collection of a message. Kafka's own default is 1 MiB a message.
const MAX_ALLOCATION: usize = 16 << 20;

/// The contract of the orders topic: `OrderEvent`.
pub static ORDER_EVENT: LazyLock<Contract> =
    LazyLock::new(|| Contract::new("OrderEvent", &[include_str!("../../schemas/order_event.avsc")]));

/// The contract of the tracking topic: `OrderTracking`.
pub static ORDER_TRACKING: LazyLock<Contract> =
    LazyLock::new(|| Contract::new("OrderTracking", &[include_str!("../../schemas/order_tracking.avsc")]));

/// Why a record could not be decoded. The error omits values and bytes, which may be personal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContractError {
    /// The bytes do not match their schema.
    #[error("the bytes are no {0} by the schema that they name: the message is damaged or its frame names another one")]
    Read(&'static str),
    /// Bytes are left over after the record.
    #[error("{1} bytes are left after the {0}: the message is damaged or its frame names another schema")]
    LeftOver(&'static str, usize),
    /// Our schema can't read what the writer's schema wrote.
    #[error(
        "this version can't read the {0} of the schema that wrote it: use a newer one, or look at the subject's compatibility"
    )]
    Incompatible(&'static str),
}

/// The current schema of a record, and the released ones whose messages may still be in the topic.
pub struct Contract {
    record: &'static str,
    text: String,
    versions: Vec<(u64, &'static Schema)>,
}

impl Contract {
    /// Parses the schema texts, the current one first. When a schema changes, the released version joins the list:
    /// without a registry, its messages are recognised by their fingerprint alone.
    fn new(record: &'static str, texts: &[&str]) -> Self {
        apache_avro::util::max_allocation_bytes(MAX_ALLOCATION);
        let versions: Vec<_> = texts
            .iter()
            .map(|text| Schema::parse_str(text).expect("our schemas parse: a test sees to it"))
            // A contract lives as long as the process, and structs derived from it may borrow from it.
            .map(|schema| (fingerprint(&schema), &*Box::leak(Box::new(schema))))
            .collect();
        let json: serde_json::Value = serde_json::from_str(texts[0]).expect("a schema that parses is JSON");
        Self { record, text: json.to_string(), versions }
    }

    #[must_use]
    pub fn record(&self) -> &'static str {
        self.record
    }

    /// The schema as compact JSON. It is registered in this form, which must never change.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The parsed schema.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        self.versions[0].1
    }

    /// The frame of messages when there is no registry.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame::SingleObject { fingerprint: self.versions[0].0 }
    }

    /// The current or a released schema with this fingerprint.
    #[must_use]
    pub fn known(&self, fingerprint: u64) -> Option<&Schema> {
        self.versions.iter().find(|(known, _)| *known == fingerprint).map(|(_, schema)| *schema)
    }

    /// Whether our schema can read what `writer` wrote. Check each schema once before [`read`](Self::read).
    ///
    /// # Errors
    /// [`ContractError::Incompatible`], for example if amounts have another scale.
    pub fn check_writer(&self, writer: &Schema) -> Result<(), ContractError> {
        match SchemaCompatibility::can_read(writer, self.schema()) {
            Ok(Compatibility::Full) => Ok(()),
            Ok(Compatibility::Partial) | Err(_) => Err(ContractError::Incompatible(self.record)),
        }
    }

    /// Decodes a datum (a message without its frame) that was written with `writer`. The datum must match the schema to
    /// its last byte.
    pub fn read<T: DeserializeOwned>(&self, writer: &Schema, mut datum: &[u8]) -> Result<T, ContractError> {
        let record = GenericDatumReader::builder(writer)
            .build()
            .and_then(|reader| reader.read_deser(&mut datum))
            .map_err(|_| ContractError::Read(self.record))?;
        if datum.is_empty() { Ok(record) } else { Err(ContractError::LeftOver(self.record, datum.len())) }
    }
}

#[cfg(test)]
mod tests {
    use apache_avro::schema::RecordSchema;
    use serde_json::Value;

    use super::*;

    fn contracts() -> [(&'static Contract, &'static str); 2] {
        [(&ORDER_EVENT, "order_event.avsc"), (&ORDER_TRACKING, "order_tracking.avsc")]
    }

    /// Every field of every record in the schema, with the name of its record.
    fn fields(schema: &Value) -> Vec<(String, Value)> {
        let mut found = Vec::new();
        let nested = match schema {
            Value::Array(branches) => branches.iter().collect(),
            Value::Object(map) => {
                for field in map.get("fields").and_then(Value::as_array).into_iter().flatten() {
                    found.push((map["name"].as_str().unwrap().to_owned(), field.clone()));
                    found.extend(fields(&field["type"]));
                }
                map.get("items").into_iter().collect()
            }
            _ => Vec::new(),
        };
        found.extend(nested.into_iter().flat_map(fields));
        found
    }

    fn fields_of(contract: &Contract) -> Vec<(String, Value)> {
        fields(&serde_json::from_str(contract.text()).unwrap())
    }

    fn names_where(contract: &Contract, wanted: impl Fn(&Value) -> bool) -> Vec<String> {
        let name = |(record, field): &(String, Value)| format!("{record}.{}", field["name"].as_str().unwrap());
        fields_of(contract).iter().filter(|(_, field)| wanted(field)).map(name).collect()
    }

    #[test]
    fn every_field_is_documented() {
        for (contract, file) in contracts() {
            let undocumented = names_where(contract, |field| field["doc"].as_str().is_none_or(str::is_empty));
            assert_eq!(undocumented, [""; 0], "{file}");
        }
    }

    #[test]
    fn every_field_has_a_default_but_those_that_no_reader_can_do_without() {
        let without = |contract| names_where(contract, |field| field.get("default").is_none());
        let required = ["store", "order_id", "revision", "read_at"].map(|name| format!("OrderEvent.{name}"));
        assert_eq!(without(&ORDER_EVENT), required);
        let required = ["store", "order_id", "read_id", "published_at"].map(|name| format!("OrderTracking.{name}"));
        assert_eq!(without(&ORDER_TRACKING), required);
    }

    #[test]
    fn every_personal_field_is_marked_and_tracking_has_none() {
        let marked = |contract| names_where(contract, |field| field.get("pii") == Some(&Value::Bool(true)));
        let personal =
            |name: &String| name.starts_with("Buyer.") || name.ends_with(".extra") || name.ends_with(".buyer");
        let all = names_where(&ORDER_EVENT, |_| true);
        assert_eq!(marked(&ORDER_EVENT), all.into_iter().filter(personal).collect::<Vec<_>>());
        assert_eq!(marked(&ORDER_EVENT).len(), 12);
        assert_eq!(marked(&ORDER_TRACKING), [""; 0]);
    }

    #[test]
    fn every_default_is_one_that_the_schema_itself_accepts() {
        for (contract, _) in contracts() {
            for (_, field) in fields_of(contract) {
                let branch = field["type"].as_array().map_or(&field["type"], |union| &union[0]);
                if let Some(default) = field.get("default") {
                    assert_eq!(default.is_null(), branch == "null", "{field}");
                }
            }
        }
    }

    #[test]
    fn money_and_time_are_logical_types_to_the_library_too() {
        let Schema::Record(RecordSchema { fields, .. }) = ORDER_EVENT.schema() else { panic!("no record") };
        let branch = |name: &str| match &fields.iter().find(|field| field.name == name).unwrap().schema {
            Schema::Union(union) => union.variants()[1].clone(),
            other => other.clone(),
        };
        assert!(matches!(branch("total"), Schema::Decimal(decimal) if (decimal.precision, decimal.scale) == (18, 4)));
        assert!(matches!(branch("created_at"), Schema::TimestampMillis));
        assert!(matches!(branch("read_at"), Schema::TimestampMillis));
    }

    #[test]
    fn both_schemas_mean_the_same_by_a_reason() {
        let reason = |contract| fields_of(contract).into_iter().find(|(_, field)| field["name"] == "reason").unwrap().1;
        assert_eq!(reason(&ORDER_EVENT), reason(&ORDER_TRACKING));
    }

    #[test]
    fn every_released_schema_is_known_and_readable_and_can_read_ours() {
        let releases = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemas")).unwrap();
        let mut checked = 0;
        for release in releases {
            for (contract, file) in contracts() {
                let text = std::fs::read_to_string(release.as_ref().unwrap().path().join(file)).unwrap();
                let released = Schema::parse_str(&text).unwrap();
                contract.check_writer(&released).unwrap();
                let both_ways = SchemaCompatibility::mutual_read(contract.schema(), &released).unwrap();
                assert_eq!(both_ways, Compatibility::Full);
                assert!(contract.known(fingerprint(&released)).is_some(), "add {file} to its contract's versions");
                checked += 1;
            }
        }
        assert!(checked >= 2);
    }

    #[test]
    fn a_writer_with_money_at_another_scale_is_refused() {
        let other = Schema::parse_str(&ORDER_EVENT.text().replace(r#""scale":4"#, r#""scale":2"#)).unwrap();
        assert_eq!(ORDER_EVENT.check_writer(&other), Err(ContractError::Incompatible("OrderEvent")));
        assert_eq!(ORDER_EVENT.check_writer(ORDER_TRACKING.schema()), Err(ContractError::Incompatible("OrderEvent")));
    }

    #[test]
    fn fingerprints_never_change_by_accident() {
        assert_eq!(ORDER_EVENT.frame(), Frame::SingleObject { fingerprint: 4_441_699_465_053_453_416 });
        assert_eq!(ORDER_TRACKING.frame(), Frame::SingleObject { fingerprint: 9_919_368_907_650_194_362 });
    }
}

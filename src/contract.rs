//! What is agreed with the readers of a topic: its Avro schema, and how a record gets into a message and out again.
//!
//! Reading goes straight from bytes to structs by the writer's schema; fields find each other by name, one that is
//! missing takes the default of the struct, which is the schema's. The library's own resolution is not used: it
//! refuses decimals that take fewer bytes than their precision could. What by-name reading can't do (aliases, promoted
//! numbers) is an error and never another value; FULL_TRANSITIVE compatibility rules it out.

use std::sync::LazyLock;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use apache_avro::writer::datum::GenericDatumWriter;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::framing::{Frame, fingerprint};

/// No string or collection of a message that is larger than this gets memory: Kafka's own default is 1 MiB a message.
const MAX_ALLOCATION: usize = 16 << 20;

/// The contract of the orders topic: `OrderEvent`.
pub static ORDER_EVENT: LazyLock<Contract> =
    LazyLock::new(|| Contract::new("OrderEvent", &[include_str!("../schemas/order_event.avsc")]));

/// The contract of the tracking topic: `OrderTracking`.
pub static ORDER_TRACKING: LazyLock<Contract> =
    LazyLock::new(|| Contract::new("OrderTracking", &[include_str!("../schemas/order_tracking.avsc")]));

/// Why a record could not be written or read. Neither values nor bytes are told: they may be personal.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContractError {
    /// The struct and the schema disagree: a fault of this program.
    #[error("{0} could not be written by its own schema: please report this")]
    Write(&'static str),
    /// The bytes are not what their schema says.
    #[error("the bytes are no {0} by the schema that they name: the message is damaged or its frame names another one")]
    Read(&'static str),
    /// Bytes are left over.
    #[error("{1} bytes are left after the {0}: the message is damaged or its frame names another schema")]
    LeftOver(&'static str, usize),
    /// Written by a schema that ours can't read.
    #[error("this version can't read the {0} of the schema that wrote it: use a newer one, or look at the subject's compatibility")]
    Incompatible(&'static str),
}

/// A schema of this program, and the former ones by which messages may still lie in the topic.
pub struct Contract {
    record: &'static str,
    text: String,
    versions: Vec<(u64, Schema)>,
}

impl Contract {
    /// From the texts of the schema, the current one first. When a schema changes, what was released before joins the
    /// list: without a registry its messages are known by their fingerprint alone.
    fn new(record: &'static str, texts: &[&str]) -> Self {
        apache_avro::util::max_allocation_bytes(MAX_ALLOCATION);
        let versions = texts
            .iter()
            .map(|text| Schema::parse_str(text).expect("our schemas parse: a test sees to it"))
            .map(|schema| (fingerprint(&schema), schema))
            .collect();
        let json: serde_json::Value = serde_json::from_str(texts[0]).expect("a schema that parses is JSON");
        Self { record, text: json.to_string(), versions }
    }

    /// The record's name.
    #[must_use]
    pub fn record(&self) -> &'static str {
        self.record
    }

    /// The schema as JSON without blanks: the form in which it is registered, the same for ever.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The schema, parsed.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.versions[0].1
    }

    /// The frame of messages where there is no registry.
    #[must_use]
    pub fn frame(&self) -> Frame {
        Frame::SingleObject { fingerprint: self.versions[0].0 }
    }

    /// The current or a released schema by its fingerprint.
    #[must_use]
    pub fn known(&self, fingerprint: u64) -> Option<&Schema> {
        self.versions.iter().find(|(known, _)| *known == fingerprint).map(|(_, schema)| schema)
    }

    /// Is what `writer` wrote readable for us? Ask once for a schema, before [`read`](Self::read).
    ///
    /// # Errors
    /// [`ContractError::Incompatible`], among others for money at another scale.
    pub fn check_writer(&self, writer: &Schema) -> Result<(), ContractError> {
        match SchemaCompatibility::can_read(writer, self.schema()) {
            Ok(Compatibility::Full) => Ok(()),
            Ok(Compatibility::Partial) | Err(_) => Err(ContractError::Incompatible(self.record)),
        }
    }

    /// A whole message: the frame and the record.
    ///
    /// # Errors
    /// [`ContractError::Write`] if the struct does not match the schema.
    pub fn write(&self, frame: Frame, record: &impl Serialize) -> Result<Vec<u8>, ContractError> {
        let mut message = Vec::with_capacity(1024);
        frame.write(&mut message);
        GenericDatumWriter::builder(self.schema())
            .build()
            .and_then(|writer| writer.write_ser(&mut message, record))
            .map_err(|_| ContractError::Write(self.record))?;
        Ok(message)
    }

    /// The record in a datum (a message without its frame) that was written by `writer`.
    ///
    /// # Errors
    /// [`ContractError`] if the datum is not what the schema says, to its last byte.
    pub fn read<T: DeserializeOwned>(&self, writer: &Schema, mut datum: &[u8]) -> Result<T, ContractError> {
        let record = GenericDatumReader::builder(writer)
            .build()
            .and_then(|reader| reader.read_deser(&mut datum))
            .map_err(|_| ContractError::Read(self.record))?;
        if datum.is_empty() { Ok(record) } else { Err(ContractError::LeftOver(self.record, datum.len())) }
    }
}

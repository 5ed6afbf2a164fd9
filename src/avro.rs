//! Avro: the schemas, the records written with them, their framing, and the schema registry.
//!
//! Converts between records and bytes. Nothing here talks to Kafka or decides what is published.

mod binary;
pub mod contract;
pub mod decoder;
pub mod event;
pub mod framing;
pub mod registry;
pub mod schemas;
pub mod tracking;

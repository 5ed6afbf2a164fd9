//! The pipeline of an order from the marketplace to Kafka: drain, publish and reconcile, and the state that they share.
//!
//! Modules import only those before them: index, counters, account, publish, drain, reconcile. Nothing here reads
//! settings files, prints, or serves HTTP.

pub mod account;
pub mod counters;
pub mod drain;
pub mod index;
pub mod publish;
pub mod reconcile;
pub mod tracking_memory;

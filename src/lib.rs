//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.

pub mod amount;
pub mod api;
pub mod app;
pub mod cli;
pub mod committed;
pub mod config;
pub mod contract;
pub mod country;
pub mod decoder;
pub mod drain;
pub mod encoding;
pub mod event;
pub mod framing;
pub mod ids;
pub mod index;
mod json;
pub mod kafka;
pub mod mapping;
pub mod order;
pub mod page;
pub mod publish;
pub mod registry;
pub mod sandbox;
pub mod shutdown;
pub mod spool;
pub mod tracking;
pub mod tracking_memory;

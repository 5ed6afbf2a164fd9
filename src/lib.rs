//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.

pub mod amount;
pub mod committed;
pub mod contract;
pub mod country;
pub mod event;
pub mod framing;
pub mod ids;
pub mod mapping;
pub mod order;
pub mod page;
pub mod sandbox;
pub mod spool;
pub mod tracking;

//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.

pub mod amount;
pub mod contract;
pub mod country;
pub mod decoder;
pub mod event;
pub mod framing;
pub mod ids;
pub mod order;
pub mod registry;
pub mod tracking;

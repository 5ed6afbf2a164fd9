//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.

pub mod country;
pub mod ids;
pub mod order;
pub mod sandbox;

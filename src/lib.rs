//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.

pub mod country;
pub mod ids;
mod json;
pub mod mapping;
pub mod order;
pub mod page;

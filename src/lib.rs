//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.

pub mod cli;
pub mod config;
pub mod country;
pub mod ids;
pub mod order;

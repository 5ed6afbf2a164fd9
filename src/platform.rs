//! What the program takes from the operating system: time, files, threads, signals.
//!
//! The seams at which a simulation puts its own. Nothing here knows of orders, marketplaces or Kafka.

pub mod clock;
pub mod disk;
pub mod fail_point;
pub mod jobs;
pub mod shutdown;
pub mod text;

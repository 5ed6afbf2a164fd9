//! Access to the operating system: time, files, threads and signals.
//!
//! These are the seams at which a simulation replaces the real thing. Nothing here knows of orders, marketplaces or
//! Kafka.

pub mod clock;
pub mod disk;
pub mod fail_point;
pub mod jobs;
pub mod shutdown;

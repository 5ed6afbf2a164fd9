//! Support code of the integration tests. It uses the crate's sandbox and nothing else of the crate under test, so that
//! the two can't be wrong in the same way.

pub mod certificates;
pub mod child;
pub mod cluster;
pub mod compose;
pub mod consume;
pub mod coordinator;
pub mod example;
pub mod gate;
pub mod http;
pub mod interceptor;
pub mod kafka;
pub mod metrics;
pub mod port;
pub mod postgres;
pub mod prerequisites;
pub mod program;
pub mod python;
pub mod registry;
pub mod scene;
pub mod secure;
pub mod services;
pub mod tls_front;
pub mod topics;
pub mod verdict;
pub mod wait;

pub use kafka::{Kafka, kafka};
pub use registry::registry;

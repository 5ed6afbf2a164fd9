//! Access to the operating system: time, files, threads, signals and the service manager. Also what every room needs:
//! pauses between attempts, the root cause of an error, numbers and names for people.
//!
//! Time, files and threads are the seams at which a simulation replaces the real thing. Nothing here knows of orders,
//! marketplaces or Kafka.

pub(crate) mod backoff;
pub mod clock;
pub mod core_dumps;
pub mod disk;
pub mod fail_point;
pub mod jobs;
pub mod otlp;
pub mod poll_schedule;
pub(crate) mod root_cause;
pub mod sd_notify;
pub mod shutdown;
pub mod text;
pub mod tls;

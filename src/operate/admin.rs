//! How a running instance is watched: a small server beside the pipeline.
//!
//! | path | answers |
//! |---|---|
//! | `/livez` | 200 while the process and its lanes' threads live |
//! | `/readyz` | 200 while Kafka, the registry and the spool can be used, else 503 and what is not ready, in JSON |
//! | `/metrics` | OpenMetrics text, see [`metrics`] |
//! | `/status` | all there is to know, in JSON: [`Snapshot`] |
//! | `/` | the same for people |
//!
//! Each answer is made from a [`Snapshot`] of what the pipeline has noted anyway. Nothing is asked of the pipeline, so a
//! request, and be it one in a thousand at once, holds up no read and no commit. `/readyz` alone asks somebody: whether
//! the schema registry still knows the schemas, every few seconds at most.
//!
//! Deliberately absent: anything that changes something, and with that any need for a password; and all that tells one
//! order from another.

pub mod client;
mod health;
pub mod metrics;
mod page;
mod server;
mod snapshot;
mod state;

pub use health::{NotReady, Part};
pub use server::{CannotListen, Server};
pub use snapshot::Snapshot;
pub use state::{AdminState, Phase};

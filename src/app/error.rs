//! Why the program could not start, or ended before its time.

use thiserror::Error;

use crate::avro::schemas::SchemaError;
use crate::config::{AuthoritiesError, ConfigError, SecretError};
use crate::kafka::KafkaFault;
use crate::pipeline::account::AccountError;
use crate::pipeline::drain::DrainError;
use crate::pipeline::publish::LaneError;
use crate::pipeline::reconcile::ReconcileError;
use crate::pipeline::tracking_memory::MemoryError;
use crate::platform::otlp::OtlpError;
use crate::spool::SpoolError;

/// Why the program could not start, or ended early. Whatever it has read is in the spool or in Kafka.
#[derive(Debug, Error)]
pub enum AppError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    #[error(transparent)]
    Encoding(#[from] SchemaError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The account of lost orders can't be read or written.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The tracking topic is not the one that this spool remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error(transparent)]
    Drain(#[from] DrainError),
    #[error(transparent)]
    Lane(#[from] LaneError),
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// Traces can't be sent.
    #[error(transparent)]
    Otlp(#[from] OtlpError),
    /// The operating system or a library refused something at the start.
    #[error("{what}: {why}")]
    Start { what: &'static str, why: String },
    /// A task panicked: a bug in this program.
    #[error("a task ended unexpectedly: please report this. What was read is in the spool")]
    Panicked,
}

//! Why a lane can't go on, and whether it may try again.

use thiserror::Error;

use super::status::NotReadyReason;
use crate::avro::decoder::DecodeError;
use crate::avro::event::EventError;
use crate::avro::schemas::SchemaError;
use crate::kafka::KafkaFault;
use crate::order::ids::StoreName;
use crate::pipeline::account::AccountError;
use crate::pipeline::tracking_memory::MemoryError;
use crate::spool::SpoolError;

/// Why a lane ended before its work did.
#[derive(Debug, Error)]
pub enum LaneError {
    /// Kafka, in a way that only a person can mend.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The schema registry, likewise.
    #[error(transparent)]
    Encoding(#[from] SchemaError),
    /// A tracking record that can't be understood: what it says must not be guessed.
    #[error("the tracking topic can't be understood: {0}")]
    Decode(#[from] DecodeError),
    /// A page that can't be read back, or a file that can't be removed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What the spool knows of lost orders can't be noted.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A page of a store that is not in the settings any more.
    #[error(
        "the spool holds a page of the store `{0}`, which the settings no longer name: put its table `stores.{0}` back \
         until the page is published"
    )]
    UnknownStore(StoreName),
    /// An order that the schema can't hold: a fault of this program.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The tracking topic isn't the one that this spool remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No thread to fill the index on. A moment later there may be one.
    #[error("the operating system refuses a thread: {0}")]
    Thread(std::io::Error),
    /// The stop was asked for while Kafka or the registry was away.
    #[error("stopped with {pages} pages not yet published: {why}. They are in the spool and go out at the next start")]
    StoppedWaiting {
        /// Pages that were taken from the queue.
        pages: usize,
        /// What it waited for.
        why: String,
    },
}

impl LaneError {
    pub(super) fn not_ready_reason(&self) -> NotReadyReason {
        NotReadyReason { registry: matches!(self, Self::Encoding(_) | Self::Decode(_)), why: self.to_string() }
    }

    /// Whether a command that comes to an end has nothing to wait for.
    pub(super) fn ends_a_command(&self) -> bool {
        matches!(self, Self::Kafka(fault) if fault.ends_a_command())
    }

    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Kafka(fault) => !fault.needs_a_person(),
            Self::Encoding(error) => error.is_transient(),
            Self::Decode(error) => error.is_transient(),
            Self::Thread(_) => true,
            _ => false,
        }
    }
}

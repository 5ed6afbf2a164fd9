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
    /// A Kafka error; some need a person, others pass.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// A schema registry error, likewise.
    #[error(transparent)]
    Encoding(#[from] SchemaError),
    /// A tracking record that can't be decoded: its content must not be guessed.
    #[error("the tracking topic can't be understood: {0}")]
    Decode(#[from] DecodeError),
    /// A page that can't be read back, or a file that can't be removed.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The account of lost orders can't be written.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A page of a store that the settings no longer name.
    #[error(
        "the spool holds a page of the store `{0}`, which the settings no longer name: put its table `stores.{0}` back \
         until the page is published"
    )]
    UnknownStore(StoreName),
    /// An order that the schema can't hold: a bug in this program.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The tracking topic is not the one that this spool remembers.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The group has given the lane to another instance.
    #[error("lane {0} is another instance's now: what is left of it in this spool is published from here all the same")]
    NotOwner(i32),
    /// No thread to load the index on. A later attempt may get one.
    #[error("the operating system refuses a thread: {0}")]
    Thread(std::io::Error),
    /// The program was stopped while Kafka or the registry was not reachable.
    #[error("stopped with {pages} pages not yet published: {why}. They are in the spool and go out at the next start")]
    StoppedWaiting {
        /// Pages that were taken from the queue.
        pages: usize,
        /// The error that it waited for to pass.
        why: String,
    },
}

impl LaneError {
    pub(super) fn not_ready_reason(&self) -> NotReadyReason {
        NotReadyReason { registry: matches!(self, Self::Encoding(_) | Self::Decode(_)), why: self.to_string() }
    }

    /// Whether a one-shot command should give up at once instead of waiting.
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

//! The parts of the demonstration: a marketplace that misbehaves, an embedded broker, a consumer, and a verdict. The
//! pipeline between them is the real one, with settings as a user would write them.

mod broker;
mod consumer;
mod environment;
mod verdict;

pub use broker::{BrokerError, EmbeddedBroker};
pub use consumer::{DemoConsumer, DemoConsumerError, Ends};
pub use environment::{DemoEnvironment, DemoError, DemoOptions, FAULTS};
pub use verdict::{Ledger, Verdict};

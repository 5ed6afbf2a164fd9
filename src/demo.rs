//! What a demonstration is made of: a marketplace that misbehaves, a broker, a consumer, and a verdict. The pipeline
//! between them is the real one, set up as a user would set it up.

mod broker;
mod consumer;
mod environment;
mod verdict;

pub use broker::{BrokerError, EmbeddedBroker};
pub use consumer::{DemoConsumer, DemoConsumerError, Ends};
pub use environment::{DemoEnvironment, DemoError, DemoOptions, FAULTS};
pub use verdict::{Ledger, Verdict};

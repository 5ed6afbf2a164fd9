//! What a demonstration is made of: a marketplace that misbehaves, a broker, a consumer, and a verdict. The pipeline
//! between them is the real one, set up as a user would set it up.

mod audience;
mod broker;
mod stage;
mod verdict;

pub use audience::{Audience, AudienceError, Ends};
pub use broker::{BrokerError, EmbeddedBroker};
pub use stage::{FAULTS, Stage, StageError, StageOptions};
pub use verdict::{Ledger, Verdict};

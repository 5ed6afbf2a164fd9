//! Exit codes. Scripts rely on them: a code never gets another meaning.

/// An unexpected error.
pub const UNEXPECTED: u8 = 1;
/// A wrong command line or wrong settings. Clap uses the same code.
pub const USAGE: u8 = 2;
/// The marketplace refused, was out of reach, or gave an answer that makes no sense.
pub const MARKETPLACE: u8 = 3;
/// Kafka failed.
pub const KAFKA: u8 = 4;
/// The schema registry failed.
pub const REGISTRY: u8 = 5;
/// The spool or its disk failed.
pub const SPOOL: u8 = 6;
/// A check found something.
pub const FINDING: u8 = 7;
/// `reconcile`: orders were missing, and are published now.
pub const REPAIRED: u8 = 10;
/// `reconcile`, `drain`: orders were missing, and some of them could not be published.
pub const NOT_REPAIRED: u8 = 11;
/// `reconcile --dry-run`: orders are missing.
pub const MISSING: u8 = 12;
/// Stopped by a signal before the work was done.
pub const STOPPED: u8 = 130;

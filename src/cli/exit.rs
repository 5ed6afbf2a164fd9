//! Exit codes: a contract with scripts.

/// Something unexpected.
pub const UNEXPECTED: u8 = 1;
/// Wrong command line or settings; clap's own.
pub const USAGE: u8 = 2;
/// The marketplace.
pub const MARKETPLACE: u8 = 3;
/// Kafka.
pub const KAFKA: u8 = 4;
/// The schema registry.
pub const REGISTRY: u8 = 5;
/// The spool or its disk.
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

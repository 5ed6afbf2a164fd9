//! The marketplace's API: the HTTP client, the outcome of each call, and the bodies of its answers.
//!
//! Nothing here decides what follows from an answer, and no record is mapped to an order.

pub mod body;
pub mod client;

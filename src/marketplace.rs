//! The marketplace's API: the HTTP client, the outcome of each call, and the bodies of its answers.
//!
//! Deciding what follows from an answer, and mapping records to orders, is done elsewhere.

pub mod body;
pub mod client;

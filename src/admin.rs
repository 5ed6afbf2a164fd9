//! How a running instance is watched.

pub mod client;

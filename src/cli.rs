//! The commands, a file for each family.

pub mod config;

//! What an operator sees of the program from outside: the admin server, `doctor`, and queries about orders.
//!
//! Reads what the pipeline tells of itself. Nothing here publishes, or reads new orders.

pub mod admin;
pub mod doctor;
pub mod queries;

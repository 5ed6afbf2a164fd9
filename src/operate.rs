//! What an operator sees of the program from outside: the admin server, `doctor`, and queries about orders.
//!
//! It reads what the pipeline reports of itself. Nothing here publishes orders, or reads new ones.

pub mod admin;
pub mod doctor;
pub mod instances;
pub mod queries;
pub mod relane;

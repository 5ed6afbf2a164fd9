//! An order and the names in it: IDs, amounts, countries, and the mapping from a JSON record.
//!
//! Pure data and pure functions. No input or output, and no knowledge of where a record came from or goes to.

pub mod amount;
pub mod country;
pub mod ids;
pub(crate) mod json;
pub mod mapping;
mod model;

pub use model::{Buyer, DateText, DeadLetter, Line, Order};

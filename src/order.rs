//! An order and its parts: IDs, amounts, countries, and the mapping from a JSON record.
//!
//! Pure data and pure functions: no input or output, and no knowledge of where a record comes from or goes to.

pub mod amount;
pub mod country;
pub mod ids;
pub(crate) mod json;
pub mod mapping;
mod model;
pub mod privacy;

pub use model::{Buyer, DateText, DeadLetter, Line, Order};

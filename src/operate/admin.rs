//! The admin server: shows the state of a running instance over HTTP.
//!
//! | path | answer |
//! |---|---|
//! | `/livez` | 200 while the process and its lanes' threads live |
//! | `/readyz` | 200 while Kafka, the registry and the spool can be used, else 503 and what is not ready, in JSON |
//! | `/metrics` | OpenMetrics text, see [`metrics`] |
//! | `/status` | the state, and the [`Wanted`] stores, in JSON: [`Snapshot`] |
//! | `/` | the same as an HTML page, in English or Spanish |
//! | `/events` | the page's sections as server-sent events, each time that they change |
//!
//! Each answer is rendered from counters that the pipeline keeps anyway. No request waits for the
//! pipeline, so not even a thousand requests at once hold up a read or a commit. Two ask somebody else, every few seconds at
//! most: `/readyz` the schema registry, whether it still knows the schemas, and the status of one of several instances
//! Kafka, who the others are.
//!
//! Deliberately absent: requests that change something, so that no password is needed, and buyers' data. Only the page and
//! its events show orders, the last ones that were published.

mod advice;
pub mod client;
mod counts;
mod group;
mod health;
mod history;
mod live;
pub mod metrics;
mod origin;
mod page;
mod problem;
mod scrape;
mod series;
mod server;
mod snapshot;
mod state;

pub use advice::Language;
pub use counts::{Counts, Gauges};
pub use health::{NotReady, Part};
pub use problem::{Problem, State};
pub use server::{CannotListen, Server};
pub use snapshot::{Snapshot, Wanted};
pub use state::{AdminState, Phase};

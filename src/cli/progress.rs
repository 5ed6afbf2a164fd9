//! Progress bars, and what is said of a possible loss at the end of the commands that have them.

use std::fmt;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::look::{count, plural};

/// A bar that counts orders against the number that is known so far. `detail`: what stands between numbers and estimate,
/// in the terms of [`ProgressStyle`].
pub(super) fn bar(detail: &str) -> ProgressBar {
    let template = format!("{{bar:30.green/dim}} {{pos}}/{{len}} {detail}  eta {{eta}}");
    let style = ProgressStyle::with_template(&template)
        .expect("the template is fixed")
        .with_key("pace", pace)
        .progress_chars("━━─");
    ProgressBar::new(0).with_style(style)
}

/// Whole orders a second.
fn pace(state: &ProgressState, text: &mut dyn fmt::Write) {
    // What can't be shown is not missed.
    write!(text, "{:.0}/s", state.per_sec()).unwrap_or_default();
}

/// What is not certain, for people.
pub(super) fn possible_loss(reads: u64, orders: u64) -> String {
    format!(
        "{} without an answer may have marked orders that are too old to be listed, {} at most: see `imotriz-kafka spool account`",
        plural(reads, "read"),
        count(orders)
    )
}

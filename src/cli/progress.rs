//! Progress bars, and the sentence on a possible loss that several commands print at their end.

use std::fmt;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use crate::platform::text::{count, plural};

/// A bar that counts orders against the number known so far. `detail` is a part of the [`ProgressStyle`] template,
/// between the numbers and the estimate.
pub(super) fn bar(detail: &str) -> ProgressBar {
    let template = format!("{{bar:30.green/dim}} {{pos}}/{{len}} {detail}  eta {{eta}}");
    let style = ProgressStyle::with_template(&template)
        .expect("the template is fixed")
        .with_key("pace", pace)
        .progress_chars("━━─");
    ProgressBar::new(0).with_style(style)
}

/// Shows orders a second, without decimals.
fn pace(state: &ProgressState, text: &mut dyn fmt::Write) {
    // A number that can't be shown is left out.
    write!(text, "{:.0}/s", state.per_sec()).unwrap_or_default();
}

/// Says how many orders may be lost, where nobody can know.
pub(super) fn possible_loss(reads: u64, orders: u64) -> String {
    format!(
        "{} without an answer may have marked orders that are too old to be listed, {} at most: see `imotriz-kafka spool account`",
        plural(reads, "read"),
        count(orders)
    )
}

//! The metrics that dashboard and alerts use, and a search for metric names in a text.

use std::collections::BTreeSet;

use super::http;

/// What a running instance has to export; `examples/stack/README.md` says what each of them means.
pub const CONTRACT: &[&str] = &[
    "imotriz_build_info",
    "imotriz_dead_letters_total",
    "imotriz_index_orders",
    "imotriz_lane_ready",
    "imotriz_last_reconcile_timestamp_seconds",
    "imotriz_last_successful_drain_timestamp_seconds",
    "imotriz_marketplace_pending_orders",
    "imotriz_orders_gone_total",
    "imotriz_orders_missing_total",
    "imotriz_orders_published_total",
    "imotriz_orders_read_total",
    "imotriz_orders_skipped_total",
    "imotriz_page_commit_seconds",
    "imotriz_pages_read_total",
    "imotriz_refused_reads_total",
    "imotriz_spool_free_bytes",
    "imotriz_spool_oldest_page_timestamp_seconds",
    "imotriz_spool_pages",
    "imotriz_stores",
    "imotriz_stores_in_trouble",
    "imotriz_transactions_total",
    "imotriz_unaccounted_orders",
    "imotriz_unaccounted_window_seconds",
    "imotriz_unknown_reads_total",
    "imotriz_unsettled_unknown_reads",
    "process_start_time_seconds",
];

/// The sum of a metric over all its series: a store that is in trouble for a moment has one of its own.
pub fn sum(url: &str, metric: &str) -> f64 {
    let metrics = http::get(&format!("{url}/metrics")).1;
    let series = metrics.lines().filter(|line| line.starts_with(metric));
    series.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

/// The names of metrics in a text, those of a histogram's parts without their endings.
pub fn named_in(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let names = words.filter(|word| word.starts_with("imotriz_") || word.starts_with("process_"));
    let histogram = ["_bucket", "_count", "_sum"];
    let whole = |name: &str| histogram.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned();
    names.map(whole).collect()
}

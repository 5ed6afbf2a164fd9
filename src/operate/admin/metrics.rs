//! The metrics of `/metrics`, in one table. docs/operations.md repeats the table, and tests check dashboard and alerts
//! against it.
//!
//! Labels have few values: a store, a lane, a reason, a status. No label identifies an order.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Snapshot;
use super::snapshot::{Lane, SpoolView, Store};
use crate::avro::event::Reason;

/// The content type of `/metrics`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub struct Metric {
    /// The name in a query.
    pub name: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// The help text.
    pub help: &'static str,
    samples: Samples,
}

/// How the metric's values are taken from a snapshot.
#[derive(Clone, Copy)]
enum Samples {
    Counter(fn(&Snapshot) -> Vec<Sample>),
    Gauge(fn(&Snapshot) -> Vec<Sample>),
    Histogram,
    Info,
}

/// The label values, and the value.
type Sample = (Vec<String>, f64);

impl Metric {
    /// The metric's kind: counter, gauge, histogram or info.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.samples {
            Samples::Counter(_) => "counter",
            Samples::Gauge(_) => "gauge",
            Samples::Histogram => "histogram",
            Samples::Info => "info",
        }
    }

    fn metric_type(&self) -> MetricType {
        match self.samples {
            Samples::Counter(_) => MetricType::Counter,
            Samples::Gauge(_) => MetricType::Gauge,
            Samples::Histogram => MetricType::Histogram,
            Samples::Info => MetricType::Info,
        }
    }

    /// The name without the suffix that the OpenMetrics encoder adds for the kind.
    fn base_name(&self) -> &'static str {
        let suffix = match self.samples {
            Samples::Counter(_) => "_total",
            Samples::Info => "_info",
            Samples::Gauge(_) | Samples::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

const STORE: &[&str] = &["store"];
const LANE: &[&str] = &["lane"];

const fn counter(
    name: &'static str,
    labels: &'static [&'static str],
    samples: fn(&Snapshot) -> Vec<Sample>,
    help: &'static str,
) -> Metric {
    Metric { name, labels, help, samples: Samples::Counter(samples) }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    samples: fn(&Snapshot) -> Vec<Sample>,
    help: &'static str,
) -> Metric {
    Metric { name, labels, help, samples: Samples::Gauge(samples) }
}

/// All metrics.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    counter("imotriz_orders_read_total", STORE, |s| stores(s, |store| count(store.orders_read)),
        "Orders in pages that were read and made durable."),
    counter("imotriz_pages_read_total", STORE, |s| stores(s, |store| count(store.pages_read)),
        "Pages that were read and made durable."),
    counter("imotriz_unknown_reads_total", STORE, |s| stores(s, |store| count(store.unknown_reads)),
        "Reads of which nobody knows what they marked."),
    counter("imotriz_refused_reads_total", &["store", "status"], refused,
        "Reads that the marketplace refused: `401` the token, `403` no start date, `other`, which is something in front of it as well."),
    counter("imotriz_irregular_answers_total", &["store", "reason"], irregular,
        "Answers that were understood though they are no page as it should be: `noise` beside the JSON; `no_content` (204), `not_found` (404) or a `message`, taken for: no orders."),
    counter("imotriz_orders_published_total", &["store", "reason"], published,
        "Events committed, by the reason that they carry, in lower case."),
    counter("imotriz_dead_letters_total", STORE, |s| stores(s, |store| count(store.dead_letters)),
        "Orders committed to the dead-letter topic."),
    counter("imotriz_orders_skipped_total", STORE, |s| stores(s, |store| count(store.skipped)),
        "Orders that needed no event: replayed, or not changed."),
    gauge("imotriz_marketplace_pending_orders", STORE, |s| stores(s, |store| count(store.pending)),
        "Orders that the marketplace still holds, as it last said."),
    gauge("imotriz_last_successful_drain_timestamp_seconds", STORE, |s| stores(s, |store| Some(time_or_never(store.last_good_read_at))),
        "When a read last brought a page or found nothing pending; 0 if none has since the start."),
    gauge("imotriz_last_reconcile_timestamp_seconds", STORE, |s| stores(s, |store| Some(time_or_never(store.last_reconcile.as_ref().map(|last| last.at)))),
        "When the store was last reconciled; 0 if it was not since the start."),
    counter("imotriz_orders_missing_total", STORE, |s| stores(s, |store| count(store.missing)),
        "Orders that were listed, were not pending and had not arrived, as the reconciler found them."),
    counter("imotriz_orders_gone_total", STORE, |s| stores(s, |store| count(store.gone)),
        "Those of them that the marketplace no longer has."),
    gauge("imotriz_unsettled_unknown_reads", STORE, |s| stores(s, |store| count(store.unsettled_unknown_reads)),
        "Reads of unknown outcome, those of earlier runs included, that no reconciliation has settled."),
    gauge("imotriz_unaccounted_orders", STORE, |s| stores(s, |store| count(store.unaccounted_orders)),
        "Orders that reads of unknown outcome have marked and that have not been found; before a reconciliation has looked for them, as many as there may be."),
    gauge("imotriz_possibly_unaccounted_orders", STORE, |s| stores(s, |store| count(store.possibly_unaccounted_orders)),
        "Orders that such reads can have marked besides, at most, although nothing is missing that is listed. No reason for an alarm."),
    gauge("imotriz_unaccounted_window_seconds", STORE, |s| stores(s, |store| store.unaccounted_window_seconds.map(|left| left as f64)),
        "For how long the ID list still shows those that fall out of it first. Absent while there are none."),
    gauge("imotriz_spool_pages", &[], |s| spool(s, |spool| count(spool.pages)),
        "Pages in the spool that are not published yet."),
    gauge("imotriz_spool_oldest_page_timestamp_seconds", &[], |s| spool(s, |spool| spool.oldest_page_at.map(time)),
        "When the oldest of them was read. Absent while there are none."),
    gauge("imotriz_spool_free_bytes", &[], |s| spool(s, |spool| count(spool.free_bytes)),
        "Free space on the spool's disk."),
    gauge("imotriz_lane_ready", LANE, |s| lanes(s, |lane| u64::from(lane.state == "ready")),
        "1 while the lane can publish, else 0."),
    gauge("imotriz_index_orders", LANE, |s| lanes(s, |lane| lane.index_orders),
        "Orders in the lane's index of what was published."),
    counter("imotriz_transactions_total", &["lane", "result"], transactions,
        "Kafka transactions: `committed`, or `failed` and decided anew."),
    Metric { name: "imotriz_page_commit_seconds", labels: &[], samples: Samples::Histogram,
        help: "From the last byte of a page to its commit." },
    Metric { name: "imotriz_build_info", labels: &["version"], samples: Samples::Info,
        help: "The program's version." },
    gauge("process_start_time_seconds", &[], |s| vec![(Vec::new(), time(s.started_at))],
        "When the process started."),
];

fn stores(snapshot: &Snapshot, value: impl Fn(&Store) -> Option<f64>) -> Vec<Sample> {
    let samples = snapshot.stores.iter().filter_map(|(name, store)| Some((vec![name.to_string()], value(store)?)));
    samples.collect()
}

fn lanes(snapshot: &Snapshot, value: impl Fn(&Lane) -> u64) -> Vec<Sample> {
    snapshot.lanes.iter().map(|(number, lane)| (vec![number.to_string()], value(lane) as f64)).collect()
}

fn spool(snapshot: &Snapshot, value: impl Fn(&SpoolView) -> Option<f64>) -> Vec<Sample> {
    snapshot.spool.iter().filter_map(|spool| Some((Vec::new(), value(spool)?))).collect()
}

fn refused(snapshot: &Snapshot) -> Vec<Sample> {
    let all = snapshot.stores.iter().flat_map(|(name, store)| {
        let refused = store.refused;
        [("401", refused.token), ("403", refused.start_date), ("other", refused.other)]
            .map(|(status, reads)| (vec![name.to_string(), status.to_owned()], reads as f64))
    });
    all.collect()
}

fn irregular(snapshot: &Snapshot) -> Vec<Sample> {
    let all = snapshot.stores.iter().flat_map(|(name, store)| {
        let odd = store.irregular_answers;
        let by_reason = [
            ("noise", odd.noise),
            ("no_content", odd.no_content),
            ("not_found", odd.not_found),
            ("message", odd.message),
        ];
        by_reason.map(|(reason, answers)| (vec![name.to_string(), reason.to_owned()], answers as f64))
    });
    all.collect()
}

fn published(snapshot: &Snapshot) -> Vec<Sample> {
    let all = snapshot.stores.iter().flat_map(|(name, store)| {
        Reason::WRITTEN.map(|reason| {
            let events = store.published.of(reason) as f64;
            (vec![name.to_string(), reason.as_str().to_lowercase()], events)
        })
    });
    all.collect()
}

fn transactions(snapshot: &Snapshot) -> Vec<Sample> {
    let all = snapshot.lanes.iter().flat_map(|(number, lane)| {
        [("committed", lane.committed), ("failed", lane.failed)]
            .map(|(result, number_of)| (vec![number.to_string(), result.to_owned()], number_of as f64))
    });
    all.collect()
}

fn count(number: u64) -> Option<f64> {
    Some(number as f64)
}

fn time(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

/// A time in seconds, or 0 if there is none. A missing sample would keep an alert silent for something that never
/// happened.
fn time_or_never(at: Option<Timestamp>) -> f64 {
    at.map_or(0.0, time)
}

/// Renders the answer of `/metrics`.
///
/// # Errors
/// None is known: writing to a `String` can't fail.
pub(super) fn render(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Table(Arc::new(snapshot))));
    let mut answer = String::new();
    text::encode(&mut answer, &registry)?;
    Ok(answer)
}

#[derive(Debug)]
struct Table(Arc<Snapshot>);

impl Collector for Table {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        METRICS.iter().try_for_each(|metric| encode(metric, &self.0, &mut encoder))
    }
}

fn encode(metric: &Metric, snapshot: &Snapshot, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut encoder = encoder.encode_descriptor(metric.base_name(), metric.help, None, metric.metric_type())?;
    match metric.samples {
        Samples::Counter(samples) => each(&mut encoder, metric.labels, samples(snapshot), |encoder, value| {
            encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
        }),
        Samples::Gauge(samples) => {
            each(&mut encoder, metric.labels, samples(snapshot), |encoder, value| encoder.encode_gauge(&value))
        }
        Samples::Histogram => {
            let commits = &snapshot.page_commit;
            encoder.encode_histogram::<NoLabelSet>(commits.sum_seconds, commits.count, &commits.buckets, None)
        }
        Samples::Info => encoder.encode_info(&vec![("version", snapshot.version)]),
    }
}

fn each(
    encoder: &mut MetricEncoder<'_>,
    labels: &[&str],
    samples: Vec<Sample>,
    write: impl Fn(&mut MetricEncoder<'_>, f64) -> fmt::Result,
) -> fmt::Result {
    samples.into_iter().try_for_each(|(values, value)| {
        if labels.is_empty() {
            return write(encoder, value);
        }
        let labels: Vec<_> = labels.iter().copied().zip(values).collect();
        write(&mut encoder.encode_family(&labels)?, value)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::operate::admin::AdminState;
    use crate::pipeline::counters::Counters;

    #[test]
    fn names_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in METRICS {
            let name = metric.name;
            assert!(seen.insert(name), "{name} is there twice");
            assert!(name.starts_with("imotriz_") || name == "process_start_time_seconds", "{name}");
            assert!(name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase()), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind() == "counter", "{name}");
            for foreign in ["_ms", "millis", "minutes", "hours", "kib", "percent"] {
                assert!(!name.contains(foreign), "{name} is not in base units");
            }
            assert!(metric.help.ends_with('.'), "{name}");
            assert!(
                metric
                    .labels
                    .iter()
                    .all(|label| ["store", "lane", "reason", "status", "result", "version"].contains(label))
            );
        }
    }

    /// Prometheus sees an increase only if the counter was there before it.
    #[test]
    fn every_counter_of_a_store_is_there_with_0_before_anything_has_happened() {
        let counters = Arc::<Counters>::default();
        counters.set_stores([&"bogota".parse().unwrap()]);
        let answer = render(Snapshot::of(&AdminState::new(counters))).unwrap();
        for metric in METRICS.iter().filter(|metric| metric.kind() == "counter" && metric.labels[0] == "store") {
            let values: &[&str] = match metric.labels {
                ["store"] => &[""],
                _ if metric.name == "imotriz_irregular_answers_total" => {
                    &["noise", "no_content", "not_found", "message"]
                }
                ["store", "status"] => &["401", "403", "other"],
                ["store", "reason"] => &["drained", "reconciled", "resynced", "updated", "republished"],
                other => panic!("{}: which values has {other:?}?", metric.name),
            };
            for value in values {
                let more = metric.labels.get(1).map(|label| format!(",{label}=\"{value}\"")).unwrap_or_default();
                let sample = format!("{}{{store=\"bogota\"{more}}} 0.0\n", metric.name);
                assert!(answer.contains(&sample), "{sample}{answer}");
            }
        }
        assert!(answer.contains("imotriz_page_commit_seconds_count 0\n"), "{answer}");
    }

    #[test]
    fn the_answer_begins_each_metric_with_its_help_and_ends_as_openmetrics_ends() {
        let counters = Arc::<Counters>::default();
        let bogota = counters.store(&"bogota".parse().unwrap());
        bogota.orders_read.add(30);
        bogota.refused.token.add(2);
        let answer = render(Snapshot::of(&AdminState::new(counters))).unwrap();
        for metric in METRICS {
            assert!(answer.contains(&format!("# HELP {} ", metric.base_name())), "{}", metric.name);
            assert!(answer.contains(&format!("# TYPE {} {}\n", metric.base_name(), metric.kind())), "{}", metric.name);
        }
        assert!(answer.contains("imotriz_orders_read_total{store=\"bogota\"} 30.0\n"), "{answer}");
        assert!(answer.contains("imotriz_refused_reads_total{store=\"bogota\",status=\"401\"} 2.0\n"), "{answer}");
        assert!(answer.contains("imotriz_page_commit_seconds_bucket{le=\"+Inf\"} 0\n"), "{answer}");
        assert!(answer.ends_with("# EOF\n"));
    }
}

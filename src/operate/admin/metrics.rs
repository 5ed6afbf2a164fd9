//! The metrics of `/metrics`, in one table. docs/operations.md repeats the table, and tests check dashboard and alerts
//! against it.
//!
//! Labels have few values: a lane, a reason, a status, and few stores: see `series.rs`. No label identifies an
//! order.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::counts::{Counts, Gauges};
use super::scrape::{Part, Scrape};
use super::snapshot::{Lane, SpoolView};
use super::{AdminState, State};
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
    Counter(fn(&Scrape) -> Vec<Sample>),
    Gauge(fn(&Scrape) -> Vec<Sample>),
    Histogram,
    Info,
}

/// The labels, and the value.
type Sample = (Vec<(&'static str, String)>, f64);

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
    samples: fn(&Scrape) -> Vec<Sample>,
    help: &'static str,
) -> Metric {
    Metric { name, labels, help, samples: Samples::Counter(samples) }
}

const fn gauge(
    name: &'static str,
    labels: &'static [&'static str],
    samples: fn(&Scrape) -> Vec<Sample>,
    help: &'static str,
) -> Metric {
    Metric { name, labels, help, samples: Samples::Gauge(samples) }
}

/// All metrics.
#[rustfmt::skip]
pub static METRICS: &[Metric] = &[
    counter("imotriz_orders_read_total", STORE, |s| counts(s, |counts| counts.orders_read),
        "Orders in pages that were read and made durable."),
    counter("imotriz_pages_read_total", STORE, |s| counts(s, |counts| counts.pages_read),
        "Pages that were read and made durable."),
    counter("imotriz_unknown_reads_total", STORE, |s| counts(s, |counts| counts.unknown_reads),
        "Reads of which nobody knows what they marked."),
    counter("imotriz_refused_reads_total", &["store", "status"], refused,
        "Reads that the marketplace refused: `401` the token, `403` no start date, `other`, which is something in front of it as well."),
    counter("imotriz_irregular_answers_total", &["store", "reason"], irregular,
        "Answers that were understood though they are no page as it should be: `noise` beside the JSON; `no_content` (204), `not_found` (404) or a `message`, taken for: no orders."),
    counter("imotriz_orders_published_total", &["store", "reason"], published,
        "Events committed, by the reason that they carry, in lower case."),
    counter("imotriz_dead_letters_total", STORE, |s| counts(s, |counts| counts.dead_letters),
        "Orders committed to the dead-letter topic."),
    counter("imotriz_orders_skipped_total", STORE, |s| counts(s, |counts| counts.skipped),
        "Orders that needed no event: replayed, or not changed."),
    gauge("imotriz_marketplace_pending_orders", STORE, |s| gauges(s, |gauges| count(gauges.pending)),
        "Orders that the marketplace still holds, as it last said."),
    gauge("imotriz_last_successful_drain_timestamp_seconds", STORE, |s| gauges(s, |gauges| Some(time_or_never(gauges.last_good_read_at))),
        "When a read last brought a page or found nothing pending; 0 if none has since the start. Of several stores the oldest."),
    gauge("imotriz_last_reconcile_timestamp_seconds", STORE, |s| gauges(s, |gauges| Some(time_or_never(gauges.last_reconcile_at))),
        "When the store was last reconciled; 0 if it was not since the start. Of several stores the oldest."),
    counter("imotriz_orders_missing_total", STORE, |s| counts(s, |counts| counts.missing),
        "Orders that were listed, were not pending and had not arrived, as the reconciler found them."),
    counter("imotriz_orders_gone_total", STORE, |s| counts(s, |counts| counts.gone),
        "Those of them that the marketplace no longer has."),
    gauge("imotriz_unsettled_unknown_reads", STORE, |s| gauges(s, |gauges| count(gauges.unsettled_unknown_reads)),
        "Reads of unknown outcome, those of earlier runs included, that no reconciliation has settled."),
    gauge("imotriz_unaccounted_orders", STORE, |s| gauges(s, |gauges| count(gauges.unaccounted_orders)),
        "Orders that reads of unknown outcome have marked and that have not been found; before a reconciliation has looked for them, as many as there may be."),
    gauge("imotriz_possibly_unaccounted_orders", STORE, |s| gauges(s, |gauges| count(gauges.possibly_unaccounted_orders)),
        "Orders that such reads can have marked besides, at most, although nothing is missing that is listed. No reason for an alarm."),
    gauge("imotriz_unaccounted_window_seconds", STORE, |s| gauges(s, |gauges| gauges.unaccounted_window_seconds.map(|left| left as f64)),
        "For how long the ID list still shows those that fall out of it first. Absent while there are none."),
    gauge("imotriz_stores", &[], |s| vec![(Vec::new(), s.totals.stores as f64)],
        "Stores that are read."),
    gauge("imotriz_stores_in_trouble", &["trouble"], troubles,
        "Stores with which something is wrong: `parked` is `not_read` again and again; `late` is not read for long, although no read failed; `unaccounted`, `not_reconciled`. A store can be in several."),
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

/// The rest first, then each store that has series of its own.
fn parts(scrape: &Scrape) -> impl Iterator<Item = (Vec<(&'static str, String)>, &Part)> {
    let own = scrape.own.iter().map(|(store, part)| (vec![("store", store.to_string())], part));
    std::iter::once((Vec::new(), &scrape.rest)).chain(own)
}

fn counts(scrape: &Scrape, number: impl Fn(&Counts) -> u64) -> Vec<Sample> {
    let sample = |(labels, part): (_, &Part)| {
        let number = number(&part.counts);
        (part.grows || number > 0).then_some((labels, number as f64))
    };
    parts(scrape).filter_map(sample).collect()
}

/// Counters with one more label.
fn counts_by<const N: usize>(
    scrape: &Scrape,
    label: &'static str,
    numbers: impl Fn(&Counts) -> [(String, u64); N],
) -> Vec<Sample> {
    let mut samples = Vec::new();
    for (labels, part) in parts(scrape) {
        for (value, number) in numbers(&part.counts) {
            if part.grows || number > 0 {
                let labels = labels.iter().cloned().chain([(label, value)]).collect();
                samples.push((labels, number as f64));
            }
        }
    }
    samples
}

fn gauges(scrape: &Scrape, value: impl Fn(&Gauges) -> Option<f64>) -> Vec<Sample> {
    parts(scrape).filter_map(|(labels, part)| Some((labels, value(part.gauges.as_ref()?)?))).collect()
}

fn lanes(scrape: &Scrape, value: impl Fn(&Lane) -> u64) -> Vec<Sample> {
    scrape.lanes.iter().map(|(number, lane)| (vec![("lane", number.to_string())], value(lane) as f64)).collect()
}

fn spool(scrape: &Scrape, value: impl Fn(&SpoolView) -> Option<f64>) -> Vec<Sample> {
    scrape.spool.iter().filter_map(|spool| Some((Vec::new(), value(spool)?))).collect()
}

fn refused(scrape: &Scrape) -> Vec<Sample> {
    counts_by(scrape, "status", |counts| {
        let refused = counts.refused;
        [("401", refused.token), ("403", refused.start_date), ("other", refused.other)]
            .map(|(status, reads)| (status.to_owned(), reads))
    })
}

fn irregular(scrape: &Scrape) -> Vec<Sample> {
    counts_by(scrape, "reason", |counts| {
        let odd = counts.irregular_answers;
        let by_reason = [
            ("noise", odd.noise),
            ("no_content", odd.no_content),
            ("not_found", odd.not_found),
            ("message", odd.message),
        ];
        by_reason.map(|(reason, answers)| (reason.to_owned(), answers))
    })
}

fn published(scrape: &Scrape) -> Vec<Sample> {
    counts_by(scrape, "reason", |counts| {
        Reason::WRITTEN.map(|reason| (reason.as_str().to_lowercase(), counts.published.of(reason)))
    })
}

fn troubles(scrape: &Scrape) -> Vec<Sample> {
    let sample = |(trouble, stores): (State, u64)| (vec![("trouble", trouble.word().to_owned())], stores as f64);
    scrape.troubles().map(sample).collect()
}

fn transactions(scrape: &Scrape) -> Vec<Sample> {
    let all = scrape.lanes.iter().flat_map(|(number, lane)| {
        [("committed", lane.committed), ("failed", lane.failed)].map(|(result, number_of)| {
            (vec![("lane", number.to_string()), ("result", result.to_owned())], number_of as f64)
        })
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
pub fn render(admin: &AdminState) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Table(Arc::new(Scrape::of(admin)))));
    let mut answer = String::new();
    text::encode(&mut answer, &registry)?;
    Ok(answer)
}

#[derive(Debug)]
struct Table(Arc<Scrape>);

impl Collector for Table {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        METRICS.iter().try_for_each(|metric| encode(metric, &self.0, &mut encoder))
    }
}

fn encode(metric: &Metric, scrape: &Scrape, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let mut encoder = encoder.encode_descriptor(metric.base_name(), metric.help, None, metric.metric_type())?;
    match metric.samples {
        Samples::Counter(samples) => each(&mut encoder, samples(scrape), |encoder, value| {
            encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
        }),
        Samples::Gauge(samples) => each(&mut encoder, samples(scrape), |encoder, value| encoder.encode_gauge(&value)),
        Samples::Histogram => {
            let commits = &scrape.page_commit;
            encoder.encode_histogram::<NoLabelSet>(commits.sum_seconds, commits.count, &commits.buckets, None)
        }
        Samples::Info => encoder.encode_info(&vec![("version", scrape.version)]),
    }
}

fn each(
    encoder: &mut MetricEncoder<'_>,
    samples: Vec<Sample>,
    write: impl Fn(&mut MetricEncoder<'_>, f64) -> fmt::Result,
) -> fmt::Result {
    samples.into_iter().try_for_each(|(labels, value)| {
        if labels.is_empty() {
            return write(encoder, value);
        }
        write(&mut encoder.encode_family(&labels)?, value)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::config::Admin;
    use crate::order::ids::StoreName;
    use crate::pipeline::counters::{Counters, FailedTries, Tally};

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
                    .all(|label| ["store", "lane", "reason", "status", "result", "trouble", "version"].contains(label))
            );
        }
    }

    fn admin(stores: &[&str], named: &[&str]) -> AdminState {
        let admin = AdminState::new(Arc::<Counters>::default());
        let names: Vec<StoreName> = stores.iter().map(|name| name.parse().unwrap()).collect();
        admin.counters.set_stores(&names);
        let metrics_stores = named.iter().map(|name| name.parse().unwrap()).collect();
        admin.configure_server(&Admin { metrics_stores, ..Admin::default() });
        admin
    }

    fn park(admin: &AdminState, store: &str) {
        let counters = admin.counters.store(&store.parse().unwrap());
        while counters.not_read.tries() != FailedTries::Again {
            counters.not_read.note("token_refused", "401".to_owned());
        }
    }

    /// Prometheus sees an increase only if the counter was there before it.
    #[test]
    fn every_counter_is_there_with_0_before_anything_has_happened_and_so_are_those_of_a_named_store() {
        let answer = render(&admin(&["bogota", "cali"], &["bogota"])).unwrap();
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
                let more = metric.labels.get(1).map(|label| format!("{label}=\"{value}\"")).unwrap_or_default();
                let rest = if more.is_empty() { String::new() } else { format!("{{{more}}}") };
                let comma = if more.is_empty() { "" } else { "," };
                for labels in [rest, format!("{{store=\"bogota\"{comma}{more}}}")] {
                    let sample = format!("{}{labels} 0.0\n", metric.name);
                    assert!(answer.contains(&sample), "{sample}{answer}");
                }
            }
        }
        assert!(answer.contains("imotriz_page_commit_seconds_count 0\n"), "{answer}");
        assert!(!answer.contains("cali"), "{answer}");
    }

    #[test]
    fn the_answer_begins_each_metric_with_its_help_and_ends_as_openmetrics_ends() {
        let admin = admin(&["bogota", "cali"], &[]);
        for store in ["bogota", "cali"] {
            let store = admin.counters.store(&store.parse().unwrap());
            store.orders_read.add(30);
            store.pending.set(3);
            store.refused.token.add(2);
        }
        let answer = render(&admin).unwrap();
        for metric in METRICS {
            assert!(answer.contains(&format!("# HELP {} ", metric.base_name())), "{}", metric.name);
            assert!(answer.contains(&format!("# TYPE {} {}\n", metric.base_name(), metric.kind())), "{}", metric.name);
        }
        for sample in [
            "imotriz_orders_read_total 60.0",
            "imotriz_refused_reads_total{status=\"401\"} 4.0",
            "imotriz_marketplace_pending_orders 6.0",
            "imotriz_stores 2",
            "imotriz_stores_in_trouble{trouble=\"parked\"} 0",
            "imotriz_page_commit_seconds_bucket{le=\"+Inf\"} 0",
        ] {
            assert!(answer.contains(&format!("\n{sample}")), "{sample}\n{answer}");
        }
        assert!(answer.ends_with("# EOF\n") && !answer.contains("store="));
    }

    /// The sum over all series of a metric.
    fn sum(answer: &str, metric: &str) -> f64 {
        let of_it = |line: &&str| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        answer.lines().filter(of_it).map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    #[test]
    fn sums_stay_exact_while_a_store_gets_into_trouble_gets_well_and_is_removed() {
        let admin = admin(&["bogota", "cali"], &[]);
        let bogota = admin.counters.store(&"bogota".parse().unwrap());
        let mut expected = 0.0;
        let mut scrape = |orders: u64| {
            let mut tally = Tally::default();
            (0..orders).for_each(|_| tally.published.count(Reason::Drained));
            bogota.add(tally);
            bogota.pending.set(7);
            expected += orders as f64;
            let answer = render(&admin).unwrap();
            assert_eq!(sum(&answer, "imotriz_orders_published_total"), expected, "{answer}");
            answer
        };
        let own = "imotriz_orders_published_total{store=\"bogota\",reason=\"drained\"}";
        assert!(!scrape(30).contains(own));
        park(&admin, "bogota");
        let parked = scrape(2);
        assert!(parked.contains(&format!("{own} 0.0\n")), "{parked}");
        assert!(parked.contains("imotriz_marketplace_pending_orders{store=\"bogota\"} 7.0\n"), "{parked}");
        assert!(parked.contains("imotriz_stores_in_trouble{trouble=\"parked\"} 1.0\n"), "{parked}");
        assert!(scrape(5).contains(&format!("{own} 5.0\n")));
        bogota.not_read.clear();
        assert!(scrape(0).contains(&format!("{own} 5.0\n")));
        let well = scrape(9);
        assert!(well.contains(&format!("{own} 5.0\n")) && well.contains("imotriz_marketplace_pending_orders 7.0\n"));
        assert!(!well.contains("imotriz_dead_letters_total{store"), "what is 0 is not kept: {well}");
        admin.counters.set_stores([&"cali".parse().unwrap()]);
        assert_eq!(sum(&scrape(4), "imotriz_stores"), 1.0);
    }

    #[test]
    fn ten_thousand_stores_need_no_more_series_than_one() {
        let names: Vec<_> = (0..10_000).map(|number| format!("s{number}")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let (one, many) = (admin(&names[..1], &[]), admin(&names, &[]));
        let lines = |admin| render(admin).unwrap().lines().count();
        assert_eq!(lines(&one), lines(&many));
        names.iter().for_each(|name| park(&many, name));
        let answer = render(&many).unwrap();
        let labelled = answer.lines().filter(|line| line.starts_with("imotriz_orders_read_total{store=")).count();
        assert_eq!(labelled, super::super::series::PLACES);
        assert!(answer.contains("imotriz_stores_in_trouble{trouble=\"parked\"} 10000.0\n"));
    }
}

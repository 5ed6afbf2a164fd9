//! `demo`: runs the real pipeline on made-up orders, with an embedded marketplace and broker. Needs nothing installed.

mod screen;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::MultiProgress;
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::screen::Screen;
use super::{exit, out};
use crate::app::{App, AppError};
use crate::avro::schemas::SchemaResolver;
use crate::demo::{DemoConsumer, DemoEnvironment, DemoOptions, Ends, FAULTS, Ledger, Verdict};
use crate::kafka::Connection;
use crate::pipeline::counters::Counters;
use crate::platform::shutdown::cancel_on_signals;
use crate::sandbox::{Call, Rates};

/// How long the consumer may take to read what the pipeline committed.
const END_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a new order is placed with `--keep-running`.
const BETWEEN_ORDERS: Duration = Duration::from_secs(3);

/// What `demo` can be told.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoArgs {
    /// How many orders are in the shop
    #[arg(long, value_name = "N", default_value_t = 3000)]
    pub orders: usize,

    /// Go on after the verdict, with new orders every few seconds, until it is stopped
    #[arg(long)]
    pub keep_running: bool,

    /// Use a real broker, with topics of its own, in the place of the embedded one
    #[arg(long, value_name = "HOST:PORT")]
    pub bootstrap_servers: Option<String>,

    /// Same seed, same orders, and the same answers go wrong
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// What goes wrong and how often, as for `sandbox`
    #[arg(long, value_name = "FAULT=SHARE,…", default_value = FAULTS, hide_default_value = true)]
    pub faults: Rates,
}

/// Runs the demonstration and returns the exit code: 7 if an order was lost or doubled.
///
/// # Errors
/// What stopped the pipeline, the consumer or the environment.
pub async fn run(args: DemoArgs, json: bool, bars: &MultiProgress) -> Result<u8> {
    let stop = CancellationToken::new();
    cancel_on_signals(stop.clone()).context("can't listen to signals")?;
    let DemoArgs { orders, keep_running, bootstrap_servers, seed, faults } = args;
    let mut screen = Screen::new(json, bars.clone());
    screen.opening(orders as u64, bootstrap_servers.as_deref());
    let environment = DemoEnvironment::build(DemoOptions { orders, seed, faults, bootstrap_servers }).await?;
    let mut run = DemoRun { environment, consumer: None, ledger: Ledger::default(), unknown_reads: 0, screen, stop };
    let mut report = run.act(DemoPhase::Drain).await?;
    run.screen.verdict(&report);
    if keep_running && report.ended.is_ok() && !run.stop.is_cancelled() {
        run.screen.going_on();
        report = run.act(DemoPhase::GoOn).await?;
        run.screen.verdict(&report);
    }
    report.ended?;
    Ok(if report.verdict.is_clean() { 0 } else { exit::FINDING })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DemoPhase {
    /// Runs until nothing is pending.
    Drain,
    /// Runs until it is stopped, while new orders are placed.
    GoOn,
}

/// The results at the end of a phase.
#[derive(Debug)]
struct Report {
    verdict: Verdict,
    /// Time from the start to the last event. None while new orders are placed, because their pace sets the time.
    took: Option<Duration>,
    /// The error that stopped the pipeline, if any.
    ended: Result<(), AppError>,
    reads: u64,
    unknown_reads: u64,
    /// Orders that reads of unknown outcome marked, and that the reconciler published.
    reconciled: u64,
    /// How often each fault occurred, by name.
    faults: BTreeMap<&'static str, u64>,
    /// The topic on a real broker. None with the embedded broker.
    topic: Option<String>,
}

impl Report {
    fn rate(&self) -> Option<f64> {
        self.took.map(|took| self.verdict.events as f64 / took.as_secs_f64().max(0.001))
    }

    fn as_json(&self) -> serde_json::Value {
        let Verdict { orders, pending, events, lost, doubled } = self.verdict;
        json!({
            "orders": orders, "events": events, "lost": lost, "doubled": doubled, "pending": pending,
            "reads": self.reads, "unknown_reads": self.unknown_reads,
            "reconciled": self.reconciled, "faults": self.faults,
            "seconds": self.took.map(|took| took.as_secs_f64()), "orders_per_second": self.rate(), "topic": self.topic,
        })
    }
}

/// How and when the pipeline ended.
struct End {
    at: Instant,
    /// The end offsets of the orders topic at that time.
    topic: Ends,
    result: Result<(), AppError>,
}

struct DemoRun {
    environment: DemoEnvironment,
    consumer: Option<DemoConsumer>,
    ledger: Ledger,
    /// The number over all phases.
    unknown_reads: u64,
    screen: Screen,
    stop: CancellationToken,
}

impl DemoRun {
    /// Runs the pipeline to its end beside the consumer, then waits until the consumer has read everything.
    async fn act(&mut self, act: DemoPhase) -> Result<Report> {
        let (config, layout) = (&self.environment.config, self.environment.known_layout());
        let once = act == DemoPhase::Drain;
        let app = App::build_on(layout, config, once, self.stop.clone()).await?;
        let counters = app.counters();
        let mut consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.start_consumer()?,
        };
        let start = Instant::now();
        let watched = self.watch(app, &mut consumer, act, &counters).await;
        self.consumer = Some(consumer);
        self.screen.curtain();
        let (last, ended) = watched?;
        self.unknown_reads += unknown(&counters);
        Ok(self.report(once.then(|| last.duration_since(start)), ended))
    }

    fn start_consumer(&self) -> Result<DemoConsumer> {
        let config = &self.environment.config;
        let decoder = SchemaResolver::from_config(config)?.order_decoder();
        let kafka = &config.kafka;
        Ok(DemoConsumer::new(&Connection::from(kafka), &kafka.topics.orders, kafka.orders_partitions, decoder)?)
    }

    /// Returns when the consumer read the last event, and how the pipeline ended.
    async fn watch(
        &mut self,
        app: App,
        consumer: &mut DemoConsumer,
        act: DemoPhase,
        counters: &Counters,
    ) -> Result<(Instant, Result<(), AppError>)> {
        let mut last = Instant::now();
        let mut end: Option<End> = None;
        let mut tick = interval(Duration::from_millis(50));
        let mut customer = interval(BETWEEN_ORDERS);
        customer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let run = app.run();
        tokio::pin!(run);
        loop {
            tokio::select! {
                message = consumer.next() => if let Some(message) = message? {
                    let event = consumer.decode(&message).await?;
                    self.ledger.note(&event);
                    self.screen.event(&event);
                    if act == DemoPhase::GoOn && out::nobody_reads() {
                        self.stop.cancel();
                    }
                    last = Instant::now();
                },
                result = &mut run, if end.is_none() => {
                    end = Some(End { at: Instant::now(), topic: block_in_place(|| consumer.ends())?, result });
                }
                _ = customer.tick(), if act == DemoPhase::GoOn && end.is_none() => {
                    self.environment.shop().add(1, 0);
                }
                _ = tick.tick() => {
                    self.screen.progress(self.ledger.events(), unknown(counters));
                    if let Some(ended) = end.take_if(|end| consumer.has_reached(&end.topic)) {
                        return Ok((last, ended.result));
                    }
                    if end.as_ref().is_some_and(|end| end.at.elapsed() > END_TIMEOUT) {
                        bail!("the consumer does not get to the end of the orders topic");
                    }
                }
            }
        }
    }

    fn report(&self, took: Option<Duration>, ended: Result<(), AppError>) -> Report {
        let shop = self.environment.shop();
        let mut summary = shop.summary();
        Report {
            verdict: self.ledger.verdict(&shop.orders()),
            took,
            ended,
            reads: summary.requests.remove(&Call::NewOrders).unwrap_or_default(),
            unknown_reads: self.unknown_reads,
            reconciled: self.ledger.reconciled(),
            faults: summary.faults,
            topic: self
                .environment
                .known_layout()
                .is_none()
                .then(|| self.environment.config.kafka.topics.orders.clone()),
        }
    }
}

fn unknown(counters: &Counters) -> u64 {
    counters.total(|store| store.unknown_reads.get())
}

//! `demo`: the whole program at work on made-up orders, with nothing else installed.

mod screen;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::MultiProgress;
use serde_json::json;
use tokio::task::block_in_place;
use tokio::time::{MissedTickBehavior, interval};

use self::screen::Screen;
use super::{exit, out};
use crate::app::{App, AppError};
use crate::avro::encoding::EncoderSource;
use crate::demo::{Audience, Ends, FAULTS, Ledger, Stage, StageOptions, Verdict};
use crate::kafka::Connection;
use crate::pipeline::counters::Counters;
use crate::platform::shutdown::{Stop, Stopper, stopper};
use crate::sandbox::{Call, Rates};

/// How long the consumer may take for what was committed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often somebody orders something while it keeps running.
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

/// Plays it, and returns the exit code: 7 if an order was lost or doubled.
///
/// # Errors
/// What stopped the pipeline, the consumer, or the surroundings.
pub async fn run(args: DemoArgs, json: bool, bars: &MultiProgress) -> Result<u8> {
    let (stopper, stop) = stopper();
    stopper.clone().stop_on_signals().context("can't listen to signals")?;
    let DemoArgs { orders, keep_running, bootstrap_servers, seed, faults } = args;
    let mut screen = Screen::new(json, bars.clone());
    screen.opening(orders as u64, bootstrap_servers.as_deref());
    let stage = Stage::set(StageOptions { orders, seed, faults, bootstrap_servers }).await?;
    let mut play = Play { stage, audience: None, ledger: Ledger::default(), unknown_reads: 0, screen, stopper, stop };
    let mut report = play.act(Act::Drain).await?;
    play.screen.verdict(&report);
    if keep_running && report.ended.is_ok() && !play.stop.is_requested() {
        play.screen.going_on();
        report = play.act(Act::GoOn).await?;
        play.screen.verdict(&report);
    }
    report.ended?;
    Ok(if report.verdict.is_clean() { 0 } else { exit::FINDING })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// Until nothing is pending.
    Drain,
    /// Until it is stopped, with new orders in between.
    GoOn,
}

/// What there is to say at the end of an act.
#[derive(Debug)]
struct Report {
    verdict: Verdict,
    /// From the start to the last event; none where it was the customers who took their time.
    took: Option<Duration>,
    /// Why the pipeline gave up, where it did.
    ended: Result<(), AppError>,
    reads: u64,
    unknown_reads: u64,
    /// Orders that such reads had marked, and that are published all the same.
    reconciled: u64,
    /// Faults that struck, by name.
    faults: BTreeMap<&'static str, u64>,
    /// The real broker's topic, or none for the embedded one.
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

/// The end of the pipeline.
struct End {
    at: Instant,
    /// Where the orders topic ended then.
    topic: Ends,
    result: Result<(), AppError>,
}

struct Play {
    stage: Stage,
    audience: Option<Audience>,
    ledger: Ledger,
    /// Over all acts.
    unknown_reads: u64,
    screen: Screen,
    stopper: Stopper,
    stop: Stop,
}

impl Play {
    /// Runs the pipeline to its end while the consumer watches, then waits until the consumer has seen everything.
    async fn act(&mut self, act: Act) -> Result<Report> {
        let (config, layout) = (&self.stage.config, self.stage.known_layout());
        let once = act == Act::Drain;
        let app = App::build_on(layout, config, once, self.stopper.clone(), self.stop.clone()).await?;
        let counters = app.counters();
        let mut audience = match self.audience.take() {
            Some(audience) => audience,
            None => self.seat_audience()?,
        };
        let start = Instant::now();
        let watched = self.watch(app, &mut audience, act, &counters).await;
        self.audience = Some(audience);
        self.screen.curtain();
        let (last, ended) = watched?;
        self.unknown_reads += unknown(&counters);
        Ok(self.report(once.then(|| last.duration_since(start)), ended))
    }

    fn seat_audience(&self) -> Result<Audience> {
        let config = &self.stage.config;
        let decoder = EncoderSource::from_config(config)?.order_decoder();
        let kafka = &config.kafka;
        Ok(Audience::new(&Connection::from(kafka), &kafka.topics.orders, kafka.orders_partitions, decoder)?)
    }

    /// Returns when the last event was seen, and how the pipeline ended.
    async fn watch(
        &mut self,
        app: App,
        audience: &mut Audience,
        act: Act,
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
                message = audience.next() => if let Some(message) = message? {
                    let event = audience.decode(&message).await?;
                    self.ledger.note(&event);
                    self.screen.event(&event);
                    if act == Act::GoOn && out::nobody_reads() {
                        self.stopper.stop();
                    }
                    last = Instant::now();
                },
                result = &mut run, if end.is_none() => {
                    end = Some(End { at: Instant::now(), topic: block_in_place(|| audience.ends())?, result });
                }
                _ = customer.tick(), if act == Act::GoOn && end.is_none() => {
                    self.stage.shop().add(1, 0);
                }
                _ = tick.tick() => {
                    self.screen.progress(self.ledger.events(), unknown(counters));
                    if let Some(ended) = end.take_if(|end| audience.has_reached(&end.topic)) {
                        return Ok((last, ended.result));
                    }
                    if end.as_ref().is_some_and(|end| end.at.elapsed() > PATIENCE) {
                        bail!("the consumer does not get to the end of the orders topic");
                    }
                }
            }
        }
    }

    fn report(&self, took: Option<Duration>, ended: Result<(), AppError>) -> Report {
        let shop = self.stage.shop();
        let mut summary = shop.summary();
        Report {
            verdict: self.ledger.verdict(&shop.orders()),
            took,
            ended,
            reads: summary.requests.remove(&Call::NewOrders).unwrap_or_default(),
            unknown_reads: self.unknown_reads,
            reconciled: self.ledger.reconciled(),
            faults: summary.faults,
            topic: self.stage.known_layout().is_none().then(|| self.stage.config.kafka.topics.orders.clone()),
        }
    }
}

fn unknown(counters: &Counters) -> u64 {
    counters.total(|store| store.unknown_reads.get())
}

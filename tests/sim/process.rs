//! The program: the real drain, lane and reconciler of one store, put together as `app` does, over the models.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imotriz_kafka::account::{Account, Unaccounted};
use imotriz_kafka::api::Marketplace;
use imotriz_kafka::config::{Config, TokenSource};
use imotriz_kafka::counters::Counters;
use imotriz_kafka::disk::Disk;
use imotriz_kafka::drain::{Drain, Until, quiet};
use imotriz_kafka::encoding::EncoderSource;
use imotriz_kafka::ids::StoreName;
use imotriz_kafka::jobs::Jobs;
use imotriz_kafka::kafka::topics::TopicNames;
use imotriz_kafka::publish::{self, LaneParts, StoreFacts, Work};
use imotriz_kafka::reconcile::{Asker, Reconciler};
use imotriz_kafka::shutdown::stopper;
use imotriz_kafka::spool::{Spool, SpoolOptions};
use imotriz_kafka::tracking_memory::TrackingMemory;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::broker::{ModelBroker, ORDERS, TRACKING};
use crate::disk::ModelDisk;
use crate::market::ModelMarket;
use crate::world::Shared;

/// What no run changes, made once.
pub struct Settings {
    store: StoreName,
    facts: StoreFacts,
    token: TokenSource,
    encoder: EncoderSource,
}

impl Settings {
    pub fn new() -> Self {
        let config = Config::from_toml("[stores.bogota]\ncountry = \"CO\"\ntoken = \"t\"\n").unwrap();
        let store: StoreName = "bogota".parse().unwrap();
        let facts = StoreFacts {
            country: config.stores[&store].country,
            mapping: Arc::new(config.mapping.clone()),
            counters: Arc::default(),
        };
        let token = config.stores[&store].token.clone();
        Self { store, facts, token, encoder: EncoderSource::from_config(&config).unwrap() }
    }
}

/// Jobs come to their turn after a while of the model's time.
#[derive(Debug)]
struct InTurn(Shared);

impl Jobs for InTurn {
    fn start(&self, job: Box<dyn FnOnce() + Send>) {
        let pause = Duration::from_millis([0, 1, 5, 60][self.0.lock().random.below(4) as usize]);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            job();
        });
    }
}

/// Runs until something ends it, as a supervisor would find it.
pub async fn run(settings: &Settings, shared: Shared, process: u64, born: Instant, counters: Arc<Counters>) -> String {
    let dir = Path::new("/spool");
    let disk: Arc<dyn Disk> = Arc::new(ModelDisk { shared: shared.clone(), process });
    let options = SpoolOptions { page_space: 8 * 1024, spare_files: 2, ..SpoolOptions::new(dir) };
    let (spool, recovery) = match Spool::open_on(disk.clone(), options) {
        Ok(opened) => opened,
        Err(error) => return error.to_string(),
    };
    let store = settings.store.clone();
    counters.set_stores([&store]);
    let account = match Account::open_on(disk.clone(), dir, &recovery, counters.clone()) {
        Ok(account) => account,
        Err(error) => return error.to_string(),
    };
    let memory = match TrackingMemory::open_on(disk, dir, TRACKING, 1) {
        Ok(memory) => Arc::new(memory),
        Err(error) => return error.to_string(),
    };
    let (stop_now, stop) = stopper();
    let jobs: Arc<dyn Jobs> = Arc::new(InTurn(shared.clone()));
    let facts = StoreFacts { counters: counters.store(&store), ..settings.facts.clone() };
    let parts = LaneParts {
        lane: 0,
        broker: Arc::new(ModelBroker { shared: shared.clone(), process, born }),
        jobs: jobs.clone(),
        topics: TopicNames { orders: ORDERS.into(), tracking: TRACKING.into(), dead_letter: "dlq".into() },
        stores: Arc::new(HashMap::from([(store.clone(), facts)])),
        spool: spool.clone(),
        account: account.clone(),
        resync: imotriz_kafka::config::ResyncPolicy::Publish,
        encoder: settings.encoder.clone(),
        memory,
        counters: counters.clone(),
        stop: stop.clone(),
        patience: None,
        retention: None,
    };
    let (lane, lane_ends) = publish::unthreaded(parts, 8);
    let market: Arc<dyn Marketplace> = Arc::new(ModelMarket { shared, process });
    let (unknown_sender, unknown) = mpsc::unbounded_channel();
    let (quiet_report, quiet_watch) = quiet();
    let drain = Drain {
        store: store.clone(),
        client: market.clone(),
        token: settings.token.clone(),
        spool: spool.clone(),
        jobs,
        account: account.clone(),
        lane: lane.clone(),
        unknown: unknown_sender,
        quiet: quiet_report,
        counters: counters.store(&store),
        stop: stop.clone(),
        until: Until::Stopped { poll_interval: Duration::from_secs(5) },
    };
    let reconciler = Reconciler {
        store: store.clone(),
        asker: Asker { client: market, token: settings.token.clone() },
        spool,
        account,
        reported: Unaccounted::default(),
        lane: lane.clone(),
        quiet: quiet_watch,
        unknown,
        unsettled: recovery.unknown,
        concurrency: 3,
        changes_per_second: None,
        interval: Duration::from_secs(60),
        counters: counters.store(&store),
        stop,
    };
    let stores = async {
        for page in recovery.pages {
            if lane.work.send(Work::Page(page)).await.is_err() {
                return None;
            }
        }
        drop(lane);
        let drained = async {
            let ended = drain.read_to_the_end().await;
            stop_now.stop();
            ended
        };
        let (drained, ()) = tokio::join!(drained, reconciler.run());
        drained.err().map(|error| error.to_string())
    };
    let lane_ends = async {
        let ended = lane_ends.await;
        if ended.is_err() {
            stop_now.stop();
        }
        ended.err().map(|error| error.to_string())
    };
    let (lane, stores) = tokio::join!(lane_ends, stores);
    lane.or(stores).unwrap_or_else(|| "it came to its end".to_owned())
}

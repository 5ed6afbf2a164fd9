//! Instances with a spool each, at one marketplace.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use imotriz_kafka::sandbox::NEW_ORDERS;
use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use super::marketplace::Marketplace;
use super::measure::disk;
use super::program::DEADLINE;
use super::support::program::Program;
use super::support::topics::Topics;
use super::{BINARY, Kafka, child, http};

pub const LANES: usize = 6;

/// How they are set up.
pub struct SetUp {
    pub instances: usize,
    pub shops: usize,
    pub lanes: usize,
    /// In each shop, at first.
    pub orders: usize,
    pub poll: Duration,
    /// Of the marketplace's answers.
    pub delay: &'static str,
    /// Further lines of `[api]`.
    pub api: &'static str,
    /// With it they keep their lanes for so long while they are away; without it they leave the group when they stop.
    pub session: Option<Duration>,
}

impl Default for SetUp {
    fn default() -> Self {
        let poll = Duration::from_millis(100);
        Self { instances: 2, shops: 60, lanes: LANES, orders: 0, poll, delay: "0s", api: "", session: None }
    }
}

pub struct Instances {
    pub marketplace: Marketplace,
    pub topics: Topics,
    folders: Vec<TempDir>,
    pub running: BTreeMap<usize, Program>,
}

impl Instances {
    pub fn new(kafka: &Kafka, set_up: &SetUp) -> Self {
        let marketplace = Marketplace::open(set_up.shops, set_up.orders, &["--delay", set_up.delay]);
        let topics = Topics::unique("cluster");
        let folders = (0..set_up.instances).map(|instance| {
            let folder = disk();
            let mut toml = settings(kafka, &topics, set_up);
            writeln!(toml, "[spool]\ndir = {:?}", folder.path().join("spool")).unwrap();
            writeln!(toml, "[cluster]\nenabled = true\ngroup_id = {:?}", topics.orders).unwrap();
            if let Some(session) = set_up.session {
                let session = session.as_secs();
                writeln!(toml, "instance_id = \"instance-{instance}\"\nsession_timeout = \"{session}s\"").unwrap();
            }
            for shop in 1..=set_up.shops {
                let url = &marketplace.base_url;
                writeln!(toml, "[stores.s{shop}]\ncountry = \"CO\"\nbase_url = {url:?}\ntoken = \"shop-{shop}\"")
                    .unwrap();
            }
            fs::write(folder.path().join("settings.toml"), toml).unwrap();
            folder
        });
        let folders = folders.collect();
        Self { marketplace, topics, folders, running: BTreeMap::new() }
    }

    pub fn start(&mut self, instance: usize) {
        let folder = self.folders[instance].path();
        let mut command = child::command(BINARY);
        command.arg("--config").arg(folder.join("settings.toml")).arg("run").current_dir(folder);
        command.env_clear().envs(env::var_os("PATH").map(|path| ("PATH", path)));
        self.running.insert(instance, Program::spawn(command));
    }

    pub fn status(&mut self, instance: usize) -> Value {
        let line =
            self.running.get_mut(&instance).unwrap().wait_for_line("health and metrics are at http://", DEADLINE);
        let url = line.split_once("are at ").unwrap().1.split_whitespace().next().unwrap().trim_end_matches('/');
        serde_json::from_str(&http::get(&format!("{url}/status?limit=1")).1).unwrap()
    }

    /// The lanes that an instance serves and may publish on.
    pub fn lanes(&mut self, instance: usize) -> Vec<i32> {
        let status = self.status(instance);
        let ready = status["lanes"].as_object().unwrap().iter().filter(|(_, lane)| lane["state"] == "ready");
        ready.map(|(lane, _)| lane.parse().unwrap()).collect()
    }

    /// Waits until each of these instances has so many lanes.
    pub fn wait_for_lanes(&mut self, wanted: &[(usize, usize)]) {
        until("lanes are shared", || wanted.iter().all(|(instance, lanes)| self.lanes(*instance).len() == *lanes));
    }

    /// When each shop was read, in the order of time.
    pub fn reads(&self) -> BTreeMap<String, Vec<Timestamp>> {
        let (_, answer) = http::get(&format!("{}/_sandbox/requests", self.marketplace.base_url));
        let requests: Value = serde_json::from_str(&answer).unwrap();
        let mut reads = BTreeMap::<String, Vec<Timestamp>>::new();
        for request in requests.as_array().unwrap().iter().filter(|request| request["path"] == NEW_ORDERS) {
            let at = request["at"].as_str().unwrap().parse().unwrap();
            reads.entry(request["shop"].as_str().unwrap().to_owned()).or_default().push(at);
        }
        reads.values_mut().for_each(|times| times.sort());
        reads
    }
}

fn settings(kafka: &Kafka, topics: &Topics, set_up: &SetUp) -> String {
    let Topics { orders, tracking, dead_letter } = topics;
    let (lanes, poll) = (set_up.lanes, set_up.poll.as_millis());
    format!(
        "[kafka]\nbootstrap_servers = {:?}\ntransactional_id_prefix = {orders:?}\nlanes = {lanes}\n\
         [kafka.topics]\norders = {orders:?}\ntracking = {tracking:?}\ndead_letter = {dead_letter:?}\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n[api]\npoll_interval = \"{poll}ms\"\npoll_interval_max = \"{poll}ms\"\n\
         requests_per_second_per_host = 100000\n{}\n",
        kafka.bootstrap_servers(),
        set_up.api,
    )
}

/// Asks `condition` until it holds, rarely enough not to be in the way.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < end, "waited {DEADLINE:?} in vain: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

//! The settings that a seed chooses for a whole run of the simulation.

use std::fs;

use imotriz_kafka::config::Config;
use tempfile::TempDir;

use crate::broker::{ORDERS, TRACKING};
use crate::random::Random;

/// All that are in one country share a host.
const STORES: [(&str, &str); 8] = [
    ("bogota", "CO"),
    ("quito", "EC"),
    ("cali", "CO"),
    ("pasto", "CO"),
    ("neiva", "CO"),
    ("tunja", "CO"),
    ("cuenca", "EC"),
    ("ibarra", "EC"),
];

#[derive(Clone, Copy)]
pub struct Life {
    stores: usize,
    pub lanes: i32,
    detect_changes: bool,
    /// As short as it may be. Otherwise nothing is forgotten within a run.
    forgets: bool,
    /// Long pages fit into the log, or not.
    page_space: &'static str,
    /// Whether an operator puts things right in the end, by command, or the service by itself.
    pub by_command: bool,
    /// How many instances share the lanes.
    pub instances: usize,
    /// How many requests to a host may be in flight.
    in_flight: u64,
}

impl Life {
    pub fn of(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x11fe);
        Self {
            stores: 1 + random.below(2) as usize,
            lanes: 1 + random.below(2) as i32,
            detect_changes: random.one_in(2),
            forgets: random.one_in(2),
            by_command: random.one_in(4),
            page_space: if random.one_in(2) { "16KiB" } else { "8KiB" },
            instances: 1,
            in_flight: 64,
        }
    }

    /// Of many stores, which wait for each other at their hosts.
    pub fn crowded(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0xc10d);
        Self { stores: STORES.len(), lanes: 2, in_flight: 1 + random.below(3), ..Self::of(seed) }
    }

    /// Of a log in many segments.
    pub fn segmented(seed: u64) -> Self {
        Self { page_space: "1KiB", ..Self::of(seed) }
    }

    /// Of several instances.
    pub fn shared(seed: u64) -> Self {
        let mut random = Random::new(seed ^ 0x5a11);
        Self { stores: 2, lanes: 2, by_command: false, instances: 2 + random.below(2) as usize, ..Self::of(seed) }
    }

    pub fn stores(&self) -> Vec<&'static str> {
        STORES.iter().take(self.stores).map(|(name, _)| *name).collect()
    }

    pub fn follows_changes(&self) -> bool {
        self.detect_changes
    }

    pub fn config(&self, tokens: &Tokens) -> Config {
        let Self { detect_changes, forgets, page_space, in_flight, .. } = self;
        let retention = if *forgets { "31d" } else { "10000d" };
        let stores: String = STORES
            .iter()
            .take(self.stores)
            .map(|(name, country)| {
                let file = tokens.0.path().join(name);
                format!("[stores.{name}]\ncountry = \"{country}\"\ntoken_file = \"{}\"\n", file.display())
            })
            .collect();
        Config::from_toml(&format!(
            "[kafka.topics]\norders = \"{ORDERS}\"\ntracking = \"{TRACKING}\"\ndead_letter = \"dlq\"\n\
             [cluster]\nenabled = {}\n[spool]\ndir = \"/nowhere/spool\"\nmax_pages = 8\npage_space = \"{page_space}\"\n\
             [api]\npoll_interval = \"5s\"\nmax_in_flight_per_host = {in_flight}\n\
             [reconcile]\ninterval = \"1m\"\nconcurrency = 3\nretention = \"{retention}\"\n\
             detect_changes = {detect_changes}\nchanges_per_second = 20\n{stores}",
            self.instances > 1
        ))
        .unwrap()
    }
}

/// The files in which the stores' tokens are: on the real disk, where the settings look for them.
pub struct Tokens(TempDir);

impl Tokens {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Tokens are told apart by their length, and so are their files.
    pub fn put(&self, store: &str, token: usize) {
        fs::write(self.0.path().join(store), "t".repeat(token)).unwrap();
    }
}

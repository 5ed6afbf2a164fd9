//! A cluster of three brokers with three replicas, for tests that lose one broker for good.

use std::collections::BTreeMap;
use std::fs;
use std::thread;

use super::child::Child;
use super::kafka::{self, Kafka};
use super::{port, services};

const BROKERS: [usize; 3] = [1, 2, 3];
/// In place of those of a lone broker. One broker may be away, and its death is noticed within seconds.
const PROPERTIES: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("broker.session.timeout.ms", "2000"),
    ("broker.heartbeat.interval.ms", "200"),
];

/// A cluster of three, each of them broker and controller.
pub struct Cluster {
    bootstrap_servers: String,
    brokers: BTreeMap<usize, Child>,
}

impl Cluster {
    /// Starts it. [`kafka`](Self::kafka) waits until it serves.
    pub fn start() -> Self {
        let ports = BROKERS.map(|id| (id, port::free(), port::free()));
        let listed = |entries: [String; 3]| entries.join(",");
        let bootstrap_servers = listed(ports.map(|(_, broker, _)| format!("127.0.0.1:{broker}")));
        let voters = listed(ports.map(|(id, _, controller)| format!("{id}@127.0.0.1:{controller}")));
        // Side by side: to format its storage takes each of them longer than a second.
        let starting = ports.map(|(id, broker, controller)| {
            let voters = voters.clone();
            thread::spawn(move || (id, start_broker(id, broker, controller, &voters)))
        });
        Self { bootstrap_servers, brokers: starting.into_iter().map(|broker| broker.join().unwrap()).collect() }
    }

    /// What a scene and its consumers connect to, once it serves transactions.
    pub fn kafka(&self) -> Kafka {
        Kafka::running(self.bootstrap_servers.clone())
    }

    /// The broker that coordinates the transactions of whoever's ID begins like this, by its own word.
    pub fn coordinator(&self, prefix: &str) -> usize {
        let log = services::run_dir("kafka-transactions").join("list.log");
        let mut command = kafka::java("org.apache.kafka.tools.TransactionsCommand");
        command.args(["--bootstrap-server", &self.bootstrap_servers, "list"]);
        services::run(command, &log, "listing the transactional IDs");
        let listed = fs::read_to_string(&log).unwrap();
        let row = listed.lines().find(|line| line.starts_with(prefix));
        let row = row.unwrap_or_else(|| panic!("no transactional ID begins with {prefix}\n{listed}"));
        row.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// `kill -9`, for good.
    pub fn kill(&mut self, id: usize) {
        self.brokers.remove(&id).expect("it runs").kill();
    }
}

fn start_broker(id: usize, broker: u16, controller: u16, voters: &str) -> Child {
    let directory = services::run_dir(&format!("kafka-{id}"));
    let (id, data) = (id.to_string(), directory.join("data").display().to_string());
    let listeners = format!("PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}");
    let place = [("node.id", id.as_str()), ("controller.quorum.voters", voters), ("listeners", listeners.as_str())];
    let place = place.into_iter().chain([("log.dirs", data.as_str())]);
    let properties: Vec<_> = PROPERTIES.iter().copied().chain(place).collect();
    kafka::configure(&directory, broker, &properties);
    kafka::format(&directory, &[]);
    kafka::spawn(&directory)
}

//! The usual setup of a test: a sandbox, topics of its own, and a program between the two.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::LazyLock;
use std::time::Duration;

use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::sandbox::{Call, Fault, RequestState, Sandbox, SandboxArgs, Shop};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::consume::{self, Record};
use super::program::{Program, Settings};
use super::secure::{Door, Secured, secured};
use super::topics::Topics;
use super::verdict::Verdict;
use super::{Kafka, kafka};

/// For a run that comes to an end by itself, on a machine that has other things to do as well.
pub const RUN_DEADLINE: Duration = Duration::from_secs(120);
/// What a lane says that can't publish.
pub const NOT_READY: &str = "not ready; orders stay on the marketplace or in the spool";

/// One store, `bogota`, sells on a sandbox in this process, reached over TCP like the real marketplace.
pub struct Scene {
    sandbox: Sandbox,
    /// A broker of its own, to be stopped and killed; otherwise one that tests share.
    own_kafka: Option<Kafka>,
    shared_kafka: Option<&'static Kafka>,
    pub topics: Topics,
    pub settings: Settings,
}

impl Scene {
    /// On the broker that all tests share. `test` begins the names of the topics.
    pub fn new(test: &str, args: SandboxArgs) -> Self {
        Self::on(None, None, test, args)
    }

    /// On the secured broker that tests share. The program comes in through `door`, with what it takes to pass it.
    pub fn secured(door: Door, test: &str, args: SandboxArgs) -> Self {
        Self::behind(secured(), door, test, args)
    }

    /// On any secured broker.
    pub fn behind(secured: &'static Secured, door: Door, test: &str, args: SandboxArgs) -> Self {
        let scene = Self::on(None, Some(&secured.kafka), test, args);
        secured.variables(door).iter().fold(scene, |scene, (name, value)| scene.with(name, value))
    }

    /// On a broker of its own.
    pub fn with_own_kafka(test: &str, args: SandboxArgs) -> Self {
        Self::on_own(Kafka::start_private(&[]), test, args)
    }

    /// On a broker that the test has started for itself.
    pub fn on_own(kafka: Kafka, test: &str, args: SandboxArgs) -> Self {
        Self::on(Some(kafka), None, test, args)
    }

    fn on(own_kafka: Option<Kafka>, shared_kafka: Option<&'static Kafka>, test: &str, args: SandboxArgs) -> Self {
        let token = args.token.clone();
        let sandbox = runtime().block_on(Sandbox::start(args)).unwrap();
        let topics = Topics::unique(test);
        let broker = own_kafka.as_ref().or(shared_kafka).unwrap_or_else(|| kafka());
        let settings = Settings::new(broker, &topics).with_store("bogota", &sandbox.base_url(), &token, "CO");
        Self { sandbox, own_kafka, shared_kafka, topics, settings }
    }

    /// Takes a variable back.
    pub fn without(mut self, name: &str) -> Self {
        self.settings = self.settings.without(name);
        self
    }

    /// The broker that the program uses.
    pub fn kafka(&self) -> &Kafka {
        self.own_kafka.as_ref().or(self.shared_kafka).unwrap_or_else(|| kafka())
    }

    /// The scene's own broker.
    pub fn own_kafka(&mut self) -> &mut Kafka {
        self.own_kafka.as_mut().expect("a scene with a broker of its own")
    }

    /// Sets a variable for all runs.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings = self.settings.with(name, value);
        self
    }

    /// Where the marketplace answers.
    pub fn base_url(&self) -> String {
        self.sandbox.base_url()
    }

    /// The marketplace has no list of IDs: what a read may have lost stays lost, and stays noted.
    pub fn without_list(self) -> Self {
        self.with("IMOTRIZ_API__PATHS__ORDER_IDS", "/nowhere")
    }

    pub fn shop(&self) -> Shop {
        self.sandbox.shop()
    }

    /// All shops of the sandbox.
    pub fn shops(&self) -> Vec<Shop> {
        self.sandbox.market().shops().to_vec()
    }

    /// Drains to the end.
    ///
    /// # Panics
    /// When the program does not succeed; the message shows what it said.
    pub fn drain(&self) -> Program {
        self.run(&["drain"], 0)
    }

    /// Runs a command to its end.
    ///
    /// # Panics
    /// When it ends with another exit code; the message shows what it said.
    pub fn run(&self, arguments: &[&str], code: i32) -> Program {
        let mut program = self.settings.start(arguments);
        program.expect_exit(code, RUN_DEADLINE);
        program
    }

    /// What `spool list` shows.
    pub fn spool(&self) -> Vec<Value> {
        let listed = self.run(&["--json", "spool", "list"], 0);
        listed.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// How many files of the spool are in this state, by the word of `spool list`.
    pub fn spooled(&self, state: &str) -> usize {
        self.spool().iter().filter(|entry| entry["state"] == state).count()
    }

    /// The calls of `newOrders` so far.
    pub fn reads(&self) -> Vec<RequestState> {
        self.shop().requests().into_iter().filter(|request| request.kind == Call::NewOrders).collect()
    }

    /// Lets the next reads meet these faults; `None` is an answer without one.
    pub fn script(&self, steps: &[Option<Fault>]) {
        self.shop().script(Call::NewOrders, steps).unwrap();
    }

    /// The ID of every order as often as it was marked by an answer that left the marketplace whole.
    pub fn delivered(&self) -> Vec<String> {
        let handed_over = |request: &RequestState| request.delivered == Some(true);
        self.reads().iter().filter(|read| handed_over(read)).flat_map(ids_of).collect()
    }

    /// The ID of every order as often as it was marked, whatever became of the answer.
    pub fn marked(&self) -> Vec<String> {
        self.reads().iter().flat_map(ids_of).collect()
    }

    /// What a downstream system sees.
    pub fn events(&self) -> Vec<Record> {
        consume::committed(self.kafka(), &self.topics.orders)
    }

    /// What was delivered, compared with what a downstream system sees.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.delivered(), &self.events())
    }
}

/// The orders that an answer returned, by ID.
pub fn ids_of(read: &RequestState) -> Vec<String> {
    read.ids.iter().flatten().map(OrderId::to_string).collect()
}

/// The keys of records, each once.
pub fn keys(records: &[Record]) -> BTreeSet<String> {
    records.iter().filter_map(|record| record.key.clone()).collect()
}

/// Whether `kill -9` ended it.
pub fn was_killed(status: ExitStatus) -> bool {
    status.signal() == Some(9)
}

/// Where the servers of all tests run.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
    &RUNTIME
}

//! Starts Apache Kafka: one broker shared by the whole run, or a test's own, which it can stop, freeze and kill.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, Producer};
use rustix::process::Signal;

use super::child::{self, Child};
use super::{port, services, wait};

/// Of the broker that is started.
pub const VERSION: &str = "4.3.1";
/// The address of a running broker, instead of one of our own.
const VARIABLE: &str = "IMOTRIZ_TEST_KAFKA";
const PROPERTIES_FILE: &str = "server.properties";
const LOG: &str = "broker.log";
/// Part of the controller that says [`FENCED`].
const CONTROLLER: &str = "org.apache.kafka.controller.ReplicationControlManager";
/// What it logs of a broker that it no longer counts on, before that is written.
const FENCED: &str = "Fencing broker 1 ";
/// Part of the controller that says [`WRITTEN`].
const QUORUM: &str = "org.apache.kafka.raft.LeaderState";
/// What it logs when something is durable.
const WRITTEN: &str = "High watermark set to";
const START_DEADLINE: Duration = Duration::from_secs(90);
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// What every broker of ours has. The replication factors must all be there: without those of the transaction log,
/// `init_transactions` times out without saying why.
const PROPERTIES: &[(&str, &str)] = &[
    ("process.roles", "broker,controller"),
    ("node.id", "1"),
    ("controller.listener.names", "CONTROLLER"),
    ("offsets.topic.replication.factor", "1"),
    ("offsets.topic.num.partitions", "1"),
    ("transaction.state.log.replication.factor", "1"),
    ("transaction.state.log.min.isr", "1"),
    ("transaction.state.log.num.partitions", "2"),
    ("share.coordinator.state.topic.replication.factor", "1"),
    ("share.coordinator.state.topic.min.isr", "1"),
    ("group.initial.rebalance.delay.ms", "0"),
    // A busy machine may keep it from its own controller for seconds. Who is given up loses its partitions, and a lone
    // broker then forgets markers, as in `end_session`.
    ("broker.session.timeout.ms", "60000"),
    // A misspelt topic is an error, as on most brokers in production.
    ("auto.create.topics.enable", "false"),
    // What would take minutes takes seconds: dead transactions are ended, and compaction is seen.
    ("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500"),
    ("log.cleaner.backoff.ms", "500"),
];

/// The broker that all tests share, started by the first that asks.
///
/// # Panics
/// When there can't be one; the first message says why.
pub fn kafka() -> &'static Kafka {
    static SHARED: LazyLock<Kafka> = LazyLock::new(|| match env::var(VARIABLE) {
        Ok(bootstrap_servers) => Kafka::running(bootstrap_servers),
        Err(_) => Kafka::start_private(&[]),
    });
    &SHARED
}

/// A broker.
pub struct Kafka {
    bootstrap_servers: String,
    /// Absent for one that somebody else runs.
    own: Option<Broker>,
}

struct Broker {
    directory: PathBuf,
    /// Absent while it is down.
    process: Option<Child>,
    /// It had no chance to say that it goes.
    killed: bool,
}

impl Kafka {
    /// Starts a broker of the test's own, with `properties` added to the usual ones or in their place.
    pub fn start_private(properties: &[(&str, &str)]) -> Self {
        Self::start_on(port::free(), properties)
    }

    /// Starts a broker that sends its clients to the listener `advertised`. Told where it really is before it starts.
    #[allow(dead_code, reason = "not for the benchmarks, which share this file")]
    pub fn start_behind(advertised: &str, tell: impl FnOnce(&str)) -> Self {
        let port = port::free();
        tell(&format!("127.0.0.1:{port}"));
        Self::start_on(port, &[("advertised.listeners", advertised)])
    }

    /// Starts a broker whose listeners the test sets itself; the tests reach it at `port`.
    #[allow(dead_code, reason = "not for the benchmarks, which share this file")]
    pub fn start_at(port: u16, properties: &[(&str, &str)]) -> Self {
        Self::start_on(port, properties)
    }

    fn start_on(port: u16, properties: &[(&str, &str)]) -> Self {
        let directory = services::run_dir("kafka");
        format_storage(&directory);
        configure(&directory, port, properties);
        Self::start_in(directory, port)
    }

    /// Starts the broker that is set up and formatted in `directory`; the tests reach it at `port`.
    pub(super) fn start_in(directory: PathBuf, port: u16) -> Self {
        let broker = Broker { directory, process: None, killed: false };
        let mut kafka = Self { bootstrap_servers: format!("127.0.0.1:{port}"), own: Some(broker) };
        kafka.start();
        kafka
    }

    /// Starts a broker as the image `apache/kafka` does: its own tool makes properties of the variables that begin with
    /// `KAFKA_`, and formats the storage.
    pub fn start_as_image(variables: &BTreeMap<String, String>, bootstrap_servers: String) -> Self {
        let directory = services::run_dir("kafka-image");
        let (defaults, mounted) = (directory.join("defaults"), directory.join("mounted"));
        for empty in [&defaults, &mounted] {
            fs::create_dir(empty).unwrap();
        }
        // It wants to be there, and none of it is used as soon as there is one variable.
        fs::write(defaults.join("server.properties"), "").unwrap();
        let mut setup = java("kafka.docker.KafkaDockerWrapper");
        setup.arg("setup").arg("--default-configs-dir").arg(defaults).arg("--mounted-configs-dir").arg(mounted);
        setup.arg("--final-configs-dir").arg(&directory).envs(variables);
        services::run(setup, &directory.join("setup.log"), "making the broker's properties of its variables");
        let mut kafka = Self { bootstrap_servers, own: Some(Broker { directory, process: None, killed: false }) };
        kafka.start();
        kafka
    }

    /// The broker that somebody else runs at this address, once it serves transactions.
    pub fn running(bootstrap_servers: String) -> Self {
        let kafka = Self { bootstrap_servers, own: None };
        let ready = wait::poll(START_DEADLINE, || kafka.probe().ok());
        assert!(
            ready.is_some(),
            "no transaction can be begun on the broker at {} ({VARIABLE})",
            kafka.bootstrap_servers
        );
        kafka
    }

    /// What a client connects to.
    pub fn bootstrap_servers(&self) -> &str {
        &self.bootstrap_servers
    }

    /// Settings for a client of this broker.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers);
        // The default waits up to ten seconds before it looks whether a broker is back.
        config.set("reconnect.backoff.ms", "20").set("reconnect.backoff.max.ms", "200");
        config
    }

    /// `kill -9`: nothing is flushed, nobody is told.
    pub fn kill(&mut self) {
        self.process().kill();
        let broker = self.own();
        (broker.process, broker.killed) = (None, true);
    }

    /// An orderly stop.
    pub fn stop(&mut self) {
        let process = self.process();
        process.signal(Signal::TERM);
        assert!(process.wait(STOP_DEADLINE).is_some(), "the broker did not stop within {STOP_DEADLINE:?}");
        self.own().process = None;
    }

    /// Freezes the broker: connections stay open, and nobody answers.
    pub fn pause(&mut self) {
        self.process().signal(Signal::STOP);
    }

    /// Lets a frozen broker go on.
    pub fn resume(&mut self) {
        self.process().signal(Signal::CONT);
    }

    /// Starts the broker again after [`kill`](Self::kill) or [`stop`](Self::stop), on the same port and data, and waits
    /// until it serves transactions.
    pub fn restart(&mut self) {
        if mem::take(&mut self.own().killed) {
            self.end_session();
        }
        self.start();
    }

    /// Lets the controller know that the broker is gone, as those of a real cluster would meanwhile.
    ///
    /// A lone broker that was killed still leads its partitions on paper when it starts, until the session of its former
    /// self ends. If that is while it loads its transactions, it drops the markers of those that were being committed
    /// (Kafka 4.3.1 takes a partition without a leader for a deleted one), and no `read_committed` consumer ever gets
    /// past them.
    fn end_session(&mut self) {
        let directory = &self.own().directory;
        let properties = fs::read_to_string(directory.join(PROPERTIES_FILE)).unwrap();
        let voter = properties.lines().rev().find_map(|line| line.strip_prefix("controller.quorum.voters=1@"));
        let listener = format!("CONTROLLER://{}", voter.expect("the broker is its own controller"));
        let mut command = java("kafka.Kafka");
        let tell = [CONTROLLER, QUORUM].map(|part| format!("-Dorg.slf4j.simpleLogger.log.{part}=debug"));
        command.env("JDK_JAVA_OPTIONS", tell.join(" "));
        command.arg(directory.join(PROPERTIES_FILE));
        for property in [
            "process.roles=controller",
            &format!("listeners={listener}"),
            &format!("advertised.listeners={listener}"),
            "broker.session.timeout.ms=500",
            "broker.heartbeat.interval.ms=100",
            // Then the controller writes nothing of its own accord, and what it writes next is this.
            "metadata.max.idle.interval.ms=0",
        ] {
            command.args(["--override", property]);
        }
        let log = directory.join("controller.log");
        fs::File::create(&log).expect("an earlier controller's words are not taken for this one's");
        child::log_to(&mut command, &log);
        let mut controller = Child::spawn(command);
        let told = wait::poll(START_DEADLINE, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let written = text.split_once(FENCED).is_some_and(|(_, then)| then.contains(WRITTEN));
            if written { Some(true) } else { controller.ended().map(|_| false) }
        });
        assert!(told == Some(true), "the controller did not end the broker's session\n{}", child::tail(&log));
        controller.signal(Signal::TERM);
        assert!(controller.wait(STOP_DEADLINE).is_some(), "the controller did not stop within {STOP_DEADLINE:?}");
    }

    fn start(&mut self) {
        let broker = self.own();
        assert!(broker.process.is_none(), "the broker runs already");
        let mut process = spawn(&broker.directory);
        let ready = wait::poll(START_DEADLINE, || {
            if process.ended().is_some() { Some(false) } else { self.probe().ok().map(|()| true) }
        });
        let broker = self.own();
        assert!(ready == Some(true), "the broker did not come up\n{}", child::tail(&broker.directory.join(LOG)));
        broker.process = Some(process);
    }

    /// Changes who may do what, as `kafka-acls.sh` does.
    pub fn acl(&self, arguments: &[&str]) {
        let directory = services::run_dir("kafka-acls");
        let mut command = java("org.apache.kafka.tools.AclCommand");
        command.args(["--bootstrap-server", &self.bootstrap_servers]).args(arguments);
        services::run(command, &directory.join("acls.log"), "changing the ACLs");
    }

    /// Lets a user in by SCRAM-SHA-512, as `kafka-configs.sh` does.
    pub fn add_scram_user(&self, name: &str, password: &str) {
        let directory = services::run_dir("kafka-configs");
        let mut command = java("kafka.admin.ConfigCommand");
        command.args(["--bootstrap-server", &self.bootstrap_servers, "--alter", "--entity-type", "users"]);
        command.args(["--entity-name", name, "--add-config", &format!("SCRAM-SHA-512=[password={password}]")]);
        services::run(command, &directory.join("configs.log"), "adding a user");
    }

    /// Whether the broker serves transactions, which is the last thing that it learns when it starts.
    fn probe(&self) -> Result<(), KafkaError> {
        let producer: BaseProducer = self.client().set("transactional.id", "test-probe").create()?;
        producer.init_transactions(Duration::from_secs(2))
    }

    fn own(&mut self) -> &mut Broker {
        self.own.as_mut().expect("a broker that somebody else runs is not ours to stop")
    }

    fn process(&mut self) -> &mut Child {
        self.own().process.as_mut().expect("the broker is down")
    }
}

/// Starts the broker that is set up in `directory`.
pub(super) fn spawn(directory: &Path) -> Child {
    let mut command = java("kafka.Kafka");
    command.arg(directory.join(PROPERTIES_FILE));
    child::log_to(&mut command, &directory.join(LOG));
    Child::spawn(command)
}

/// A Java virtual machine for `main`, tuned for a quick start and little memory.
pub(super) fn java(main: &str) -> Command {
    static JARS: LazyLock<PathBuf> = LazyLock::new(|| {
        services::prepared(&format!("kafka-{VERSION}-with-tools"), |directory| {
            let dependency = |group, artifact, version| {
                format!(
                    "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                     <version>{version}</version></dependency>"
                )
            };
            // Without a binding for its logging façade the broker fails in silence.
            let kafka = dependency("org.apache.kafka", "kafka_2.13", VERSION)
                + &dependency("org.apache.kafka", "kafka-tools", VERSION);
            let logging = dependency("org.slf4j", "slf4j-simple", "1.7.36");
            services::maven(directory, &(kafka + &logging), &["copy-dependencies"], VARIABLE);
        })
    });
    let mut command = child::command("java");
    command.args(["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]);
    command.arg("-cp").arg(JARS.join("jars/*")).arg(main);
    command
}

/// Makes `directory/data` ready for a broker's first start. The tool that does it takes longer than a second, and only
/// two files matter, so it runs once and the rest is copying.
fn format_storage(directory: &Path) {
    static FORMATTED: LazyLock<PathBuf> = LazyLock::new(|| {
        let directory = services::run_dir("kafka-storage");
        configure(&directory, port::free(), &[]);
        format(&directory, &[]);
        directory.join("data")
    });
    let data = directory.join("data");
    fs::create_dir_all(&data).unwrap();
    for file in ["meta.properties", "bootstrap.checkpoint"] {
        fs::copy(FORMATTED.join(file), data.join(file)).unwrap();
    }
}

/// Formats the storage of the broker that is set up in `directory`, with further `arguments` for the tool.
pub(super) fn format(directory: &Path, arguments: &[String]) {
    let mut command = java("kafka.tools.StorageTool");
    command.args(["format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qg", "--config"]);
    command.arg(directory.join(PROPERTIES_FILE)).args(arguments);
    services::run(command, &directory.join("format.log"), "formatting the broker's storage");
}

/// Writes the settings of a broker that is to live in `directory`, with `properties` added to the usual ones or in their
/// place.
pub(super) fn configure(directory: &Path, port: u16, properties: &[(&str, &str)]) {
    let controller = port::free();
    let place = [
        ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
        ("listeners", format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}")),
        ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
        ("log.dirs", directory.join("data").display().to_string()),
    ];
    let place = place.iter().map(|(key, value)| (*key, value.as_str()));
    // The last of two lines with the same key counts.
    let all = PROPERTIES.iter().copied().chain(place).chain(properties.iter().copied());
    let text: String = all.map(|(key, value)| format!("{key}={value}\n")).collect();
    fs::write(directory.join(PROPERTIES_FILE), text).unwrap();
}

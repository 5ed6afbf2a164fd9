//! Tests of docker-compose.yml without a container engine: its services are started as processes, with the same
//! variables and commands. `stack/files.rs` tests what only has to be read.

mod files;

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::compose::{Compose, Service};
use crate::support::consume::{self, Record};
use crate::support::program::{Program, Settings};
use crate::support::registry::Registry;
use crate::support::scene::{RUN_DEADLINE, keys};
use crate::support::{Kafka, http, port, python, services, wait};

/// What the sandbox of the stack begins with.
const ORDERS: usize = 500;
const ORDERS_TOPIC: &str = "imotriz.orders.v1";
const LEISURELY: [&str; 2] = ["--delay=", "--orders-per-minute="];

/// What a container has to itself and a process shares with others: addresses, and paths of volumes and secrets. All
/// else is used as the file says it.
struct Places(Vec<(&'static str, String)>);

impl Places {
    fn new(compose: &Compose) -> Self {
        let address = || format!("127.0.0.1:{}", port::free());
        let (inside, host, controller, registry, sandbox) = (address(), address(), address(), address(), address());
        let directory = |name| services::run_dir(name).display().to_string();
        let secrets = format!("{}/{}", env!("CARGO_MANIFEST_DIR"), compose.secrets());
        Self(vec![
            ("0.0.0.0:19092", inside.clone()),
            ("kafka:19092", inside),
            ("0.0.0.0:9092", host.clone()),
            ("localhost:9092", host),
            ("0.0.0.0:9093", controller.clone()),
            ("kafka:9093", controller),
            ("/var/lib/kafka/data", directory("kafka-data")),
            ("schema-registry:8080", registry),
            ("0.0.0.0:8080", sandbox.clone()),
            ("sandbox:8080", sandbox),
            ("0.0.0.0:9464", "127.0.0.1:0".to_owned()),
            ("/run/secrets", secrets),
            ("/spool/shop.jsonl", format!("{}/shop.jsonl", directory("sandbox-data"))),
            ("/spool", directory("spool")),
        ])
    }

    fn of(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    fn variables(&self, service: &Service) -> BTreeMap<String, String> {
        service.environment.iter().map(|(name, value)| (name.clone(), self.of(value))).collect()
    }

    /// Starts the program as the service's container would, but for what makes the sandbox slow and endless: there is
    /// something to look at, and a test has to wait for it.
    fn start(&self, service: &Service) -> Program {
        let slow = |argument: &&String| LEISURELY.iter().any(|option| argument.starts_with(option));
        let command: Vec<_> =
            service.command.iter().filter(|argument| !slow(argument)).map(|argument| self.of(argument)).collect();
        let arguments: Vec<_> = command.iter().map(String::as_str).collect();
        Settings::of(self.variables(service)).start(&arguments)
    }
}

#[test]
fn what_the_compose_file_starts_publishes_every_order_once_and_keeps_its_schemas() {
    let compose = Compose::of_the_project();
    let places = Places::new(&compose);
    let kafka = Kafka::start_as_image(&places.variables(compose.service("kafka")), places.of("localhost:9092"));
    let registry = start_registry(&compose, &places);
    let mut sandbox = places.start(compose.service("sandbox"));
    sandbox.wait_for_line("sandbox with 500 orders", RUN_DEADLINE);
    let mut producer = places.start(compose.service("producer"));

    // Some answers are cut or dropped: their orders come by reconciliation.
    wait::until("every order is published", RUN_DEADLINE, || {
        assert!(producer.ended().is_none(), "the producer ended\n{}", producer.output());
        pending(&places) == 0 && published(&kafka).is_some_and(|events| keys(&events).len() == ORDERS)
    });
    assert!(faults(&places) > 0, "no answer was broken");
    producer.signal(Signal::TERM);
    producer.expect_exit(0, RUN_DEADLINE);

    // It goes on with what it had: nothing comes once more, and nothing is gone from its list.
    sandbox.kill9();
    let mut sandbox = places.start(compose.service("sandbox"));
    sandbox.wait_for_line("sandbox with 500 orders", RUN_DEADLINE);
    assert_eq!(pending(&places), 0);
    let added = http::post(&places.of("http://sandbox:8080/_sandbox/orders"), &json!({"count": 1}));
    assert_eq!(added.0, 200);
    let mut drain = Settings::of(places.variables(compose.service("producer"))).start(&["drain"]);
    drain.expect_exit(0, RUN_DEADLINE);
    let events = published(&kafka).unwrap();
    assert_eq!((events.len(), keys(&events).len()), (ORDERS + 1, ORDERS + 1), "{}", drain.output());
    assert_eq!(python::read_orders(&kafka, &registry, ORDERS_TOPIC).len(), ORDERS + 1);

    assert_is_kept_for_ever(&kafka, "kafkasql-journal");
    let schemas = schemas(&registry);
    let url = registry.url().to_owned();
    drop(registry);
    assert!(http::try_get(&url).is_none(), "the registry is still there");
    let registry = start_registry(&compose, &places);
    assert_eq!(schemas, self::schemas(&registry));
    assert_eq!(python::read_orders(&kafka, &registry, ORDERS_TOPIC).len(), ORDERS + 1);
}

/// Starts the registry, and asks it as its health check does.
fn start_registry(compose: &Compose, places: &Places) -> Registry {
    let service = compose.service("schema-registry");
    let address = places.of("schema-registry:8080");
    let (_, port) = address.split_once(':').unwrap();
    let mut variables = places.variables(service);
    variables.remove("QUARKUS_HTTP_PORT").expect("the port that the others use is set");
    let registry = Registry::start_with(&variables, port.parse().unwrap());
    let check = service.healthcheck.as_ref().unwrap().test.last().unwrap();
    assert_eq!(http::get(&check.replace("127.0.0.1:8080", &address)).0, 200, "{check}");
    registry
}

fn sandbox_state(places: &Places) -> Value {
    let (status, text) = http::get(&places.of("http://sandbox:8080/_sandbox/state"));
    assert_eq!(status, 200);
    serde_json::from_str(&text).unwrap()
}

fn pending(places: &Places) -> u64 {
    sandbox_state(places)["pending"].as_u64().unwrap()
}

/// How often a fault has struck.
fn faults(places: &Places) -> u64 {
    sandbox_state(places)["faults"].as_object().unwrap().values().filter_map(Value::as_u64).sum()
}

/// The events so far, once the topic is there.
fn published(kafka: &Kafka) -> Option<Vec<Record>> {
    consume::topics(kafka).contains(ORDERS_TOPIC).then(|| consume::committed(kafka, ORDERS_TOPIC))
}

/// All versions of the schemas, with their IDs.
fn schemas(registry: &Registry) -> Vec<String> {
    let subjects = ["imotriz.orders.v1-value", "imotriz.orders.tracking.v1-value"];
    let latest = |subject| http::get(&format!("{}/subjects/{subject}/versions/latest", registry.url()));
    subjects.into_iter().map(latest).map(|(status, text)| format!("{status} {text}")).collect()
}

/// A registry that keeps its schemas in a topic forgets them when the topic does.
fn assert_is_kept_for_ever(kafka: &Kafka, topic: &str) {
    let admin: AdminClient<DefaultClientContext> = kafka.client().create().unwrap();
    let options = AdminOptions::new().request_timeout(Some(Duration::from_secs(20)));
    let described = http::block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options)).unwrap();
    let settings = described.into_iter().next().unwrap().unwrap();
    let value = |name| settings.get(name).and_then(|entry| entry.value.clone());
    assert_eq!(value("retention.ms").as_deref(), Some("-1"), "{topic} loses schemas");
    assert_eq!(value("retention.bytes").as_deref(), Some("-1"), "{topic} loses schemas");
}

#[test]
fn the_images_are_the_versions_that_are_tested() {
    let compose = Compose::of_the_project();
    let image = |service| compose.service(service).image.clone();
    assert_eq!(image("kafka"), format!("apache/kafka:{}", crate::support::kafka::VERSION));
    assert_eq!(image("schema-registry"), format!("apicurio/apicurio-registry:{}", crate::support::registry::VERSION));
    assert!(image("prometheus").starts_with("prom/prometheus:v"));
}

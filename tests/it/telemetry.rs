//! Tests of traces and of what is logged. The collector is an HTTP server of the test that decodes what it gets.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use imotriz_kafka::sandbox::SandboxArgs;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use rustix::process::Signal;

use crate::admin::{address, ready, status};
use crate::support::consume::Record;
use crate::support::scene::{RUN_DEADLINE, Scene, runtime};
use crate::support::{port, wait};

const ENDPOINT: &str = "IMOTRIZ_TELEMETRY__OTLP_ENDPOINT";

/// A collector on this machine.
struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    fn start(listen: SocketAddr) -> Self {
        let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
        let take = |State(bodies): State<Arc<Mutex<Vec<Bytes>>>>, body: Bytes| async move {
            bodies.lock().unwrap().push(body);
            StatusCode::OK
        };
        let routes = Router::new().route("/v1/traces", post(take)).with_state(bodies.clone());
        let listener = runtime().block_on(tokio::net::TcpListener::bind(listen)).unwrap();
        let address = listener.local_addr().unwrap();
        runtime().spawn(async move { axum::serve(listener, routes).await });
        Self { address, bodies }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        let bodies = self.bodies.lock().unwrap();
        bodies.iter().map(|body| ExportTraceServiceRequest::decode(body.clone()).unwrap()).collect()
    }

    /// All spans by their IDs, which are unique.
    fn spans(&self) -> BTreeMap<String, Span> {
        let requests = self.requests();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let spans = resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
        let mut all = BTreeMap::new();
        for span in spans {
            let span = Span {
                trace: hex(&span.trace_id),
                parent: hex(&span.parent_span_id),
                name: span.name.clone(),
                is_producer: span.kind == i32::from(SpanKind::Producer),
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                attributes: texts(&span.attributes),
                id: hex(&span.span_id),
            };
            assert!(all.insert(span.id.clone(), span).is_none(), "a span came twice");
        }
        all
    }
}

#[derive(Debug, Clone)]
struct Span {
    id: String,
    trace: String,
    parent: String,
    name: String,
    is_producer: bool,
    /// Start and end, in nanoseconds since 1970.
    times: (u64, u64),
    attributes: BTreeMap<String, String>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?} is neither a text nor a number"),
    };
    attributes.iter().map(|KeyValue { key, value, .. }| (key.clone(), text(value))).collect()
}

/// Trace and span of a record's header.
fn context(record: &Record) -> (String, String) {
    let parts: Vec<&str> = record.header("traceparent").unwrap().split('-').collect();
    (parts[1].to_owned(), parts[2].to_owned())
}

#[test]
fn the_trace_of_a_record_leads_back_to_the_page_that_brought_it() {
    let collector = Collector::start(([127, 0, 0, 1], 0).into());
    let scene = Scene::new("traces", SandboxArgs::with_orders(90)).with(ENDPOINT, &collector.url());
    scene.shop().insert(r#"{"order":{"id":7,"total":"much"}}"#).unwrap();
    scene.drain();

    let (spans, events) = (collector.spans(), scene.events());
    assert_eq!(events.len(), 90);
    for event in &events {
        let (trace, id) = context(event);
        let span = &spans[&id];
        assert_eq!((&span.trace, span.is_producer), (&trace, true), "{span:?}");
        assert!(span.name.starts_with("send ") && span.name.ends_with(".orders"), "{span:?}");
        let told = |name: &str| span.attributes[name].as_str();
        assert_eq!(told("messaging.system"), "kafka");
        assert_eq!(told("messaging.operation.type"), "send");
        assert_eq!(told("messaging.destination.partition.id"), event.partition.to_string());
        assert_eq!(told("messaging.kafka.offset"), event.offset.to_string());
        assert_eq!(told("messaging.message.id"), event.header("ce_id").unwrap());
        assert_eq!(told("imotriz.store"), "bogota");
        let transaction = &spans[&span.parent];
        let page = &spans[&transaction.parent];
        assert_eq!((transaction.name.as_str(), page.name.as_str()), ("transaction", "page"));
        assert_eq!((&transaction.trace, &page.trace, page.parent.as_str()), (&trace, &trace, ""));
        assert!(page.times.0 <= transaction.times.0 && transaction.times.0 < transaction.times.1, "{transaction:?}");
        assert!(transaction.times.1 <= page.times.1, "{page:?}");
    }
    let letters: Vec<_> = spans.values().filter(|span| span.attributes.contains_key("error.type")).collect();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert!(letters[0].name.ends_with(".dlq"), "{letters:?}");
    assert_eq!(spans.values().filter(|span| span.is_producer).count(), 91);

    let resource = collector.requests()[0].resource_spans[0].resource.clone().unwrap();
    assert_eq!(texts(&resource.attributes)["service.name"], "imotriz-kafka");
    let order = scene.shop().record(&events[0].key.as_ref().unwrap().parse().unwrap()).unwrap();
    let order: serde_json::Value = serde_json::from_slice(&order).unwrap();
    for field in ["name", "email", "mobile", "document", "address"] {
        let buyer = order["buyer"][field].as_str().unwrap().as_bytes();
        let bodies = collector.bodies.lock().unwrap();
        assert!(!bodies.iter().any(|body| body.windows(buyer.len()).any(|window| window == buyer)), "{field}");
    }
}

#[test]
fn a_collector_that_is_away_or_silent_holds_up_nothing_and_is_told_once() {
    // Connections to it stand, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}", silent.local_addr().unwrap());
    let scene = Scene::new("silent", SandboxArgs::with_orders(300)).with(ENDPOINT, &silent_url);
    let began = std::time::Instant::now();
    scene.drain();
    let took = began.elapsed();
    assert!(silent.accept().is_ok(), "the collector was asked");
    assert_eq!(scene.events().len(), 300);
    scene.verdict().assert_clean();
    assert!(took < RUN_DEADLINE / 4, "a drain with a silent collector took {took:?}");

    let absent: SocketAddr = ([127, 0, 0, 1], port::free()).into();
    // Otherwise each request to a port where nobody is would wait for the next five seconds.
    let scene = Scene::new("away", SandboxArgs::with_orders(30))
        .with(ENDPOINT, &format!("http://{absent}"))
        .with("OTEL_BSP_SCHEDULE_DELAY", "100")
        .with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let mut program = scene.settings.start(&["run"]);
    program.wait_for_line("traces can't be delivered", RUN_DEADLINE);
    let collector = Collector::start(absent);
    wait::until("traces are delivered again", RUN_DEADLINE, || {
        scene.shop().add(1, 0);
        !collector.requests().is_empty()
    });
    program.wait_for_line("traces are delivered again", RUN_DEADLINE);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    assert_eq!(program.stderr().matches("traces can't be delivered").count(), 1, "{}", program.output());
    scene.verdict().assert_clean();
}

#[test]
fn what_is_logged_changes_at_a_reload_without_a_new_start() {
    let scene = Scene::new("loglevel", SandboxArgs::with_orders(3));
    let file = scene.settings.directory().join("imotriz-kafka.toml");
    fs::write(&file, "[telemetry]\nlog = \"info\"\n").unwrap();
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    ready(&url);
    assert!(!program.stderr().contains("DEBUG"), "{}", program.output());

    fs::write(&file, "[telemetry]\nlog = \"loud\"\n").unwrap();
    program.signal(Signal::HUP);
    let refused = program.wait_for_line("the new settings are refused", RUN_DEADLINE);
    assert!(refused.contains("`telemetry.log`") && refused.contains("`loud` is no level"), "{refused}");

    fs::write(&file, "[telemetry]\nlog = \"debug\"\n").unwrap();
    program.signal(Signal::HUP);
    program.wait_for_line("what is logged was changed", RUN_DEADLINE);
    wait::until("details are logged", RUN_DEADLINE, || {
        scene.shop().add(1, 0);
        program.stderr().contains("DEBUG")
    });
    fs::write(&file, "[telemetry]\nlog = \"off\"\n").unwrap();
    program.signal(Signal::HUP);
    wait::until("the settings are read again", RUN_DEADLINE, || {
        program.stderr().matches("the settings were read again").count() == 2
    });
    let read = || status(&url)["stores"]["bogota"]["orders_read"].as_u64().unwrap();
    let (before, _) = (read(), scene.shop().add(1, 0));
    wait::until("an order is read in silence", RUN_DEADLINE, || read() > before);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    let log = program.stderr();
    assert!(!log.contains("starting anew") && !log.contains("stopping once"), "{}", program.output());
}

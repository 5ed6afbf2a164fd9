//! Tests that look for secrets and buyers' data wherever they have no business: logs down to the last level, metrics,
//! status, what commands print, panics. Whatever goes wrong meanwhile, none of it may be there.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::admin::{address, ready};
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene, runtime};
use crate::support::secure::{Door, KEY_PASSWORD, PASSWORD};
use crate::support::tls_front::TlsFront;
use crate::support::{http, metrics, registry, wait};

const TOKEN: &str = "canary-token-6bD2f0";
const REGISTRY_PASSWORD: &str = "canary-5dE1-registry";
/// In every field of a buyer, and wherever an order has no business to have it.
const BUYER: &str = "Canaria";

/// What must not be told.
struct Canaries(BTreeSet<String>);

impl Canaries {
    fn new() -> Self {
        Self([TOKEN, REGISTRY_PASSWORD, PASSWORD, KEY_PASSWORD, BUYER].map(str::to_owned).into())
    }

    /// What the made-up orders of the sandbox say of their buyers, but for city and region: many live there.
    fn with_buyers_of(mut self, scene: &Scene) -> Self {
        for id in scene.marked() {
            let order = scene.shop().record(&id.parse().unwrap()).unwrap();
            let Ok(order) = serde_json::from_slice::<Value>(&order) else { continue };
            let buyer = ["name", "email", "mobile", "document", "address"].map(|field| order["buyer"][field].as_str());
            self.0.extend(buyer.into_iter().flatten().map(str::to_owned));
        }
        self
    }

    fn assert_untold(&self, place: &str, text: &str) {
        for canary in &self.0 {
            let Some(at) = text.find(canary.as_str()) else { continue };
            let line = text[..at].lines().count();
            panic!("{place} tells {canary:?}, in line {line}: {:?}", text.lines().nth(line.saturating_sub(1)));
        }
    }
}

/// Everything that a running program tells to whoever asks.
fn asked(url: &str) -> String {
    let paths = ["/", "/status?limit=1000", "/metrics", "/readyz", "/livez"];
    paths.map(|path| http::get(&format!("{url}{path}")).1).concat()
}

/// What the commands tell that only look, whatever their exit code is. They log all that can be logged.
fn told_by_commands(scene: &Scene, more: &[&[&str]]) -> Vec<(String, String)> {
    let commands: [&[&str]; 10] = [
        &["doctor"],
        &["status"],
        &["config", "show"],
        &["config", "check"],
        &["spool", "list"],
        &["spool", "verify"],
        &["spool", "account"],
        &["dlq", "list"],
        &["reconcile", "--dry-run"],
        &["stores", "list"],
    ];
    let both = commands.iter().chain(more).flat_map(|command| [command.to_vec(), [&["--json"], *command].concat()]);
    let run = |command: Vec<&str>| {
        let mut program = scene.settings.start_with(&command, &[("RUST_LOG", "trace")]);
        program.wait(RUN_DEADLINE);
        (command.join(" "), program.output())
    };
    both.map(run).collect()
}

/// A shop behind a password at Kafka and one at the registry, with a token of its own.
fn guarded_scene(test: &str, orders: usize) -> (Scene, TlsFront) {
    let front = TlsFront::before(registry().url(), "IP:127.0.0.1", Some(&format!("imotriz:{REGISTRY_PASSWORD}")));
    let args = SandboxArgs { token: TOKEN.to_owned(), page_size: 10, ..SandboxArgs::with_orders(orders) };
    let scene = Scene::secured(Door::Scram, test, args)
        .with("IMOTRIZ_SCHEMA_REGISTRY__URL", &front.url("/apis/ccompat/v7"))
        .with("IMOTRIZ_SCHEMA_REGISTRY__USERNAME", "imotriz")
        .with("IMOTRIZ_SCHEMA_REGISTRY__PASSWORD", REGISTRY_PASSWORD)
        .with("IMOTRIZ_SCHEMA_REGISTRY__CA_FILE", front.authority.to_str().unwrap())
        .with("IMOTRIZ_API__POLL_INTERVAL", "100ms")
        .with("IMOTRIZ_API__IDLE_TIMEOUT", "1s")
        // The list and single orders fail too: it may take many passes until what a cut read marked is there.
        .with("IMOTRIZ_RECONCILE__INTERVAL", "2s");
    (scene, front)
}

/// Orders that can't be mapped, each for another reason, with a buyer in the very field that is wrong.
fn insert_letters(scene: &Scene) -> usize {
    let buyer = json!({ "name": BUYER, "email": BUYER, "mobile": BUYER, "document": BUYER, "address": BUYER });
    let right = json!({ "id": 0, "total": "10.00", "currency": "COP", "created_at": "2026-11-01 10:00:00" });
    let wrong = [
        ("total", json!(format!("{BUYER} 10"))),
        ("total", json!({ BUYER: 1 })),
        ("subtotal", json!([BUYER])),
        ("currency", json!(format!("{BUYER}s"))),
        ("created_at", json!(format!("{BUYER} 1st"))),
        ("status", json!({ "of": BUYER })),
    ];
    for (number, (field, value)) in wrong.iter().enumerate() {
        let mut order = right.clone();
        order["id"] = json!(990_000 + number);
        order[field] = value.clone();
        let record =
            json!({ "order": order, "buyer": buyer, "products": [{ "code": BUYER, "name": [BUYER] }], BUYER: BUYER });
        scene.shop().insert(&record.to_string()).unwrap();
    }
    wrong.len()
}

#[test]
fn neither_secrets_nor_buyers_data_are_told_whatever_goes_wrong() {
    let faults: Vec<Fault> = Fault::NAMES.iter().map(|name| name.parse().unwrap()).collect();
    let (scene, _front) = guarded_scene("canary", 600);
    let letters = insert_letters(&scene);
    let short = |fault: &Fault| match fault {
        Fault::Late(_) => "late:2s".parse().unwrap(),
        Fault::Huge(_) => "huge:16MiB".parse().unwrap(),
        Fault::Trickle(_) => "trickle:1ms".parse().unwrap(),
        Fault::Throttle(_) => "throttle:1s".parse().unwrap(),
        other => *other,
    };
    let steps: Vec<_> = faults.iter().map(short).flat_map(|fault| [Some(fault), None]).collect();
    scene.script(&steps);
    for call in [Call::OrderIds, Call::Order] {
        let fitting = steps.iter().filter(|step| scene.shop().script(call, &[**step]).is_ok());
        assert!(fitting.count() > 10, "faults of {}", call.name());
    }

    let mut program = scene.settings.start_with(&["--json", "run"], &[("RUST_LOG", "trace")]);
    let url = address_in_json(&mut program);
    ready(&url);
    wait::until("the faults have struck", RUN_DEADLINE, || {
        let shop = scene.shop().summary();
        shop.pending == 0 && faults.iter().all(|fault| shop.faults.contains_key(fault.name()))
    });
    wait::until("the letters are there", RUN_DEADLINE, || {
        metrics::sum(&url, "imotriz_dead_letters_total") >= letters as f64
    });
    let asked = asked(&url);
    assert!(asked.contains("data-key=\"bogota/"), "the page shows orders");
    let commands = told_by_commands(&scene, &[&["explain", "990001"], &["explain", "990004"]]);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);

    let canaries = Canaries::new().with_buyers_of(&scene);
    assert!(canaries.0.len() > 1000, "{}", canaries.0.len());
    assert!(program.stderr().contains("\"TRACE\""), "the log is whole");
    canaries.assert_untold("the log", &program.output());
    canaries.assert_untold("the admin server", &asked);
    for (command, output) in &commands {
        canaries.assert_untold(command, output);
    }
}

/// As [`address`], of a log in JSON.
fn address_in_json(program: &mut Program) -> String {
    let line = program.wait_for_line("health and metrics are at http://", RUN_DEADLINE);
    let (_, rest) = line.split_once("are at ").unwrap();
    rest.split('"').next().unwrap().trim_end_matches('/').to_owned()
}

#[test]
fn a_panic_tells_neither_secrets_nor_buyers_data_and_loses_nothing() {
    let (scene, _front) = guarded_scene("canary-panic", 120);
    let mut told = Vec::new();
    for place in ["fetched", "durable", "planned", "delivered", "committed"] {
        let more = [("IMOTRIZ_TEST_PANIC_AT", place), ("RUST_BACKTRACE", "full"), ("RUST_LOG", "trace")];
        let mut program = scene.settings.start_with(&["drain"], &more);
        let status = program.wait(RUN_DEADLINE);
        let said = program.stderr();
        assert!(said.contains(&format!("at the place {place}")), "{status}: {said}");
        assert_ne!(status.code(), Some(0), "{place}");
        told.push((place, program.output()));
        scene.shop().add(20, 0);
    }
    scene.drain();
    scene.verdict().assert_clean();
    let canaries = Canaries::new().with_buyers_of(&scene);
    for (place, output) in &told {
        canaries.assert_untold(place, output);
    }
}

/// A body with a buyer and with the token that it was asked with, as pages for developers have it.
fn body(kind: usize, token: &str) -> (&'static str, String) {
    let order = json!({ "order": { "id": 7, "total": BUYER }, "buyer": { "name": BUYER, "email": BUYER } });
    match kind {
        0 => (
            "application/json",
            json!({ "status": "error", "message": format!("{BUYER} {token}"), "errors": [order] }).to_string(),
        ),
        1 => ("text/html", format!("<title>{BUYER}</title><pre>Authorization: {token}\n{order}</pre>")),
        2 => ("text/plain", format!("SQLSTATE[23000]: Duplicate entry '{BUYER}' {token}")),
        3 => ("application/json", format!("{{\"data\":[{order},{{\"order\":{{\"id\":\"{BUYER}\"")),
        _ => ("application/json", format!("<b>Notice</b>: {BUYER} {token} in <b>/{BUYER}.php</b>{order}")),
    }
}

const STATUSES: [u16; 20] =
    [200, 301, 302, 307, 400, 401, 402, 403, 404, 406, 407, 408, 409, 422, 429, 451, 500, 502, 503, 504];
const KINDS: usize = 5;

/// The paths under which somebody was answered.
type Answered = Arc<Mutex<BTreeSet<String>>>;

/// Answers each call under `/STATUS/KIND` so; under `/list/…` it lists an order first, so that it is asked for.
async fn answer(State(answered): State<Answered>, headers: HeaderMap, uri: Uri) -> Response {
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or("nobody's");
    let mut parts = uri.path().trim_start_matches('/').split('/');
    let [how, status, kind] = [(); 3].map(|()| parts.next().unwrap());
    if how == "list" && uri.path().ends_with("newOrders") {
        return StatusCode::NO_CONTENT.into_response();
    }
    if how == "list" && uri.path().ends_with("ordersIds") {
        return json!({ "data": [7] }).to_string().into_response();
    }
    answered.lock().unwrap().insert(uri.path().to_owned());
    let (content_type, body) = body(kind.parse().unwrap(), token);
    let status = StatusCode::from_u16(status.parse().unwrap()).unwrap();
    let location = format!("https://{BUYER}.example/{token}");
    let headers =
        [(header::CONTENT_TYPE, content_type), (header::LOCATION, location.as_str()), (header::SET_COOKIE, BUYER)];
    (status, headers, body).into_response()
}

fn developers_marketplace(answered: &Answered) -> SocketAddr {
    let router = Router::new().fallback(answer).with_state(answered.clone());
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    })
}

#[test]
fn no_error_body_of_the_marketplace_is_told() {
    let answered = Answered::default();
    let marketplace = developers_marketplace(&answered);
    let mut scene = Scene::new("canary-bodies", SandboxArgs::with_orders(0)).with("IMOTRIZ_API__POLL_INTERVAL", "1s");
    for how in ["all", "list"] {
        for (status, kind) in STATUSES.iter().flat_map(|status| (0..KINDS).map(move |kind| (status, kind))) {
            let url = format!("http://{marketplace}/{how}/{status}/{kind}");
            scene.settings = scene.settings.with_store(&format!("{how}{status}x{kind}"), &url, TOKEN, "CO");
        }
    }
    let mut program = scene.settings.start_with(&["run"], &[("RUST_LOG", "trace")]);
    let url = address(&mut program);
    ready(&url);
    let count = |how: &str, call: &str| {
        let answered = answered.lock().unwrap();
        answered.iter().filter(|path| path.starts_with(how) && path.contains(call)).count()
    };
    wait::until("each call was answered so", RUN_DEADLINE, || {
        let calls = [count("/all/", "/newOrders"), count("/all/", "/ordersIds"), count("/list/", "/order/7")];
        calls == [STATUSES.len() * KINDS; 3]
    });
    let asked = asked(&url);
    let commands = told_by_commands(&scene, &[&["explain", "7"]]);
    program.signal(Signal::TERM);
    program.wait(RUN_DEADLINE);

    let canaries = Canaries::new();
    canaries.assert_untold("the log", &program.output());
    canaries.assert_untold("the admin server", &asked);
    for (command, output) in &commands {
        canaries.assert_untold(command, output);
    }
    for status in STATUSES.iter().filter(|status| **status >= 500) {
        assert!(program.stderr().contains(&format!("all{status}x0")), "{status} is told of its store");
    }
}

//! Tests of the status page: the admin server alone, with ten thousand shops, and the orders that a running instance
//! publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use imotriz_kafka::avro::event::{Reason, Revision};
use imotriz_kafka::config::Admin;
use imotriz_kafka::operate::admin::{AdminState, Server};
use imotriz_kafka::order::amount::Amount;
use imotriz_kafka::order::ids::StoreName;
use imotriz_kafka::pipeline::counters::{Counters, FailedTries, RecentOrder, RecentOrders};
use imotriz_kafka::platform::clock;
use imotriz_kafka::sandbox::SandboxArgs;
use rust_decimal::Decimal;
use serde_json::Value;

use crate::admin::{address, ready};
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene, runtime};
use crate::support::{child, example, http, services, wait};

const SHOPS: usize = 10_000;
const DEADLINE: Duration = Duration::from_secs(120);

struct Shops {
    counters: Arc<Counters>,
    server: Server,
}

impl Shops {
    /// Shops of which one has a void token, and another one is not reconciled.
    async fn start() -> Self {
        let counters = Arc::<Counters>::default();
        let names: Vec<StoreName> = (0..SHOPS).map(|number| format!("s{number}").parse().unwrap()).collect();
        counters.set_stores(&names);
        for (number, name) in names.iter().enumerate() {
            let store = counters.store(name);
            store.orders_read.add(number as u64);
            store.last_drained.now();
        }
        let void = counters.store(&names[4711]);
        while void.not_read.tries() != FailedTries::Again {
            void.not_read.note("token_refused", "the marketplace does not accept the token (401)".to_owned());
        }
        counters
            .store(&names[17])
            .not_reconciled
            .note("list_failed", "no list of order IDs: connection reset".to_owned());
        let admin = Admin { listen: "127.0.0.1:0".parse().unwrap(), ..Admin::default() };
        let server = Server::start(&admin, Arc::new(AdminState::new(counters.clone()))).await.unwrap();
        Self { counters, server }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn status(&self, query: &str) -> Value {
        let (code, text) = http::get(&format!("{}/status?{query}", self.url()));
        assert_eq!(code, 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// An order as wide as one may be, or an ordinary one.
fn order(number: usize) -> RecentOrder {
    let (store, id, total) = match number % 10 {
        0 => ("s".repeat(63), format!("{number}{}", "W".repeat(100)), "-99999999999999.9999"),
        _ => (format!("s{number}"), (4_810_000 + number).to_string(), "129900"),
    };
    RecentOrder {
        store: store.parse().unwrap(),
        order_id: id.parse().unwrap(),
        revision: Revision::FIRST,
        reason: Reason::WRITTEN[number % Reason::WRITTEN.len()],
        total: Some(Amount::try_from(total.parse::<Decimal>().unwrap()).unwrap()),
        currency: "COP".to_owned(),
        published_at: clock::now(),
    }
}

/// The stream of `/events`.
struct Events {
    response: reqwest::Response,
    text: String,
}

impl Events {
    async fn of(url: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = client.get(format!("{url}/events?lang=en")).send().await.unwrap();
        Self { response, text: String::new() }
    }

    /// The sections of the next event.
    async fn next(&mut self) -> Value {
        loop {
            if let Some((event, rest)) = self.text.clone().split_once("\n\n") {
                self.text = rest.to_owned();
                if let Some(data) = event.strip_prefix("data: ") {
                    return serde_json::from_str::<Value>(data).unwrap()["sections"].clone();
                }
            }
            let more = tokio::time::timeout(DEADLINE, self.response.chunk()).await.unwrap().unwrap().unwrap();
            self.text.push_str(std::str::from_utf8(&more).unwrap());
        }
    }
}

fn names(status: &Value) -> Vec<String> {
    status["stores"].as_object().unwrap().keys().cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_comes_in_pages_in_natural_order_and_by_state() {
    let shops = Shops::start().await;
    let first = shops.status("limit=3");
    assert_eq!(names(&first), ["s0", "s1", "s2"]);
    assert_eq!((&first["stores_found"], &first["next_after"]), (&SHOPS.into(), &"s2".into()));
    assert_eq!(names(&shops.status("limit=2&after=s9")), ["s10", "s11"]);
    assert!(shops.status("after=s9998")["next_after"].is_null());
    assert_eq!(names(&shops.status("state=parked")), ["s4711"]);
    assert_eq!(names(&shops.status("state=not_read")), ["s4711"]);
    assert_eq!(names(&shops.status("state=not_well")), ["s17", "s4711"]);
    assert_eq!(names(&shops.status("store=s17")), ["s17"]);
    let problem = &shops.status("store=s4711")["stores"]["s4711"]["problems"][0];
    assert_eq!((&problem["state"], &problem["kind"]), (&"parked".into(), &"token_refused".into()));
    assert!(problem["cure"].as_str().unwrap().contains("token_file"));
    let totals = &first["totals"];
    assert_eq!(
        (&totals["well"], &totals["not_well"], &totals["troubles"]["parked"]),
        (&9998.into(), &2.into(), &1.into())
    );
    assert_eq!(http::get(&format!("{}/status?state=odd", shops.url())).0, 400);
    assert_eq!(http::get(&format!("{}/status?sort=name", shops.url())).0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_shops_are_scraped_at_once_and_in_a_few_kilobytes() {
    let shops = Shops::start().await;
    let metrics = format!("{}/metrics", shops.url());
    let took = (0..10).map(|_| {
        let start = Instant::now();
        let (code, text) = http::get(&metrics);
        assert!(code == 200 && text.contains("imotriz_stores 10000") && text.len() < 16 << 10, "{}", text.len());
        start.elapsed()
    });
    let fastest = took.min().unwrap();
    println!("a scrape of {SHOPS} shops: {fastest:?}, {} bytes", http::get(&metrics).1.len());
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_server_answers_gets_under_its_own_names_and_tells_browsers_to_load_nothing() {
    let shops = Shops::start().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for path in ["/", "/status", "/metrics", "/events", "/status.js", "/livez", "/readyz"] {
        let url = format!("{}{path}", shops.url());
        let foreign = client.get(&url).header("host", "evil.example").send().await.unwrap();
        assert_eq!(foreign.status(), 403, "{path}");
        assert_eq!(client.post(&url).send().await.unwrap().status(), 405, "{path}");
        let answer = client.get(&url).send().await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{path}");
    }
    let spanish = client.get(shops.url()).header("accept-language", "es-CO,es;q=0.9").send().await.unwrap();
    assert!(spanish.text().await.unwrap().contains("<html lang=es>"));
}

#[tokio::test(flavor = "multi_thread")]
async fn events_bring_what_has_changed_and_nothing_else() {
    let shops = Shops::start().await;
    let mut events = Events::of(&shops.url()).await;
    let whole = events.next().await;
    assert!(whole["not-well"].as_str().unwrap().contains("s4711 is not read"), "{whole}");
    shops.counters.store(&"s17".parse().unwrap()).dead_letters.add(1);
    let changed = events.next().await;
    assert_eq!(changed.as_object().unwrap().keys().collect::<Vec<_>>(), ["figures"], "{changed}");
}

/// The orders of the section, by store, ID and revision.
fn shown(html: &str) -> Vec<&str> {
    html.split("data-key=\"").skip(1).map(|item| item.split('"').next().unwrap()).collect()
}

#[test]
fn orders_show_on_the_page_and_in_its_events_as_they_are_published() {
    let scene = Scene::new("feed", SandboxArgs::with_orders(0)).with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let buyer = r#""buyer":{"name":"Canaria","email":"canaria@jaula.example","address":"Calle Canaria"}"#;
    let insert = |id: u64, total: &str| {
        let json = format!(r#"{{"order":{{"id":{id},"total":"{total}","currency":"USD","note":"Canaria"}},{buyer}}}"#);
        scene.shop().insert(&json).unwrap().unwrap()
    };
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    ready(&url);
    assert_eq!(shown(&http::get(&url).1), Vec::<&str>::new());
    let mut events = runtime().block_on(Events::of(&url));
    let mut section = |wanted: &str| loop {
        match runtime().block_on(events.next())["recent"].as_str() {
            Some(html) if shown(html).contains(&wanted) => return html.to_owned(),
            _ => {}
        }
    };

    let order = insert(4_810_001, "12345678.0901");
    section("bogota/4810001/1");
    insert(4_810_002, "much");
    insert(4_810_003, "0.1");
    section("bogota/4810003/1");
    scene.shop().unsynchronise(&[order]).unwrap();
    let html = section("bogota/4810001/2");
    assert_eq!(shown(&html), ["bogota/4810001/2", "bogota/4810003/1", "bogota/4810001/1"]);
    let rows: Vec<&str> = html.split("<li").skip(1).collect();
    for (row, total, reason) in
        [(0, "USD 12,345,678.0901", "RESYNCED"), (1, "USD 0.10", "DRAINED"), (2, "USD 12,345,678.0901", "DRAINED")]
    {
        assert!(rows[row].contains(&format!(">{total}<")) && rows[row].contains(reason), "{html}");
    }
    let page = http::get(&url).1;
    assert!(page.contains(&html), "{page}");
    wait::until("the dead letter is counted", RUN_DEADLINE, || {
        http::get(&format!("{url}/metrics")).1.contains("imotriz_dead_letters_total 1.0")
    });
    assert!(!http::get(&url).1.contains("anaria"), "the page tells who bought");
    let committed = scene.events();
    let mut committed: Vec<_> = committed.iter().map(|event| event.header("ce_id").unwrap()).collect();
    committed.sort_unstable();
    let mut shown = shown(&page);
    shown.sort_unstable();
    assert_eq!(shown, committed);
}

/// In Debian's Chromium, with axe-core: at 360 and 1,280 pixels, light and dark, in both languages.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_is_good_on_a_phone_and_at_a_desk_for_everyone() {
    if !child::is_installed("chromium") {
        println!("NOT RUN: the status page in a browser, for chromium is not installed (Debian: chromium)");
        return;
    }
    let shops = Shops::start().await;
    shops.counters.recent.note((0..RecentOrders::KEPT).map(order).collect());
    let counters = shops.counters.clone();
    let publishes = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        for number in RecentOrders::KEPT.. {
            ticks.tick().await;
            counters.recent.note(vec![order(number)]);
        }
    });
    let pictures = services::run_dir("pictures");
    let mut command = child::command("node");
    command.arg(example::browser().join("check.js")).arg("chromium").arg(shops.url()).arg(&pictures);
    let mut check = Program::spawn(command);
    check.expect_exit(0, DEADLINE);
    publishes.abort();
    println!("pictures: {}", pictures.display());
    assert_eq!(check.stdout().trim(), "[]", "what axe-core finds");
}

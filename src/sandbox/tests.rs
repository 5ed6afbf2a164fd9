//! Tests of the sandbox over real connections, as a client sees it.

mod shops;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::order::ids::OrderId;

struct Customer {
    sandbox: Sandbox,
    shop: Shop,
    client: Client,
}

impl Customer {
    async fn with(args: SandboxArgs) -> Self {
        let sandbox = Sandbox::start(args).await.unwrap();
        let client =
            Client::builder().redirect(Policy::none()).retry(reqwest::retry::never()).no_proxy().build().unwrap();
        Self { shop: sandbox.shop(), sandbox, client }
    }

    async fn of(orders: usize) -> Self {
        Self::with(SandboxArgs::with_orders(orders)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.sandbox.base_url()))
            .header("Authorization", "sandbox-token")
    }

    async fn get(&self, path: &str) -> reqwest::Result<Response> {
        self.request(Method::GET, path).send().await
    }

    async fn read(&self) -> reqwest::Result<Response> {
        self.get(NEW_ORDERS).await
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).await.unwrap().bytes().await.unwrap()).unwrap()
    }

    async fn status(&self, path: &str) -> StatusCode {
        self.get(path).await.unwrap().status()
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.request(Method::POST, path).header("Content-Type", "application/json");
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn next(&self, fault: &str) {
        self.shop.script(Call::NewOrders, &[parse_step(Call::NewOrders, fault).unwrap()]).unwrap();
    }

    /// The names of the faults that struck, each once.
    fn struck(&self) -> Vec<&'static str> {
        self.shop.summary().faults.into_keys().collect()
    }
}

async fn until_marked(shop: &Shop, orders: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while shop.summary().marked < orders {
        assert!(Instant::now() < deadline, "the read never came");
        tokio::task::yield_now().await;
    }
}

fn ids(page: &Value) -> Vec<String> {
    page["data"].as_array().unwrap().iter().map(|record| record["order"]["id"].to_string()).collect()
}

fn counts(page: &Value) -> [u64; 3] {
    ["total_transactions_found", "returned_transactions", "pending_transactions"]
        .map(|name| page["metadata"][name].as_u64().unwrap())
}

#[tokio::test]
async fn every_order_is_returned_once_in_pages_of_thirty() {
    let customer = Customer::of(65).await;
    let mut seen = BTreeSet::new();
    for expected in [[65, 30, 35], [35, 30, 5], [5, 5, 0], [0, 0, 0]] {
        let page = customer.json(NEW_ORDERS).await;
        assert_eq!(counts(&page), expected);
        assert_eq!(ids(&page).len() as u64, expected[1]);
        seen.extend(ids(&page));
    }
    assert_eq!(seen.len(), 65);
    assert!(customer.shop.orders().iter().all(|order| order.marked_by.is_some() && order.delivered == Some(true)));
}

#[tokio::test]
async fn reads_at_the_same_time_never_return_the_same_order() {
    let customer = Customer::of(300).await;
    let reads = (0..10).map(|_| {
        let request = customer.request(Method::GET, NEW_ORDERS);
        tokio::spawn(async move { request.send().await.unwrap().bytes().await.unwrap() })
    });
    let mut seen = Vec::new();
    for read in reads.collect::<Vec<_>>() {
        seen.extend(ids(&serde_json::from_slice(&read.await.unwrap()).unwrap()));
    }
    assert_eq!(seen.len(), 300);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>().len(), 300);
}

#[tokio::test]
async fn an_order_that_is_unsynchronised_is_returned_again() {
    let customer = Customer::of(3).await;
    let first = ids(&customer.json(NEW_ORDERS).await);
    let (status, _) = customer.post("/_sandbox/unsynchronise", json!({"ids": [first[1]]})).await;
    assert_eq!(status, 200);
    assert_eq!(ids(&customer.json(NEW_ORDERS).await), [first[1].clone()]);
    assert_eq!(customer.shop.orders()[1].marked_by, Some(vec![1, 2]));
}

#[tokio::test]
async fn the_list_has_the_last_eight_days_synchronised_or_not_and_an_order_can_be_asked_for_by_its_id() {
    let customer = Customer::with(SandboxArgs { older: 4, ..SandboxArgs::with_orders(40) }).await;
    let read = customer.json(NEW_ORDERS).await;
    let list = customer.json(ORDER_IDS).await;
    let listed: Vec<_> = list["data"].as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(listed.len(), 36);
    assert!(!listed.contains(&ids(&read)[3]) && listed.contains(&ids(&read)[4]));
    let order = customer.json(&ORDER.replace("{id}", &listed[0])).await;
    assert_eq!(order["data"], read["data"][4]);
    assert_eq!(customer.status(&ORDER.replace("{id}", "1")).await, 404);
    assert_eq!(customer.shop.summary().marked, 30);
}

#[tokio::test]
async fn a_call_without_the_bare_token_is_refused_and_marks_nothing() {
    let customer = Customer::of(3).await;
    let url = format!("{}{NEW_ORDERS}", customer.sandbox.base_url());
    assert_eq!(customer.client.get(&url).send().await.unwrap().status(), 401);
    for wrong in ["Bearer sandbox-token", "sandbox-toke", "SANDBOX-TOKEN"] {
        let response = customer.client.get(&url).header("Authorization", wrong).send().await.unwrap();
        assert_eq!(response.status(), 401, "{wrong}");
    }
    assert_eq!(customer.shop.summary().pending, 3);
}

#[tokio::test]
async fn a_new_token_voids_the_old_one_and_a_missing_start_date_forbids_everything() {
    let customer = Customer::of(3).await;
    customer.post("/_sandbox/start_date", json!({"configured": false})).await;
    for path in [NEW_ORDERS, ORDER_IDS, &ORDER.replace("{id}", "1")] {
        assert_eq!(customer.status(path).await, 403);
    }
    customer.post("/_sandbox/start_date", json!({"configured": true})).await;
    customer.post("/_sandbox/token", json!({"token": "fresh"})).await;
    assert_eq!(customer.status(NEW_ORDERS).await, 401);
    let url = format!("{}{NEW_ORDERS}", customer.sandbox.base_url());
    assert_eq!(customer.client.get(url).header("Authorization", "fresh").send().await.unwrap().status(), 200);
    assert_eq!(customer.shop.summary().requests[&Call::NewOrders], 3);
}

#[tokio::test]
async fn faults_before_the_marking_leave_every_order_pending() {
    let customer = Customer::of(40).await;
    customer.next("drop-before");
    let error = customer.read().await.unwrap_err();
    assert!(!error.is_connect() && !error.is_timeout() && error.is_request(), "{error:?}");
    for (fault, status) in [("error-before", 500), ("throttle:3s", 429), ("redirect", 302), ("empty-pending", 200)] {
        customer.next(fault);
        let response = customer.read().await.unwrap();
        assert_eq!(response.status(), status, "{fault}");
        match fault {
            "throttle:3s" => assert_eq!(response.headers()["retry-after"], "3"),
            "redirect" => assert_eq!(response.headers()["location"], "https://elsewhere.example/login"),
            "empty-pending" => {
                let page = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
                assert_eq!(counts(&page), [40, 0, 40]);
            }
            _ => {}
        }
        assert_eq!(customer.shop.summary().pending, 40, "{fault}");
    }
    assert_eq!(customer.struck(), ["drop-before", "empty-pending", "error-before", "redirect", "throttle"]);
    assert_eq!(customer.shop.requests()[0].status, None);
}

#[tokio::test]
async fn faults_after_the_marking_lose_the_page_for_the_client_and_the_shop_knows() {
    let customer = Customer::of(130).await;
    customer.next("drop-after");
    assert!(!customer.read().await.unwrap_err().is_connect());

    customer.next("truncate");
    let response = customer.read().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.content_length().unwrap() > 10_000);
    assert!(response.bytes().await.is_err());

    customer.next("error-after");
    assert_eq!(customer.read().await.unwrap().status(), 500);

    customer.next("html");
    let response = customer.read().await.unwrap();
    assert_eq!(
        (response.status(), &response.headers()["content-type"]),
        (StatusCode::OK, &"text/html; charset=UTF-8".parse().unwrap())
    );
    assert!(response.text().await.unwrap().starts_with("<!DOCTYPE html>"));

    let orders = customer.shop.orders();
    assert_eq!(orders.iter().filter(|order| order.marked_by.is_some() && order.delivered == Some(false)).count(), 120);
    assert_eq!(customer.struck(), ["drop-after", "error-after", "html", "truncate"]);
    assert_eq!(ids(&customer.json(NEW_ORDERS).await).len(), 10);
}

#[tokio::test]
async fn a_truncated_body_ends_exactly_in_its_middle() {
    let customer = Customer::of(30).await;
    customer.next("truncate");
    let mut response = customer.read().await.unwrap();
    let promised = response.content_length().unwrap();
    let mut got = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        got += chunk.len() as u64;
    }
    assert_eq!(got, promised / 2);
}

#[tokio::test]
async fn odd_pages_are_as_odd_as_they_claim() {
    let customer = Customer::of(400).await;
    customer.next("wrong-counts");
    assert_eq!(counts(&customer.json(NEW_ORDERS).await), [400, 31, 370]);
    customer.next("overfull");
    assert_eq!(ids(&customer.json(NEW_ORDERS).await).len(), 31);
    customer.next("duplicates");
    let doubled = ids(&customer.json(NEW_ORDERS).await);
    assert_eq!((doubled.len(), &doubled[0]), (31, &doubled[30]));
    customer.next("object-data");
    assert!(customer.json(NEW_ORDERS).await["data"]["29"]["order"]["id"].is_number());
    customer.next("empty-as-list");
    assert_eq!(customer.json(NEW_ORDERS).await["data"][0]["buyer"], json!([]));
    customer.next("bom");
    assert!(customer.read().await.unwrap().bytes().await.unwrap().starts_with(b"\xEF\xBB\xBF{\"data\""));
    customer.next("text-html");
    let response = customer.read().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/html; charset=UTF-8");
    assert!(response.text().await.unwrap().starts_with("{\"data\""));
    assert_eq!(customer.struck().len(), 7);
}

#[tokio::test]
async fn a_huge_body_is_as_long_as_asked_for_and_still_json() {
    let customer = Customer::of(5).await;
    customer.next("huge:3MiB");
    let body = customer.read().await.unwrap().bytes().await.unwrap();
    assert_eq!(body.len(), 3 << 20);
    assert_eq!(ids(&serde_json::from_slice(&body).unwrap()).len(), 5);
    assert_eq!(customer.shop.orders()[0].delivered, None);
}

#[tokio::test]
async fn a_late_answer_is_whole_and_one_that_nobody_waits_for_is_not_delivered() {
    let customer = Customer::of(60).await;
    customer.next("late:150ms");
    let start = Instant::now();
    assert_eq!(ids(&customer.json(NEW_ORDERS).await).len(), 30);
    assert!(start.elapsed() >= Duration::from_millis(150));
    customer.next("late:1h");
    let impatient = tokio::spawn(customer.request(Method::GET, NEW_ORDERS).send());
    until_marked(&customer.shop, 60).await;
    impatient.abort();
    let orders = customer.shop.orders();
    assert_eq!((orders[0].delivered, orders[59].delivered), (Some(true), Some(false)));
}

#[tokio::test]
async fn a_trickled_answer_comes_whole_in_many_pieces() {
    let customer = Customer::of(2).await;
    customer.next("trickle:5ms");
    let start = Instant::now();
    let body = customer.read().await.unwrap().bytes().await.unwrap();
    assert_eq!(ids(&serde_json::from_slice(&body).unwrap()).len(), 2);
    assert!(start.elapsed() >= Duration::from_millis(5) * (body.len() / Fault::PIECE) as u32);
}

#[tokio::test]
async fn the_other_calls_fail_by_script_too() {
    let customer = Customer::of(3).await;
    let path = ORDER.replace("{id}", customer.shop.orders()[0].id.as_ref().unwrap().as_str());
    for (on, path) in [("order-ids", ORDER_IDS), ("order", &path)] {
        let script = json!({"on": on, "script": ["error-before", "ok", "drop-before", "truncate", "throttle"]});
        assert_eq!(customer.post("/_sandbox/faults", script).await.0, 200);
        assert_eq!(customer.status(path).await, 500);
        assert_eq!(customer.status(path).await, 200);
        assert!(customer.get(path).await.is_err());
        assert!(customer.get(path).await.unwrap().bytes().await.is_err());
        assert_eq!(customer.status(path).await, 429);
        assert_eq!(customer.status(path).await, 200);
    }
    customer.post("/_sandbox/faults", json!({"on": "order-ids", "script": ["duplicates", "object-data"]})).await;
    assert_eq!(customer.json(ORDER_IDS).await["data"].as_array().unwrap().len(), 4);
    assert!(customer.json(ORDER_IDS).await["data"]["0"].is_number());
    assert_eq!(customer.shop.summary().pending, 3);
}

#[tokio::test]
async fn the_control_tells_what_happened() {
    let customer = Customer::of(35).await;
    customer.post("/_sandbox/faults", json!({"script": ["truncate"], "rates": "order/html=1"})).await;
    assert_eq!(customer.json("/_sandbox/state").await["scripted"], 1);
    assert!(customer.read().await.unwrap().bytes().await.is_err());
    let state = customer.json("/_sandbox/state").await;
    assert_eq!(
        state,
        json!({
            "orders": 35, "pending": 5, "marked": 30, "scripted": 0, "faults": {"truncate": 1},
            "requests": {"new-orders": 1, "order-ids": 0, "order": 0},
        })
    );
    let orders = customer.json("/_sandbox/orders").await;
    assert_eq!((&orders[0]["marked_by"], &orders[0]["delivered"]), (&json!([1]), &json!(false)));
    assert_eq!((&orders[34]["marked_by"], &orders[34]["pending"]), (&Value::Null, &json!(true)));
    let requests = customer.json("/_sandbox/requests").await;
    assert_eq!((&requests[0]["number"], &requests[0]["fault"]), (&json!(1), &json!("truncate")));
    assert_eq!(requests[0]["ids"][29], orders[29]["id"]);
}

#[tokio::test]
async fn the_control_changes_inserts_hides_and_adds_orders() {
    let customer = Customer::of(1).await;
    let id = customer.shop.orders()[0].id.clone().unwrap();
    let path = ORDER.replace("{id}", id.as_str());
    customer.post("/_sandbox/change", json!({"id": id, "status": "anulado", "total": "1.50"})).await;
    let changed = customer.json(&path).await;
    assert_eq!(
        (&changed["data"]["order"]["status"], &changed["data"]["order"]["total"]),
        (&json!("anulado"), &json!("1.50"))
    );

    let odd = r#"{ "order": {"id": "A/7", "total": 1.10},"products": "none" }"#;
    let inserted = customer.request(Method::POST, "/_sandbox/order").body(odd).send().await.unwrap();
    assert_eq!(inserted.text().await.unwrap(), r#"{"id":"A/7"}"#);
    let nameless = customer.post("/_sandbox/order", json!({"order": null})).await;
    assert_eq!(nameless, (StatusCode::OK, json!({"id": null})));
    let page = customer.read().await.unwrap().text().await.unwrap();
    assert!(page.contains(odd), "as it was given: {page}");

    let (_, added) = customer.post("/_sandbox/orders", json!({"count": 2, "days_ago": 9})).await;
    assert_eq!(added["ids"].as_array().unwrap().len(), 2);
    assert_eq!(
        customer.json(ORDER_IDS).await["data"].as_array().unwrap().len(),
        2,
        "nine days old ones are not listed"
    );

    customer.post("/_sandbox/hide", json!({"ids": [id], "from": "order"})).await;
    assert_eq!(customer.status(&path).await, 404);
    customer.post("/_sandbox/hide", json!({"ids": [id], "from": "order", "hidden": false})).await;
    customer.post("/_sandbox/hide", json!({"ids": [id], "from": "order-ids"})).await;
    assert_eq!(customer.status(&path).await, 200);
    assert_eq!(customer.json(ORDER_IDS).await["data"], json!(["A/7"]));
    assert_eq!(ids(&customer.json(NEW_ORDERS).await).len(), 2);
}

#[tokio::test]
async fn the_control_refuses_what_makes_no_sense_with_a_reason() {
    let customer = Customer::of(1).await;
    for (path, body, status) in [
        ("/_sandbox/faults", json!({"script": ["melt"]}), 400),
        ("/_sandbox/faults", json!({"on": "order", "script": ["overfull"]}), 400),
        ("/_sandbox/faults", json!({"rates": "truncate=7"}), 400),
        ("/_sandbox/unsynchronise", json!({"ids": [1]}), 404),
        ("/_sandbox/change", json!({"id": {}}), 400),
    ] {
        let (got, answer) = customer.post(path, body.clone()).await;
        assert_eq!(got, status, "{path} {body}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    assert!(matches!(customer.shop.insert("{"), Err(ShopError::NotJson(_))));
}

#[tokio::test]
async fn a_stopped_sandbox_is_unreachable_and_comes_back_as_it_was() {
    let Customer { sandbox, shop, client } = Customer::of(60).await;
    let (market, addr, url) = (sandbox.market(), sandbox.addr(), format!("{}{NEW_ORDERS}", sandbox.base_url()));
    let read = || client.get(&url).header("Authorization", "sandbox-token").send();
    assert_eq!(read().await.unwrap().status(), 200);

    shop.script(Call::NewOrders, &[Some(Fault::Late(Duration::from_secs(3600)))]).unwrap();
    let held = tokio::spawn(read());
    until_marked(&shop, 60).await;
    sandbox.stop().await;
    assert!(!held.await.unwrap().unwrap_err().is_connect());
    assert!(read().await.unwrap_err().is_connect());

    let sandbox = Sandbox::serve(market, addr, Duration::ZERO).await.unwrap();
    assert_eq!(read().await.unwrap().status(), 200);
    assert_eq!(sandbox.shop().requests().len(), 3);
    sandbox.stop().await;
}

#[tokio::test]
async fn every_answer_is_held_back_by_the_delay_and_counts_as_delivered_only_then() {
    let delay = Duration::from_millis(80);
    let customer = Customer::with(SandboxArgs { delay, ..SandboxArgs::with_orders(1) }).await;
    let start = Instant::now();
    let read = tokio::spawn(customer.request(Method::GET, NEW_ORDERS).send());
    until_marked(&customer.shop, 1).await;
    read.await.unwrap().unwrap();
    assert!(start.elapsed() >= delay);
    assert_eq!(customer.shop.orders()[0].delivered, Some(true));
    assert_eq!(customer.status(ORDER_IDS).await, 200);
    assert!(start.elapsed() >= 2 * delay);
}

#[tokio::test]
async fn rates_given_at_the_start_strike_over_the_wire() {
    let faults = "error-before=1,order-ids/throttle=1".parse().unwrap();
    let customer = Customer::with(SandboxArgs { faults, ..SandboxArgs::with_orders(1) }).await;
    assert_eq!(customer.status(NEW_ORDERS).await, 500);
    assert_eq!(customer.status(ORDER_IDS).await, 429);
    customer.post("/_sandbox/faults", json!({"rates": ""})).await;
    assert_eq!(customer.status(NEW_ORDERS).await, 200);
}

#[tokio::test]
async fn a_limit_of_calls_a_second_holds_for_all_kinds_together_and_what_is_refused_marks_nothing() {
    let args = SandboxArgs { rate_limit: Some(2), page_size: 1, ..SandboxArgs::with_orders(9) };
    let customer = Customer::with(args).await;
    let mut statuses = Vec::new();
    let start = Instant::now();
    while !statuses.contains(&429) {
        assert!(start.elapsed() < Duration::from_secs(10), "the limit never held");
        let kind = [ORDER_IDS, NEW_ORDERS][statuses.len() % 2];
        let answer = customer.get(kind).await.unwrap();
        assert_eq!(answer.status() == 429, answer.headers().contains_key("retry-after"));
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(customer.struck(), ["throttle"]);
    let read =
        customer.shop.requests().iter().filter(|call| call.kind == Call::NewOrders && call.status == Some(200)).count();
    assert_eq!(customer.shop.summary().marked, read);
    customer.shop.set_rate_limit(None);
    assert_eq!(customer.status(NEW_ORDERS).await, 200);
}

#[tokio::test]
async fn the_list_comes_in_pages_where_that_is_asked_for() {
    let customer = Customer::with(SandboxArgs { list_page_size: Some(4), ..SandboxArgs::with_orders(9) }).await;
    let mut ids = BTreeSet::new();
    for page in 1..=3 {
        let list = customer.json(&format!("{ORDER_IDS}?x=1&page={page}")).await;
        assert_eq!(list["metadata"], json!({"total": 9, "per_page": 4, "current_page": page, "last_page": 3}));
        ids.extend(list["data"].as_array().unwrap().iter().map(Value::to_string));
    }
    assert_eq!(ids.len(), 9);
    assert_eq!(customer.json(ORDER_IDS).await["data"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn a_dropped_sandbox_stops() {
    let sandbox = Sandbox::start(SandboxArgs::with_orders(0)).await.unwrap();
    let addr = sandbox.addr();
    drop(sandbox);
    let deadline = Instant::now() + Duration::from_secs(10);
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        assert!(Instant::now() < deadline, "it goes on listening");
    }
}

#[tokio::test]
async fn an_order_hidden_from_new_orders_stays_pending_and_a_month_old_one_is_not_found() {
    let customer = Customer::of(2).await;
    let all = customer.shop.orders();
    let hidden = all[0].id.clone().unwrap();
    customer.shop.hide(&[hidden], Call::NewOrders, true).unwrap();
    assert_eq!(counts(&customer.json(NEW_ORDERS).await), [2, 1, 1]);
    assert!(customer.shop.orders()[0].pending);
    for (days, status) in [(29, 200), (31, 404)] {
        let id = customer.shop.add(1, days).remove(0);
        assert_eq!(customer.status(&ORDER.replace("{id}", id.as_str())).await, status);
    }
}

#[test]
fn an_order_says_what_became_of_each_of_its_readings() {
    let shop = Market::new(&SandboxArgs::with_orders(1)).shops()[0].clone();
    let id: OrderId = shop.orders()[0].id.clone().unwrap();
    let read = || shop.call(Call::NewOrders, NEW_ORDERS, None, Some(b"sandbox-token"), Duration::ZERO);
    shop.script(Call::NewOrders, &[Some(Fault::DropAfter)]).unwrap();
    read();
    shop.unsynchronise(std::slice::from_ref(&id)).unwrap();
    read();
    let order = &shop.orders()[0];
    assert_eq!(order.marked_by, Some(vec![1, 2]));
    assert_eq!(order.deliveries, [Some(false), Some(true)]);
}

#[tokio::test]
async fn orders_arrive_at_even_distances_for_as_long_as_it_runs() {
    let args = SandboxArgs { orders_per_minute: 600, ..SandboxArgs::with_orders(3) };
    let customer = Customer::with(args).await;
    let start = Instant::now();
    while customer.shop.summary().orders < 6 {
        assert!(start.elapsed() < Duration::from_secs(10), "none arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= Duration::from_millis(200), "they come all at once");
    let listed = customer.json(ORDER_IDS).await["data"].as_array().unwrap().len();
    assert!(listed >= 6, "they are orders of today: {listed}");
}

#[test]
fn the_command_line_has_the_documented_defaults() {
    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        sandbox: SandboxArgs,
    }
    let parse = |args: &[&str]| <Cli as clap::Parser>::try_parse_from([&["x"], args].concat());
    let options = parse(&[]).unwrap_or_else(|error| panic!("{error}")).sandbox;
    assert_eq!((options.orders, options.page_size, options.listen.port()), (3000, 30, 8080));
    let args = ["--country", "mx", "--delay", "20ms", "--faults", "truncate=0.02,drop-after=0.01", "--older", "3"];
    let options = parse(&args).unwrap_or_else(|error| panic!("{error}")).sandbox;
    assert_eq!((options.country, options.delay), (Country::Mx, Duration::from_millis(20)));
    assert_eq!((options.shops, options.arrivals), (None, None));
    let options = parse(&["--shops", "200", "--arrivals", "0.5"]).unwrap_or_else(|error| panic!("{error}")).sandbox;
    assert_eq!((options.shops, options.orders, options.arrivals), (NonZeroUsize::new(200), 30, Some(0.5)));
    for bad in [
        ["--faults", "melt=1"].as_slice(),
        &["--shops", "0"],
        &["--shops", "2", "--token", "one-for-all"],
        &["--arrivals", "-1"],
        &["--arrivals", "1", "--orders-per-minute", "1"],
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    let help = parse(&["--help"]).err().unwrap().to_string();
    assert!(Fault::NAMES.iter().all(|name| help.contains(name)), "{help}");
}

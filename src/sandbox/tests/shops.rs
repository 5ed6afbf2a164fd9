//! Several shops at one address.

use super::*;

/// Three shops with so many orders each.
fn three_shops(orders: usize) -> SandboxArgs {
    SandboxArgs { shops: NonZeroUsize::new(3), ..SandboxArgs::with_orders(orders) }
}

#[tokio::test]
async fn each_token_reads_the_orders_of_its_own_shop_and_the_control_tells_by_shop_which_read_marked_them() {
    let customer = Customer::with(three_shops(40)).await;
    let read = |token: &'static str| {
        let request = customer.client.get(format!("{}{NEW_ORDERS}", customer.sandbox.base_url()));
        async move { request.header("Authorization", token).send().await.unwrap() }
    };
    let mut seen = BTreeSet::new();
    for (token, returned) in [("shop-1", 30), ("shop-3", 30), ("shop-1", 10)] {
        let page: Value = serde_json::from_slice(&read(token).await.bytes().await.unwrap()).unwrap();
        assert_eq!(ids(&page).len(), returned);
        seen.extend(ids(&page));
    }
    assert_eq!(seen.len(), 70, "shops have no ID in common");
    for stranger in ["sandbox-token", "shop-0", "shop-4"] {
        assert_eq!(read(stranger).await.status(), 401, "{stranger}");
    }

    let marked = |shop: &Value| (shop["shop"].clone(), shop["marked"].clone(), shop["requests"]["new-orders"].clone());
    let shops = customer.json("/_sandbox/shops").await;
    let shops: Vec<_> = shops.as_array().unwrap().iter().map(marked).collect();
    let expected = [("shop-1", 40, 5), ("shop-2", 0, 0), ("shop-3", 30, 1)];
    assert_eq!(shops, expected.map(|(shop, marked, reads)| (json!(shop), json!(marked), json!(reads))));
    let state = customer.json("/_sandbox/state").await;
    assert_eq!((&state["orders"], &state["marked"], &state["pending"]), (&json!(120), &json!(70), &json!(50)));
    let orders = customer.json("/_sandbox/orders?shop=shop-1").await;
    assert_eq!((&orders[29]["marked_by"], &orders[30]["marked_by"]), (&json!([1]), &json!([2])));
    let all = customer.json("/_sandbox/orders").await;
    assert_eq!((&all[119]["shop"], &all[119]["marked_by"]), (&json!("shop-3"), &Value::Null));
    let requests = customer.json("/_sandbox/requests?shop=shop-3").await;
    assert_eq!((&requests[0]["shop"], &requests[0]["ids"][0]), (&json!("shop-3"), &all[80]["id"]));
    assert_eq!(requests.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn the_control_changes_the_shop_that_is_named_or_all_and_asks_which_one_where_it_can_only_be_one() {
    let customer = Customer::with(three_shops(1)).await;
    customer.post("/_sandbox/faults?shop=shop-2", json!({"script": ["truncate"]})).await;
    customer.post("/_sandbox/orders", json!({"count": 1})).await;
    customer.post("/_sandbox/orders?shop=shop-2", json!({"count": 5})).await;
    let market = customer.sandbox.market();
    let numbers =
        |number: fn(&Summary) -> usize| market.shops().iter().map(|shop| number(&shop.summary())).collect::<Vec<_>>();
    assert_eq!((numbers(|state| state.scripted), numbers(|state| state.orders)), (vec![0, 1, 0], vec![2, 7, 2]));

    customer.post("/_sandbox/token?shop=shop-3", json!({"token": "fresh"})).await;
    let read =
        |token: &[u8]| market.shop_of(token).call(Call::NewOrders, NEW_ORDERS, None, Some(token), Duration::ZERO);
    assert_eq!((read(b"fresh").1.status, read(b"shop-3").1.status), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    assert_eq!(market.shops()[2].requests().len(), 2, "a call with a former token is its shop's to refuse");

    for (path, status) in [
        ("/_sandbox/token", 400),
        ("/_sandbox/token?shop=shop-4", 404),
        ("/_sandbox/token?shop=bogota", 404),
        ("/_sandbox/token?stop=shop-1", 400),
    ] {
        let (got, answer) = customer.post(path, json!({"token": "any"})).await;
        assert_eq!(got, status, "{path}");
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[test]
fn a_limit_of_calls_a_second_is_the_hosts_and_not_a_shops() {
    let statuses = || {
        let market = Market::new(&SandboxArgs { rate_limit: Some(2), ..three_shops(1) });
        let read = |token: &[u8]| {
            market.shop_of(token).call(Call::NewOrders, NEW_ORDERS, None, Some(token), Duration::ZERO).1.status
        };
        [b"shop-1", b"shop-2", b"shop-3"].map(|token| read(token).as_u16())
    };
    loop {
        let start = Instant::now();
        let statuses = statuses();
        // On a machine that stands still for longer it says nothing.
        if start.elapsed() < Duration::from_secs(1) {
            assert_eq!(statuses, [200, 200, 429]);
            return;
        }
    }
}

#[tokio::test]
async fn arriving_orders_are_spread_over_the_shops_and_most_are_the_first_ones() {
    let customer = Customer::with(SandboxArgs { arrivals: Some(5000.0), ..three_shops(0) }).await;
    let market = customer.sandbox.market();
    let start = Instant::now();
    while market.summary().orders < 600 {
        assert!(start.elapsed() < Duration::from_secs(10), "none arrives");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(start.elapsed() >= Duration::from_millis(120), "they come all at once");
    let orders: Vec<usize> = market.shops().iter().map(|shop| shop.summary().orders).collect();
    assert!(orders[0] > orders[1] && orders[1] > orders[2] && orders[2] > 0, "{orders:?}");
}

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap()
}

fn map(json: &str) -> Result<Order, DeadLetter> {
    Mapping::default().order(Country::Co, raw(json))
}

fn mapped(json: &str) -> Order {
    map(json).unwrap_or_else(|letter| panic!("{json}: {} at {}", letter.reason, letter.pointer))
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn decimal(text: &str) -> Option<Decimal> {
    Some(text.parse().unwrap())
}

#[test]
fn a_whole_record_is_mapped_and_the_rest_of_it_travels() {
    let order = mapped(
        r#"{
        "order": {"id": 1048213, "reference": "IM-CO-1", "status": "pagado", "payment_status": "approved",
            "payment_method": "PSE", "currency": "cop", "created_at": "2026-11-20 14:03:11", "updated_at": null,
            "subtotal": "259800.00", "shipping": 12000, "discount": "", "tax": "0.0", "total": "271800.00",
            "weights": {"kg": 1.50}},
        "products": [{"code": "MT-1", "name": "Ñandú 🙏", "quantity": "2", "unit_price": 129900.0,
            "unit_price_before": null, "brand": "X"}],
        "buyer": {"name": "Ana", "email": "ana@example.com", "mobile": 3001234567, "document": "001", "address": "Cll 1",
            "city": "Cali", "state": "Valle", "postal_code": "", "company": null},
        "source": "web"}"#,
    );
    let expected = Order {
        id: "1048213".parse().unwrap(),
        status: some("pagado"),
        payment_status: some("approved"),
        payment_method: some("PSE"),
        currency: "COP".to_owned(),
        created_at: Some(DateText { raw: "2026-11-20 14:03:11".to_owned(), epoch_millis: Some(1_795_201_391_000) }),
        updated_at: None,
        total: decimal("271800"),
        subtotal: decimal("259800"),
        shipping: decimal("12000"),
        discount: None,
        tax: decimal("0"),
        buyer: Buyer {
            name: some("Ana"),
            email: some("ana@example.com"),
            mobile: some("3001234567"),
            document: some("001"),
            address: some("Cll 1"),
            city: some("Cali"),
            region: some("Valle"),
            postal_code: None,
            extra: some(r#"{"company":null}"#),
        },
        lines: vec![Line {
            code: some("MT-1"),
            name: some("Ñandú 🙏"),
            quantity: decimal("2"),
            unit_price: decimal("129900"),
            unit_price_before: None,
            extra: some(r#"{"brand":"X"}"#),
        }],
        extra: some(r#"{"order":{"reference":"IM-CO-1","weights":{"kg": 1.50}},"source":"web"}"#),
    };
    assert_eq!(order, expected);
}

#[test]
fn an_order_needs_nothing_but_an_id() {
    for (json, id) in [
        (r#"{"order":{"id":7}}"#, "7"),
        (r#"{"order":{"id":" 007 "}}"#, "007"),
        (r#"{"order":{"order_id":"A-7"}}"#, "A-7"),
        (r#"{"order":{"transaction_id":123456789012345678901234567890}}"#, "123456789012345678901234567890"),
        (r#"{"order":{"id_transaction":-7}}"#, "-7"),
        (r#"{"order":{"id":9000001.0}}"#, "9000001"),
        (r#"{"order":{"id":9.000001E+6}}"#, "9000001"),
        (r#"{"order":{"id":"9000001.0"}}"#, "9000001.0"),
        (r#"{"id":7,"products":[],"buyer":[]}"#, "7"),
        (r#"{"id":7,"products":{},"buyer":{}}"#, "7"),
        (r#"{"id":7,"products":null,"buyer":null}"#, "7"),
        (r#"{"id":7,"products":"","buyer":" "}"#, "7"),
        (r#"{"order":{"id":null,"order_id":""},"id":7}"#, "7"),
    ] {
        let order = mapped(json);
        assert_eq!((order.id.as_str(), order.currency.as_str()), (id, "COP"), "{json}");
        assert_eq!((order.buyer, order.lines, order.total), (Buyer::default(), vec![], None), "{json}");
        assert_eq!(order.extra, None, "{json}");
    }
}

#[test]
fn what_cannot_be_understood_is_a_dead_letter_that_says_where() {
    for (json, id, pointer, reason) in [
        ("null", None, "", "not a JSON object"),
        ("[]", None, "", "not a JSON object"),
        ("7", None, "", "not a JSON object"),
        ("{}", None, "/order/id", "no order ID"),
        (r#"{"order":{"total":1}}"#, None, "/order/id", "no order ID"),
        (r#"{"order":7}"#, None, "/order/id", "no order ID"),
        (r#"{"order":{"id":7.5}}"#, None, "/order/id", "not a whole one"),
        (r#"{"order":{"id":9.2233720368547758E+18}}"#, None, "/order/id", "too large to be exact"),
        (r#"{"order":{"id":true}}"#, None, "/order/id", "neither text nor a number"),
        (r#"{"order":{"id":{"x":1}},"id":7}"#, None, "/order/id", "neither text nor a number"),
        (r#"{"order":{"id":"a\u0000b"}}"#, None, "/order/id", "control character"),
        (r#"{"order":{"id":"\ud800"}}"#, None, "/order/id", "surrogate"),
        (r#"{"order":{"id":1,"id":2}}"#, None, "/order/id", "more than once"),
        (r#"{"order":{"id":1},"order":{"id":2}}"#, None, "/order/id", "more than once"),
        (r#"{"id":7,"total":"129.900,00"}"#, Some("7"), "/total", "plain decimal"),
        (r#"{"id":7,"total":"$129"}"#, Some("7"), "/total", "plain decimal"),
        (r#"{"id":7,"total":"\ud800"}"#, Some("7"), "/total", "plain decimal"),
        (r#"{"id":7,"order":{"total":0.00001}}"#, Some("7"), "/order/total", "rounded"),
        (r#"{"id":7,"order":{"total":1e14}}"#, Some("7"), "/order/total", "14 digits"),
        (r#"{"id":7,"order":{"total":1,"subtotal":"x"}}"#, Some("7"), "/order/subtotal", "plain decimal"),
        (r#"{"id":7,"status":"\ud800"}"#, Some("7"), "/status", "surrogate"),
        (r#"{"id":7,"currency":"$"}"#, Some("7"), "/currency", "three letters"),
        (r#"{"id":7,"total":"64949.989999999998"}"#, Some("7"), "/total", "rounded"),
        (r#"{"id":7,"total":64949.98999999999}"#, Some("7"), "/total", "rounded"),
        (r#"{"id":7,"products":[{},null]}"#, Some("7"), "/products/1", "not an object"),
        (r#"{"id":7,"products":[{},{"quantity":"dos"}]}"#, Some("7"), "/products/1/quantity", "plain decimal"),
        (r#"{"id":7,"products":{"code":"x","quantity":"dos"}}"#, Some("7"), "/products/quantity", "plain decimal"),
        (r#"{"id":7,"order":{"items":{"3":{"price":"x"}}}}"#, Some("7"), "/order/items/3/price", "plain decimal"),
    ] {
        let letter = map(json).expect_err(json);
        assert_eq!((letter.id.as_ref().map(OrderId::as_str), letter.pointer.as_str()), (id, pointer), "{json}");
        assert!(letter.reason.contains(reason), "{json}: {}", letter.reason);
        assert_eq!(letter.json, json.as_bytes());
    }
}

#[test]
fn a_default_place_that_holds_a_value_of_another_kind_is_passed_over_and_the_value_travels() {
    for (fields, extra) in [
        (r#""shipping":{"carrier":"TCC"}"#, r#""shipping":{"carrier":"TCC"}"#),
        (r#""total":false,"tax":[],"discount":{"code":"X"}"#, r#""total":false,"tax":[],"discount":{"code":"X"}"#),
        (r#""status":{"name":"x"},"payment_method":[{"name":"PSE"}],"state":true"#, ""),
        (r#""created_at":{"date":"2026-11-20"},"updated_at":true"#, ""),
        (r#""currency":{"symbol":"$"}"#, ""),
        (r#""currency":1"#, ""),
        (r#""buyer":"Ana""#, ""),
        (r#""buyer":[1],"client":7,"customer":true"#, ""),
        (r#""products":"x","items":3,"lines":true"#, ""),
        (r#""products":[1,"MT-1"],"items":{"0":"x"},"lines":{"page":1,"name":"x"}"#, ""),
    ] {
        let extra = if extra.is_empty() { fields } else { extra };
        let order = mapped(&format!(r#"{{"order":{{"id":7,{fields}}}}}"#));
        assert_eq!(order.extra, Some(format!(r#"{{"order":{{{extra}}}}}"#)), "{fields}");
        let nothing = Order { extra: order.extra.clone(), ..mapped(r#"{"order":{"id":7}}"#) };
        assert_eq!(order, nothing, "{fields}");
    }
    let order =
        mapped(r#"{"id":7,"buyer":{"city":["Cali"],"mobile":true},"products":[{"name":{"es":"x"},"price":[1]}]}"#);
    assert_eq!((order.buyer.city, order.buyer.mobile), (None, None));
    assert_eq!(order.buyer.extra, some(r#"{"city":["Cali"],"mobile":true}"#));
    assert_eq!(order.lines, [Line { extra: some(r#"{"name":{"es":"x"},"price":[1]}"#), ..Line::default() }]);
}

#[test]
fn behind_a_default_place_with_a_value_of_another_kind_the_next_one_is_tried() {
    let order = mapped(
        r#"{"order":{"id":7,"shipping":{"carrier":"TCC"},"envio":"8000","status":true,"estado":"pagado",
            "currency":{"code":"usd","symbol":"$"},"created_at":[],"fecha":"2026-11-20"},"total":5,
            "products":3,"items":[{"name":["x"],"title":"y"}],"buyer":"Ana","client":{"name":"Ana"}}"#,
    );
    assert_eq!((order.shipping, order.total, order.status), (decimal("8000"), decimal("5"), some("pagado")));
    assert_eq!((order.currency.as_str(), order.created_at.unwrap().raw.as_str()), ("USD", "2026-11-20"));
    assert_eq!((order.lines[0].name.clone(), order.buyer.name), (some("y"), some("Ana")));
    let extra = r#"{"order":{"shipping":{"carrier":"TCC"},"status":true,"currency":{"symbol":"$"},"created_at":[]},"products":3,"buyer":"Ana"}"#;
    assert_eq!(order.extra, some(extra));
}

#[test]
fn a_place_that_was_set_is_meant_whatever_it_holds() {
    for (setting, record, pointer, reason) in [
        ("order.shipping = '/shipping'", r#""shipping":{"carrier":"TCC"}"#, "/shipping", "number is expected"),
        ("order.shipping = ['/x', '/shipping']", r#""x":false,"shipping":1"#, "/x", "number is expected"),
        ("order.status = '/status'", r#""status":{"name":"x"}"#, "/status", "text is expected"),
        ("order.currency = '/currency'", r#""currency":1"#, "/currency", "currency is expected"),
        ("order.created_at = '/created_at'", r#""created_at":true"#, "/created_at", "date is expected"),
        ("buyer.at = '/buyer'", r#""buyer":"Ana""#, "/buyer", "not an object"),
        ("buyer.city = '/city'", r#""buyer":{"city":["Cali"]}"#, "/buyer/city", "text is expected"),
        ("products.at = '/products'", r#""products":"x""#, "/products", "neither a list"),
        ("products.at = '/products'", r#""products":{"code":"x"}"#, "/products", "neither a list"),
        ("products.at = '/products'", r#""products":[1]"#, "/products", "is an object"),
        ("products.name = '/name'", r#""products":[{"name":[]}]"#, "/products/0/name", "text is expected"),
        (
            "products.name = '/name'",
            r#""products":{"code":"x","price":1,"name":[]}"#,
            "/products/name",
            "text is expected",
        ),
    ] {
        let mapping: Mapping = toml::from_str(setting).unwrap();
        let record = format!(r#"{{"id":7,{record}}}"#);
        let letter = mapping.order(Country::Co, raw(&record)).expect_err(setting);
        assert_eq!(letter.pointer, pointer, "{setting}: {record}");
        assert!(letter.reason.contains(reason), "{setting}: {}", letter.reason);
    }
    let mapping: Mapping = toml::from_str("order.status = '/ok'").unwrap();
    assert_eq!(mapping.order(Country::Co, raw(r#"{"id":7,"ok":true}"#)).unwrap().status, some("true"));
}

#[test]
fn an_amount_that_was_a_float_is_read_as_the_decimal_that_it_was_and_stays_as_it_came() {
    let order = mapped(
        r#"{"order":{"id":7,"total":64949.989999999998,"tax":0.10000000000000001,"subtotal":"1.50"},
            "products":[{"quantity":2.9999999999999997e-4,"price":1234.5599999999999,"unit_price_before":64949.99}]}"#,
    );
    assert_eq!((order.total, order.tax, order.subtotal), (decimal("64949.99"), decimal("0.1"), decimal("1.5")));
    assert_eq!(order.extra, some(r#"{"order":{"total":64949.989999999998,"tax":0.10000000000000001}}"#));
    let line = &order.lines[0];
    assert_eq!((line.quantity, line.unit_price), (decimal("0.0003"), decimal("1234.56")));
    assert_eq!(line.extra, some(r#"{"quantity":2.9999999999999997e-4,"price":1234.5599999999999}"#));
}

#[test]
fn a_single_product_that_comes_as_an_object_is_a_list_of_one() {
    for record in [
        r#"{"id":7,"products":{"code":"a","quantity":2,"brand":"X"}}"#,
        r#"{"id":7,"order":{"items":{"quantity":2,"brand":"X","sku":"a","price":null}}}"#,
        r#"{"id":7,"products":[{"code":"a","quantity":2,"brand":"X"}]}"#,
        r#"{"id":7,"products":{"3":{"code":"a","quantity":2,"brand":"X"}}}"#,
    ] {
        let order = mapped(record);
        let line = Line { code: some("a"), quantity: decimal("2"), extra: some(r#"{"brand":"X"}"#), ..Line::default() };
        assert_eq!((order.lines, order.extra), (vec![line], None), "{record}");
    }
}

#[test]
fn text_is_taken_as_it_is_and_numbers_as_they_are_written() {
    for (json, expected) in [
        (r#""  a b ""#, some("  a b ")),
        (r#""nul \u0000 and 🙏""#, some("nul \u{0} and 🙏")),
        ("1.50", some("1.50")),
        ("12345678901234567890123", some("12345678901234567890123")),
        ("1e5", some("1e5")),
        ("null", None),
        (r#""""#, None),
        (r#"" \n""#, None),
    ] {
        let order = mapped(&format!(r#"{{"id":7,"buyer":{{"mobile":{json},"x":1}}}}"#));
        assert_eq!(order.buyer.mobile, expected, "{json}");
    }
}

#[test]
fn the_first_pointer_that_finds_a_value_wins_and_other_spellings_are_left() {
    let order =
        mapped(r#"{"order":{"order_id":2,"id":1,"status":" ","state":"new","estado":null},"id":3,"status":"old"}"#);
    assert_eq!((order.id.as_str(), order.status), ("1", some("new")));
    assert_eq!(order.extra, some(r#"{"order":{"order_id":2,"estado":null},"id":3,"status":"old"}"#));
}

#[test]
fn products_come_in_the_order_of_their_numbers_however_php_writes_the_list() {
    for json in
        [r#"[{"code":"a"},{"code":"b"},{"code":"c"}]"#, r#"{"10":{"code":"c"},"2":{"code":"b"},"0":{"code":"a"}}"#]
    {
        let order = mapped(&format!(r#"{{"id":7,"products":{json}}}"#));
        assert_eq!(order.lines.iter().map(|line| line.code.as_deref().unwrap()).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}

#[test]
fn a_date_is_kept_as_it_came_and_read_in_the_stores_country() {
    let date = |country, json| {
        let record = format!(r#"{{"id":7,"created_at":{json}}}"#);
        let date = Mapping::default().order(country, raw(&record)).unwrap().created_at.unwrap();
        (date.raw, date.epoch_millis)
    };
    let co = date(Country::Co, r#"" 2026-11-20 14:03:11""#);
    assert_eq!(co, (" 2026-11-20 14:03:11".to_owned(), Some(1_795_201_391_000)));
    assert_eq!(date(Country::Mx, r#""2026-11-20 13:03:11""#).1, co.1);
    assert_eq!(date(Country::Mx, "1795201391"), ("1795201391".to_owned(), co.1));
    assert_eq!(date(Country::Co, r#""0000-00-00 00:00:00""#), ("0000-00-00 00:00:00".to_owned(), None));
}

#[test]
fn another_mapping_reads_a_shape_that_the_default_does_not_know() {
    let mapping: Mapping = toml::from_str(
        r#"
        order.id = "/folio"
        order.total = "/pagos/1/monto"
        buyer.at = "/cliente"
        buyer.name = "/nombre/completo"
        products.at = "/detalle/renglones"
        products.code = ["/clave"]
        "#,
    )
    .unwrap();
    let json = r#"{"folio":"F1","id":9,"pagos":[{"monto":1},{"monto":2}],"cliente":{"nombre":{"completo":"Ana","corto":"A"}},
        "detalle":{"renglones":[{"clave":"k","code":"c"}]}}"#;
    let order = mapping.order(Country::Mx, raw(json)).unwrap();
    assert_eq!((order.id.as_str(), order.total, order.currency.as_str()), ("F1", decimal("2"), "MXN"));
    assert_eq!((order.buyer.name, order.buyer.extra), (some("Ana"), some(r#"{"nombre":{"corto":"A"}}"#)));
    assert_eq!((order.lines[0].code.clone(), order.lines[0].extra.clone()), (some("k"), some(r#"{"code":"c"}"#)));
    assert_eq!(order.extra, some(r#"{"id":9,"pagos":[{"monto":1},null]}"#));
}

#[test]
fn one_place_can_feed_two_fields() {
    let mapping: Mapping = toml::from_str("order.total = '/sum'\norder.subtotal = '/sum'").unwrap();
    let order = mapping.order(Country::Co, raw(r#"{"id":7,"sum":5}"#)).unwrap();
    assert_eq!((order.total, order.subtotal, order.extra), (decimal("5"), decimal("5"), None));
}

#[test]
fn no_nesting_is_too_deep() {
    let bomb = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    let order = mapped(&format!(r#"{{"id":7,"x":{bomb}}}"#));
    assert_eq!(order.extra, Some(format!(r#"{{"x":{bomb}}}"#)));
    let order = mapped(&format!(r#"{{"id":7,"total":{bomb}}}"#));
    assert_eq!((order.total, order.extra), (None, Some(format!(r#"{{"total":{bomb}}}"#))));
}

/// Keys that the mapping treats specially, so that random records reach every branch.
const NAMES: [&str; 20] = [
    "order",
    "products",
    "buyer",
    "items",
    "id",
    "order_id",
    "total",
    "status",
    "created_at",
    "currency",
    "code",
    "name",
    "quantity",
    "unit_price",
    "email",
    "city",
    "0",
    "1",
    "x",
    "$serde_json::private::Number",
];

fn any_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,6})?([eE][+-]?[0-9]{1,3})?",
        any::<String>().prop_map(|text| Value::from(text).to_string()),
        "[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:?[0-9]{2})?"
            .prop_map(|date| format!("{date:?}")),
        Just(r#""\ud800""#.to_owned()),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        let name = prop::sample::select(&NAMES[..]);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..5).prop_map(|list| format!("[{}]", list.join(","))),
            3 => prop::collection::vec((name, inner), 0..8).prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(name, value)| format!("{name:?}:{value}")).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_json_is_an_order_or_a_dead_letter_and_never_a_panic(json in any_json(), country in prop::sample::select(&Country::ALL[..])) {
        match Mapping::default().order(country, raw(&json)) {
            Err(letter) => prop_assert_eq!(letter.json, json.as_bytes()),
            Ok(order) => {
                let extras = [&order.extra, &order.buyer.extra].into_iter().chain(order.lines.iter().map(|line| &line.extra));
                for extra in extras.flatten() {
                    prop_assert_eq!(Kind::of(raw(extra)), Kind::Object);
                }
            }
        }
    }
}

/// Builds a record. Every leaf is a different number, so that each can be found again.
#[derive(Default)]
struct Draft {
    leaves: Vec<String>,
}

impl Draft {
    fn leaf(&mut self, style: u8) -> String {
        let number = 1_000_000 + self.leaves.len();
        self.leaves.push(number.to_string());
        match style % 3 {
            0 => number.to_string(),
            1 => format!("{number}.000"),
            _ => format!("\"{number}\""),
        }
    }

    fn object(&mut self, fields: &Fields) -> String {
        let mut seen = std::collections::HashSet::new();
        let mut entries = Vec::new();
        for (name, style) in fields.iter().filter(|(name, _)| seen.insert(*name)) {
            let value = match (*name, style % 4) {
                ("id" | "order_id", _) => self.leaf(2),
                ("x" | "y", 3) => {
                    format!(r#"{{"id":[{},{{"total":{}}}],"z":{}}}"#, self.leaf(0), self.leaf(1), self.leaf(2))
                }
                // A value of a kind that no field of this name has.
                (_, 2) if style % 8 == 2 => format!(r#"{{"w":{}}}"#, self.leaf(*style)),
                (_, 2) => format!("[{}]", self.leaf(*style)),
                _ => self.leaf(*style),
            };
            entries.push(format!("{name:?}:{value}"));
        }
        format!("{{{}}}", entries.join(","))
    }
}

type Fields = Vec<(&'static str, u8)>;

fn fields(names: &'static [&'static str]) -> impl Strategy<Value = Fields> {
    prop::collection::vec((prop::sample::select(names), any::<u8>()), 0..12)
}

/// The leaves of an order, wherever they ended up. Trailing zeros of amounts are removed, as from all numbers compared.
fn leaves_of(order: &Order) -> Vec<String> {
    let plain = |text: &str| text.parse::<Decimal>().map_or(text.to_owned(), |number| number.normalize().to_string());
    let Order { status, payment_status, payment_method, created_at, updated_at, buyer, .. } = order;
    let dates = [created_at, updated_at].into_iter().flatten().map(|date| date.raw.clone());
    let amounts = [order.total, order.subtotal, order.shipping, order.discount, order.tax];
    let amounts = amounts
        .into_iter()
        .chain(order.lines.iter().flat_map(|line| [line.quantity, line.unit_price, line.unit_price_before]));
    let texts = [status, payment_status, payment_method, &buyer.name, &buyer.email, &buyer.mobile, &buyer.document]
        .into_iter()
        .chain([&buyer.address, &buyer.city, &buyer.region, &buyer.postal_code])
        .chain(order.lines.iter().flat_map(|line| [&line.code, &line.name]));
    let extras = [&order.extra, &buyer.extra].into_iter().chain(order.lines.iter().map(|line| &line.extra));
    let mut leaves = vec![order.id.to_string()];
    leaves.extend(dates);
    leaves.extend(amounts.flatten().map(|amount| amount.to_string()));
    leaves.extend(texts.flatten().cloned());
    for extra in extras.flatten() {
        collect(&serde_json::from_str(extra).unwrap(), &mut leaves);
    }
    let mut leaves: Vec<_> = leaves.iter().map(|leaf| plain(leaf)).collect();
    leaves.sort();
    leaves
}

fn collect(value: &Value, leaves: &mut Vec<String>) {
    match value {
        Value::Object(entries) => entries.values().for_each(|value| collect(value, leaves)),
        Value::Array(list) => list.iter().for_each(|value| collect(value, leaves)),
        Value::String(text) => leaves.push(text.clone()),
        other => leaves.push(other.to_string()),
    }
}

proptest! {
    #[test]
    fn every_leaf_of_a_record_is_in_one_field_or_in_one_extra(
        top in fields(&["id", "total", "status", "x", "date", "tax"]),
        order in fields(&["order_id", "total", "grand_total", "status", "state", "created_at", "fecha", "updated_at", "subtotal", "shipping", "iva", "x", "y", "payment_method"]),
        buyer in fields(&["name", "nombre", "email", "mobile", "phone", "document", "address", "city", "state", "zip", "x", "id"]),
        products in prop::collection::vec(fields(&["code", "sku", "name", "quantity", "qty", "price", "unit_price", "unit_price_before", "x", "id"]), 0..4),
        numbered: bool,
        inside: bool,
    ) {
        let mut draft = Draft::default();
        let id = draft.leaf(2);
        let mut top = draft.object(&top);
        let mut order = draft.object(&order);
        let buyer = draft.object(&buyer);
        let products: Vec<_> = products.iter().map(|product| draft.object(product)).collect();
        let products = if numbered {
            let entries: Vec<_> = products.iter().enumerate().map(|(key, product)| format!("\"{}\":{product}", 3 * key)).collect();
            format!("{{{}}}", entries.join(","))
        } else {
            format!("[{}]", products.join(","))
        };
        let join = |object: &mut String, entries: &str| {
            let comma = if object == "{}" { "" } else { "," };
            object.insert_str(object.len() - 1, &format!("{comma}{entries}"));
        };
        let parts = format!(r#""products":{products},"buyer":{buyer}"#);
        join(if inside { &mut order } else { &mut top }, &parts);
        join(&mut order, &format!(r#""id":{id}"#));
        join(&mut top, &format!(r#""order":{order}"#));
        let order = mapped(&top);
        draft.leaves.sort();
        prop_assert_eq!(leaves_of(&order), draft.leaves, "{}", top);
    }
}

#[test]
fn an_id_that_is_written_as_a_float_is_the_whole_number() {
    let id = |number: &str| {
        let raw: &RawValue = serde_json::from_str(number).unwrap();
        order_id(raw).ok().flatten().map(|id| id.as_str().to_owned())
    };
    for (number, expected) in [
        ("9000001", Some("9000001")),
        ("9000001.0", Some("9000001")),
        ("9000001.000", Some("9000001")),
        ("9.000001e6", Some("9000001")),
        ("9.000001E+6", Some("9000001")),
        ("90000010e-1", Some("9000001")),
        ("-7.0", Some("-7")),
        ("0.0", Some("0")),
        ("9007199254740991.0", Some("9007199254740991")),
        ("9007199254740992.0", None),
        ("1.0e+25", None),
        ("1e999999999999", None),
        ("7.5", None),
        ("75e-1", None),
        ("1e-400", None),
        (r#""9000001.0""#, Some("9000001.0")),
    ] {
        assert_eq!(id(number).as_deref(), expected, "{number}");
    }
}

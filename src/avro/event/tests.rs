use apache_avro::writer::datum::GenericDatumWriter;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::avro::contract::{ContractError, ORDER_EVENT};
use crate::order::privacy::Personal;
use crate::order::{Buyer, DateText, Line, Order};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn decimal(value: &str) -> Option<Decimal> {
    Some(value.parse().unwrap())
}

fn full_order() -> Order {
    let date = |raw: &str, epoch_millis| Some(DateText { raw: raw.to_owned(), epoch_millis });
    Order {
        id: "000123".parse().unwrap(),
        status: text("aprobada"),
        payment_status: text("pagada"),
        payment_method: text("PSE"),
        currency: "COP".to_owned(),
        created_at: date("2025-11-24 10:00:00", Some(1_763_996_400_000)),
        updated_at: date("ayer", None),
        total: decimal("129900.00"),
        subtotal: decimal("119900.5"),
        shipping: decimal("10000"),
        discount: decimal("-0.0001"),
        tax: decimal("99999999999999.9999"),
        buyer: Buyer {
            name: text("Ana Pérez"),
            email: text("ana@example.com"),
            mobile: text("3001234567"),
            document: text("CC 1"),
            address: text("Calle 1 # 2-3"),
            city: text("Bogotá"),
            region: text("Cundinamarca"),
            postal_code: text("110111"),
            extra: text(r#"{"a":1}"#),
        },
        lines: vec![
            Line {
                code: text("P-1"),
                name: text("Filtro"),
                quantity: decimal("2"),
                unit_price: decimal("59950.25"),
                unit_price_before: decimal("70000"),
                extra: text("{}"),
            },
            Line::default(),
        ],
        extra: text(r#"{"x":null}"#),
    }
}

fn bare_order() -> Order {
    Order {
        id: "1".parse().unwrap(),
        status: None,
        payment_status: None,
        payment_method: None,
        currency: "MXN".to_owned(),
        created_at: None,
        updated_at: None,
        total: None,
        subtotal: None,
        shipping: None,
        discount: None,
        tax: None,
        buyer: Buyer::default(),
        lines: Vec::new(),
        extra: None,
    }
}

fn origin(read_at: &str) -> Origin {
    let read_id = "0192f0c1-2345-7000-8000-000000000001".parse().unwrap();
    Origin::new("bogota".parse().unwrap(), Country::Co, read_id, read_at.parse().unwrap())
}

fn with_event<R>(order: &Order, f: impl FnOnce(&Event) -> R) -> R {
    let origin = origin("2025-11-24T15:00:01.5Z");
    let order = EncodedOrder::of(&origin, order, Readers::default()).unwrap();
    f(&Event { origin: &origin, revision: Revision::FIRST, reason: Reason::Drained, order: &order })
}

fn message(order: &Order) -> Vec<u8> {
    with_event(order, |event| event.to_message(ORDER_EVENT.frame()))
}

fn read(message: &[u8]) -> Result<OrderEvent, ContractError> {
    ORDER_EVENT.read(ORDER_EVENT.schema(), Frame::split(message).unwrap().1)
}

#[test]
fn a_full_order_survives_the_way_to_a_message_and_back() {
    let order = full_order();
    let event = read(&message(&order)).unwrap();
    assert_eq!((event.store.as_str(), event.country.as_str(), event.order_id.as_str()), ("bogota", "CO", "000123"));
    assert_eq!((event.revision, event.reason), (Revision::FIRST, Reason::Drained));
    assert_eq!(event.read_id, "0192f0c1-2345-7000-8000-000000000001");
    assert_eq!(event.read_at, 1_763_996_401_500);
    assert_eq!(event.content_hash, ContentHash::of(&order).to_string());
    let DateText { raw, epoch_millis } = order.created_at.unwrap();
    assert_eq!((event.created_at, event.created_at_raw), (epoch_millis, Some(raw)));
    assert_eq!((event.updated_at, event.updated_at_raw), (None, text("ayer")));
    let amounts = [event.total, event.subtotal, event.shipping, event.discount, event.tax];
    assert_eq!(
        amounts.map(|amount| amount.map(Decimal::from)),
        [order.total, order.subtotal, order.shipping, order.discount, order.tax]
    );
    assert_eq!((event.status, event.currency, event.extra), (order.status, order.currency, order.extra));
    assert_eq!((event.payment_status, event.payment_method), (order.payment_status, order.payment_method));
    let buyer = event.buyer;
    let texts = [buyer.name, buyer.email, buyer.mobile, buyer.document, buyer.address, buyer.city, buyer.region];
    let buyer_of = order.buyer;
    let Buyer { name, email, mobile, document, address, city, region, postal_code, extra } = buyer_of;
    assert_eq!(texts, [name, email, mobile, document, address, city, region]);
    assert_eq!((buyer.postal_code, buyer.extra), (postal_code, extra));
    assert_eq!(event.lines.len(), 2);
    let (read, line) = (&event.lines[0], &order.lines[0]);
    assert_eq!((&read.code, &read.name, &read.extra), (&line.code, &line.name, &line.extra));
    assert_eq!(
        [read.quantity, read.unit_price, read.unit_price_before].map(|amount| amount.map(Decimal::from)),
        [line.quantity, line.unit_price, line.unit_price_before]
    );
}

#[test]
fn an_order_of_which_nothing_but_the_id_is_known_survives_too() {
    let event = read(&message(&bare_order())).unwrap();
    assert_eq!((event.order_id.as_str(), event.currency.as_str()), ("1", "MXN"));
    assert!(event.total.is_none() && event.created_at.is_none() && event.lines.is_empty());
    assert!(event.buyer == EventBuyer::default());
}

/// The message as this module writes it, and as the library writes, by the schema, what it has read from that.
fn both_ways(event: &Event<'_>) -> (Vec<u8>, Vec<u8>) {
    let message = event.to_message(ORDER_EVENT.frame());
    let record = read(&message).unwrap();
    assert_eq!((record.revision, record.reason), (event.revision, event.reason));
    let writer = GenericDatumWriter::builder(ORDER_EVENT.schema()).build().unwrap();
    (Frame::split(&message).unwrap().1.to_vec(), writer.write_ser_to_vec(&record).unwrap())
}

#[test]
fn what_is_written_is_what_the_library_writes_by_the_schema() {
    use Reason::{Drained, Reconciled, Republished, Resynced, Unknown, Updated};
    for order in [full_order(), bare_order()] {
        for reason in [Unknown, Drained, Reconciled, Resynced, Updated, Republished] {
            let (ours, theirs) = with_event(&order, |event| both_ways(&Event { reason, ..*event }));
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn an_amount_that_would_be_rounded_is_an_error_that_names_the_field() {
    let mut order = full_order();
    order.lines[1].unit_price = decimal("0.00001");
    let error = EncodedOrder::of(&origin("2025-11-24T15:00:01.5Z"), &order, Readers::default()).unwrap_err();
    assert_eq!(error.to_string(), "`lines.unit_price` can't be published exactly: it has more than 4 decimal places");
}

#[test]
fn the_content_hash_never_changes_by_accident() {
    assert_eq!(ContentHash::of(&full_order()).to_string(), "8dd050fa3cbbefbf94e98ead78a775c4");
    assert_eq!(ContentHash::of(&bare_order()).to_string(), "327f5556879493b2f0394a626ef975c9");
}

#[test]
fn the_content_hash_sees_every_change_but_how_a_number_is_written() {
    let hash = |change: fn(&mut Order)| {
        let mut order = full_order();
        change(&mut order);
        ContentHash::of(&order)
    };
    let same = hash(|_| ());
    assert_eq!(same, hash(|order| order.total = decimal("129900")));
    assert_eq!(hash(|order| order.tax = decimal("0")), hash(|order| order.tax = decimal("-0.00")));
    let changes: [fn(&mut Order); 6] = [
        |order| order.status = None,
        |order| order.total = decimal("129900.01"),
        |order| order.buyer.extra = None,
        |order| order.lines.truncate(1),
        |order| order.lines.swap(0, 1),
        |order| std::mem::swap(&mut order.status, &mut order.payment_status),
    ];
    assert!(changes.into_iter().all(|change| hash(change) != same));
}

#[test]
fn the_headers_are_cloud_events_and_the_same_at_every_attempt() {
    let order = full_order();
    let headers = || with_event(&order, |event| owned(&event.headers()));
    assert_eq!(headers(), headers());
    let expected = [
        ("ce_specversion", "1.0"),
        ("ce_id", "bogota/000123/1"),
        ("ce_source", "/imotriz/CO/bogota"),
        ("ce_type", "com.imotriz.order.v1.drained"),
        ("ce_time", "2025-11-24T15:00:01.5Z"),
        ("ce_subject", "000123"),
        ("content-type", "application/avro"),
        ("traceparent", "00-0192f0c1234570008000000000000001-b46de0f9d44bca3b-01"),
        ("imotriz-reason", "DRAINED"),
    ];
    assert_eq!(headers(), expected.map(|(name, value)| (name, value.to_owned())));
    for reason in Reason::WRITTEN {
        let headers = with_event(&order, |event| owned(&Event { reason, ..*event }.headers()));
        let (_, event_type) = headers.into_iter().find(|(name, _)| *name == "ce_type").unwrap();
        assert_eq!(event_type, format!("com.imotriz.order.v1.{}", reason.as_str().to_lowercase()));
    }
}

fn owned(headers: &Headers<'_>) -> Vec<(&'static str, String)> {
    headers.iter().map(|(name, value)| (*name, value.clone().into_owned())).collect()
}

#[test]
fn a_dead_letter_says_where_it_came_from_and_what_is_wrong() {
    let letter = DeadLetter {
        id: None,
        json: b"{}".to_vec(),
        reason: "the ID is missing".to_owned(),
        pointer: "/order/id".to_owned(),
    };
    let (origin, time) = (origin("2025-11-24T15:00:00Z"), "2025-11-24T15:00:01Z".parse().unwrap());
    let headers = dead_letter_headers(&letter, &origin, time);
    let values: Vec<&str> = headers.iter().map(|(_, value)| value.as_ref()).collect();
    assert_eq!(
        values,
        [
            "the ID is missing",
            "/order/id",
            "bogota",
            "0192f0c1-2345-7000-8000-000000000001",
            "2025-11-24T15:00:01Z",
            env!("CARGO_PKG_VERSION"),
        ]
    );
}

#[test]
fn an_event_in_a_log_tells_nothing_personal() {
    assert_eq!(
        format!("{:?}", read(&message(&full_order())).unwrap()),
        "OrderEvent(bogota/000123, revision 1, DRAINED)"
    );
}

#[test]
fn an_event_of_a_later_version_keeps_what_this_one_knows() {
    let later = ORDER_EVENT
        .text()
        .replace(
            r#"{"name":"email""#,
            r#"{"name":"notes","type":{"type":"array","items":"int"},"default":[]},{"name":"email""#,
        )
        .replace(r#""DRAINED","#, r#""IMPORTED","DRAINED","#);
    let later = apache_avro::Schema::parse_str(&later).unwrap();
    ORDER_EVENT.check_writer(&later).unwrap();
    let writer = apache_avro::writer::datum::GenericDatumWriter::builder(&later).build().unwrap();
    let ours = read(&message(&full_order())).unwrap();
    let datum = writer.write_ser_to_vec(&ours).unwrap();
    assert_eq!(ORDER_EVENT.read(&later, &datum), Ok(ours));
}

proptest! {
    #[test]
    fn whatever_a_field_holds_it_is_written_as_the_library_writes_it(
        texts: [Option<String>; 4],
        amounts in prop::array::uniform4(prop::option::of(-10_i64.pow(18) + 1..10_i64.pow(18))),
        small in prop::option::of(-70_000_i64..70_000),
        millis: Option<i64>,
        revision: i32,
        lines in 0_usize..130,
    ) {
        let decimal = |unscaled| Decimal::new(unscaled, Order::SCALE);
        let [status, email, code, extra] = texts;
        let [total, tax, quantity, unit_price] = amounts.map(|amount| amount.map(decimal));
        let line = Line { code, quantity, unit_price, unit_price_before: small.map(decimal), ..Line::default() };
        let date = DateText { raw: "ayer".to_owned(), epoch_millis: millis };
        let buyer = Buyer { email, ..Buyer::default() };
        let lines = vec![line; lines];
        let order = Order { status, total, tax, extra, created_at: Some(date), buyer, lines, ..bare_order() };
        let revision = Revision::try_from(revision).unwrap_or(Revision::FIRST);
        let (ours, theirs) = with_event(&order, |event| both_ways(&Event { revision, ..*event }));
        prop_assert_eq!(ours, theirs);
        let (record, amount) = (read(&message(&order)).unwrap(), |amount: Option<_>| amount.map(Decimal::from));
        prop_assert_eq!((record.status, record.extra, record.created_at), (order.status, order.extra, millis));
        prop_assert_eq!((amount(record.total), amount(record.tax)), (order.total, order.tax));
        prop_assert_eq!((record.buyer.email, record.lines.len()), (order.buyer.email, order.lines.len()));
        for (record, line) in record.lines.into_iter().zip(order.lines) {
            prop_assert_eq!((record.code, amount(record.quantity)), (line.code, line.quantity));
            prop_assert_eq!(amount(record.unit_price_before), line.unit_price_before);
        }
    }

    #[test]
    fn no_bytes_make_reading_panic(datum in any::<Vec<u8>>()) {
        ORDER_EVENT.read::<OrderEvent>(ORDER_EVENT.schema(), &datum).ok();
    }

    #[test]
    fn no_damage_makes_reading_panic(damage in prop::collection::vec((0_usize..1000, any::<u8>()), 1..4)) {
        let mut message = message(&full_order());
        for (at, byte) in damage {
            let at = 10 + at % (message.len() - 10);
            message[at] = byte;
        }
        read(&message).ok();
    }

    #[test]
    fn a_content_hash_survives_the_way_to_text_and_back(bytes in any::<Vec<u8>>()) {
        let hash = ContentHash::of_bytes(&bytes);
        prop_assert_eq!(hash.to_string().parse(), Ok(hash));
    }
}

/// The event as JSON, with each field that the schema marks as personal taken out, down to `null`.
fn without_marked(value: &mut serde_json::Value, schema: &serde_json::Value) {
    use serde_json::Value;
    fn empty(value: &mut Value) {
        match value {
            Value::Object(members) => members.values_mut().for_each(empty),
            other => *other = Value::Null,
        }
    }
    match value {
        Value::Object(members) => {
            for field in schema["fields"].as_array().into_iter().flatten() {
                let member = members.get_mut(field["name"].as_str().unwrap()).unwrap();
                if field["pii"] == true { empty(member) } else { without_marked(member, &field["type"]) }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| without_marked(item, &schema["items"])),
        _ => {}
    }
}

#[test]
fn who_may_see_nothing_personal_sees_all_but_what_the_schema_marks() {
    let (origin, order) = (origin("2025-11-24T15:00:01.5Z"), full_order());
    let readers = Readers { personal: Personal::None, masked_topic: true };
    let encoded = EncodedOrder::of(&origin, &order, readers).unwrap();
    let event = Event { origin: &origin, revision: Revision::FIRST, reason: Reason::Drained, order: &encoded };
    let frame = ORDER_EVENT.frame();
    let (none, masked) = (event.to_message(frame), event.to_masked_message(frame).unwrap());
    assert_eq!(none, masked, "the second topic shows what `none` does");
    let mut expected = serde_json::to_value(read(&message(&order)).unwrap()).unwrap();
    let whole = expected.clone();
    without_marked(&mut expected, &serde_json::from_str(ORDER_EVENT.text()).unwrap());
    assert_ne!(expected, whole, "the schema marks nothing");
    assert_eq!(serde_json::to_value(read(&none).unwrap()).unwrap(), expected);
    let readers = Readers { personal: Personal::Masked, masked_topic: false };
    let encoded = EncodedOrder::of(&origin, &order, readers).unwrap();
    assert_eq!(encoded.content_hash, ContentHash::of(&order), "another setting is no change of the order");
    assert!(encoded.masked.is_none());
}

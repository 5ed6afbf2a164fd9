//! An event as JSON for people and scripts: amounts with every digit, times in RFC 3339, personal data masked.

use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::avro::contract::ORDER_EVENT;
use crate::avro::event::{EventBuyer, EventLine, OrderEvent};
use crate::order::amount::Amount;

/// Stands in the place of a personal value.
pub const MASK: &str = "•••";

/// The Avro schema as JSON. Its `pii` attributes say which fields are personal.
static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(ORDER_EVENT.text()).expect("a schema of ours is JSON"));

/// Renders the event. Amounts are strings, so that no JSON reader rounds them. Unless `show_pii`, [`MASK`] replaces the
/// value of each field that the schema marks with `"pii": true`.
#[must_use]
pub fn event(event: &OrderEvent, show_pii: bool) -> Value {
    let mut json = whole(event);
    if !show_pii {
        mask(&mut json, &SCHEMA);
    }
    json
}

/// Destructures the event, so that a new field of the schema does not compile until it is rendered here.
fn whole(event: &OrderEvent) -> Value {
    let OrderEvent {
        store,
        country,
        order_id,
        revision,
        reason,
        read_id,
        read_at,
        content_hash,
        currency,
        status,
        payment_status,
        payment_method,
        created_at,
        created_at_raw,
        updated_at,
        updated_at_raw,
        total,
        subtotal,
        shipping,
        discount,
        tax,
        buyer,
        lines,
        extra,
    } = event;
    json!({
        "store": store, "country": country, "order_id": order_id, "revision": revision, "reason": reason.as_str(),
        "read_id": read_id, "read_at": time(Some(*read_at)), "content_hash": content_hash, "currency": currency,
        "status": status, "payment_status": payment_status, "payment_method": payment_method,
        "created_at": time(*created_at), "created_at_raw": created_at_raw,
        "updated_at": time(*updated_at), "updated_at_raw": updated_at_raw,
        "total": amount(*total), "subtotal": amount(*subtotal), "shipping": amount(*shipping),
        "discount": amount(*discount), "tax": amount(*tax),
        "buyer": of_buyer(buyer), "lines": lines.iter().map(line).collect::<Vec<_>>(), "extra": extra,
    })
}

fn of_buyer(buyer: &EventBuyer) -> Value {
    let EventBuyer { name, email, mobile, document, address, city, region, postal_code, extra } = buyer;
    json!({
        "name": name, "email": email, "mobile": mobile, "document": document, "address": address, "city": city,
        "region": region, "postal_code": postal_code, "extra": extra,
    })
}

fn line(line: &EventLine) -> Value {
    let EventLine { code, name, quantity, unit_price, unit_price_before, extra } = line;
    json!({
        "code": code, "name": name, "quantity": amount(*quantity), "unit_price": amount(*unit_price),
        "unit_price_before": amount(*unit_price_before), "extra": extra,
    })
}

fn time(millis: Option<i64>) -> Option<String> {
    Timestamp::from_millisecond(millis?).ok().map(|time| time.to_string())
}

fn amount(amount: Option<Amount>) -> Option<String> {
    amount.map(|amount| amount.to_string())
}

/// Descends into records and lists by the schema.
fn mask(value: &mut Value, schema: &Value) {
    match value {
        Value::Object(members) => {
            for field in schema["fields"].as_array().into_iter().flatten() {
                let Some(member) = field["name"].as_str().and_then(|name| members.get_mut(name)) else { continue };
                if field["pii"] == true {
                    hide(member);
                } else {
                    mask(member, &field["type"]);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mask(item, &schema["items"])),
        _ => {}
    }
}

/// Masks a value, or all values inside it. Null stays null: that a value is absent is worth knowing.
fn hide(value: &mut Value) {
    match value {
        Value::Null => {}
        Value::Object(members) => members.values_mut().for_each(hide),
        Value::Array(items) => items.iter_mut().for_each(hide),
        value => *value = MASK.into(),
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;

    use super::*;
    use crate::avro::event::{Reason, Revision};

    fn full() -> OrderEvent {
        let text = |value: &str| Some(value.to_owned());
        let money = |value: &str| Some(Amount::try_from(value.parse::<Decimal>().unwrap()).unwrap());
        OrderEvent {
            store: "bogota".into(),
            country: "CO".into(),
            order_id: "4810007".into(),
            revision: Revision::FIRST,
            reason: Reason::Drained,
            read_id: "r".into(),
            read_at: 1_764_000_000_000,
            content_hash: "h".into(),
            currency: "COP".into(),
            status: text("aprobada"),
            payment_status: None,
            payment_method: text("PSE"),
            created_at: Some(1_763_999_000_000),
            created_at_raw: text("2025-11-24 10:43:20"),
            updated_at: None,
            updated_at_raw: None,
            total: money("99999999999999.9999"),
            subtotal: money("0.1"),
            shipping: None,
            discount: None,
            tax: None,
            buyer: EventBuyer {
                name: text("Ana Pérez"),
                email: text("ana@example.com"),
                mobile: None,
                document: text("CC 1"),
                address: text("Calle 1"),
                city: text("Cali"),
                region: text("Valle"),
                postal_code: text("760001"),
                extra: text("{\"nick\":\"Anita\"}"),
            },
            lines: vec![EventLine {
                code: text("YTX7"),
                name: text("Batería"),
                quantity: money("2"),
                unit_price: money("64950.25"),
                unit_price_before: None,
                extra: text("{\"gift_for\":\"Luis\"}"),
            }],
            extra: text("{\"note\":\"call Ana\"}"),
        }
    }

    #[test]
    fn personal_values_are_masked_as_the_schema_says_and_nothing_else_is() {
        let shown = event(&full(), false).to_string();
        for personal in ["Ana", "CC 1", "Calle", "Cali", "Valle", "760001", "Anita", "Luis", "call"] {
            assert!(!shown.contains(personal), "{personal}: {shown}");
        }
        let (masked, open) = (event(&full(), false), event(&full(), true));
        assert_eq!((&masked["buyer"]["name"], &masked["buyer"]["mobile"]), (&json!(MASK), &Value::Null));
        assert_eq!(masked["lines"][0]["name"], "Batería");
        assert_eq!((&open["buyer"]["name"], &open["extra"]), (&json!("Ana Pérez"), &json!("{\"note\":\"call Ana\"}")));
        assert_eq!(masked["order_id"], open["order_id"]);
    }

    #[test]
    fn amounts_keep_every_digit_and_times_can_be_read() {
        let shown = event(&full(), false);
        assert_eq!((&shown["total"], &shown["subtotal"]), (&json!("99999999999999.9999"), &json!("0.1")));
        assert_eq!(shown["lines"][0]["unit_price"], "64950.25");
        assert_eq!(shown["read_at"], "2025-11-24T16:00:00Z");
    }

    #[test]
    fn every_field_of_the_schema_is_there_and_no_other() {
        let shown = event(&full(), true);
        let names = |schema: &Value| -> Vec<String> {
            schema["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap().into()).collect()
        };
        let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let field = |name: &str| {
            let fields = SCHEMA["fields"].as_array().unwrap();
            fields.iter().find(|field| field["name"] == name).unwrap()["type"].clone()
        };
        assert_eq!(members(&shown), names(&SCHEMA));
        assert_eq!(members(&shown["buyer"]), names(&field("buyer")));
        assert_eq!(members(&shown["lines"][0]), names(&field("lines")["items"]));
    }
}

//! Tests of what the readers of the topics see of a buyer.

use std::collections::BTreeMap;
use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;

use crate::support::consume::{self, Record};
use crate::support::scene::{RUN_DEADLINE, Scene, keys};
use crate::support::{topics, wait};

/// A buyer all of whose fields can be told from anything else.
const BUYER: &str = r#""buyer":{"name":"Canaria Pajarera","email":"canaria.pajarera@jaula.example","mobile":"+57 3009998877",
    "document":"CC 9988776655","address":"Calle Canaria 12","city":"Cali","state":"Valle","postal_code":"760001",
    "company":"Pajarera SAS"}"#;
const CANARIES: [&str; 8] = [
    "Canaria Pajarera",
    "canaria.pajarera",
    "3009998877",
    "9988776655",
    "Calle Canaria 12",
    "760001",
    "Pajarera SAS",
    "nota para Canaria",
];

fn order(id: u64) -> String {
    format!(
        r#"{{"order":{{"id":{id},"total":"10.00","notes":"nota para Canaria"}},{BUYER},
            "products":[{{"code":"A","name":"mesa","engraving":"nota para Canaria"}}]}}"#
    )
}

fn seen(records: &[Record]) -> Vec<&'static str> {
    let text: String = records.iter().map(|record| String::from_utf8_lossy(record.payload.as_ref().unwrap())).collect();
    CANARIES.into_iter().filter(|canary| text.contains(canary)).collect()
}

fn names(records: &[Record]) -> BTreeMap<String, String> {
    let named = |record: &Record| (record.header("ce_id").unwrap().to_owned(), record.key.clone().unwrap());
    records.iter().map(named).collect()
}

#[test]
fn the_second_topic_holds_the_same_events_in_the_same_transactions_and_nothing_personal() {
    let args = SandboxArgs { delay: Duration::from_millis(500), ..SandboxArgs::with_orders(300) };
    let masked = topics::unique("masked");
    let scene = Scene::new("personal", args).with("IMOTRIZ_KAFKA__TOPICS__ORDERS_MASKED", &masked);
    for id in 1..=30 {
        scene.shop().insert(&order(id)).unwrap();
    }
    scene.run(&["topics", "ensure"], 0);
    // Wherever the kill strikes, both topics have a transaction or neither has it.
    let mut killed = scene.settings.start(&["drain"]);
    wait::until("it is publishing", RUN_DEADLINE, || !consume::committed(scene.kafka(), &masked).is_empty());
    killed.kill9();
    assert!(scene.shop().summary().pending > 0, "the kill came too late");
    scene.drain();
    let (whole, masked) = (scene.events(), consume::committed(scene.kafka(), &masked));
    // What the read that was cut had marked came by way of the list.
    assert_eq!((whole.len(), masked.len(), keys(&whole).len()), (330, 330, 330));
    assert_eq!(names(&whole), names(&masked));
    assert_eq!((seen(&whole), seen(&masked)), (CANARIES.to_vec(), vec![]));
    let published = scene.run(&["--json", "doctor"], 0);
    assert!(published.stdout().contains("topic masked-"), "{}", published.stdout());
}

#[test]
fn the_settings_say_how_much_of_a_buyer_the_orders_topic_shows() {
    for (personal, shown) in [("full", CANARIES.len()), ("masked", 0), ("none", 0)] {
        let scene = Scene::new("personal", SandboxArgs::with_orders(0)).with("IMOTRIZ_EVENTS__PERSONAL", personal);
        scene.shop().insert(&order(1)).unwrap();
        scene.drain();
        let events = scene.events();
        assert_eq!(seen(&events).len(), shown, "{personal}");
        let text = String::from_utf8_lossy(events[0].payload.as_ref().unwrap()).into_owned();
        assert_eq!(text.contains("C. P."), personal == "masked", "{personal}");
        assert_eq!(text.contains("Cali"), personal != "none", "{personal}");
    }
}

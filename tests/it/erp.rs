//! Tests of the example consumer that books orders into PostgreSQL, while it is killed.

use std::process::Command;
use std::time::Duration;

use imotriz_kafka::order::ids::OrderId;
use imotriz_kafka::sandbox::{Change, SandboxArgs};
use rust_decimal::Decimal;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::consumers;
use crate::support::postgres::Postgres;
use crate::support::program::Program;
use crate::support::scene::{Scene, was_killed};
use crate::support::{example, registry, wait};

const DEADLINE: Duration = Duration::from_secs(120);
const ORDERS: usize = 1200;
const KILLS: usize = 5;

fn erp(scene: &Scene, postgres: &Postgres) -> Command {
    let mut command = example::consumer("erp");
    command.args([scene.kafka().bootstrap_servers(), registry().url(), &scene.topics.orders, &scene.topics.orders]);
    command.arg(postgres.url());
    command
}

fn booked(postgres: &Postgres) -> usize {
    postgres.query("SELECT count(*) FROM order_events").map_or(0, |rows| rows[0].parse().unwrap())
}

#[test]
fn records_that_an_erp_cannot_decode_are_kept_and_do_not_stop_the_others() {
    let scene = Scene::new("erp-undecodable", SandboxArgs::with_orders(3));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.drain();
    let broken = consumers::write_broken(&scene);
    let postgres = Postgres::start();
    let kept = || postgres.query("SELECT partition, record_offset FROM undecodable_records ORDER BY 2").unwrap();

    let run_until_booked = |orders: usize| {
        let mut program = Program::spawn(erp(&scene, &postgres));
        wait::until("all is booked", DEADLINE, || booked(&postgres) == orders || program.ended().is_some());
        program.signal(Signal::TERM);
        program.expect_exit(0, DEADLINE);
        assert_eq!(booked(&postgres), orders, "{}", program.output());
        program
    };
    let program = run_until_booked(4);
    let behind = format!("SELECT count(*) FROM orders WHERE order_id = '{}'", broken.behind);
    assert_eq!(postgres.query(&behind).unwrap(), ["1"]);
    let places: Vec<_> = kept().iter().map(|row| row.replacen('|', "]@", 1)).collect();
    let places: Vec<_> = places.iter().map(|place| format!("{}[{place}", scene.topics.orders)).collect();
    assert_eq!(places, broken.places);
    for place in &broken.places {
        assert!(program.stderr().contains(&format!("{place}: not booked, kept in")), "{}", program.stderr());
    }

    // The record whose schema was not known becomes readable, as it does when the schema is registered again.
    let (id, repaired) = &broken.unknown;
    let hex: String = repaired.iter().map(|byte| format!("{byte:02x}")).collect();
    let repair =
        "UPDATE undecodable_records SET value = decode('HEX', 'hex') WHERE reason LIKE '%its schema' RETURNING 1";
    assert_eq!(postgres.query(&repair.replace("HEX", &hex)).unwrap()[0], "1");
    run_until_booked(5);
    assert_eq!(kept().len(), broken.places.len() - 1);
    let found = format!("SELECT count(*) FROM orders WHERE order_id = '{id}'");
    assert_eq!(postgres.query(&found).unwrap(), ["1"]);
}

fn total_of(scene: &Scene, id: &str) -> Decimal {
    let record = scene.shop().record(&id.parse().unwrap()).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let total = &record["order"]["total"];
    total.as_str().map_or(total.to_string(), str::to_owned).parse().unwrap()
}

#[test]
fn an_erp_that_is_killed_again_and_again_books_every_order_once() {
    let scene = Scene::new("erp", SandboxArgs::with_orders(ORDERS));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.drain();
    let ids = scene.delivered();
    let first_totals: Decimal = ids.iter().map(|id| total_of(&scene, id)).sum();
    let again: Vec<OrderId> = ids[..10].iter().map(|id| id.parse().unwrap()).collect();
    scene.shop().unsynchronise(&again).unwrap();
    scene.shop().change(&again[0], Change { status: None, total: Some(json!("0.0001")) }).unwrap();
    scene.drain();
    let second_totals: Decimal = again.iter().map(|id| total_of(&scene, id.as_str())).sum();

    let postgres = Postgres::start();
    let mut killed_in_between = 0;
    for kill in 1..=KILLS {
        let before = booked(&postgres);
        let mut program = Program::spawn(erp(&scene, &postgres));
        // Each gets a little further than the last one, and none to the end.
        let aim = before + 20 * kill;
        wait::until("more is booked", DEADLINE, || booked(&postgres) >= aim || program.ended().is_some());
        program.kill9();
        assert!(was_killed(program.wait(DEADLINE)), "{}", program.output());
        killed_in_between += usize::from(booked(&postgres) < ORDERS + again.len());
    }
    assert!(killed_in_between >= KILLS / 2, "the kills came too late: {killed_in_between}");

    let mut program = Program::spawn(erp(&scene, &postgres));
    wait::until("all is booked", DEADLINE, || booked(&postgres) == ORDERS + again.len());
    program.signal(Signal::TERM);
    program.expect_exit(0, DEADLINE);

    let sums = postgres.query("SELECT revision, count(*), sum(total) FROM order_events GROUP BY 1 ORDER BY 1").unwrap();
    let sums: Vec<Vec<&str>> = sums.iter().map(|row| row.split('|').collect()).collect();
    let expected = [("1", ORDERS, first_totals), ("2", again.len(), second_totals)];
    for (row, (revision, count, total)) in sums.iter().zip(expected) {
        assert_eq!((row[0], row[1], row[2].parse()), (revision, count.to_string().as_str(), Ok(total)));
    }
    let latest = format!("SELECT revision, reason, total FROM orders WHERE order_id = '{}'", again[0]);
    assert_eq!(postgres.query(&latest).unwrap(), ["2|RESYNCED|0.0001"]);
    assert_eq!(postgres.query("SELECT count(*) FROM orders").unwrap(), [ORDERS.to_string()]);
}

//! Tests of an outage of Kafka in the middle of the work.

use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::support::cluster::Cluster;
use crate::support::scene::{NOT_READY, RUN_DEADLINE, Scene};
use crate::support::wait;

/// The time-out of a transaction and ten seconds: what a stop takes at most (40 s by default), and a busy machine.
const STOP_DEADLINE: Duration = Duration::from_secs(60);

fn slow(pages: usize) -> SandboxArgs {
    SandboxArgs { delay: Duration::from_millis(20), page_size: 10, ..SandboxArgs::with_orders(10 * pages) }
}

#[test]
fn a_broker_that_is_killed_in_mid_drain_is_waited_for() {
    let mut scene = Scene::with_own_kafka("outage", slow(200));
    let mut program = scene.settings.start(&["drain"]);
    for reads in [10, 60, 110] {
        wait::until("the drain is under way", RUN_DEADLINE, || scene.reads().len() >= reads);
        scene.own_kafka().kill();
        assert!(scene.shop().summary().pending > 0, "the broker was killed too late");
        scene.own_kafka().restart();
    }
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 2000);
    assert_eq!(scene.spool().len(), 0);
}

/// Kills the broker in mid-work, asks the program to stop, and lets another run publish the rest.
fn stop_without_a_broker(test: &str, variables: &[(&str, &str)]) {
    let scene = Scene::with_own_kafka(test, slow(200));
    let mut scene = variables.iter().fold(scene, |scene, (name, value)| scene.with(name, value));
    scene.run(&["topics", "ensure"], 0);
    let mut program = scene.settings.start(&["run"]);
    wait::until("orders are published", RUN_DEADLINE, || !scene.events().is_empty());
    scene.own_kafka().kill();
    assert!(scene.shop().summary().pending > 0, "the broker was killed too late");
    program.wait_for_line(NOT_READY, RUN_DEADLINE);
    program.signal(Signal::TERM);
    program.expect_exit(4, STOP_DEADLINE);
    assert!(program.stderr().contains("pages not yet published"), "{}", program.output());

    scene.own_kafka().restart();
    let mut next = scene.settings.start(&["run"]);
    wait::until("the rest is published", RUN_DEADLINE, || scene.delivered().len() == 2000);
    next.signal(Signal::TERM);
    next.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
}

#[test]
fn a_service_can_be_stopped_while_the_broker_is_dead() {
    stop_without_a_broker("stopped", &[]);
}

#[test]
fn an_instance_of_a_group_can_be_stopped_while_the_broker_is_dead() {
    let group = [("ENABLED", "true"), ("GROUP_ID", "stopped-group"), ("SESSION_TIMEOUT", "6s")];
    let names = group.map(|(name, _)| format!("IMOTRIZ_CLUSTER__{name}"));
    let variables: Vec<_> = names.iter().map(String::as_str).zip(group.map(|(_, value)| value)).collect();
    stop_without_a_broker("stopped-member", &variables);
}

#[test]
fn a_commit_does_not_wait_without_end_for_a_broker_that_is_killed() {
    let scene = Scene::with_own_kafka("commit", slow(1));
    let mut scene = scene.with("IMOTRIZ_KAFKA__TRANSACTION_TIMEOUT", "2s");
    let mut program = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_STOP_AT", "delivered")]);
    wait::until("it is about to commit", RUN_DEADLINE, || program.is_stopped());
    scene.own_kafka().kill();
    program.signal(Signal::CONT);
    program.wait_for_line(NOT_READY, RUN_DEADLINE);
    assert!(program.stderr().contains("committing a transaction"), "{}", program.output());
    scene.own_kafka().restart();
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 10);
    assert_eq!(scene.spool().len(), 0);
}

#[test]
fn a_drain_goes_on_through_another_coordinator_when_its_own_is_killed_for_good() {
    let mut cluster = Cluster::start();
    let scene = Scene::on_own(cluster.kafka(), "coordinator-dead", slow(300));
    scene.run(&["topics", "ensure"], 0);
    let mut program = scene.settings.start(&["drain"]);
    wait::until("transactions are committed", RUN_DEADLINE, || !scene.events().is_empty());
    let coordinator = cluster.coordinator(&scene.topics.orders);
    cluster.kill(coordinator);
    assert!(scene.shop().summary().pending > 0, "the coordinator was killed too late");
    program.expect_exit(0, RUN_DEADLINE);
    assert_ne!(cluster.coordinator(&scene.topics.orders), coordinator);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 3000);
    assert_eq!(scene.spool().len(), 0);
}

#[test]
fn a_broker_that_falls_silent_stops_the_reading_until_it_is_back() {
    let mut scene = Scene::with_own_kafka("silence", slow(500));
    let mut program = scene.settings.start(&["drain"]);
    wait::until("the drain is under way", RUN_DEADLINE, || scene.reads().len() >= 20);
    scene.own_kafka().pause();
    program.wait_for_line("a transaction takes long: no further reads until it is through", RUN_DEADLINE);
    // The read in flight may still end, and one may just have been let through.
    let reads = scene.reads().len();
    assert!(wait::poll(Duration::from_secs(2), || (scene.reads().len() > reads + 1).then_some(())).is_none());
    assert!(scene.shop().summary().pending > 0);
    scene.own_kafka().resume();
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 5000);
}

#[test]
fn while_the_broker_is_away_orders_stay_on_the_marketplace() {
    let scene = Scene::with_own_kafka("wall", SandboxArgs::with_orders(30));
    let mut scene = scene.with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let mut program = scene.settings.start(&["run"]);
    wait::until("the first orders are out", RUN_DEADLINE, || {
        scene.delivered().len() == 30 && scene.spooled("page") == 0
    });
    scene.own_kafka().kill();
    program.wait_for_line(NOT_READY, RUN_DEADLINE);
    let reads = scene.reads().len();
    scene.shop().add(300, 0);
    assert!(wait::poll(Duration::from_secs(2), || (scene.reads().len() > reads).then_some(())).is_none());
    assert_eq!(scene.shop().summary().pending, 300);

    scene.own_kafka().restart();
    wait::until("the others are read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 330);
}

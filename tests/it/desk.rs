//! Tests of the control socket: `republish` and `dlq retry` while the program runs.

use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::admin;
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;

/// `run`, once it has published all that there was.
fn at_work(scene: &Scene) -> Program {
    let mut program = scene.settings.start(&["run"]);
    admin::ready(&admin::address(&mut program));
    wait::until("all is read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    program
}

fn reasons(scene: &Scene) -> Vec<String> {
    let events = scene.events();
    events.iter().map(|event| event.header("imotriz-reason").unwrap().to_owned()).collect()
}

#[test]
fn orders_are_published_anew_by_the_program_that_is_at_work() {
    let scene = Scene::new("desk", SandboxArgs::with_orders(30));
    let mut program = at_work(&scene);
    let id = &scene.marked()[0];
    let told = scene.run(&["republish", id], 0).stdout();
    assert!(told.contains("bogota: 1 order published anew"), "{told}");
    let told = scene.run(&["republish", id, "1"], 11).stdout();
    assert!(told.contains("does not have the order 1 (404)"), "{told}");
    assert_eq!(reasons(&scene).iter().filter(|reason| *reason == "REPUBLISHED").count(), 2);

    // Killed while somebody asks, it leaves the question open and its socket behind.
    program.signal(Signal::STOP);
    let mut asking = scene.settings.start(&["republish", id]);
    wait::until("it has asked", RUN_DEADLINE, || connections(&scene) > 0);
    program.kill9();
    asking.expect_exit(11, RUN_DEADLINE);
    assert!(asking.stderr().contains("went away before it answered: ask again"), "{}", asking.output());
    let mut program = at_work(&scene);
    scene.run(&["republish", id], 0);

    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.run(&["republish", id], 0);
    assert_eq!(scene.events().len(), 34);
    assert!(!scene.settings.directory().join("spool/control.sock").exists());
}

/// Clients at the desk, by the kernel's table: those that were not accepted yet have no inode.
fn connections(scene: &Scene) -> usize {
    let socket = scene.settings.directory().join("spool/control.sock").display().to_string();
    let table = std::fs::read_to_string("/proc/net/unix").unwrap();
    table.lines().filter(|line| line.ends_with(&socket)).count() - 1
}

#[test]
fn dead_letters_are_retried_by_the_program_that_is_at_work() {
    let scene = Scene::new("desk-dlq", SandboxArgs::with_orders(5));
    let wrong = ("IMOTRIZ_MAPPING__ORDER__TOTAL", "/buyer/name");
    scene.settings.start_with(&["drain"], &[wrong]).expect_exit(0, RUN_DEADLINE);
    let mut program = at_work(&scene);
    scene.run(&["dlq", "retry", "--all"], 0);
    assert_eq!(reasons(&scene), ["REPUBLISHED"; 5]);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn a_program_that_takes_no_requests_is_to_be_stopped_first() {
    let slow = SandboxArgs { delay: Duration::from_secs(5), ..SandboxArgs::with_orders(3) };
    let scene = Scene::new("desk-busy", slow);
    let mut drain = scene.settings.start(&["drain"]);
    wait::until("it reads", RUN_DEADLINE, || !scene.shop().requests().is_empty());
    let told = scene.run(&["republish", "1"], 6).stderr();
    assert!(told.contains("takes no requests: stop it first"), "{told}");
    assert!(told.contains("in use by another process"), "{told}");
    drain.kill9();
}

//! Tests of SIGINT and SIGTERM in the middle of a read.

use std::collections::BTreeSet;
use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene, ids_of};
use crate::support::verdict::Verdict;
use crate::support::wait;

/// A page is answered this long after its orders were marked.
const DELAY: Duration = Duration::from_secs(1);

fn slow_scene() -> Scene {
    Scene::new("signals", SandboxArgs { delay: DELAY, ..SandboxArgs::with_orders(150) })
}

/// Starts the program and waits until its second read has marked orders and is not yet answered.
fn in_mid_read(scene: &Scene, command: &str) -> Program {
    let program = scene.settings.start(&[command]);
    wait::until("the second read is under way", RUN_DEADLINE, || scene.reads().len() == 2);
    program
}

fn assert_a_signal_lets_the_read_end(command: &str, signal: Signal) {
    let scene = slow_scene();
    let mut program = in_mid_read(&scene, command);
    assert_eq!(scene.reads()[1].delivered, Some(false), "the answer came before the signal");
    program.signal(signal);
    program.expect_exit(0, RUN_DEADLINE);
    assert!(program.stderr().contains("stopping once the read in flight is committed"), "{}", program.output());
    let tells = program.stdout().contains("stopped: 90 orders still pending on the marketplace");
    assert_eq!(tells, command == "drain", "{}", program.output());

    assert_eq!(scene.reads().len(), 2, "it went on reading");
    assert_eq!(scene.events().len(), 60);
    scene.verdict().assert_clean();
    assert_eq!(scene.spool().len(), 0);
}

#[test]
fn sigterm_lets_the_read_in_flight_end_and_commits_its_page() {
    assert_a_signal_lets_the_read_end("run", Signal::TERM);
}

#[test]
fn ctrl_c_lets_the_read_in_flight_end_and_commits_its_page() {
    assert_a_signal_lets_the_read_end("run", Signal::INT);
}

#[test]
fn sigterm_ends_a_drain_early_and_well() {
    assert_a_signal_lets_the_read_end("drain", Signal::TERM);
}

fn assert_a_second_signal_leaves_at_once(signal: Signal, code: i32) {
    let scene = Scene::new("signals", SandboxArgs { delay: 60 * DELAY, ..SandboxArgs::with_orders(60) });
    let mut program = scene.settings.start(&["run"]);
    wait::until("the first read is under way", RUN_DEADLINE, || scene.reads().len() == 1);
    program.signal(signal);
    program.wait_for_line("a second signal leaves at once", RUN_DEADLINE);
    program.signal(signal);
    program.expect_exit(code, RUN_DEADLINE.min(30 * DELAY));

    // The page in flight is gone, and the next start knows it.
    let mut next = scene.settings.start(&["run"]);
    next.wait_for_line("an earlier read has an unknown outcome", RUN_DEADLINE);
    wait::until("the next read is under way", RUN_DEADLINE, || scene.reads().len() == 2);
    next.kill9();
    assert_eq!(scene.spooled("unknown"), 1);
}

#[test]
fn a_second_sigterm_leaves_at_once() {
    assert_a_second_signal_leaves_at_once(Signal::TERM, 143);
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    assert_a_second_signal_leaves_at_once(Signal::INT, 130);
}

#[test]
fn after_a_second_signal_the_next_start_has_all_that_was_durable() {
    let scene = slow_scene().without_list();
    let mut program = in_mid_read(&scene, "drain");
    program.signal(Signal::TERM);
    program.wait_for_line("a second signal leaves at once", RUN_DEADLINE);
    program.signal(Signal::TERM);
    program.expect_exit(143, RUN_DEADLINE);
    let in_flight: BTreeSet<String> = ids_of(&scene.reads()[1]).into_iter().collect();

    scene.drain();
    let verdict = Verdict::of(scene.marked(), &scene.events());
    assert_eq!(verdict.lost.into_iter().collect::<BTreeSet<_>>(), in_flight);
    assert_eq!((verdict.doubled, verdict.invented), (vec![], vec![]));
    assert_eq!(scene.spooled("unknown"), 1);
}

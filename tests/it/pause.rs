//! Tests of `kill -STOP` at every fail point on a page's way, for longer than a transaction may take, as when a laptop
//! sleeps or a virtual machine is moved. Meanwhile the broker aborts what was open; afterwards the program goes on by
//! itself.

use std::collections::BTreeSet;
use std::time::Duration;

use imotriz_kafka::platform::fail_point::PLACES;
use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::support::consume;
use crate::support::scene::{RUN_DEADLINE, Scene, keys};
use crate::support::wait;

const PAGE: usize = 10;

#[test]
fn a_program_that_sleeps_at_any_place_for_longer_than_a_transaction_may_take_goes_on() {
    let args = SandboxArgs { page_size: PAGE, ..SandboxArgs::with_orders(0) };
    let scene = Scene::new("pause", args).with("IMOTRIZ_KAFKA__TRANSACTION_TIMEOUT", "1s");
    scene.run(&["topics", "ensure"], 0);
    for place in PLACES {
        scene.shop().add(PAGE, 0);
        let before = keys(&scene.events());
        let mut program = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_STOP_AT", place)]);
        wait::until(&format!("it stops at {place}"), RUN_DEADLINE, || program.is_stopped());

        // Ends once the broker has given up the transaction, if one was open: a consumer is held up no longer.
        let written = consume::uncommitted(scene.kafka(), &scene.topics.orders).len();
        let meanwhile = keys(&scene.events());
        let committed = matches!(place, "committed" | "released");
        assert_eq!(meanwhile.len() - before.len(), if committed { PAGE } else { 0 }, "{place}");
        program.signal(Signal::CONT);
        program.expect_exit(0, RUN_DEADLINE);

        let after: BTreeSet<_> = keys(&scene.events());
        assert_eq!(after.len() - before.len(), PAGE, "{place}");
        scene.verdict().assert_clean();
        assert_eq!(scene.spool().len(), 0, "{place}");
        // What was open was ended for its age, and not merely held up: the same page was written a second time.
        let again = consume::uncommitted(scene.kafka(), &scene.topics.orders).len() - written;
        assert_eq!(again, if committed { 0 } else { PAGE }, "{place}");
    }
}

#[test]
fn a_program_that_sleeps_for_a_moment_loses_nothing_and_doubles_nothing() {
    let args = SandboxArgs { page_size: PAGE, delay: Duration::from_millis(5), ..SandboxArgs::with_orders(100 * PAGE) };
    let scene = Scene::new("nap", args);
    let mut program = scene.settings.start(&["drain"]);
    for reads in [10, 30, 50, 70] {
        wait::until("the drain is under way", RUN_DEADLINE, || scene.reads().len() >= reads);
        program.signal(Signal::STOP);
        program.signal(Signal::CONT);
    }
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 100 * PAGE);
}

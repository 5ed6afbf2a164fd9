//! Tests of `kill -9` at every fail point on a page's way, and at random moments.
//!
//! If the process dies when a page was answered and not yet durable, only the list of IDs can bring its orders back. So
//! an order may be missing here only if it was returned by the last read of a killed run, and only if the next start
//! reported a read of unknown outcome for it.

use std::collections::BTreeSet;
use std::time::Duration;

use imotriz_kafka::platform::fail_point::PLACES;
use imotriz_kafka::sandbox::{Call, Fault, SandboxArgs};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::consume;
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene, ids_of, was_killed};
use crate::support::verdict::Verdict;
use crate::support::wait;

const PAGE: usize = 10;
/// Enough for three transactions, however many pages a slow machine puts into the first two.
const MANY_PAGES: usize = 20;

/// A marketplace that is drained by processes that are killed.
struct Massacre {
    scene: Scene,
    /// Orders of the last read of a process that was killed, until a later start has looked at what it left.
    in_flight: BTreeSet<String>,
    /// Orders that a killed process took with it, each under a read that was reported as unknown.
    gone: BTreeSet<String>,
    /// Unknown reads that were reported so far.
    unknown: usize,
    kills: usize,
}

impl Massacre {
    fn new(test: &str) -> Self {
        let args = SandboxArgs { page_size: PAGE, delay: Duration::from_millis(20), ..SandboxArgs::with_orders(0) };
        // What a killed read took with it must stay away, or nobody could tell what the spool alone has saved.
        let scene = Scene::new(test, args).without_list();
        Self { scene, in_flight: BTreeSet::new(), gone: BTreeSet::new(), unknown: 0, kills: 0 }
    }

    /// Runs a drain that is to end in a kill; `end` sees to it, if the program does not do it itself.
    fn kill(&mut self, what: &str, variables: &[(&str, &str)], end: impl FnOnce(&mut Program)) {
        let reads_before = self.scene.reads().len();
        let mut program = self.scene.settings.start_with(&["drain"], variables);
        end(&mut program);
        let status = program.wait(RUN_DEADLINE);
        assert!(was_killed(status), "{what}: it was not killed, but {status}\n{}", program.output());
        self.kills += 1;
        self.look_at_the_spool(what, reads_before);
    }

    /// A process that has read something has looked before at what the one before it left, and has reported at most one
    /// read that it can't know of. One that was killed earlier may have done so, or not.
    fn look_at_the_spool(&mut self, what: &str, reads_before: usize) {
        let unknown = self.scene.spooled("unknown");
        let reported = unknown - self.unknown;
        assert!(reported <= 1, "{what}: {reported} unknown reads were reported");
        self.unknown = unknown;
        let last_read = self.scene.reads()[reads_before..].last().map(ids_of);
        if reported == 1 {
            self.gone.append(&mut self.in_flight);
        }
        if let Some(orders) = last_read {
            self.in_flight = orders.into_iter().collect();
        }
    }

    /// Drains to the end, and gives the orders that are missing, all of which were reported.
    fn finish(&mut self) -> BTreeSet<String> {
        let reads_before = self.scene.reads().len();
        self.scene.drain();
        self.look_at_the_spool("the last drain", reads_before);
        self.in_flight.clear();
        assert_eq!(self.scene.shop().summary().pending, 0);
        let Verdict { lost, doubled, invented } = Verdict::of(self.scene.marked(), &self.scene.events());
        let lost: BTreeSet<String> = lost.into_iter().collect();
        assert_eq!(lost.difference(&self.gone).collect::<Vec<_>>(), Vec::<&String>::new(), "lost");
        assert_eq!((doubled, invented), (vec![], vec![]));
        assert_eq!(self.scene.spooled("page"), 0);
        lost
    }
}

/// Kills a drain of so many pages at this visit of this place, and then looks what is missing once all is drained.
fn kill_at(massacre: &mut Massacre, place: &str, visit: u32, pages: usize) -> BTreeSet<String> {
    massacre.scene.shop().add(pages * PAGE, 0);
    let at = format!("{place}:{visit}");
    massacre.kill(&at, &[("IMOTRIZ_TEST_KILL_AT", &at)], |_| {});
    massacre.finish()
}

#[test]
fn a_kill_at_any_place_loses_nothing_that_was_durable_and_doubles_nothing() {
    let mut massacre = Massacre::new("kill");
    let mut missing = BTreeSet::new();
    for place in PLACES {
        // With one page the drain is over when the lane has it: what is in flight is this page, or nothing.
        let unknown = massacre.scene.spooled("unknown");
        let lost = kill_at(&mut massacre, place, 1, 1);
        let newly_missing = lost.difference(&missing).count();
        let reported = massacre.scene.spooled("unknown") - unknown;
        match place {
            "opening" | "fenced" | "loaded" => assert_eq!((newly_missing, reported), (0, 0), "{place}"),
            // Not asked for yet; but that can't be told from the next case by who comes after.
            "reserved" => assert_eq!((newly_missing, reported), (0, 1)),
            "fetched" | "writing" => assert_eq!((newly_missing, reported), (PAGE, 1), "{place}"),
            _ => assert_eq!(newly_missing, 0, "{place}"),
        }
        missing = lost;
        // A lane opens once in its life, as long as nothing breaks.
        if !matches!(place, "opening" | "fenced" | "loaded") {
            missing = kill_at(&mut massacre, place, 3, MANY_PAGES);
        }
    }
    assert!(massacre.kills >= 20, "{} kills", massacre.kills);
}

#[test]
fn a_start_that_is_killed_while_it_recovers_leaves_all_to_the_next() {
    let mut massacre = Massacre::new("twice");
    for place in PLACES {
        if matches!(place, "reserved" | "fetched" | "writing" | "durable") {
            // What is recovered has been read.
            continue;
        }
        massacre.scene.shop().add(PAGE, 0);
        massacre.kill("the first time", &[("IMOTRIZ_TEST_KILL_AT", "delivered")], |_| {});
        assert_eq!(massacre.scene.spooled("page"), 1, "a page waits to be recovered");
        massacre.kill(place, &[("IMOTRIZ_TEST_KILL_AT", place)], |_| {});
        assert_eq!(massacre.finish(), BTreeSet::new(), "{place}");
    }
    assert_eq!(massacre.kills, 16);
}

#[test]
fn an_answer_that_nobody_had_looked_into_when_the_process_was_killed_is_no_page_to_the_next() {
    let scene = Scene::new("html-kill", SandboxArgs { page_size: PAGE, ..SandboxArgs::with_orders(2 * PAGE) });
    scene.script(&[Some(Fault::Html)]);
    let mut program = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "durable")]);
    let status = program.wait(RUN_DEADLINE);
    assert!(was_killed(status), "{status}\n{}", program.output());
    assert_eq!((scene.reads().len(), scene.spooled("page")), (1, 1), "it is durable, whatever it is");

    let next = scene.drain();
    let reported = "an earlier read has an unknown outcome";
    assert!(next.stderr().contains(reported) && next.stderr().contains("not JSON"), "{}", next.output());
    let Verdict { lost, doubled, invented } = Verdict::of(scene.marked(), &scene.events());
    assert_eq!((lost, doubled, invented), (vec![], vec![], vec![]));
    let dead_letters = consume::committed(scene.kafka(), &scene.topics.dead_letter);
    assert_eq!((scene.spooled("page"), scene.spooled("unknown"), dead_letters.len()), (0, 0, 0));
}

#[test]
fn twenty_kills_one_after_the_other_lose_nothing_that_was_durable_and_double_nothing() {
    let mut massacre = Massacre::new("massacre");
    let mut chance = StdRng::seed_from_u64(20);
    // On a busy machine more of them come before anything is read.
    for number in 0.. {
        let reads = massacre.scene.reads().len();
        if number >= 20 && reads > 60 {
            break;
        }
        assert!(number < 100, "the kills came before anything was read: {reads} reads");
        // A read takes 20 ms and more: no run can come to its end in the time that it has.
        let pending = massacre.scene.shop().summary().pending;
        massacre.scene.shop().add((60 * PAGE).saturating_sub(pending), 0);
        // Some at any time from the start, and some from the first read on: a busy machine may take long to get there.
        let is_reading = chance.random_bool(0.5);
        let life = Duration::from_millis(chance.random_range(0..if is_reading { 600 } else { 1200 }));
        let shop = massacre.scene.shop();
        massacre.kill(&format!("kill {number} after {life:?}"), &[], |program| {
            if is_reading {
                wait::until("it reads", RUN_DEADLINE, || shop.summary().requests[&Call::NewOrders] > reads as u64);
            }
            wait::poll(life, || None::<()>);
            program.kill9();
        });
    }
    massacre.finish();
}

//! Tests of pages that are in the spool again after a kill although they were published.

use std::collections::BTreeSet;

use bytes::Bytes;
use imotriz_kafka::order::ids::{OrderId, StoreName};
use imotriz_kafka::platform::clock;
use imotriz_kafka::sandbox::SandboxArgs;
use imotriz_kafka::spool::{Spool, SpoolOptions};

use crate::support::http::block_on;
use crate::support::scene::{RUN_DEADLINE, Scene, was_killed};

/// So many pages with the same order wait in the spool: the seller asked for it again before they were published. The
/// first one or two go out alone, as soon as they are met; the others have queued up by then.
const PAGES: usize = 6;

fn spool_again_and_again(scene: &Scene, id: &OrderId) {
    let store: StoreName = "bogota".parse().unwrap();
    let (spool, _) = Spool::open(SpoolOptions::new(scene.settings.directory().join("spool"))).unwrap();
    let record = String::from_utf8(scene.shop().record(id).unwrap().to_vec()).unwrap();
    for _ in 0..PAGES {
        let body = Bytes::from(format!(r#"{{"data":[{record}]}}"#));
        let written = block_on(spool.reserve(&store).unwrap().write(clock::now(), body));
        written.unwrap().1.unwrap().cancel().unwrap();
    }
}

/// Each event of the order has a name of its own, and there are so many.
fn assert_revisions(scene: &Scene, id: &OrderId, expected: usize) {
    let mut events = scene.events();
    events.retain(|event| event.key.as_deref() == Some(id.as_str()));
    let names: BTreeSet<_> = events.iter().map(|event| event.header("ce_id").unwrap()).collect();
    assert_eq!((names.len(), events.len()), (expected, expected));
}

#[test]
fn an_order_in_pages_that_wait_is_published_for_each_of_them_however_often_they_are_replayed() {
    let scene = Scene::new("replay", SandboxArgs::with_orders(0));
    let id = scene.shop().add(1, 0).remove(0);
    scene.drain();
    spool_again_and_again(&scene, &id);
    scene.drain();
    assert_revisions(&scene, &id, 1 + PAGES);
    spool_again_and_again(&scene, &id);
    for place in ["committed:3", "released:3"] {
        let mut program = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", place)]);
        let status = program.wait(RUN_DEADLINE);
        assert!(was_killed(status), "it was not killed at {place}, but {status}\n{}", program.output());
    }
    scene.drain();
    assert_revisions(&scene, &id, 1 + 2 * PAGES);
}

//! Pages that are published, and met again after a kill.

use bytes::Bytes;
use imotriz_kafka::clock;
use imotriz_kafka::ids::{OrderId, StoreName};
use imotriz_kafka::sandbox::SandboxArgs;
use imotriz_kafka::spool::{Spool, SpoolOptions};

use crate::support::consume::Record;
use crate::support::scene::{RUN_DEADLINE, Scene, was_killed};

/// Two pages with the same order wait in the spool: the seller asked for it again before the first was published.
fn spool_twice(scene: &Scene, id: &OrderId) {
    let store: StoreName = "bogota".parse().unwrap();
    let (spool, _) = Spool::open(SpoolOptions::new(scene.settings.directory().join("spool"))).unwrap();
    let record = String::from_utf8(scene.shop().record(id).unwrap().to_vec()).unwrap();
    for _ in 0..2 {
        let body = Bytes::from(format!(r#"{{"data":[{record}]}}"#));
        drop(spool.reserve(&store).unwrap().write(clock::now(), body).unwrap());
    }
}

fn revisions(events: &[Record], id: &OrderId) -> usize {
    events.iter().filter(|event| event.key.as_deref() == Some(id.as_str())).count()
}

#[test]
fn an_order_in_two_pages_that_wait_is_published_twice_however_often_they_are_replayed() {
    let scene = Scene::new("replay", SandboxArgs::with_orders(0));
    let id = scene.shop().add(1, 0).remove(0);
    scene.drain();
    spool_twice(&scene, &id);
    for place in ["committed", "released"] {
        let mut program = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", place)]);
        let status = program.wait(RUN_DEADLINE);
        assert!(was_killed(status), "it was not killed at {place}, but {status}\n{}", program.output());
    }
    scene.drain();
    assert_eq!(revisions(&scene.events(), &id), 3, "drained once, and asked for again twice");
}

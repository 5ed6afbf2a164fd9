//! Tests of two programs with one spool or one transactional ID: only one may work.

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::support::program::Settings;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;

#[test]
fn a_second_process_on_the_same_spool_is_refused() {
    let scene = Scene::new("spool", SandboxArgs::with_orders(30));
    let mut first = scene.settings.start(&["run"]);
    wait::until("the first is at work", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    let second = scene.run(&["drain"], 6);
    assert!(second.stderr().contains("in use by another process"), "{}", second.stderr());
    // Looking is allowed.
    scene.run(&["spool", "verify"], 0);
    first.signal(Signal::TERM);
    first.expect_exit(0, RUN_DEADLINE);
    scene.drain();
    scene.verdict().assert_clean();
}

#[test]
fn a_second_instance_fences_the_first_and_nothing_is_doubled() {
    // Without a list: what the first one has in its own spool is listed, and the second one's reconciler, which can't
    // see that spool, would publish it before the first one is back with it.
    let scene =
        Scene::new("fence", SandboxArgs::with_orders(60)).without_list().with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let mut first = scene.settings.start(&["run"]);
    wait::until("the first is at work", RUN_DEADLINE, || scene.shop().summary().pending == 0);

    let base_url = scene.base_url();
    let elsewhere = Settings::new(scene.kafka(), &scene.topics)
        .with_store("bogota", &base_url, "sandbox-token", "CO")
        .with("IMOTRIZ_API__PATHS__ORDER_IDS", "/nowhere")
        .with("IMOTRIZ_API__POLL_INTERVAL", "100ms");
    let mut second = elsewhere.start(&["run"]);
    let reads = scene.reads().len();
    // Each reads whenever it likes, so sooner or later the first one has a page that it can't publish.
    let ended = wait::poll(RUN_DEADLINE, || {
        if scene.shop().summary().pending == 0 {
            scene.shop().add(1, 0);
        }
        first.ended()
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(4), "{}", first.output());
    assert!(scene.reads().len() > reads);
    first.expect_exit(4, RUN_DEADLINE);
    assert!(first.stderr().contains("another instance has taken over lane 3 (fenced)"), "{}", first.stderr());
    wait::until("the second has the rest", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    second.signal(Signal::TERM);
    second.expect_exit(0, RUN_DEADLINE);

    // What the first had read and could not publish goes out when it is back.
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.spool().len(), 0);
}

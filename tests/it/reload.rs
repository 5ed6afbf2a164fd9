//! Tests of settings and tokens that change while the program runs.

use std::fs;
use std::path::{Path, PathBuf};

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use super::admin::{address, ready, status};
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene, keys};
use crate::support::{http, wait};

/// A scene whose program reads a file as well, with `text` in it.
struct Reload {
    scene: Scene,
    file: PathBuf,
}

impl Reload {
    fn new(args: SandboxArgs) -> Self {
        let scene = Scene::new("reload", args);
        let file = scene.settings.directory().join("imotriz-kafka.toml");
        Self { scene, file }
    }

    fn write(&self, text: &str) {
        fs::write(&self.file, text).unwrap();
    }

    fn start(&self) -> (Program, String) {
        let mut program = self.scene.settings.start(&["run"]);
        let url = address(&mut program);
        ready(&url);
        (program, url)
    }
}

fn published(url: &str, store: &str, orders: u64) {
    wait::until("all is published", RUN_DEADLINE, || status(url)["stores"][store]["published"]["drained"] == orders);
}

#[test]
fn a_reload_takes_up_the_new_settings_and_loses_and_doubles_nothing() {
    let reload =
        Reload::new(SandboxArgs { delay: std::time::Duration::from_millis(200), ..SandboxArgs::with_orders(300) });
    reload.write("[api]\npoll_interval = \"1h\"\n");
    let (mut program, url) = reload.start();
    wait::until("the drain is under way", RUN_DEADLINE, || reload.scene.reads().len() >= 2);

    reload.write("[api]\npoll_interval = \"200ms\"\n");
    program.signal(Signal::HUP);
    program.wait_for_line("the settings were read again", RUN_DEADLINE);
    // The read in flight was awaited: its page is there.
    published(&url, "bogota", 300);
    assert_eq!(program.stderr().matches("an earlier read has an unknown outcome").count(), 0, "{}", program.output());

    // With an interval of an hour nobody would ask again.
    reload.scene.shop().add(5, 0);
    published(&url, "bogota", 305);
    assert_eq!(address(&mut program), url);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    reload.scene.verdict().assert_clean();
    assert_eq!(keys(&reload.scene.events()).len(), 305);
    assert_eq!(reload.scene.spool().len(), 0);
}

#[test]
fn a_reload_can_bring_another_store() {
    let reload = Reload::new(SandboxArgs::with_orders(3));
    reload.write("");
    let (mut program, url) = reload.start();
    published(&url, "bogota", 3);
    let settings = format!(
        "[stores.cali]\ncountry = \"CO\"\ntoken = {:?}\nbase_url = {:?}\n",
        SandboxArgs::with_orders(0).token,
        reload.scene.base_url()
    );
    reload.write(&settings);
    reload.scene.shop().add(4, 0);
    program.signal(Signal::HUP);
    wait::until("the other store is read", RUN_DEADLINE, || {
        status(&url)["stores"]["cali"]["last_good_read_at"].is_string()
    });
    assert!(status(&url)["stores"]["bogota"]["orders_read"].as_u64() >= Some(3), "what was counted stays counted");
}

#[test]
fn settings_that_are_wrong_are_refused_by_their_key_and_the_program_goes_on() {
    let reload = Reload::new(SandboxArgs::with_orders(3));
    reload.write("[api]\npoll_interval = \"200ms\"\n");
    let (mut program, url) = reload.start();
    published(&url, "bogota", 3);

    for (text, named) in [
        ("[api]\npol_interval = \"1h\"\n", "api.pol_interval"),
        ("[stores.cali]\ncountry = \"CO\"\ntoken_file = \"nowhere\"\n", "nowhere"),
        ("this is no TOML", "imotriz-kafka.toml"),
    ] {
        let refusals = program.stderr().matches("the new settings are refused").count();
        reload.write(text);
        program.signal(Signal::HUP);
        wait::until("it refuses", RUN_DEADLINE, || {
            program.stderr().matches("the new settings are refused").count() == refusals + 1
        });
        let said = program.stderr();
        let line = said.lines().rfind(|line| line.contains("the new settings are refused")).unwrap();
        assert!(line.contains(named), "{line}");
    }
    reload.scene.shop().add(2, 0);
    published(&url, "bogota", 5);
    assert_eq!(http::get(&format!("{url}/readyz")).0, 200);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn settings_that_cannot_be_started_with_give_way_to_the_old_ones() {
    let reload = Reload::new(SandboxArgs::with_orders(3));
    // Where the spool is stands in the file, and a file stands where the new spool should be.
    let reload = Reload { scene: reload.scene.without("IMOTRIZ_SPOOL__DIR"), ..reload };
    reload.write("[spool]\ndir = \"spool\"\n[api]\npoll_interval = \"200ms\"\n");
    let (mut program, url) = reload.start();
    published(&url, "bogota", 3);

    fs::write(reload.scene.settings.directory().join("occupied"), "").unwrap();
    reload.write("[spool]\ndir = \"occupied\"\n");
    program.signal(Signal::HUP);
    let line = program.wait_for_line("can't start with the new settings", RUN_DEADLINE);
    assert!(line.contains("occupied"), "{line}");
    ready(&url);
    reload.scene.shop().add(2, 0);
    published(&url, "bogota", 5);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn a_second_sigterm_leaves_at_once_also_after_a_reload() {
    let reload =
        Reload::new(SandboxArgs { delay: 60 * std::time::Duration::from_secs(1), ..SandboxArgs::with_orders(60) });
    reload.write("");
    let (mut program, _) = reload.start();
    wait::until("the first read is under way", RUN_DEADLINE, || reload.scene.reads().len() == 1);
    program.signal(Signal::HUP);
    program.wait_for_line("the settings were read again", RUN_DEADLINE);
    program.signal(Signal::TERM);
    program.wait_for_line("a second signal leaves at once", RUN_DEADLINE);
    program.signal(Signal::TERM);
    program.expect_exit(143, RUN_DEADLINE);
}

fn replace(file: &Path, token: &str) {
    let new = file.with_extension("new");
    fs::write(&new, token).unwrap();
    fs::rename(new, file).unwrap();
}

#[test]
fn a_token_that_is_rotated_is_taken_from_its_file_before_the_next_read() {
    let args = SandboxArgs::with_orders(3);
    let scene = Scene::new("rotate", args.clone());
    let file = scene.settings.directory().join("token");
    fs::write(&file, &args.token).unwrap();
    let scene = scene
        .without("IMOTRIZ_STORES__BOGOTA__TOKEN")
        .with("IMOTRIZ_STORES__BOGOTA__TOKEN_FILE", &file.display().to_string())
        .with("IMOTRIZ_API__POLL_INTERVAL", "1s");
    let mut program = scene.settings.start(&["run"]);
    let url = address(&mut program);
    published(&url, "bogota", 3);
    let reads = scene.reads().len();
    wait::until("a poll is over", RUN_DEADLINE, || scene.reads().len() > reads);
    // The shop voids the old token at once.
    replace(&file, "another-token");
    scene.shop().set_token("another-token");
    scene.shop().add(2, 0);
    published(&url, "bogota", 5);
    assert_eq!(status(&url)["stores"]["bogota"]["refused"]["401"], 0);
    assert!(program.stderr().contains("the token file has changed"), "{}", program.output());
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
}

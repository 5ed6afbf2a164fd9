//! Tests of the folder of stores: its commands, and files that come and go while the program runs.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use imotriz_kafka::pipeline::tracking_memory::lane_of;
use imotriz_kafka::sandbox::{Call, SandboxArgs};
use rustix::process::Signal;
use serde_json::Value;

use super::admin::{address, ready, status};
use crate::support::scene::{RUN_DEADLINE, Scene, keys, was_killed};
use crate::support::{http, wait};

/// A scene whose only stores are those of a folder.
struct Stores {
    scene: Scene,
    dir: PathBuf,
}

impl Stores {
    fn new(test: &str, args: SandboxArgs) -> Self {
        let mut scene = Scene::new(test, args);
        for key in ["BASE_URL", "TOKEN", "COUNTRY"] {
            scene = scene.without(&format!("IMOTRIZ_STORES__BOGOTA__{key}"));
        }
        let dir = scene.settings.directory().join("stores.d");
        fs::create_dir(&dir).unwrap();
        let scene = scene
            .with("IMOTRIZ_STORES_DIR", dir.to_str().unwrap())
            .with("IMOTRIZ_API__POLL_INTERVAL", "200ms")
            .with("IMOTRIZ_RECONCILE__INTERVAL", "1h");
        Self { scene, dir }
    }

    /// Writes a file beside its place, and renames it.
    fn put(&self, name: &str, text: &str) {
        let beside = self.dir.join(format!(".{name}"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.dir.join(format!("{name}.toml"))).unwrap();
    }

    fn store(&self, name: &str) -> String {
        let (token, base_url) = (SandboxArgs::with_orders(0).token, self.scene.base_url());
        format!("[stores.{name}]\ncountry = \"CO\"\ntoken = {token:?}\nbase_url = {base_url:?}\n")
    }

    /// Runs `stores add` with this token on its standard input.
    fn add(&self, arguments: &[&str], token: &str) -> Output {
        let base_url = self.scene.base_url();
        let mut process = Command::new(env!("CARGO_BIN_EXE_imotriz-kafka"))
            .args(["stores", "add", "--country", "CO", "--base-url", &base_url])
            .args(arguments)
            .env_clear()
            .env("IMOTRIZ_STORES_DIR", &self.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        process.wait_with_output().unwrap()
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

#[test]
fn a_store_is_added_with_its_token_tried_listed_checked_and_removed_without_a_read_of_new_orders() {
    let stores = Stores::new("stores", SandboxArgs::with_orders(3));
    let token = SandboxArgs::with_orders(0).token;

    let refused = stores.add(&["bogota"], "another-token");
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{said}");
    assert!(said.contains("401") && said.contains("Nothing was written") && !said.contains("another-token"), "{said}");
    assert_eq!(stores.add(&["bogota"], "\n").status.code(), Some(2), "no token");
    assert!(stores.files().is_empty(), "{:?}", stores.files());

    let added = stores.add(&["bogota"], &format!("{token}\n"));
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
    assert_eq!(stores.files(), ["bogota.toml"]);
    let mode = fs::metadata(stores.dir.join("bogota.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = stores.add(&["bogota"], &token);
    assert!(again.status.code() == Some(2) && String::from_utf8_lossy(&again.stderr).contains("bogota.toml, line 1"));
    let unchecked = stores.add(&["cali", "--unchecked"], "another-token");
    assert!(unchecked.status.success(), "{}", String::from_utf8_lossy(&unchecked.stderr));

    let listed = stores.scene.run(&["--json", "stores", "list"], 0).stdout();
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&listed[0]["store"], &listed[0]["country"], listed.len()), (&"bogota".into(), &"CO".into(), 2));
    assert!(stores.scene.run(&["stores", "list"], 0).stdout().contains("127.0.0.1"));

    stores.scene.run(&["stores", "check"], 0);
    stores.scene.run(&["stores", "check", "bogota", "--online"], 0);
    let online = stores.scene.run(&["stores", "check", "--online"], 7);
    assert!(online.stdout().contains("token cali") && online.stdout().contains("401"), "{}", online.output());
    stores.scene.run(&["stores", "check", "quito"], 2);
    assert!(stores.scene.shop().requests().iter().any(|request| request.kind != Call::NewOrders));
    assert_eq!(stores.scene.reads().len(), 0, "new orders were read");

    stores.put("two", &(stores.store("pasto") + &stores.store("neiva")));
    let shared = stores.scene.run(&["stores", "remove", "pasto"], 2);
    assert!(shared.stderr().contains("two.toml, line 1 by hand"), "{}", shared.output());
    stores.scene.run(&["stores", "remove", "bogota"], 0);
    stores.scene.run(&["stores", "remove", "bogota"], 2);
    assert!(!stores.files().contains(&"bogota.toml".to_owned()));
}

#[test]
fn a_bad_file_does_not_stop_the_others_and_is_told_by_check_and_by_the_exit_code() {
    let stores = Stores::new("stores-bad", SandboxArgs::with_orders(3));
    stores.put("bogota", &stores.store("bogota"));
    stores.put("bad", "[stores.bad]\ncountry = \"PE\"\ntoken = \"s3cret\"\n");
    for (command, code) in [(["stores", "check"].as_slice(), 7), (&["config", "check"], 2), (&["drain"], 2)] {
        let output = stores.scene.run(command, code).output();
        assert!(output.contains("bad.toml, line 2") && output.contains("`PE` is no country"), "{output}");
        assert!(!output.contains("s3cret"), "{output}");
    }
    assert_eq!(keys(&stores.scene.events()).len(), 3);
}

#[test]
fn stores_come_change_and_go_while_the_program_runs() {
    let stores = Stores::new("stores-run", SandboxArgs::with_orders(3));
    // Both stores read of one shop: neither may fetch from the list what the other one has published.
    let stores = Stores { scene: stores.scene.without_list(), ..stores };
    let mut program = stores.scene.settings.start(&["run"]);
    let url = address(&mut program);
    program.wait_for_line("no store can be used yet", RUN_DEADLINE);
    let published = |store: &str| status(&url)["stores"][store]["published"]["drained"].as_u64().unwrap_or(0);

    stores.put("bogota", &stores.store("bogota"));
    wait::until("the first store is published", RUN_DEADLINE, || published("bogota") == 3);
    ready(&url);
    let began = status(&url)["settings_since"].clone();
    assert!(began.is_string(), "{began}");

    // What turns bad leaves the former settings in force, and another file is taken up all the same.
    stores.put("bogota", "[stores.bogota]\ncountry = \"PE\"\n");
    program.wait_for_line("bogota.toml, line 2", RUN_DEADLINE);
    stores.put("cali", &stores.store("cali"));
    wait::until("the other store is read", RUN_DEADLINE, || {
        status(&url)["stores"]["cali"]["last_good_read_at"].is_string()
    });
    stores.scene.shop().add(4, 0);
    wait::until("both are at work", RUN_DEADLINE, || published("bogota") + published("cali") == 7);

    fs::remove_file(stores.dir.join("bogota.toml")).unwrap();
    wait::until("the store is gone", RUN_DEADLINE, || status(&url)["stores"]["bogota"].is_null());
    stores.scene.shop().add(2, 0);
    wait::until("the other one goes on", RUN_DEADLINE, || published("cali") >= 2);
    // A folder that is gone, as a disk is that is not mounted, removes nobody.
    fs::rename(&stores.dir, stores.dir.with_extension("away")).unwrap();
    program.wait_for_line("the folder of stores can't be used", RUN_DEADLINE);
    stores.scene.shop().add(1, 0);
    wait::until("it goes on without the folder", RUN_DEADLINE, || keys(&stores.scene.events()).len() == 10);
    assert_eq!(status(&url)["settings_since"], began, "the others were not left alone");
    assert_eq!(http::get(&format!("{url}/livez")).0, 200);

    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    stores.scene.verdict().assert_clean();
}

#[test]
fn pages_of_a_store_that_was_removed_are_published_by_a_drain_and_by_a_service() {
    let stores = Stores::new("stores-removed", SandboxArgs { page_size: 10, ..SandboxArgs::with_orders(0) });
    // The spool alone may bring an order back.
    let stores = Stores { scene: stores.scene.without_list().with("IMOTRIZ_KAFKA__LANES", "4"), ..stores };
    let lane = |store: &str| lane_of(&store.parse().unwrap(), 4);
    assert_ne!(lane("bogota"), lane("cali"), "no store that is left has the lane");
    for (round, command) in (1..).zip(["drain", "run"]) {
        stores.put("bogota", &stores.store("bogota"));
        stores.scene.shop().add(10, 0);
        let mut killed = stores.scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", "durable:1")]);
        assert!(was_killed(killed.wait(RUN_DEADLINE)), "{}", killed.output());
        assert_eq!(stores.scene.spooled("page"), 1);
        fs::remove_file(stores.dir.join("bogota.toml")).unwrap();
        stores.put("cali", &stores.store("cali"));

        let mut program = stores.scene.settings.start(&[command]);
        let published = || keys(&stores.scene.events()).len() == 10 * round;
        wait::until("what the removed store had read is published", RUN_DEADLINE, published);
        if command == "run" {
            let shown = status(&address(&mut program));
            assert_eq!(shown["stores"].as_object().unwrap().keys().collect::<Vec<_>>(), ["cali"]);
            program.signal(Signal::TERM);
        }
        program.expect_exit(0, RUN_DEADLINE);
        assert_eq!(stores.scene.spooled("page"), 0);
    }
    stores.scene.verdict().assert_clean();
}

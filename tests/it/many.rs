//! Tests of many shops in one process: what they cost the operating system, that a busy one does not starve a quiet one,
//! and kills at every place.

use std::fs;
use std::time::{Duration, Instant};

use imotriz_kafka::platform::fail_point::PLACES;
use imotriz_kafka::sandbox::SandboxArgs;

use crate::admin::{address, status};
use crate::shared::{Instances, many};
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, was_killed};
use crate::support::wait;

/// Shops of a folder, and one process that has them all.
fn alone(test: &str, args: SandboxArgs) -> Instances {
    let mut all = Instances::new(test, 1, args);
    let settings = all.settings.remove(0).with("IMOTRIZ_CLUSTER__ENABLED", "false");
    all.settings.push(settings);
    all
}

fn entries(program: &Program, folder: &str) -> usize {
    fs::read_dir(format!("/proc/{}/{folder}", program.pid())).unwrap().count()
}

#[test]
fn a_thousand_shops_of_a_folder_are_served_under_the_usual_limit_of_open_files() {
    let all = alone("thousand", many(1000, 3));
    let mut program = Program::spawn(all.settings[0].command_after("ulimit -n 1024", &["run"]));
    address(&mut program);
    let limits = fs::read_to_string(format!("/proc/{}/limits", program.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(4), Some("1024"), "{files}");
    let (mut files, mut threads) = (0, 0);
    wait::until("all orders are read", RUN_DEADLINE, || {
        (files, threads) = (files.max(entries(&program, "fd")), threads.max(entries(&program, "task")));
        all.marked().len() == 3000
    });
    all.expect_all_published();
    assert!(files < 300 && threads < 100, "{files} files and {threads} threads for 1,000 shops");
}

#[test]
fn a_shop_with_few_orders_does_not_wait_for_one_with_many() {
    let args = SandboxArgs { delay: Duration::from_millis(20), ..many(2, 0) };
    let all = alone("beside", args);
    let market = all.sandbox.market();
    let (busy, quiet) = (&market.shops()[0], &market.shops()[1]);
    let many = busy.add(30_000, 0).len();
    let mut program = all.settings[0].start(&["run"]);
    let url = address(&mut program);
    let published = |store: &str| status(&url)["stores"][store]["published"]["drained"].as_u64().unwrap_or(0);
    wait::until("the busy shop is being drained", RUN_DEADLINE, || published("s1") > 500);

    quiet.add(30, 0);
    let since = Instant::now();
    wait::until("the quiet shop's orders are published", RUN_DEADLINE, || published("s2") == 30);
    let (took, left) = (since.elapsed(), many as u64 - published("s1"));
    assert!(left > 0, "the busy shop was drained first");
    assert!(took < Duration::from_secs(10), "30 orders waited {took:?} beside {many}");
}

#[test]
fn two_hundred_shops_lose_and_double_nothing_wherever_their_process_is_killed() {
    let all = alone("matrix", many(200, 1));
    for place in PLACES {
        // A lane opens once, and not all lanes have pages in each transaction.
        let visit = if matches!(place, "opening" | "fenced" | "loaded") { 3 } else { 15 };
        let kill = format!("{place}:{visit}");
        all.place(1);
        let mut program = all.settings[0].start_with(&["drain"], &[("IMOTRIZ_TEST_KILL_AT", &kill)]);
        let end = program.wait(RUN_DEADLINE);
        assert!(was_killed(end), "{kill}: {end}\n{}", program.output());
    }
    let mut program = all.settings[0].start(&["drain"]);
    program.expect_exit(0, RUN_DEADLINE);
    all.expect_all_published();
}

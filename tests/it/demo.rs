//! Tests of `demo`, which a newcomer runs first: it works with nothing installed, and its verdict is honest.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::program::Program;
use crate::support::{child, kafka};

const DEADLINE: Duration = Duration::from_secs(120);

fn demo(arguments: &[&str]) -> Program {
    let mut command = child::command(env!("CARGO_BIN_EXE_imotriz-kafka"));
    command.arg("demo").args(arguments).env_remove("RUST_LOG");
    Program::spawn(command)
}

/// The exit code, and the verdict.
fn ended(mut demo: Program) -> (Option<i32>, Value) {
    let code = demo.wait(DEADLINE).code();
    let verdict = demo.stdout().lines().last().and_then(|line| serde_json::from_str(line).ok());
    (code, verdict.unwrap_or_else(|| panic!("no verdict\n{}", demo.output())))
}

fn assert_all_arrived((code, verdict): (Option<i32>, Value), orders: u64) {
    assert_eq!(code, Some(0), "{verdict}");
    for (name, number) in [("orders", orders), ("events", orders), ("lost", 0), ("doubled", 0), ("pending", 0)] {
        assert_eq!(verdict[name], number, "{name}: {verdict}");
    }
}

#[test]
fn all_orders_arrive_once_on_the_embedded_broker_although_reads_fail() {
    let faults = "error-before=0.2,drop-before=0.2,duplicates=0.3";
    let (code, verdict) = ended(demo(&["--orders", "300", "--json", "--faults", faults]));
    for name in ["error-before", "drop-before", "duplicates"] {
        assert!(verdict["faults"][name].as_u64() > Some(0), "{name} did not strike: {verdict}");
    }
    assert!(verdict["unknown_reads"].as_u64() > Some(0), "{verdict}");
    assert_all_arrived((code, verdict), 300);
}

#[test]
fn all_orders_arrive_once_on_a_real_broker_too() {
    let arguments = ["--orders", "300", "--json", "--bootstrap-servers", kafka().bootstrap_servers()];
    assert_all_arrived(ended(demo(&arguments)), 300);
}

#[test]
fn it_says_so_when_orders_were_marked_and_did_not_arrive() {
    // The list of IDs, by which they could be found, is out of order as well.
    let faults = "truncate=0.3,order-ids/error-before=1";
    let (code, verdict) = ended(demo(&["--orders", "300", "--json", "--faults", faults]));
    let lost = verdict["lost"].as_u64();
    assert!(lost > Some(0) && lost <= verdict["faults"]["truncate"].as_u64().map(|pages| 30 * pages), "{verdict}");
    assert_eq!(verdict["events"].as_u64(), lost.map(|lost| 300 - lost), "{verdict}");
    assert_ne!(code, Some(0));
}

#[test]
fn kept_running_it_shows_new_orders_until_it_is_stopped() {
    let mut demo = demo(&["--orders", "30", "--json", "--keep-running"]);
    demo.wait_for_line("\"lost\"", DEADLINE);
    demo.wait_for_line("\"order_id\"", DEADLINE);
    demo.signal(Signal::TERM);
    let (code, verdict) = ended(demo);
    assert_eq!(code, Some(0), "{verdict}");
    assert!(verdict["events"].as_u64() > Some(30), "{verdict}");
}

#[test]
fn more_orders_than_the_embedded_broker_holds_are_refused_with_advice() {
    let mut demo = demo(&["--orders", "1000000"]);
    assert_eq!(demo.wait(DEADLINE).code(), Some(2));
    assert!(demo.stderr().contains("--bootstrap-servers"), "{}", demo.output());
}

#[test]
fn without_a_terminal_it_prints_no_control_characters_and_masks_the_buyers() {
    let mut demo = demo(&["--orders", "60"]);
    assert_eq!(demo.wait(DEADLINE).code(), Some(0), "{}", demo.output());
    let output = demo.stdout();
    assert!(!output.contains('\u{1b}') && output.contains("Nothing lost, nothing doubled"), "{output}");
    assert!(output.contains("•••") && !output.contains('@'), "{output}");
}

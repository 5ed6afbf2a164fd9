//! Finds the commit that `--version` tells.
//!
//! `SOURCE_COMMIT` names it where there is no repository, as in a container build. A debug build does not ask git: each
//! commit would build the program and all tests anew.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_COMMIT");
    let given = env::var("SOURCE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_debug = env::var("PROFILE").is_ok_and(|profile| profile == "debug");
    if let Some(commit) = given.or_else(|| if is_debug { None } else { head() }) {
        println!("cargo::rustc-env=IMOTRIZ_KAFKA_COMMIT={}", commit.chars().take(12).collect::<String>());
    }
}

/// The commit that is checked out, if this folder is the root of a repository and not merely inside of one.
fn head() -> Option<String> {
    let output =
        Command::new("git").args(["rev-parse", "--show-cdup", "--git-path", "logs/HEAD", "HEAD"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines();
    let (Some(""), Some(log), Some(commit)) = (lines.next(), lines.next(), lines.next()) else { return None };
    // A file that is named and missing would run this anew each time.
    if Path::new(log).is_file() {
        println!("cargo::rerun-if-changed={log}");
    }
    Some(commit.to_owned())
}

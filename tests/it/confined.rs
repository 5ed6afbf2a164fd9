//! Tests of what other users of the machine can't get at: the spool's files, the control socket, and memory.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use imotriz_kafka::sandbox::{Fault, SandboxArgs};
use rustix::process::Signal;

use crate::admin::{address, ready};
use crate::doctor::check;
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

/// A folder and all that is in it.
fn all_of(folder: &Path) -> Vec<PathBuf> {
    let inside = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let inside = inside.flat_map(|path| if path.is_dir() { all_of(&path) } else { vec![path] });
    [folder.to_owned()].into_iter().chain(inside).collect()
}

fn spool_of(scene: &Scene) -> PathBuf {
    scene.settings.directory().join("spool")
}

#[test]
fn whatever_the_umask_the_spool_and_the_control_socket_are_for_their_owner_alone() {
    // No page fits into the space that is claimed, so each has a file of its own.
    let scene =
        Scene::new("umask", SandboxArgs::with_orders(90)).without_list().with("IMOTRIZ_SPOOL__PAGE_SPACE", "1KiB");
    scene.script(&[Some(Fault::Html), None, Some(Fault::DropAfter)]);
    let mut program = Program::spawn(scene.settings.command_after("umask 0", &["run"]));
    ready(&address(&mut program));
    wait::until("the orders are read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    wait::until("the pages are let go", RUN_DEADLINE, || scene.spooled("page") == 0);
    let spool = spool_of(&scene);
    let all = all_of(&spool);
    for path in &all {
        let wanted = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(path), wanted, "{}", path.display());
    }
    for name in ["control.sock", "lock", "account.json"] {
        assert!(all.contains(&spool.join(name)), "{name} is not among {all:?}");
    }
    assert!(all.iter().any(|path| path.extension().is_some_and(|it| it == "unknown")), "{all:?}");
    assert!(!program.stderr().contains("can get at"), "{}", program.output());
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn a_spool_that_others_can_get_at_is_told_with_the_command_that_closes_it() {
    let scene = Scene::new("exposed", SandboxArgs::with_orders(30));
    scene.drain();
    let spool = spool_of(&scene);
    let told = format!("other users can get at {}", spool.display());
    let cure = format!("chmod -R go= {}", spool.display());
    let open = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    for (path, wide, expected) in [
        (spool.clone(), 0o755, told.clone()),
        (spool.clone(), 0o710, told.clone()),
        (spool.join("lock"), 0o644, format!("{told}/lock")),
        (spool.join("lock"), 0o660, format!("{told}/lock")),
    ] {
        let right = mode(&path);
        open(&path, wide);
        scene.shop().add(3, 0);
        let said = scene.drain().stderr();
        assert!(said.contains(&expected) && said.contains(&cure), "{wide:o}: {said}");
        let found = check(&scene, "permissions", 0);
        assert_eq!((&found["health"], &found["cure"]), (&"doubtful".into(), &cure.as_str().into()), "{found}");
        assert!(Command::new("/bin/sh").args(["-c", &cure]).status().unwrap().success());
        assert_eq!(mode(&path), right);
    }
    scene.shop().add(3, 0);
    assert!(!scene.drain().stderr().contains("can get at"));
    assert!(!scene.run(&["--json", "doctor"], 0).stdout().contains("\"permissions\""));
    scene.verdict().assert_clean();
}

/// The limit of this name of a process: its soft and its hard value.
fn limit(pid: u32, name: &str) -> Vec<String> {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let values = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    values.split_whitespace().take(2).map(str::to_owned).collect()
}

#[test]
fn a_crash_leaves_no_core_dump_even_where_the_machine_asks_for_one() {
    let asked = "ulimit -c unlimited";
    let scene = Scene::new("core", SandboxArgs::with_orders(30));
    let mut program = Program::spawn(scene.settings.command_after(asked, &["run"]));
    ready(&address(&mut program));
    assert_eq!(limit(program.pid(), "Max core file size"), ["0", "0"]);
    program.signal(Signal::ABORT);
    let status = program.wait(RUN_DEADLINE);
    assert!(status.signal() == Some(6) && !status.core_dumped(), "{status}: {}", program.output());

    // Not for the limit's sake alone: another program at the same place does leave one, where dumps become files.
    if !fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap().starts_with('|') {
        let folder = tempfile::tempdir().unwrap();
        let crash = format!("{asked}; kill -ABRT $$");
        let status = Command::new("/bin/sh").args(["-c", &crash]).current_dir(folder.path()).status().unwrap();
        assert!(status.core_dumped(), "{status}");
    }
}

#[test]
fn other_processes_of_the_same_user_can_not_read_memory_and_environment() {
    const USER: u32 = 65532;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("imotriz-kafka");
    fs::copy(env!("CARGO_BIN_EXE_imotriz-kafka"), &copy).unwrap();
    let scene = Scene::new("memory", SandboxArgs::with_orders(3));
    for open in [folder.path(), &copy, scene.settings.directory()] {
        fs::set_permissions(open, Permissions::from_mode(0o755)).unwrap();
    }
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).unwrap();
    // Through its group, as a volume of Kubernetes: that is nobody else.
    fs::set_permissions(&spool, Permissions::from_mode(0o770)).unwrap();
    std::os::unix::fs::chown(&spool, Some(0), Some(USER)).unwrap();
    let scene = scene.with("IMOTRIZ_SPOOL__DIR", spool.to_str().unwrap());
    let mut program = Program::spawn(scene.settings.command_as(USER, &copy, &["run"]));
    ready(&address(&mut program));
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid())).unwrap();
    assert!(status.contains(&format!("\nUid:\t{USER}")), "{status}");
    assert_eq!(fs::metadata(format!("/proc/{}/environ", program.pid())).unwrap().uid(), 0, "its user owns it");
    assert!(!program.stderr().contains("can get at"), "{}", program.output());
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
}

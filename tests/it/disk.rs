//! The spool's disk is full, or can't be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;

use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;

/// A small disk of its own, taken away when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs"], directory);
        Self(directory.to_owned())
    }

    /// Nothing more can be written to it.
    fn fill(&self) {
        let (mut size, filler) = (1 << 16, self.0.join("filler"));
        let mut content = Vec::new();
        while size > 0 {
            content.resize(content.len() + size, b'x');
            if fs::write(&filler, &content).is_err() {
                content.truncate(content.len() - size);
                size /= 2;
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }

    fn remount(&self, option: &str) {
        run("mount", &["-o", &format!("remount,{option}")], &self.0);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(program).args(arguments).arg(directory).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}` can't be run: {error}"));
    assert!(
        output.status.success(),
        "`{program}` failed: {}\nThese tests need a disk that is full: run them as root, where mounting is allowed",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A scene whose spool is on a disk of two mebibytes.
fn scene(orders: usize) -> (Scene, Disk) {
    let args = SandboxArgs { delay: Duration::from_millis(20), page_size: 10, ..SandboxArgs::with_orders(orders) };
    let scene = Scene::new("disk", args);
    let disk = Disk::mount(&scene.settings.directory().join("spool"));
    (scene, disk)
}

#[test]
fn a_disk_that_is_full_at_the_start_is_met_before_anything_is_read() {
    let (scene, disk) = scene(90);
    disk.fill();
    let program = scene.run(&["drain"], 6);
    assert!(program.stderr().contains("make room on that disk, then start again"), "{}", program.stderr());
    assert_eq!(scene.reads().len(), 0);

    disk.make_room();
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 90);
}

#[test]
fn a_disk_that_fills_up_loses_no_page_that_was_read() {
    let (scene, disk) = scene(3000);
    // Each page grows its file, so that the disk is met in the write, when the page is in memory alone.
    let scene = scene.with("IMOTRIZ_SPOOL__PAGE_SPACE", "8KiB").with("IMOTRIZ_SPOOL__MAX_PAGES", "8");
    let mut program = scene.settings.start(&["drain"]);
    wait::until("the drain is under way", RUN_DEADLINE, || scene.reads().len() >= 10);
    disk.fill();
    program.expect_exit(6, RUN_DEADLINE);
    assert!(program.stderr().contains("make room on that disk, then start again"), "{}", program.stderr());
    let pending = scene.shop().summary().pending;
    assert!(pending > 0, "the disk was full too late");

    disk.make_room();
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 3000);
    assert_eq!(scene.spooled("unknown") + scene.spooled("page"), 0);
}

#[test]
fn a_disk_that_cannot_be_written_is_met_before_anything_is_read() {
    let (scene, disk) = scene(90);
    scene.run(&["topics", "ensure"], 0);
    disk.remount("ro");
    let program = scene.run(&["drain"], 6);
    assert!(program.stderr().contains("make that disk writable"), "{}", program.stderr());
    assert_eq!(scene.reads().len(), 0);
    disk.remount("rw");
    scene.drain();
    scene.verdict().assert_clean();
}

//! Tests of a spool whose disk is full or can't be written.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::verdict::Verdict;
use crate::support::wait;

/// A small disk of its own, taken away when it is dropped.
struct Disk {
    directory: PathBuf,
    /// What a disk is kept in that can fail like a real one.
    image: Option<PathBuf>,
}

impl Disk {
    fn mount(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "size=2m", "tmpfs"], directory);
        Self { directory: directory.to_owned(), image: None }
    }

    /// One with a file system that turns read-only when its disk fails, whoever has files open on it.
    fn that_can_fail(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let image = directory.with_extension("image");
        fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        run("mkfs.ext4", &["-q"], &image);
        let disk = Self { directory: directory.to_owned(), image: Some(image) };
        disk.mount_image();
        disk
    }

    fn mount_image(&self) {
        let image = self.image.as_ref().unwrap().to_str().unwrap();
        run("mount", &["-o", "loop", image], &self.directory);
    }

    /// As the kernel does it on an error of the device: from now on every write is refused.
    fn fail(&self) {
        self.remount("abort");
    }

    fn mend(&self) {
        run("umount", &[], &self.directory);
        self.mount_image();
    }

    /// Nothing more can be written to it, until somebody lets go of a file.
    fn fill(&self) {
        let filler = self.directory.join("filler");
        let mut filler = OpenOptions::new().create(true).append(true).open(filler).unwrap();
        let mut size = 1 << 16;
        while size > 0 {
            if filler.write_all(&vec![b'x'; size]).is_err() {
                size /= 2;
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.directory.join("filler")).unwrap();
    }

    fn remount(&self, option: &str) {
        run("mount", &["-o", &format!("remount,{option}")], &self.directory);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(&self.directory).status().ok();
    }
}

fn run(program: &str, arguments: &[&str], directory: &Path) {
    let output = Command::new(program).args(arguments).arg(directory).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}` can't be run: {error}"));
    assert!(
        output.status.success(),
        "`{program}` failed: {}\nThese tests need a disk that is full or fails: run them as root, where mounting is allowed",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A scene whose spool is on a disk of two mebibytes.
fn scene(orders: usize) -> (Scene, Disk) {
    let args = SandboxArgs { delay: Duration::from_millis(20), page_size: 10, ..SandboxArgs::with_orders(orders) };
    let scene = Scene::new("disk", args);
    // Few and small files, for the disk is to be full when the test says so. A page is larger than what is reserved for
    // it and grows its file: so the disk is met in the write, too, when the page is in memory alone.
    let scene = scene.with("IMOTRIZ_SPOOL__PAGE_SPACE", "8KiB").with("IMOTRIZ_SPOOL__MAX_PAGES", "8");
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
    let mut program = scene.settings.start(&["drain"]);
    wait::until("the drain is under way", RUN_DEADLINE, || scene.reads().len() >= 10);
    // Pages that were under way let go of their files, which is room enough for the next ones.
    wait::until("the drain has ended on the full disk", RUN_DEADLINE, || {
        disk.fill();
        program.ended().is_some()
    });
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

/// Five pages. Time enough, while an answer is on its way, to see what becomes of the page before.
fn scene_on_a_disk_that_can_fail() -> (Scene, Disk) {
    let args = SandboxArgs { delay: Duration::from_secs(2), page_size: 10, ..SandboxArgs::with_orders(50) };
    let scene = Scene::new("disk-fails", args);
    let disk = Disk::that_can_fail(&scene.settings.directory().join("spool"));
    (scene, disk)
}

/// The last of so many pages was read when the disk had failed.
fn assert_published_and_the_others_later(pages: usize, scene: &Scene, disk: &Disk, program: &mut Program) {
    program.expect_exit(6, RUN_DEADLINE);
    let told = program.stderr();
    assert!(told.contains("The page that was just read goes to Kafka from memory; no further page is read"), "{told}");
    assert_eq!((scene.delivered().len(), scene.shop().summary().pending), (10 * pages, 50 - 10 * pages));
    assert_eq!(scene.verdict(), Verdict::default(), "{}", program.output());

    disk.mend();
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!((scene.delivered().len(), scene.spool().len()), (50, 0));
}

#[test]
fn a_disk_that_turns_read_only_under_a_page_that_was_just_read_does_not_keep_it_from_kafka() {
    let (scene, disk) = scene_on_a_disk_that_can_fail();
    let mut program = scene.settings.start(&["drain"]);
    wait::until("the second page is asked for, and the first released", RUN_DEADLINE, || {
        scene.reads().len() == 2 && scene.spooled("page") == 0
    });
    disk.fail();
    assert_published_and_the_others_later(2, &scene, &disk, &mut program);
}

#[test]
fn a_page_that_a_failed_disk_does_not_let_go_keeps_no_page_in_memory_from_kafka() {
    let (scene, disk) = scene_on_a_disk_that_can_fail();
    let mut program = scene.settings.start_with(&["drain"], &[("IMOTRIZ_TEST_STOP_AT", "committed:2")]);
    wait::until("the third page is asked for, and the second committed", RUN_DEADLINE, || {
        scene.reads().len() == 3 && program.is_stopped()
    });
    disk.fail();
    program.signal(Signal::CONT);
    assert_published_and_the_others_later(3, &scene, &disk, &mut program);
}

//! Disks that refuse operations, and a second process on the same spool.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, Stdio};
use std::thread;

use super::*;

/// A small file system of its own.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// # Panics
    /// Where mounting is not allowed: a full disk can't be had otherwise, and a test that passes without one says nothing.
    fn mount() -> Self {
        let dir = TempDir::new().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=512k", "tmpfs"];
        let mounted = Command::new("mount").args(options).arg(dir.path()).stderr(Stdio::null()).status();
        let may_mount = mounted.is_ok_and(|status| status.success());
        assert!(may_mount, "this test mounts a small tmpfs: run it as root, or in `unshare --map-root-user --mount`");
        Self(dir)
    }

    fn make_read_only(&self) {
        let status = Command::new("mount").args(["-o", "remount,ro"]).arg(self.0.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("--lazy").arg(self.0.path()).status().ok();
    }
}

#[test]
fn a_full_disk_is_met_by_the_reservation_and_opening_it_again_needs_no_room() {
    let disk = SmallDisk::mount();
    let dir = disk.0.path().join("spool");
    let (spool, _) = open(&dir);
    let mut pages = Vec::new();
    let error = loop {
        match spool.reserve(&store("bogota")) {
            Ok(reservation) => pages.push(write(reservation, &"page".repeat(4000))),
            Err(error) => break error,
        }
    };
    assert!(error.disk_is_full(), "{error}");
    assert!(error.to_string().contains(dir.to_str().unwrap()) && error.to_string().contains("make room"), "{error}");
    assert!(pages.len() > 5, "{}", pages.len());
    drop(spool);
    // Not a byte is left, for the lock file or anything else.
    std::fs::write(dir.join(lock::NAME), "").unwrap();
    std::fs::write(disk.0.path().join("filler"), vec![1; 512 * 1024]).unwrap_err();

    let (spool, recovery) = open(&dir);
    assert_eq!(recovery.pages.len(), pages.len());
    assert!(recovery.unknown.is_empty() && recovery.corrupt.is_empty());
    for page in recovery.pages {
        release(&spool, page);
    }
    spool.0.log.upkeep().unwrap();
    spool.0.log.upkeep().unwrap();
    reserve(&spool, "bogota").cancel().unwrap();
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_page_gives_the_page_back() {
    let disk = SmallDisk::mount();
    let (spool, _) = open(disk.0.path());
    let reservation = announced(&spool, "bogota");
    let read_id = reservation.read_id();
    let body = Bytes::from(vec![b'x'; 600 * 1024]);
    let failed = wait(reservation.write(clock::now(), body.clone())).unwrap_err();
    assert!(failed.error.disk_is_full());
    let failed = spool.rescue(failed, clock::now()).unwrap_err();
    assert_eq!(failed.body, body);
    drop(spool);

    let (_, recovery) = open(disk.0.path());
    assert_eq!(recovery.unknown.iter().map(|read| read.read_id).collect::<Vec<_>>(), [read_id], "once");
}

#[test]
fn a_read_only_disk_is_said_to_be_one() {
    let disk = SmallDisk::mount();
    let (spool, _) = open(disk.0.path());
    drop(spool);
    disk.make_read_only();
    let error = Spool::open(options(disk.0.path())).unwrap_err().to_string();
    assert!(error.contains("make that disk writable"), "{error}");
    assert!(Spool::inspect(disk.0.path()).unwrap().is_empty(), "looking is still possible");
}

#[test]
fn a_refusal_says_what_to_do_next() {
    let refused = |kind: std::io::ErrorKind| SpoolError::disk("create", Path::new("/x"))(kind.into()).to_string();
    assert!(
        refused(std::io::ErrorKind::PermissionDenied)
            .contains(&format!("let user {}, as whom", rustix::process::geteuid().as_raw()))
    );
    assert!(refused(std::io::ErrorKind::NotFound).contains("something took it away"));
    assert!(refused(std::io::ErrorKind::Other).starts_with("cannot create /x: "));
}

#[test]
fn a_file_where_the_folder_should_be_is_said_to_be_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("spool");
    std::fs::write(&path, "").unwrap();
    let error = Spool::open(options(&path)).unwrap_err().to_string();
    assert!(error.contains("set spool.dir to a folder"), "{error}");
}

const CHILD: &str = "SPOOL_TEST_HOLDS";

/// Not a test of its own: the child process that the next test starts.
#[test]
fn holder() {
    let Ok(dir) = std::env::var(CHILD) else { return };
    let (spool, _) = open(Path::new(&dir));
    let _reservation = announced(&spool, "bogota");
    // Ends when it is killed, or when the test that started it is gone.
    std::io::read_to_string(std::io::stdin()).unwrap();
}

struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_second_process_is_told_who_has_the_spool_and_gets_it_once_that_one_is_killed() {
    let dir = TempDir::new().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "spool::tests::faults::holder"]).env(CHILD, dir.path());
    let holder = Holder(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let deadline = Instant::now() + Duration::from_secs(30);
    while Spool::inspect(dir.path()).unwrap().is_empty() {
        assert!(Instant::now() < deadline, "the other process never made its reservation");
        thread::sleep(Duration::from_millis(5));
    }

    let error = Spool::open(options(dir.path())).unwrap_err();
    assert!(matches!(error, SpoolError::Locked { pid: Some(pid), .. } if pid == holder.0.id()), "{error}");
    assert!(error.to_string().contains("stop that one first"));
    assert_eq!(Spool::inspect(dir.path()).unwrap()[0].state, FileState::Unfinished);
    drop(holder);
    assert_eq!(open(dir.path()).1.unknown.len(), 1, "it was killed in mid-read");
}

/// A folder with pages in some segments, the last process of which ended well. Also returns its segments in their order.
fn several_segments() -> (TempDir, Vec<PathBuf>) {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    for _ in 0..50 {
        write(reserve(&spool, "bogota"), &"page".repeat(4000));
    }
    drop(spool);
    let number = |path: &PathBuf| log::frame::scan(&std::fs::read(path).unwrap()).unwrap().number;
    let mut segments = segments(dir.path());
    segments.sort_by_key(number);
    assert!(segments.len() > 2, "{segments:?}");
    (dir, segments)
}

#[test]
fn a_segment_that_is_lost_is_noticed_wherever_it_was_until_it_is_noted_and_the_rest_comes_back() {
    let (_, segments) = several_segments();
    for lost in [vec![0], vec![1], vec![segments.len() - 1], (0..segments.len()).collect()] {
        let (dir, segments) = several_segments();
        let whole = open(dir.path()).1;
        assert!(whole.corrupt.is_empty() && whole.polls_cut_off.is_none(), "{:?}", whole.corrupt);
        let damaged = || {
            let entries = Spool::inspect(dir.path()).unwrap().into_iter();
            entries.filter(|entry| matches!(entry.state, FileState::Corrupt { .. })).map(|entry| entry.path)
        };
        assert_eq!(damaged().count(), 0);
        lost.iter().for_each(|index| std::fs::remove_file(&segments[*index]).unwrap());
        let gone: BTreeSet<PathBuf> = lost.iter().map(|index| segments[*index].clone()).collect();
        for _ in 0..2 {
            assert_eq!(damaged().collect::<BTreeSet<_>>(), gone);
            let (_, recovery) = open(dir.path());
            assert_eq!(recovery.corrupt.len(), lost.len());
            for (index, corrupt) in lost.iter().zip(&recovery.corrupt) {
                let name = segments[*index].file_name().unwrap().to_str().unwrap();
                assert!(corrupt.store.is_none() && corrupt.why.contains(name), "{corrupt:?}");
            }
            assert!(recovery.polls_cut_off.is_some());
            let is_left = lost.len() < segments.len();
            assert_eq!((!recovery.pages.is_empty(), recovery.pages.len() < whole.pages.len()), (is_left, true));
        }
        let (spool, _) = open(dir.path());
        spool.forget_cut_off_polls().unwrap();
        assert_eq!(damaged().count(), 0);
        write(reserve(&spool, "cali"), "later");
        drop(spool);
        let (_, recovery) = open(dir.path());
        // The numbers tell of a gap for as long as there is something before it.
        let is_a_gap = lost == [1];
        assert_eq!((!recovery.corrupt.is_empty(), recovery.polls_cut_off.is_some()), (is_a_gap, is_a_gap));
        assert_eq!(bodies(&recovery).last().unwrap(), "later");
    }
}

#[test]
fn a_segment_that_is_gone_from_the_middle_is_told_without_a_manifest() {
    let (dir, segments) = several_segments();
    let manifest = dir.path().join("manifest");
    std::fs::remove_file(&manifest).unwrap();
    let (spool, recovery) = open(dir.path());
    assert!(recovery.corrupt.is_empty() && recovery.polls_cut_off.is_none(), "as a version before left it");
    drop((spool, recovery));
    assert!(manifest.exists());
    std::fs::remove_file(&manifest).unwrap();
    std::fs::remove_file(&segments[1]).unwrap();
    let (_, recovery) = open(dir.path());
    assert!(recovery.corrupt[0].why.contains("is gone"), "{:?}", recovery.corrupt);
    assert!(recovery.polls_cut_off.is_some());
}

#[test]
fn the_manifest_is_not_written_while_pages_come_and_go() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let mut files = BTreeSet::new();
    for count in 0..400 {
        let page = write(reserve(&spool, "bogota"), &"page".repeat(4000));
        release(&spool, page);
        spool.0.log.upkeep().unwrap();
        if count >= 100 {
            files.insert(std::fs::metadata(dir.path().join("manifest")).unwrap().ino());
        }
    }
    assert_eq!(files.len(), 1, "it is another file each time that it is written");
    assert!(segments(dir.path()).len() < 5, "they were used again");
}

#[test]
fn a_process_that_is_killed_leaves_no_segment_that_seems_to_be_lost() {
    let dir = TempDir::new().unwrap();
    for _ in 0..3 {
        let (spool, recovery) = open(dir.path());
        assert!(recovery.corrupt.is_empty(), "{:?}", recovery.corrupt);
        for _ in 0..60 {
            let page = write(reserve(&spool, "bogota"), &"page".repeat(4000));
            release(&spool, page);
            spool.0.log.upkeep().unwrap();
        }
        spool.forget_cut_off_polls().unwrap();
        // As a kill does, it neither removes a file nor writes what a good end does.
        let unpublished = announced(&spool, "cali");
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let left: Vec<_> = files.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
        drop((unpublished, spool));
        left.iter().for_each(|(bytes, path)| std::fs::write(path, bytes).unwrap());
    }
}

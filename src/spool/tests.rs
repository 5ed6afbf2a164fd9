//! The spool as its callers see it, on a real disk. Tests simulate a crash by leaving files in the state that it would
//! leave.

mod faults;
mod format;
mod model;

use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

fn store(name: &str) -> StoreName {
    name.parse().unwrap()
}

fn options(dir: &Path) -> SpoolOptions {
    SpoolOptions { page_space: 16 * 1024, ..SpoolOptions::new(dir) }
}

fn open(dir: &Path) -> (Spool, Recovery) {
    open_with(options(dir))
}

/// A process that another test is spawning holds a copy of every lock until its `exec`, so the lock may be taken for a
/// moment.
fn open_with(options: SpoolOptions) -> (Spool, Recovery) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Spool::open(options.clone()) {
            Err(SpoolError::Locked { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    }
}

fn write(reservation: Reservation, body: &'static str) -> Durable {
    reservation.write(clock::now(), Bytes::from_static(body.as_bytes())).unwrap()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    SpoolDisk::real().list(dir).unwrap().into_iter().filter(|path| is_ours(path)).collect()
}

fn bodies(recovery: &Recovery) -> Vec<Bytes> {
    recovery.pages.iter().map(|page| page.body().unwrap()).collect()
}

#[test]
fn pages_come_back_after_a_restart_in_the_order_of_their_reservation() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [a, b, c] = ["bogota", "cali", "bogota"].map(|name| spool.reserve(&store(name)).unwrap());
    let ids = [a.read_id(), b.read_id(), c.read_id()];
    let read_at = "2026-01-02T03:04:05.678Z".parse().unwrap();
    a.write(read_at, Bytes::from_static(b"{\"first\":1}")).unwrap();
    let (_c, _b) = (write(c, "third"), write(b, "second"));
    drop(spool);

    let (_, recovery) = open(dir.path());
    assert_eq!(bodies(&recovery), ["{\"first\":1}", "second", "third"]);
    assert_eq!(recovery.pages.iter().map(Durable::read_id).collect::<Vec<_>>(), ids);
    assert_eq!((recovery.pages[0].store(), recovery.pages[0].read_at()), (&store("bogota"), read_at));
    assert!(recovery.unknown.is_empty() && recovery.corrupt.is_empty());
}

#[test]
fn a_survey_counts_whole_pages_and_no_reservations() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [old, new, lost, _waiting] = [(); 4].map(|()| spool.reserve(&store("bogota")).unwrap());
    let read_at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let old = old.write(read_at, Bytes::from_static(b"old")).unwrap();
    let _new = write(new, "new");
    lost.write_unknown("cut off", b"").unwrap();
    let survey = Spool::survey(dir.path()).unwrap();
    assert_eq!((survey.pages, survey.oldest, survey.unknown, survey.damaged), (2, Some(read_at), 1, 0));
    assert!(survey.free_bytes > 0);

    spool.release(old, &Committed::seen()).unwrap();
    let survey = Spool::survey(dir.path()).unwrap();
    assert_eq!(survey.pages, 1);
    assert!(survey.oldest > Some(read_at));
    assert!(Spool::survey(&dir.path().join("nowhere")).is_err());
}

#[test]
fn the_first_reservation_without_an_answer_was_in_flight_and_the_later_ones_were_waiting() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [done, in_flight, waiting, elsewhere] =
        ["bogota", "bogota", "bogota", "cali"].map(|name| spool.reserve(&store(name)).unwrap());
    let expected = [in_flight.read_id(), elsewhere.read_id()];
    write(done, "page");
    drop((in_flight, waiting, elsewhere, spool));

    let (_, recovery) = open(dir.path());
    assert_eq!(bodies(&recovery), ["page"]);
    assert_eq!(recovery.unknown.iter().map(|read| read.read_id).collect::<Vec<_>>(), expected);
    assert_eq!(files(dir.path()).len(), 3);
}

#[test]
fn a_write_cut_short_is_a_read_of_unknown_outcome_that_keeps_its_bytes() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [torn, waiting] = ["bogota", "bogota"].map(|name| spool.reserve(&store(name)).unwrap());
    disk::write_at(&*torn.file, &torn.path, BODY, b"[{\"order\":").unwrap();
    let expected = torn.read_id();
    drop((torn, waiting, spool));

    let (spool, recovery) = open(dir.path());
    let [read] = &recovery.unknown[..] else { panic!("{recovery:?}") };
    assert_eq!(read.read_id, expected);
    assert_eq!(Spool::read_body(&read.path).unwrap(), "[{\"order\":");
    drop(spool);
    assert_eq!(open(dir.path()).1.unknown, recovery.unknown, "it is found again, as it was");
}

#[test]
fn a_read_of_unknown_outcome_stays_until_it_is_settled() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let reservation = spool.reserve(&store("bogota")).unwrap();
    let read = reservation.write_unknown("timed out\nafter 30 s", b"half").unwrap();
    assert!(has_suffix(&read.path, UNKNOWN));
    drop(spool);

    let (spool, recovery) = open(dir.path());
    assert_eq!(recovery.unknown[0].reason, "timed out after 30 s");
    assert_eq!(Spool::read_body(&recovery.unknown[0].path).unwrap(), "half");
    for read in recovery.unknown {
        spool.settle(read).unwrap();
    }
    drop(spool);
    assert!(open(dir.path()).1.unknown.is_empty());
}

#[test]
fn an_answer_that_is_no_page_becomes_a_read_of_unknown_outcome_that_keeps_its_bytes() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let disowned = write(spool.reserve(&store("bogota")).unwrap(), "<html>").disown("HTML\ncame").unwrap();
    assert_eq!(
        (disowned.reason.as_str(), Spool::read_body(&disowned.path).unwrap().as_ref()),
        ("HTML came", &b"<html>"[..])
    );
    drop(spool);
    let (_, recovery) = open(dir.path());
    assert_eq!((recovery.unknown, recovery.pages.len()), (vec![disowned], 0));
}

#[test]
fn an_answer_that_nobody_looked_into_before_a_kill_is_looked_into_after_it() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [first, second, third] = [(); 3].map(|()| spool.reserve(&store("bogota")).unwrap());
    let (_first, second, _third) =
        (write(first, "{}"), write(second, "<html>"), third.write_unknown("cut", b"{").unwrap());
    let read_id = second.read_id();
    drop(spool);
    for disowned in [1, 0] {
        let (_, mut recovery) = open(dir.path());
        let before = recovery.pages.len();
        recovery.disown(|body| body.starts_with(b"<").then(|| "HTML".to_owned())).unwrap();
        assert_eq!((before - recovery.pages.len(), bodies(&recovery)), (disowned, vec![Bytes::from("{}")]));
        let unknown: Vec<_> = recovery.unknown.iter().map(|read| read.reason.as_str()).collect();
        assert_eq!((unknown, recovery.unknown[0].read_id), (vec!["HTML", "cut"], read_id));
    }
}

#[test]
fn an_unsettled_read_of_an_earlier_process_does_not_hide_the_one_in_flight_now() {
    let dir = TempDir::new().unwrap();
    let reserve_and_die = || {
        let (spool, recovery) = open(dir.path());
        drop(spool.reserve(&store("bogota")).unwrap());
        recovery.unknown.len()
    };
    assert_eq!([reserve_and_die(), reserve_and_die(), reserve_and_die()], [0, 1, 2]);
}

#[test]
fn a_released_page_does_not_come_back_and_its_file_takes_another_page_without_a_trace_of_the_first() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let page = write(spool.reserve(&store("bogota")).unwrap(), "Ana Buyer, Calle 1");
    spool.release(page, &Committed::seen()).unwrap();
    let next = spool.reserve(&store("cali")).unwrap();

    assert_eq!(files(dir.path()), std::slice::from_ref(&next.path), "the same file");
    let bytes = SpoolDisk::real().read(&next.path).unwrap();
    assert_eq!(super::format::examine(&bytes), super::format::Found::Unfinished(next.head.clone()));
    write(next, "second");
    drop(spool);
    assert_eq!(bodies(&open(dir.path()).1), ["second"]);
}

#[test]
fn a_page_that_outgrew_its_space_is_whole_and_its_file_is_not_used_again() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let body = Bytes::from(vec![b'x'; 40_000]);
    let mut page = spool.reserve(&store("bogota")).unwrap().write(clock::now(), body.clone()).unwrap();
    page.drop_body();
    assert_eq!(page.body().unwrap(), body);
    spool.release(page, &Committed::seen()).unwrap();
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_discarded_reservation_leaves_nothing_and_spare_files_go_with_the_spool() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    spool.reserve(&store("bogota")).unwrap().discard().unwrap();
    assert_eq!(files(dir.path()).len(), 1, "kept for use again");
    drop(spool);
    assert!(files(dir.path()).is_empty());
}

#[test]
fn a_name_that_was_lost_with_the_power_is_given_again_by_the_head() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let page = write(spool.reserve(&store("bogota")).unwrap(), "page");
    let reserved = spool.reserve(&store("cali")).unwrap();
    let freed = spool.reserve(&store("quito")).unwrap();
    disk::write_at(&*freed.file, &freed.path, 0, &super::format::free_head()).unwrap();
    SpoolDisk::real().rename(page.path(), &dir.path().join("000000000077.free")).unwrap();
    SpoolDisk::real().rename(&reserved.path, &dir.path().join("000000000078.free")).unwrap();
    std::fs::write(dir.path().join("000000000079.free"), [0; 5000]).unwrap();
    let read_id = reserved.read_id();
    drop((reserved, freed, spool));

    let (_, recovery) = open(dir.path());
    assert_eq!(recovery.pages[0].path(), page.path());
    assert_eq!(recovery.unknown[0].read_id, read_id);
    assert!(recovery.corrupt.is_empty());
    assert_eq!(files(dir.path()).len(), 2, "the freed file and the one whose creation was cut short are gone");
}

#[test]
fn a_file_that_cannot_be_read_is_put_aside_and_the_others_come_back() {
    let dir = TempDir::new().unwrap();
    for body in ["lost", "lost too"] {
        let (spool, _) = open(dir.path());
        let page = write(spool.reserve(&store("bogota")).unwrap(), body);
        let broken = page.path().to_owned();
        write(spool.reserve(&store("cali")).unwrap(), "kept");
        drop(spool);
        flip(&broken, 30);

        let (spool, recovery) = open(dir.path());
        let [corrupt] = &recovery.corrupt[..] else { panic!("{recovery:?}") };
        assert_eq!((&corrupt.store, corrupt.read_id), (&Some(store("bogota")), Some(page.read_id())));
        assert!(corrupt.path.starts_with(dir.path().join(CORRUPT)) && corrupt.path.exists());
        assert_eq!(bodies(&recovery), ["kept"]);
        for page in recovery.pages {
            spool.release(page, &Committed::seen()).unwrap();
        }
    }
    assert_eq!(SpoolDisk::real().list(&dir.path().join(CORRUPT)).unwrap().len(), 2);
}

#[test]
fn a_page_damaged_on_the_disk_is_not_given_out() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let mut page = write(spool.reserve(&store("bogota")).unwrap(), "129900.00");
    flip(page.path(), BODY + 3);
    assert_eq!(page.body().unwrap(), "129900.00", "from memory");
    page.drop_body();
    assert!(matches!(page.body(), Err(SpoolError::Damaged { .. })));
}

#[test]
fn a_rescued_page_stands_in_for_the_first_file_in_its_place() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [failed, next] = ["bogota", "bogota"].map(|name| spool.reserve(&store(name)).unwrap());
    let (read_id, first) = (failed.read_id(), failed.path.clone());
    drop(failed);
    let page = spool.rescue(&store("bogota"), read_id, clock::now(), Bytes::from_static(b"page")).unwrap();
    assert_eq!(page.path(), first);
    let in_flight = next.read_id();
    drop((next, spool));

    let (_, recovery) = open(dir.path());
    assert_eq!(bodies(&recovery), ["page"]);
    assert_eq!(recovery.unknown.iter().map(|read| read.read_id).collect::<Vec<_>>(), [in_flight]);
}

#[test]
fn a_kill_in_the_middle_of_a_rescue_leaves_the_page_once() {
    for first_is_whole in [true, false] {
        let dir = TempDir::new().unwrap();
        let (spool, _) = open(dir.path());
        let page = write(spool.reserve(&store("bogota")).unwrap(), "page");
        std::fs::copy(page.path(), dir.path().join("000000000009.free")).unwrap();
        if !first_is_whole {
            flip(page.path(), BODY);
        }
        drop(spool);
        let (_, recovery) = open(dir.path());
        assert_eq!(bodies(&recovery), ["page"]);
        assert!(recovery.unknown.is_empty());
        assert_eq!(files(dir.path()), [page.path()]);
    }
}

#[test]
fn a_reservation_dropped_long_ago_does_not_hide_the_one_in_flight() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let mut expected = Vec::new();
    for page_is_whole in [true, false] {
        let [dropped, used] = ["bogota", "bogota"].map(|name| spool.reserve(&store(name)).unwrap());
        expected.push(dropped.read_id());
        if page_is_whole {
            write(used, "page");
        } else {
            expected.push(used.write_unknown("cut off", b"").unwrap().read_id);
        }
    }
    let in_flight = spool.reserve(&store("bogota")).unwrap();
    expected.push(in_flight.read_id());
    drop((in_flight, spool));
    assert_eq!(open(dir.path()).1.unknown.iter().map(|read| read.read_id).collect::<Vec<_>>(), expected);
}

#[test]
fn a_look_from_outside_needs_no_lock_and_tells_the_states_apart() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [page, unknown, _reserved, torn, free] =
        ["a", "b", "c", "d", "e"].map(|name| spool.reserve(&store(name)).unwrap());
    let read_at = clock::now();
    page.write(read_at, Bytes::from_static(b"12345")).unwrap();
    unknown.write_unknown("cut off", b"12").unwrap();
    disk::write_at(&*torn.file, &torn.path, BODY, b"x").unwrap();
    free.discard().unwrap();

    let entries = Spool::inspect(dir.path()).unwrap();
    let states: Vec<_> = entries.iter().map(|entry| entry.state.clone()).collect();
    assert_eq!(states[0], FileState::Page { read_at, bytes: 5 });
    assert_eq!(states[1], FileState::Unknown { reason: "cut off".to_owned(), bytes: 2 });
    assert_eq!(states[2], FileState::Unfinished);
    assert!(matches!(states[3], FileState::Corrupt { .. }));
    assert_eq!(states.len(), 4, "a spare file is nobody's business");
    assert_eq!((entries[0].store.clone(), entries[0].size), (Some(store("a")), 16 * 1024));
    assert!(Spool::inspect(&dir.path().join("nowhere")).unwrap().is_empty());
}

fn flip(path: &Path, position: usize) {
    let mut bytes = SpoolDisk::real().read(path).unwrap();
    bytes[position] ^= 0x20;
    std::fs::write(path, bytes).unwrap();
}

//! The spool as its callers see it, on a real disk. Tests simulate a crash by leaving files in the state that it would
//! leave.

mod faults;
mod format;
mod frames;
mod model;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::marketplace::body::Pending;
use crate::order::ids::ReadId;

fn store(name: &str) -> StoreName {
    name.parse().unwrap()
}

fn options(dir: &Path) -> SpoolOptions {
    SpoolOptions { page_space: 16 * 1024, ..SpoolOptions::new(dir) }
}

fn open(dir: &Path) -> (Spool, Recovery) {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match Spool::open(options(dir)) {
            Err(SpoolError::Locked { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn reserve(spool: &Spool, name: &str) -> Reservation {
    spool.reserve(&store(name)).unwrap()
}

fn announced(spool: &Spool, name: &str) -> Reservation {
    let mut reservation = reserve(spool, name);
    wait(reservation.announce(None)).unwrap();
    reservation
}

/// A page after which no read is made.
fn write(reservation: Reservation, body: &str) -> Durable {
    let (page, next) = wait(reservation.write(clock::now(), Bytes::copy_from_slice(body.as_bytes()))).unwrap();
    next.map_or(Ok(()), Reservation::cancel).unwrap();
    page
}

fn release(spool: &Spool, page: Durable) {
    let removal = spool.release(vec![page], &Committed::seen()).unwrap();
    wait(spool.durable(removal)).unwrap();
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    SpoolDisk::real().list(dir).unwrap().into_iter().filter(|path| has_suffix(path, SEGMENT)).collect()
}

fn files(dir: &Path) -> Vec<PathBuf> {
    SpoolDisk::real().list(dir).unwrap().into_iter().filter(|path| is_page_file(path)).collect()
}

fn bodies(recovery: &Recovery) -> Vec<Bytes> {
    recovery.pages.iter().map(|page| page.body().unwrap()).collect()
}

fn unknown(recovery: &Recovery) -> Vec<ReadId> {
    recovery.unknown.iter().map(|read| read.read_id).collect()
}

/// Changes one byte of the place where these bytes are.
fn flip(dir: &Path, there: &[u8]) {
    for path in SpoolDisk::real().list(dir).unwrap() {
        let mut bytes = SpoolDisk::real().read(&path).unwrap();
        if let Some(position) = bytes.windows(there.len()).position(|part| part == there) {
            bytes[position] ^= 0x20;
            std::fs::write(path, bytes).unwrap();
            return;
        }
    }
    panic!("no file holds these bytes");
}

#[test]
fn pages_come_back_after_a_restart_in_the_order_of_their_reservation() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [a, b, c] = ["bogota", "cali", "bogota"].map(|name| reserve(&spool, name));
    let ids = [a.read_id(), b.read_id(), c.read_id()];
    let read_at = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let (_, next) = wait(a.write(read_at, Bytes::from_static(b"{\"first\":1}"))).unwrap();
    next.unwrap().cancel().unwrap();
    write(c, "third");
    write(b, "second");
    drop(spool);

    let (_, recovery) = open(dir.path());
    assert_eq!(bodies(&recovery), ["{\"first\":1}", "second", "third"]);
    assert_eq!(recovery.pages.iter().map(Durable::read_id).collect::<Vec<_>>(), ids);
    assert_eq!((recovery.pages[0].store(), recovery.pages[0].read_at()), (&store("bogota"), read_at));
    assert!(recovery.unknown.is_empty() && recovery.corrupt.is_empty());
}

#[test]
fn a_read_is_found_if_it_was_announced_by_a_frame_of_its_own_or_by_the_page_before_it() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let pending = Pending { orders: 65, at: "2026-01-02T03:04:05Z".parse().unwrap() };
    let mut own = reserve(&spool, "bogota");
    wait(own.announce(Some(pending))).unwrap();
    let read_at = "2026-01-02T03:05:00Z".parse().unwrap();
    let body = r#"{"data":[{"id":1}],"metadata":{"total_transactions":36,"returned_transactions":1,"pending_transactions":35}}"#;
    let (page, next) = wait(reserve(&spool, "cali").write(read_at, Bytes::from_static(body.as_bytes()))).unwrap();
    // Its own page may be gone by then.
    release(&spool, page);
    let next = next.unwrap();
    let cancelled = announced(&spool, "medellin");
    cancelled.cancel().unwrap();
    let expected = [own.read_id(), next.read_id()];
    drop((own, next, reserve(&spool, "quito"), spool));

    let (_, recovery) = open(dir.path());
    assert_eq!(unknown(&recovery), expected, "neither a reservation that nobody announced nor a cancelled one");
    assert_eq!(recovery.unknown[0].pending, Some(pending));
    assert_eq!(recovery.unknown[1].pending, Some(Pending { orders: 35, at: read_at }));
    assert_eq!(unknown(&open_after(recovery, dir.path())), expected, "it is found again until it is settled");
}

fn open_after(recovery: Recovery, dir: &Path) -> Recovery {
    drop(recovery);
    open(dir).1
}

#[test]
fn a_process_that_did_not_end_well_is_told_of_once_for_all_polls() {
    let dir = TempDir::new().unwrap();
    let (spool, recovery) = open(dir.path());
    assert_eq!(recovery.polls_cut_off, None, "the first of all");
    drop((reserve(&spool, "bogota"), spool));
    let (spool, recovery) = open(dir.path());
    assert_eq!(recovery.polls_cut_off, None, "it did not poll");
    let before = clock::now();
    let poll = reserve(&spool, "bogota");
    assert!(poll.may_poll());
    drop((poll, spool));
    for _ in 0..2 {
        let (spool, recovery) = open(dir.path());
        assert!(recovery.polls_cut_off.is_some_and(|alive| alive >= before), "{recovery:?}");
        drop(spool);
    }
    let (spool, _) = open(dir.path());
    spool.forget_cut_off_polls().unwrap();
    let reservation = reserve(&spool, "bogota");
    assert!(reservation.may_poll());
    reservation.cancel().unwrap();
    drop(spool);
    assert_eq!(open(dir.path()).1.polls_cut_off, None, "every read was over");
}

#[test]
fn a_survey_counts_whole_pages_and_no_reservations() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [old, new, lost] = [(); 3].map(|()| reserve(&spool, "bogota"));
    let _waiting = announced(&spool, "bogota");
    let read_at: Timestamp = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let (old, _) = wait(old.write(read_at, Bytes::from_static(b"old"))).unwrap();
    let _new = write(new, "new");
    wait(lost.write_unknown("cut off", b"")).unwrap();
    let survey = Spool::survey(dir.path()).unwrap();
    assert_eq!((survey.pages, survey.oldest, survey.unknown, survey.damaged), (2, Some(read_at), 1, 0));
    assert!(survey.free_bytes > 0);

    release(&spool, old);
    let survey = Spool::survey(dir.path()).unwrap();
    assert_eq!(survey.pages, 1);
    assert!(survey.oldest > Some(read_at));
    assert!(Spool::survey(&dir.path().join("nowhere")).is_err());
}

#[test]
fn a_read_of_unknown_outcome_stays_until_it_is_settled() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    wait(reserve(&spool, "bogota").write_unknown("timed out\nafter 30 s", b"half")).unwrap();
    drop(spool);

    let (spool, recovery) = open(dir.path());
    assert_eq!(recovery.unknown[0].reason, "timed out after 30 s");
    assert_eq!(Spool::inspect(dir.path()).unwrap()[0].body().unwrap(), "half");
    for read in recovery.unknown {
        wait(spool.settle(read)).unwrap();
    }
    drop(spool);
    assert!(open(dir.path()).1.unknown.is_empty());
    assert!(segments(dir.path()).is_empty(), "a spool with nothing in it has no files");
}

#[test]
fn an_answer_that_is_no_page_becomes_a_read_of_unknown_outcome_that_keeps_its_bytes() {
    for space in [16 * 1024, 2] {
        let dir = TempDir::new().unwrap();
        let options = SpoolOptions { page_space: space, ..options(dir.path()) };
        let (spool, _) = Spool::open(options).unwrap();
        let disowned = wait(spool.disown(write(reserve(&spool, "bogota"), "<html>"), "HTML\ncame")).unwrap();
        let entry = Spool::inspect(dir.path()).unwrap().remove(0);
        assert_eq!((disowned.reason.as_str(), entry.body().unwrap().as_ref()), ("HTML came", &b"<html>"[..]));
        drop(spool);
        let (_, recovery) = open(dir.path());
        assert_eq!((recovery.unknown, recovery.pages.len()), (vec![disowned], 0));
    }
}

#[test]
fn an_answer_that_nobody_looked_into_before_a_kill_is_looked_into_after_it() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let [first, second, third] = [(); 3].map(|()| reserve(&spool, "bogota"));
    write(first, "{}");
    let read_id = write(second, "<html>").read_id();
    wait(third.write_unknown("cut", b"{")).unwrap();
    drop(spool);
    for disowned in [1, 0] {
        let (spool, mut recovery) = open(dir.path());
        let before = recovery.pages.len();
        wait(recovery.disown(&spool, |body| body.starts_with(b"<").then(|| "HTML".to_owned()))).unwrap();
        assert_eq!((before - recovery.pages.len(), bodies(&recovery)), (disowned, vec![Bytes::from("{}")]));
        let reasons: Vec<_> = recovery.unknown.iter().map(|read| read.reason.as_str()).collect();
        assert_eq!((reasons, recovery.unknown[0].read_id), (vec!["HTML", "cut"], read_id));
    }
}

#[test]
fn a_released_page_does_not_come_back_and_its_bytes_go_from_the_disk() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let released = write(reserve(&spool, "bogota"), "Ana Buyer, Calle 1");
    release(&spool, released);
    let holds_it = || {
        let holds = |path: &PathBuf| SpoolDisk::real().read(path).unwrap().windows(9).any(|part| part == b"Ana Buyer");
        segments(dir.path()).iter().any(holds)
    };
    assert!(holds_it());
    // The first look finds it busy.
    spool.0.log.upkeep().unwrap();
    spool.0.log.upkeep().unwrap();
    assert!(!holds_it() && !segments(dir.path()).is_empty());
    write(reserve(&spool, "cali"), "second");
    drop(spool);
    assert_eq!(bodies(&open(dir.path()).1), ["second"]);
}

#[test]
fn a_page_that_outgrew_its_space_is_whole_and_in_a_file_of_its_own() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let body = Bytes::from(vec![b'x'; 40_000]);
    let (mut page, next) = wait(announced(&spool, "bogota").write(clock::now(), body.clone())).unwrap();
    assert!(next.is_none());
    page.drop_body();
    assert_eq!(page.body().unwrap(), body);
    assert_eq!(files(dir.path()).len(), 1);
    drop(spool);
    let (spool, mut recovery) = open(dir.path());
    assert_eq!((bodies(&recovery), recovery.unknown.len()), (vec![body.clone()], 0));
    release(&spool, recovery.pages.remove(0));
    assert!(files(dir.path()).is_empty());
    let lost = wait(reserve(&spool, "bogota").write_unknown("cut", &body)).unwrap();
    assert_eq!(files(dir.path()).len(), 1);
    wait(spool.settle(lost)).unwrap();
    assert!(files(dir.path()).is_empty());
}

#[test]
fn segments_are_used_again_and_what_keeps_the_oldest_one_is_moved() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let kept = write(reserve(&spool, "cali"), "kept");
    let lost = wait(reserve(&spool, "quito").write_unknown("cut", b"some")).unwrap();
    let in_flight = announced(&spool, "leticia");
    let body = "x".repeat(16 * 1024);
    for _ in 0..400 {
        let page = write(reserve(&spool, "bogota"), &body);
        release(&spool, page);
        spool.0.log.upkeep().unwrap();
    }
    assert!(segments(dir.path()).len() <= 16, "{}", segments(dir.path()).len());
    assert_eq!(kept.body().unwrap(), "kept");
    let reads = [lost.read_id, in_flight.read_id()];
    drop((in_flight, kept, spool));
    let (_, recovery) = open(dir.path());
    assert_eq!((bodies(&recovery), unknown(&recovery)), (vec![Bytes::from("kept")], reads.to_vec()));
    assert_eq!(recovery.unknown[0].reason, "cut");
}

#[test]
fn damage_costs_the_frame_and_not_those_beside_it() {
    for there in [&b"imotriz-spool/2 page"[..], b"store: cali", b"lost", b"check: "] {
        let dir = TempDir::new().unwrap();
        let (spool, _) = open(dir.path());
        write(reserve(&spool, "cali"), "lost");
        write(reserve(&spool, "bogota"), "kept");
        drop(spool);
        if there == b"check: " {
            // Of the segment itself: its frames repeat what it says.
            flip(dir.path(), there);
            assert_eq!(bodies(&open(dir.path()).1), ["lost", "kept"]);
            continue;
        }
        flip(dir.path(), there);
        let entries = Spool::inspect(dir.path()).unwrap();
        assert_eq!(entries.len(), 2, "{entries:?}");
        let (_, recovery) = open(dir.path());
        assert_eq!(bodies(&recovery), ["kept"]);
        if there == b"lost" {
            assert_eq!(recovery.unknown[0].store, store("cali"), "its text is whole");
            continue;
        }
        let [corrupt] = &recovery.corrupt[..] else { panic!("{recovery:?}") };
        assert!(corrupt.path.starts_with(dir.path().join(CORRUPT)) && corrupt.path.exists());
        let kept = SpoolDisk::real().read(&corrupt.path).unwrap();
        assert!(kept.windows(4).any(|part| part == b"lost"));
        assert!(corrupt.store.is_some() || there == b"store: cali");
        assert!(open_after(recovery, dir.path()).corrupt.is_empty(), "it is put aside once");
    }
}

#[test]
fn a_page_damaged_on_the_disk_is_not_given_out() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let mut page = write(reserve(&spool, "bogota"), "129900.00");
    flip(dir.path(), b"129900.00");
    assert_eq!(page.body().unwrap(), "129900.00", "from memory");
    page.drop_body();
    assert!(matches!(page.body(), Err(SpoolError::Damaged { .. })));
}

#[test]
fn a_frame_that_was_cut_short_by_the_power_failure_is_a_read_of_unknown_outcome() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let body = "x".repeat(3000);
    let torn = write(announced(&spool, "bogota"), &body).read_id();
    let announced = announced(&spool, "cali");
    let read_id = announced.read_id();
    write(announced, &"y".repeat(3000));
    drop(spool);
    // Of the first page the last sector is missing, of the second one the text.
    let path = segments(dir.path()).remove(0);
    let mut bytes = SpoolDisk::real().read(&path).unwrap();
    let last_x = bytes.windows(9).rposition(|part| part == b"xxxxxxxxx").unwrap() + 8;
    let first_y = bytes.windows(9).position(|part| part == b"yyyyyyyyy").unwrap();
    bytes[last_x - 100..=last_x].fill(0);
    bytes[first_y - 512..first_y].fill(0);
    bytes[first_y + 3000..].fill(0);
    std::fs::write(&path, bytes).unwrap();

    let (_, recovery) = open(dir.path());
    assert_eq!((unknown(&recovery), recovery.pages.len()), (vec![torn, read_id], 0), "{recovery:?}");
    assert!(recovery.unknown[0].reason.contains("torn") && recovery.corrupt.is_empty());
    assert!(Spool::inspect(dir.path()).unwrap()[0].body().unwrap().starts_with(b"xxx"));
}

#[test]
fn a_rescued_page_stands_in_for_what_the_log_has_of_it() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let reservation = announced(&spool, "bogota");
    let head = Box::new(spool.0.log.live(&|_| true)[0].head.clone());
    let failed = WriteFailed {
        head,
        body: Bytes::from_static(b"page"),
        error: SpoolError::Locked { dir: "x".into(), pid: None },
    };
    spool.rescue(failed, clock::now()).unwrap();
    drop((reservation, spool));
    let (_, recovery) = open(dir.path());
    assert_eq!((bodies(&recovery), unknown(&recovery)), (vec![Bytes::from("page")], vec![]));
}

#[test]
fn a_kill_in_the_middle_of_a_rescue_leaves_the_page_once() {
    for log_is_whole in [true, false] {
        let dir = TempDir::new().unwrap();
        let (spool, _) = open(dir.path());
        let page = write(announced(&spool, "bogota"), "page");
        page_file::write_page(&spool.0.disk, dir.path(), page.head(), page.read_at(), b"page").unwrap();
        drop((page, spool));
        if !log_is_whole {
            flip(&segments(dir.path())[0].parent().unwrap().join(""), b"page\0\0\0\0");
        }
        let (_, recovery) = open(dir.path());
        assert_eq!(bodies(&recovery), ["page"]);
        assert!(recovery.unknown.is_empty());
        assert_eq!(files(dir.path()).len(), usize::from(!log_is_whole));
    }
}

#[test]
fn a_look_from_outside_needs_no_lock_and_tells_the_states_apart() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let read_at = clock::now();
    let (_, next) = wait(reserve(&spool, "a").write(read_at, Bytes::from_static(b"12345"))).unwrap();
    next.unwrap().cancel().unwrap();
    wait(reserve(&spool, "b").write_unknown("cut off", b"12")).unwrap();
    let _reserved = announced(&spool, "c");
    announced(&spool, "d").cancel().unwrap();

    let entries = Spool::inspect(dir.path()).unwrap();
    let states: Vec<_> = entries.iter().map(|entry| entry.state.clone()).collect();
    assert_eq!(states[0], FileState::Page { read_at, bytes: 5 });
    assert_eq!(states[1], FileState::Unknown { reason: "cut off".to_owned(), bytes: 2 });
    assert_eq!(states[2], FileState::Unfinished);
    assert_eq!(states.len(), 3, "what is over is nobody's business");
    assert_eq!((entries[0].store.clone(), entries[0].size()), (Some(store("a")), 5));
    assert_eq!(entries[0].body().unwrap(), "12345");
    assert!(Spool::inspect(&dir.path().join("nowhere")).unwrap().is_empty());
}

#[test]
fn who_comes_first_syncs_for_all_who_wait() {
    let dir = TempDir::new().unwrap();
    let (spool, _) = open(dir.path());
    let reservations: Vec<_> = (0..20).map(|_| reserve(&spool, "bogota")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let pages = runtime.block_on(async {
        let tasks: Vec<_> = reservations
            .into_iter()
            .map(|reservation| tokio::spawn(reservation.write(clock::now(), Bytes::from_static(b"page"))))
            .collect();
        let mut pages = 0;
        for task in tasks {
            task.await.unwrap().unwrap().1.unwrap().cancel().unwrap();
            pages += 1;
        }
        pages
    });
    assert_eq!(pages, 20);
    drop(spool);
    assert_eq!(open(dir.path()).1.pages.len(), 20);
}

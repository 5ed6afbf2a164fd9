use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::*;
use crate::platform::clock;
use crate::spool::committed::Committed;
use crate::spool::{Reservation, Spool, SpoolError, SpoolOptions};

/// A spool with its ledger, as one process has it.
struct Process {
    spool: Spool,
    account: Account,
    counters: Arc<Counters>,
    recovery: Recovery,
}

fn start(dir: &Path) -> Process {
    let options = SpoolOptions { page_space: 8192, ..SpoolOptions::new(dir) };
    let deadline = Instant::now() + Duration::from_secs(30);
    // A process that another test is spawning holds a copy of every lock until its `exec`, so the lock may be taken for
    // a moment.
    let (spool, recovery) = loop {
        match Spool::open(options.clone()) {
            Err(SpoolError::Locked { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            opened => break opened.unwrap(),
        }
    };
    let counters = Arc::<Counters>::default();
    let account = Account::open(dir, &recovery, &[store()], counters.clone()).unwrap();
    Process { spool, account, counters, recovery }
}

fn store() -> StoreName {
    "bogota".parse().unwrap()
}

fn covering(reads: &[ReadId]) -> Covered<'_> {
    Covered { reads, listed_at: clock::now(), known: &[] }
}

fn counted(before: u64, after: u64) -> Counted {
    Counted { before: Some(before), after: Some(after) }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

impl Process {
    /// Begins a read, and records it as the drain does.
    fn begin(&self) -> Reservation {
        let mut reservation = self.spool.reserve(&store()).unwrap();
        wait(reservation.announce(self.account.pending(&store()))).unwrap();
        reservation
    }

    fn lose(&self) -> UnknownRead {
        let lost = wait(self.begin().write_unknown("cut", b"")).unwrap();
        self.account.note_lost_read(&lost, PAGE).unwrap();
        lost
    }

    fn answer(&self, counted: Counted) {
        self.account.note_answer(&store(), counted, clock::now()).unwrap();
    }

    fn pass(&self, found: u64, covered: Vec<UnknownRead>) {
        let pass = ReadId::fresh();
        self.account.begin(&store(), pass, 0).unwrap();
        let reads: Vec<ReadId> = covered.iter().map(|read| read.read_id).collect();
        self.account.end(&store(), found, Some(covering(&reads))).unwrap();
        covered.into_iter().for_each(|read| wait(self.spool.settle(read)).unwrap());
        self.account.forget_settled(&store(), &[]).unwrap();
    }

    fn only(&self) -> LossEntry {
        let mut entries = self.account.entries();
        assert_eq!(entries.len(), 1);
        entries.remove(0)
    }
}

fn page(records: usize, found: usize, pending: usize) -> bytes::Bytes {
    let records = vec![r#"{"order":{"id":1}}"#; records].join(",");
    format!(
        r#"{{"data":[{records}],"metadata":{{"total_transactions_found":{found},"returned_transactions":{},"pending_transactions":{pending}}}}}"#,
        found - pending
    )
    .into()
}

#[test]
fn what_is_ticked_off_or_missing_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    let lost = process.lose();
    process.answer(counted(35, 5));
    assert_eq!(process.only().marked.to_string(), "exactly 30");
    assert_eq!(process.only().open, OpenLoss::NotLookedFor);
    assert!(process.account.unaccounted().is_nothing());
    process.pass(12, vec![lost]);
    drop(process);

    let process = start(dir.path());
    assert_eq!((process.only().found, process.only().open), (12, OpenLoss::AtLeast(18)));
    assert_eq!(process.account.unaccounted(), Unaccounted { orders: 18, reads: 0, possible: 0 });
    assert_eq!(process.counters.unaccounted.get(), 18);
    assert_eq!(Account::look(dir.path()).unwrap(), process.account.entries());
    process.pass(18, Vec::new());
    assert_eq!(process.account.entries(), []);
    drop(process);
    assert_eq!(start(dir.path()).account.entries(), []);
}

#[test]
fn an_entry_is_kept_until_the_trace_of_its_read_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    let lost = process.lose();
    process.answer(counted(35, 5));
    process.account.begin(&store(), ReadId::fresh(), 0).unwrap();
    process.account.end(&store(), 30, Some(covering(&[lost.read_id]))).unwrap();
    drop(process);
    for _ in 0..2 {
        let process = start(dir.path());
        assert_eq!(process.recovery.unknown.len(), 1, "each process is killed before the trace goes");
        assert_eq!(process.account.entries(), [], "and the read is not taken for a new one");
    }
}

#[test]
fn an_entry_that_grew_while_a_pass_was_under_way_is_looked_for_by_the_next_pass() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let before_the_list = process.lose();
    let after_it = process.lose();
    process.answer(counted(35, 5));
    process.pass(0, vec![before_the_list]);
    assert_eq!(process.only().open, OpenLoss::NotLookedFor, "its list says nothing of the later read");
    process.pass(0, vec![after_it]);
    assert_eq!(process.only().open, OpenLoss::UnknownUpTo(2 * PAGE));
}

#[test]
fn an_entry_whose_trace_was_lost_is_looked_for_by_the_next_pass_of_another_process() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let lost = process.lose();
    process.answer(counted(35, 5));
    process.pass(0, Vec::new());
    assert_eq!(process.only().open, OpenLoss::NotLookedFor, "its trace is there");
    wait(process.spool.settle(lost)).unwrap();
    drop(process);
    let process = start(dir.path());
    assert_eq!(process.only().open, OpenLoss::NotLookedFor);
    process.pass(0, Vec::new());
    assert_eq!(process.only().open, OpenLoss::UnknownUpTo(PAGE));
}

#[test]
fn a_read_that_is_killed_is_on_the_account_with_what_was_pending_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    drop(process.begin());
    drop(process);
    let process = start(dir.path());
    process.answer(counted(35, 5));
    assert_eq!(process.only().marked.to_string(), "exactly 30");
}

#[test]
fn a_read_that_is_killed_while_nothing_is_pending_has_lost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(5, 0));
    drop(process.begin());
    drop(process);
    let process = start(dir.path());
    process.answer(counted(2, 0));
    let Recovery { unknown, .. } = start_again(process, dir.path());
    assert_eq!(unknown.len(), 1);
    let process = start(dir.path());
    process.pass(0, unknown);
    assert_eq!(process.account.entries(), []);
}

fn start_again(process: Process, dir: &Path) -> Recovery {
    drop(process);
    start(dir).recovery
}

#[test]
fn the_last_word_of_a_process_that_ended_well_is_the_first_of_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.begin().cancel().unwrap();
    process.answer(counted(5, 0));
    process.account.close().unwrap();
    drop(process);
    let process = start(dir.path());
    process.lose();
    process.answer(counted(0, 0));
    assert!(process.only().marked.counted);
}

#[test]
fn what_a_process_said_at_its_end_is_believed_once() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    process.account.close().unwrap();
    drop(process);
    // The next one is killed before its first read.
    drop(start(dir.path()));
    let process = start(dir.path());
    process.lose();
    process.answer(counted(35, 5));
    assert!(!process.only().marked.counted);
}

#[test]
fn polls_that_a_kill_cut_off_are_looked_for_once_and_leave_an_entry_only_if_that_is_too_late() {
    for days in [0, 8] {
        let dir = tempfile::tempdir().unwrap();
        let process = start(dir.path());
        process.answer(counted(5, 0));
        assert!(!process.account.is_cut_off(&store()));
        let poll = process.spool.reserve(&store()).unwrap();
        assert!(poll.may_poll());
        drop(poll);
        drop(process);
        let process = start(dir.path());
        assert!(process.account.is_cut_off(&store()) && process.recovery.unknown.is_empty());
        let listed_at = clock::now() + SignedDuration::from_hours(24 * days);
        process.account.end(&store(), 0, None).unwrap();
        assert!(process.account.is_cut_off(&store()), "a pass that could not fetch everything proves nothing");
        process.account.end(&store(), 0, Some(Covered { reads: &[], listed_at, known: &[] })).unwrap();
        assert!(!process.account.is_cut_off(&store()));
        let open: Vec<_> = process.account.entries().iter().map(|entry| entry.open).collect();
        assert_eq!(open, if days == 0 { vec![] } else { vec![OpenLoss::UnknownUpTo(PAGE)] });
        process.spool.forget_cut_off_polls().unwrap();
        drop(process);
        assert!(!start(dir.path()).account.is_cut_off(&store()), "it did not poll");
    }
}

#[test]
fn a_page_that_was_kept_before_a_kill_is_the_answer_after_the_reads_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(70, 40));
    process.lose();
    let (_, next) = wait(process.begin().write(clock::now(), page(20, 25, 5))).unwrap();
    next.unwrap().cancel().unwrap();
    drop(process);
    let process = start(dir.path());
    process.answer(counted(5, 0));
    assert_eq!(process.only().marked.at_least, 15, "what the page took is not taken for lost");
}

#[test]
fn a_page_that_was_kept_before_a_kill_tells_what_was_pending_before_the_read_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let (_kept, next) = wait(process.begin().write(clock::now(), page(30, 95, 65))).unwrap();
    wait(next.unwrap().write_unknown("cut", b"")).unwrap();
    drop(process);
    let process = start(dir.path());
    process.answer(counted(35, 5));
    assert_eq!(process.only().marked.to_string(), "exactly 30");
}

#[test]
fn reads_in_a_row_are_one_entry_and_found_orders_go_to_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(200, 170));
    let mut lost = vec![process.lose(), process.lose()];
    process.answer(counted(110, 80));
    lost.push(process.lose());
    process.answer(counted(50, 20));
    process.pass(70, lost);
    let entry = process.only();
    assert_eq!((entry.reads.len(), entry.found, entry.open), (1, 10, OpenLoss::AtLeast(20)));
}

#[test]
fn a_read_of_unknown_number_takes_nothing_from_one_that_certainly_lacks_it() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let mut lost = vec![process.lose()];
    process.answer(counted(95, 65));
    lost.push(process.lose());
    process.answer(counted(35, 5));
    process.pass(30, lost);
    assert!(!process.only().marked.counted, "the first read of all, which may have marked nothing");
    assert_eq!(process.account.unaccounted(), Unaccounted { orders: 0, reads: 1, possible: 30 });
}

#[test]
fn a_pass_that_was_killed_is_counted_by_the_next_once() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    let lost = process.lose();
    process.answer(counted(35, 5));
    let killed = ReadId::fresh();
    process.account.begin(&store(), killed, 0).unwrap();
    drop(process);
    let process = start(dir.path());
    assert_eq!(process.account.passes_of(&store()), [killed]);
    process.account.begin(&store(), ReadId::fresh(), 25).unwrap();
    process.account.end(&store(), 5, Some(covering(&[lost.read_id]))).unwrap();
    assert_eq!(process.account.passes_of(&store()), []);
    assert_eq!(process.account.entries(), []);
}

#[test]
fn orders_that_a_person_brought_back_are_ticked_off_and_a_replayed_page_counts_once() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    let lost = process.lose();
    process.answer(counted(35, 5));
    assert!(!process.account.expects_orders(&store()));
    process.pass(0, vec![lost]);
    assert!(process.account.expects_orders(&store()));
    assert!(!process.account.expects_orders(&"quito".parse().unwrap()));
    let (old, new) = (clock::now() - SignedDuration::from_hours(500), clock::now());
    let read = ReadId::fresh();
    for _ in 0..2 {
        process.account.credit_page(&store(), read, &[old, new, old]).unwrap();
        assert_eq!(process.only().open, OpenLoss::AtLeast(28));
    }
    process.account.credit_page(&store(), ReadId::fresh(), &[old; 28]).unwrap();
    assert_eq!(process.account.entries(), []);
}

#[test]
fn a_person_settles_what_was_looked_for_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    let lost = process.lose();
    let read_id = lost.read_id;
    process.answer(counted(35, 5));
    assert!(matches!(Account::settle(dir.path(), read_id), Err(AccountError::NotLookedFor(_))));
    process.pass(0, vec![lost]);
    assert!(matches!(Account::settle(dir.path(), ReadId::fresh()), Err(AccountError::NotThere(_))));
    Account::settle(dir.path(), read_id).unwrap();
    assert_eq!(Account::look(dir.path()).unwrap(), [], "who looks sees it at once");
    assert_eq!(process.account.entries().len(), 1);
    process.account.forget_settled(&store(), &[]).unwrap();
    assert_eq!(process.account.entries(), []);
    assert!(process.account.unaccounted().is_nothing());
    drop(process);
    assert_eq!(start(dir.path()).account.entries(), []);
}

#[test]
fn nothing_is_written_while_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    let (page, _next) = wait(process.begin().write(clock::now(), page(30, 95, 65))).unwrap();
    process.answer(counted(95, 65));
    process.pass(3, Vec::new());
    process.account.credit_page(&store(), page.read_id(), &[clock::now()]).unwrap();
    let removal = process.spool.release(vec![page], &Committed::seen()).unwrap();
    wait(process.spool.durable(removal)).unwrap();
    assert!(!dir.path().join("account.json").exists());
}

#[test]
fn an_order_that_was_known_before_the_read_and_is_listed_is_not_unaccounted() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    let lost = process.lose();
    process.answer(counted(35, 5));
    let mut known = process.account.to_be_looked_for(&store());
    assert_eq!(known.iter().map(|known| known.first_read).collect::<Vec<_>>(), [lost.read_id]);
    known[0].orders = 470;
    process.account.begin(&store(), ReadId::fresh(), 0).unwrap();
    let reads = [lost.read_id];
    let covered = Covered { known: &known, ..covering(&reads) };
    process.account.end(&store(), 0, Some(covered)).unwrap();
    wait(process.spool.settle(lost)).unwrap();
    process.account.forget_settled(&store(), &[]).unwrap();
    assert_eq!(process.only().open, OpenLoss::UnknownUpTo(30));
    assert_eq!(process.account.unaccounted(), Unaccounted { orders: 0, reads: 1, possible: 30 });
    assert_eq!(process.account.to_be_looked_for(&store()), []);
    drop(process);
    assert_eq!(start(dir.path()).only().open, OpenLoss::UnknownUpTo(30), "it is still told after a restart");
}

#[test]
fn what_is_pending_after_another_instance_has_read_says_nothing_of_a_read_before() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    let lost = process.lose();
    process.account.leave(|left| *left == "quito".parse().unwrap()).unwrap();
    assert!(process.account.is_to_be_looked_for(&store()));
    process.account.leave(|left| *left == store()).unwrap();
    // The other one has read them all.
    process.answer(counted(0, 0));
    assert!(!process.only().marked.counted);
    process.pass(0, vec![lost]);
    assert_eq!(process.only().open, OpenLoss::UnknownUpTo(30), "it is no certain loss");
    assert!(!process.account.is_to_be_looked_for(&store()));

    process.answer(counted(95, 65));
    process.account.leave(|left| *left == store()).unwrap();
    process.lose();
    process.answer(counted(0, 0));
    assert!(!process.account.entries()[1].marked.counted, "nor is what was pending before it");
}

#[test]
fn a_pass_over_a_store_that_is_anothers_decides_without_an_answer_and_a_person_may_settle_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(dir.path());
    process.answer(counted(95, 65));
    drop(process.begin());
    drop(process);

    let process = start(dir.path());
    let lost = process.recovery.unknown[0].read_id;
    process.account.leave(|_| true).unwrap();
    process.account.end(&store(), 0, Some(covering(&[ReadId::fresh()]))).unwrap();
    assert!(!process.account.was_looked_for(lost), "that pass began before the read was over");
    assert!(matches!(Account::settle(dir.path(), lost), Err(AccountError::NotLookedFor(_))));
    process.account.end(&store(), 0, Some(covering(&[lost]))).unwrap();
    assert!(process.account.was_looked_for(lost));
    assert_eq!(process.only().open, OpenLoss::UnknownUpTo(30));
    assert_eq!(process.account.unaccounted(), Unaccounted { orders: 0, reads: 1, possible: 30 });
    Account::settle(dir.path(), lost).unwrap();
    // A pass over any store carries it out.
    process.account.forget_settled(&"quito".parse().unwrap(), &[]).unwrap();
    assert_eq!(process.account.entries(), []);
}

#[test]
fn an_account_of_an_older_version_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"gaps":[{"store":"bogota","reads":[{"read_id":"019abc00-0000-7000-8000-000000000001",
        "since":"2026-11-24T10:00:00Z","reason":"cut","at_most":30}],"before":{"orders":65,"at":"2026-11-24T10:00:00Z"},
        "after":{"found":35},"reconciled":0,"arrived":{},"looked":{"listed_at":"2026-11-24T10:00:01Z"}}],"passes":[]}"#;
    std::fs::write(dir.path().join("account.json"), text).unwrap();
    assert_eq!(start(dir.path()).only().open, OpenLoss::AtLeast(30));
}

#[test]
fn what_is_only_possible_lapses_by_itself_and_what_is_certain_never_does() {
    let long_ago = clock::now() - gap::REACH;
    let entry = |found: &str, last: u8| {
        format!(
            r#"{{"store":"bogota","reads":[{{"read_id":"019abc00-0000-7000-8000-00000000000{last}","since":"{long_ago}",
            "reason":"cut","at_most":30}}],"before":{{"orders":65,"at":"{long_ago}"}},"after":{{"found":{found}}},
            "reconciled":0,"arrived":{{}},"looked":{{"listed_at":"{long_ago}"}}}}"#
        )
    };
    let dir = tempfile::tempdir().unwrap();
    let text = format!(r#"{{"gaps":[{},{}],"passes":[]}}"#, entry("35", 1), entry("null", 2));
    std::fs::write(dir.path().join("account.json"), text).unwrap();
    let process = start(dir.path());
    assert_eq!(process.account.unaccounted(), Unaccounted { orders: 30, reads: 1, possible: 30 });
    process.account.forget_settled(&store(), &[]).unwrap();
    assert_eq!(process.account.unaccounted(), Unaccounted { orders: 30, reads: 0, possible: 0 });
}

/// `tests/earlier-spool` was written by the version before, which was killed three times: with a page that waited, with a
/// read in flight, and with the trace of another one.
#[test]
fn a_folder_that_the_version_before_wrote_is_read_and_emptied() {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/earlier-spool")).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, dir.path().join(file.file_name().unwrap())).unwrap();
    }
    let ids = ["01a22053-a4fe-77e4-9c3b-96eedf524c99", "01a22053-db88-70bc-9635-84c3f3e19554"];
    let reads = ids.map(|id| id.parse::<ReadId>().unwrap());
    for _ in 0..2 {
        // As often as it is killed before it has done anything.
        let process = start(dir.path());
        let unknown: Vec<ReadId> = process.recovery.unknown.iter().map(|read| read.read_id).collect();
        assert_eq!((process.recovery.pages.len(), unknown), (1, reads.to_vec()));
        let entries = process.account.entries();
        assert!(reads.iter().all(|read| entries.iter().any(|entry| entry.reads.contains(read))), "{entries:?}");
    }
    let Process { spool, recovery, .. } = start(dir.path());
    let page = recovery.pages.into_iter().next().unwrap();
    assert_eq!(Page::parse(&page.body().unwrap()).unwrap().records.len(), 4);
    let removal = spool.release(vec![page], &Committed::seen()).unwrap();
    wait(spool.durable(removal)).unwrap();
    recovery.unknown.into_iter().for_each(|read| wait(spool.settle(read)).unwrap());
    drop(spool);
    let mut left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["account.json", "lock", "read-ids"]);
}

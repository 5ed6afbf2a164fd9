//! The account of losses: how many orders reads of unknown outcome may have marked, how many of them were found since,
//! and what is missing for good unless a person helps. `gap.rs` says what exactly is known.
//!
//! # How an entry lives
//! 1. A read ends without an answer. Its trace is durable in the spool, then the entry is; with the number of orders that
//!    were pending before, where that is known.
//! 2. The next good answer tells how many were pending after. It is on the account before the page goes on its way.
//! 3. A pass of the reconciler notes here that it begins, publishes what is missing, and notes how many that were. If it is
//!    killed in between, the next pass has the tracking topic counted: each record names the pass that brought it.
//! 4. A pass that covers the read and could fetch everything decides. Nothing open: the trace goes, then the entry.
//!    Otherwise the trace goes and the entry stays: orders that are older than the list goes back, certainly or possibly.
//! 5. A person un-synchronises those. An order that comes in a page, was never published, and is older than the read
//!    is one of them, for the drain had found nothing pending after the read. Or a person settles the entry by command.
//!    Where a loss is only possible nobody has to do anything: the entry lapses once the orders would be too old anyway.
//!
//! # In the spool's folder
//! `account.json`: all entries, replaced as a whole. `STORE.pending`: see `answers.rs`. `READ_ID.settled`: the wish of
//! a person, granted by the process that has the spool. No order and no buyer is named in any of them.
//!
//! # What holds
//! 1. An entry is durable before the trace of its read goes, and stays until the trace is gone.
//! 2. What was found is counted once, whatever is killed: passes are counted by the tracking topic, pages by their read.

mod error;
mod gap;
mod ledger;
mod pending_note;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::marketplace::body::{Counted, Page};
use crate::order::ids::{ReadId, StoreName};
use crate::pipeline::counters::Counters;
use crate::platform::clock;
use crate::platform::disk::{Disk, RealDisk};
use crate::spool::{Durable, Recovery, UnknownRead};
pub use error::AccountError;
use gap::{Gap, LostRead};
pub use gap::{LISTED, Marked, OpenLoss, PAGE, Pending, REACH};
use ledger::Ledger;
use pending_note::{PendingNote, PendingNotes};

/// Reads of unknown outcome without a good answer in between: one entry of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossEntry {
    /// The store that was read.
    pub store: StoreName,
    /// The reads, in their order. Any of them names the entry.
    pub reads: Vec<ReadId>,
    /// When the file of the first was reserved.
    pub since: Timestamp,
    /// What is known about the last one's end.
    pub reason: String,
    /// How many orders they marked.
    pub marked: Marked,
    /// How many were found since, by the reconciler or because a person un-synchronised them.
    pub found: u64,
    /// How many are still missing.
    pub open: OpenLoss,
    /// Where orders that are still missing were placed, if they are: before this. The list of IDs did not go back further.
    pub placed_before: Option<Timestamp>,
    /// Until when the list of IDs still shows an order that was placed when the first read began.
    pub listed_until: Timestamp,
    /// When an entry goes by itself of which nothing is certainly missing.
    pub lapses_at: Option<Timestamp>,
}

impl LossEntry {
    fn of(gap: &Gap) -> Option<Self> {
        let (first, last) = (gap.reads.first()?, gap.reads.last()?);
        Some(Self {
            store: gap.store.clone(),
            reads: gap.reads.iter().map(|read| read.read_id).collect(),
            since: first.since,
            reason: last.reason.clone(),
            marked: gap.marked(),
            found: gap.found(),
            open: gap.open(),
            placed_before: gap.listed_at().map(|at| at - LISTED),
            listed_until: first.since + LISTED,
            lapses_at: gap.lapses_at(),
        })
    }

    /// Whole hours in which a pass may still find orders that were placed when the first read began.
    #[must_use]
    pub fn hours_left(&self, now: Timestamp) -> u64 {
        u64::try_from(self.listed_until.duration_since(now).as_hours()).unwrap_or(0)
    }
}

/// What is missing although a pass has looked for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unaccounted {
    /// Orders, at least.
    pub orders: u64,
    /// Reads that have possibly lost orders, and of which no loss is certain.
    pub reads: u64,
    /// How many orders those reads can have lost at most.
    pub possible: u64,
}

impl Unaccounted {
    /// Whether all is accounted for.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, gap: &Gap) {
        match gap.open() {
            OpenLoss::AtLeast(orders) => self.orders += orders,
            OpenLoss::UnknownUpTo(orders) => {
                self.reads += gap.reads.len() as u64;
                self.possible += orders;
            }
            OpenLoss::NotLookedFor | OpenLoss::Nothing => {}
        }
    }
}

/// A pass of the reconciler that could fetch all that was missing.
#[derive(Debug, Clone, Copy)]
pub struct Covered<'a> {
    /// The reads that were over before its list was taken.
    pub reads: &'a [ReadId],
    /// When its list was taken.
    pub listed_at: Timestamp,
    /// What its list says of orders that were tracked before; 0 for an entry that is not named.
    pub known: &'a [KnownBefore],
}

/// Listed orders that had been tracked before an entry's reads: none of them is missing, although they may be among those
/// that the reads marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownBefore {
    /// The first read of the entry.
    pub first_read: ReadId,
    /// When that read began.
    pub since: Timestamp,
    /// How many there are.
    pub orders: u64,
}

/// The account of a spool that this process has to itself. Clones are the same account.
#[derive(Debug, Clone)]
pub struct Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    ledger: Mutex<Ledger>,
    answers: Mutex<BTreeMap<StoreName, PendingNotes>>,
    counters: Arc<Counters>,
}

/// A store's reads that a former process left, in their order.
enum LeftRead<'a> {
    Page(&'a Durable),
    Unknown(&'a UnknownRead),
}

impl Account {
    /// Reads the account of the spool in `dir` and takes up what its recovery found: reads of unknown outcome that are
    /// not on it yet, and the answers in pages that were not yet handed over. Keeps `counters` up to date from then on.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn open(dir: &Path, recovery: &Recovery, counters: Arc<Counters>) -> Result<Self, AccountError> {
        Self::open_on(RealDisk::shared(), dir, recovery, counters)
    }

    /// The same on any disk.
    ///
    /// # Errors
    /// See [`Account::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        recovery: &Recovery,
        counters: Arc<Counters>,
    ) -> Result<Self, AccountError> {
        let before = Ledger::read(&*disk, dir)?;
        let mut ledger = before.clone();
        let wishes = ledger.take_settlements(&*disk, dir)?;
        let mut answers = BTreeMap::new();
        for (store, left) in by_store(recovery) {
            let last = ledger.take_up(&*disk, dir, &store, left);
            answers.insert(store.clone(), PendingNotes::new(disk.clone(), dir, &store, last));
        }
        let traced: BTreeSet<ReadId> = recovery.unknown.iter().map(|read| read.read_id).collect();
        ledger.forget_settled(|read| traced.contains(&read));
        if ledger != before {
            ledger.write(&*disk, dir)?;
        }
        remove_all(&*disk, &wishes);
        let inner =
            Inner { disk, dir: dir.to_owned(), ledger: Mutex::new(ledger), answers: Mutex::new(answers), counters };
        let account = Self(Arc::new(inner));
        account.sum_up(&account.ledger());
        Ok(account)
    }

    /// All entries, the oldest first, without the spool's lock: for a look beside the process at work.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn look(dir: &Path) -> Result<Vec<LossEntry>, AccountError> {
        let mut ledger = Ledger::read(&RealDisk, dir)?;
        ledger.take_settlements(&RealDisk, dir)?;
        Ok(entries(&ledger))
    }

    /// A person says that nothing of an entry is missing any more. Needs no lock: whoever has the spool takes note at its
    /// next pass, and the next process at its start.
    ///
    /// # Errors
    /// An entry that is not there, or that no pass has looked for.
    pub fn settle(dir: &Path, read_id: ReadId) -> Result<(), AccountError> {
        let entries = Self::look(dir)?;
        match entries.iter().find(|entry| entry.reads.contains(&read_id)) {
            None => Err(AccountError::NotThere(read_id)),
            Some(entry) if entry.open == OpenLoss::NotLookedFor => Err(AccountError::NotLookedFor(read_id)),
            Some(_) => ledger::wish_settled(dir, read_id),
        }
    }

    /// All entries, the oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<LossEntry> {
        entries(&self.ledger())
    }

    /// What is missing over all stores. Never waits: for metrics.
    #[must_use]
    pub fn unaccounted(&self) -> Unaccounted {
        let Counters { unaccounted, unaccounted_reads, possibly_unaccounted, .. } = &*self.0.counters;
        Unaccounted { orders: unaccounted.get(), reads: unaccounted_reads.get(), possible: possibly_unaccounted.get() }
    }

    /// What is missing of a store.
    #[must_use]
    pub fn unaccounted_of(&self, store: &StoreName) -> Unaccounted {
        let ledger = self.ledger();
        let mut sum = Unaccounted::default();
        ledger.of(store).for_each(|gap| sum.add(gap));
        sum
    }

    /// Notes, for whoever finds this read cut off, what was pending before. Call it before the read.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn note_next_read(&self, store: &StoreName, next: ReadId) -> Result<(), AccountError> {
        self.note_of(store, |answers| answers.note(Some(next)))
    }

    /// No further read is made by this process.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn note_end_of_reads(&self, store: &StoreName) -> Result<(), AccountError> {
        self.note_of(store, |answers| answers.note(None))
    }

    /// A good answer. Call it when its page is durable and before the page is handed on. `next`: the read that follows it,
    /// if its file is reserved.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn note_answer(
        &self,
        store: &StoreName,
        counted: Counted,
        at: Timestamp,
        next: Option<ReadId>,
    ) -> Result<(), AccountError> {
        self.change(|ledger| {
            if let Some(gap) = ledger.unanswered(store) {
                gap.answer(counted.before);
            }
        })?;
        self.note_of(store, |answers| {
            answers.last = counted.after.map(|orders| Pending { orders, at });
            next.map_or(Ok(()), |next| answers.note(Some(next)))
        })
    }

    /// A read has an unknown outcome, and its trace is durable. `at_most`: orders that it can have marked; [`PAGE`] where
    /// nothing more is known.
    ///
    /// # Errors
    /// [`AccountError::File`]; the next process then finds the trace.
    pub fn note_lost_read(&self, read: &UnknownRead, at_most: u64) -> Result<(), AccountError> {
        let mut before = None;
        self.note_of(&read.store, |answers| {
            before = answers.last.take();
            Ok(())
        })?;
        self.change(|ledger| ledger.lost(&read.store, lost_read(read, at_most), before))
    }

    /// Passes over a store that began and did not tell what they found.
    #[must_use]
    pub fn passes_of(&self, store: &StoreName) -> Vec<ReadId> {
        self.ledger().passes_of(store)
    }

    /// The entries of a store that no pass has looked into, for whoever can say how many orders were known before them.
    #[must_use]
    pub fn to_be_looked_for(&self, store: &StoreName) -> Vec<KnownBefore> {
        let ledger = self.ledger();
        let gaps = ledger.of(store).filter_map(Gap::to_be_looked_for);
        gaps.map(|(first_read, since)| KnownBefore { first_read, since, orders: 0 }).collect()
    }

    /// A pass is about to publish. `earlier`: orders that the passes before it published and could not tell.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn begin(&self, store: &StoreName, pass: ReadId, earlier: u64) -> Result<(), AccountError> {
        self.change(|ledger| {
            // guard: a killed pass is ticked off by the next
            ledger.credit(store, earlier);
            ledger.end(store);
            // Without an entry there is nothing to tick off.
            if ledger.of(store).next().is_some() {
                ledger.begin(store, pass);
            }
        })
    }

    /// A pass is over; it found so many orders. `covered`: what it covers, if it could fetch all that was missing.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn end(&self, store: &StoreName, found: u64, covered: Option<Covered<'_>>) -> Result<(), AccountError> {
        self.change(|ledger| {
            ledger.credit(store, found);
            ledger.end(store);
            if let Some(covered) = covered {
                ledger.looked(store, covered);
            }
        })
    }

    /// The traces of a store's reads, but for these, are gone: lets go of what is settled or has lapsed, and grants wishes.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn forget_settled(&self, store: &StoreName, traced: &[UnknownRead]) -> Result<(), AccountError> {
        let mut wishes = Ok(Vec::new());
        self.change(|ledger| {
            wishes = ledger.take_settlements(&*self.0.disk, &self.0.dir);
            ledger.forget_settled_of(store, |read| traced.iter().any(|trace| trace.read_id == read));
            // guard: what is only possible lapses
            ledger.lapse(store, clock::now());
        })?;
        remove_all(&*self.0.disk, &wishes?);
        Ok(())
    }

    /// Whether an order of the store may be on the account that comes in a page.
    #[must_use]
    pub fn expects_orders(&self, store: &StoreName) -> bool {
        !self.unaccounted().is_nothing() && !self.unaccounted_of(store).is_nothing()
    }

    /// Orders of one page that were never published before, by the time of their creation. Call it after their commit and
    /// before the page is released; a page that is replayed counts once.
    ///
    /// # Errors
    /// [`AccountError::File`].
    pub fn credit_page(&self, store: &StoreName, page: ReadId, created: &[Timestamp]) -> Result<(), AccountError> {
        self.change(|ledger| ledger.arrived(store, page, created))
    }

    /// Durable when it returns. What is not changed is not written.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> Result<T, AccountError> {
        let mut ledger = self.ledger();
        let before = ledger.clone();
        let told = change(&mut ledger);
        if *ledger != before {
            if let Err(error) = ledger.write(&*self.0.disk, &self.0.dir) {
                *ledger = before;
                return Err(error);
            }
            self.sum_up(&ledger);
        }
        Ok(told)
    }

    fn sum_up(&self, ledger: &Ledger) {
        let mut sum = Unaccounted::default();
        ledger.gaps.iter().for_each(|gap| sum.add(gap));
        self.0.counters.unaccounted.set(sum.orders);
        self.0.counters.unaccounted_reads.set(sum.reads);
        self.0.counters.possibly_unaccounted.set(sum.possible);
    }

    fn note_of(
        &self,
        store: &StoreName,
        change: impl FnOnce(&mut PendingNotes) -> Result<(), AccountError>,
    ) -> Result<(), AccountError> {
        let mut answers = self.0.answers.lock().unwrap_or_else(PoisonError::into_inner);
        // A store of which recovery found nothing has ended well, or never begun.
        let answers = answers.entry(store.clone()).or_insert_with(|| {
            let last = PendingNotes::left(&*self.0.disk, &self.0.dir, store)
                .filter(|note| note.next.is_none())
                .and_then(|note| note.pending);
            PendingNotes::new(self.0.disk.clone(), &self.0.dir, store, last)
        });
        change(answers)
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // It is changed in one assignment, or given up.
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// A store's reads that a former process left, in their order; returns what was pending after the last.
    fn take_up(&mut self, disk: &dyn Disk, dir: &Path, store: &StoreName, left: Vec<LeftRead<'_>>) -> Option<Pending> {
        let note = PendingNotes::left(disk, dir, store);
        let mut last = None;
        for read in left {
            match read {
                LeftRead::Page(page) => {
                    let counted = counted(page);
                    // guard: a page that was kept before a kill is an answer
                    if let Some(gap) = self.unanswered(store) {
                        gap.answer(counted.before);
                    }
                    last = counted.after.map(|orders| Pending { orders, at: page.read_at() });
                }
                LeftRead::Unknown(read) => {
                    // guard: a note is believed for its own read alone
                    let noted = note.filter(|note| note.next.is_none_or(|next| next == read.read_id));
                    let before = last.take().or_else(|| noted.and_then(|note: PendingNote| note.pending));
                    self.lost(store, lost_read(read, PAGE), before);
                }
            }
        }
        last
    }

    fn forget_settled_of(&mut self, store: &StoreName, is_traced: impl Fn(ReadId) -> bool) {
        let others: BTreeSet<ReadId> = self
            .gaps
            .iter()
            .filter(|gap| gap.store != *store)
            .flat_map(|gap| &gap.reads)
            .map(|read| read.read_id)
            .collect();
        self.forget_settled(|read| others.contains(&read) || is_traced(read));
    }
}

/// What a page says of the orders around it; nothing if it can't be read, which whoever publishes it will say.
fn counted(page: &Durable) -> Counted {
    let body = page.body().ok();
    body.and_then(|body| Page::parse(&body).ok().map(|page| page.counted())).unwrap_or_default()
}

fn by_store(recovery: &Recovery) -> BTreeMap<StoreName, Vec<LeftRead<'_>>> {
    let mut sorted: Vec<(u64, &StoreName, LeftRead<'_>)> = Vec::new();
    sorted.extend(recovery.pages.iter().map(|page| (page.seq(), page.store(), LeftRead::Page(page))));
    sorted.extend(recovery.unknown.iter().map(|read| (read.seq, &read.store, LeftRead::Unknown(read))));
    sorted.sort_by_key(|(seq, ..)| *seq);
    let mut stores = BTreeMap::<StoreName, Vec<LeftRead<'_>>>::new();
    for (_, store, left) in sorted {
        stores.entry(store.clone()).or_default().push(left);
    }
    stores
}

fn lost_read(read: &UnknownRead, at_most: u64) -> LostRead {
    LostRead { read_id: read.read_id, since: read.since, reason: read.reason.clone(), at_most }
}

fn entries(ledger: &Ledger) -> Vec<LossEntry> {
    ledger.gaps.iter().filter(|gap| gap.open() != OpenLoss::Nothing).filter_map(LossEntry::of).collect()
}

/// A wish that is left over is granted once more, which changes nothing.
fn remove_all(disk: &dyn Disk, wishes: &[PathBuf]) {
    for wish in wishes {
        if let Err(error) = disk.remove(wish) {
            tracing::warn!(file = %wish.display(), %error, "a granted wish can't be removed");
        }
    }
}

#[cfg(test)]
mod tests;

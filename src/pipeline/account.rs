//! The account of lost orders: how many orders the reads of unknown outcome may have marked, how many of those were
//! found since, and how many stay missing unless a person helps. `gap.rs` defines what exactly is known.
//!
//! # Life of an entry
//! 1. A read ends without an answer. Its trace becomes durable in the spool, then the entry does, with the number of
//!    orders pending before the read, where that is known. If the process dies instead, the spool's announcement of the
//!    read is the trace; `cut_off.rs` has what is known of polls, which are not announced.
//! 2. The next good answer tells how many orders were pending after it. The account records that before the page is
//!    handed on.
//! 3. A reconciler pass records here that it begins, publishes what is missing, and records how many orders that were.
//!    If the pass is killed in between, the next pass counts them in the tracking topic, where each record names the
//!    pass that brought it.
//! 4. A pass that covers the read and could fetch everything decides. If nothing is open, the trace is removed, then
//!    the entry. Otherwise the trace is removed and the entry stays: it stands for orders older than the list goes
//!    back, certainly or possibly missing.
//! 5. A person un-synchronises those orders in the shop. The account credits an order that comes in a page, was never
//!    published, and is older than the read: the drain had found nothing pending after the read. Alternatively a person
//!    settles the entry by command.
//!
//! A loss that is only possible needs no action: the entry lapses once the orders would be too old to be handed over.
//!
//! If another instance owns the store's lane by then, its reads make step 2 and its reconciler finds what is missing,
//! and neither knows of this account. So no answer is waited for any more ([`Account::leave`]), and step 4 is an
//! [audit](crate::app), which credits no order that the owner found: that may have been marked by a read of the
//! owner's own. The orders that others found only keep the entry from claiming a certain loss.
//!
//! # Files in the spool's folder
//! `account.json`: all entries, replaced as a whole. `cut-off.json`: see `cut_off.rs`. `pending.json`: how many orders
//! each store's last answer left pending, written when a process ends and taken up by the next one. `READ_ID.settled`: a
//! person's request to settle an entry, carried out by the process that holds the spool. None of them names an order or
//! a buyer.
//!
//! # Invariants
//! 1. An entry is durable before the trace of its read is removed, and stays until the trace is gone.
//! 2. Each found order is counted once, whatever is killed: passes are identified in the tracking topic, pages by their
//!    read ID.

mod cut_off;
mod earlier;
mod error;
mod gap;
mod last_answers;
mod ledger;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

use crate::marketplace::body::{Counted, Page, Pending};
use crate::order::ids::{ReadId, StoreName};
use crate::pipeline::counters::Counters;
use crate::platform::clock;
use crate::platform::disk::{Disk, RealDisk};
use crate::platform::jobs::in_place;
use crate::spool::{Durable, Recovery, UnknownRead};
use cut_off::{CutOff, CutOffs};
pub use error::AccountError;
use gap::{Gap, LostRead};
pub use gap::{LISTED, Marked, OpenLoss, PAGE, REACH};
use last_answers::LastAnswers;
use ledger::Ledger;

/// One entry of the account: consecutive reads of unknown outcome, without a good answer in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LossEntry {
    pub store: StoreName,
    /// The reads, in their order. Any of them identifies the entry.
    pub reads: Vec<ReadId>,
    /// When the file of the first read was reserved.
    pub since: Timestamp,
    /// How the last read ended, as far as known.
    pub reason: String,
    /// How many orders they marked.
    pub marked: Marked,
    /// How many orders were found since, by the reconciler or because a person un-synchronised them.
    pub found: u64,
    /// How many orders are still missing.
    pub open: OpenLoss,
    /// Orders that are still missing were placed before this time, which is as far back as the list of IDs went.
    pub placed_before: Option<Timestamp>,
    /// Until when the list of IDs still shows an order that was placed when the first read began.
    pub listed_until: Timestamp,
    /// When the entry lapses, if nothing is certainly missing.
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

/// Orders that are missing although a pass has looked for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Unaccounted {
    /// Minimum number of missing orders.
    pub orders: u64,
    /// Reads that possibly lost orders, although no loss is certain.
    pub reads: u64,
    /// Maximum number of orders that those reads lost.
    pub possible: u64,
}

impl Unaccounted {
    /// Whether nothing is missing.
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

/// A reconciler pass that could fetch every missing order.
#[derive(Debug, Clone, Copy)]
pub struct Covered<'a> {
    /// The reads that were over before the pass took its list.
    pub reads: &'a [ReadId],
    /// When it took its list.
    pub listed_at: Timestamp,
    /// For each entry, how many orders its reads may have marked although no list shows them as missing: listed orders
    /// that were tracked before it, and orders that another instance found. 0 for an entry that is not named.
    pub known: &'a [KnownBefore],
}

/// Orders that are not missing, although an entry's reads may have marked them: mostly listed orders that had been tracked
/// before those reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownBefore {
    /// The first read of the entry.
    pub first_read: ReadId,
    /// When that read began.
    pub since: Timestamp,
    pub orders: u64,
}

/// The account of a spool that this process has locked. Clones share it.
#[derive(Debug, Clone)]
pub struct Account(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    ledger: Mutex<Ledger>,
    last: Mutex<LastAnswers>,
    cut_offs: Mutex<CutOffs>,
    counters: Arc<Counters>,
}

/// A store's read that a former process left in the spool.
enum LeftRead<'a> {
    Page(&'a Durable),
    Unknown(&'a UnknownRead),
}

impl Account {
    /// Reads the account of the spool in `dir`. Adds the recovered reads of unknown outcome that it does not hold yet,
    /// the counts in recovered pages, and, for these stores, polls that were cut off. Keeps `counters` up to date from then
    /// on.
    pub fn open<'a>(
        dir: &Path,
        recovery: &Recovery,
        stores: impl IntoIterator<Item = &'a StoreName>,
        counters: Arc<Counters>,
    ) -> Result<Self, AccountError> {
        Self::open_on(RealDisk::shared(), dir, recovery, stores, counters)
    }

    /// Like [`Account::open`], on any disk.
    pub fn open_on<'a>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        recovery: &Recovery,
        stores: impl IntoIterator<Item = &'a StoreName>,
        counters: Arc<Counters>,
    ) -> Result<Self, AccountError> {
        let before = Ledger::read(&*disk, dir)?;
        let mut ledger = before.clone();
        let requests = ledger.take_settlements(&*disk, dir)?;
        let mut last = LastAnswers::take(&*disk, dir)?;
        for (store, left) in by_store(recovery) {
            last.set(&store, ledger.take_up(&*disk, dir, &store, left));
        }
        let traced: BTreeSet<ReadId> = recovery.unknown.iter().map(|read| read.read_id).collect();
        ledger.forget_settled(|read| traced.contains(&read));
        if ledger != before {
            ledger.write(&*disk, dir)?;
        }
        remove_requests(&*disk, &requests);
        ledger.note_untraced(|read| traced.contains(&read));
        let stores: BTreeSet<StoreName> = stores.into_iter().cloned().collect();
        for store in &stores {
            // Its last process ended cleanly.
            if let Some(note) = earlier::note(&*disk, dir, store).filter(|note| note.next.is_none()) {
                last.set(store, note.pending);
            }
        }
        earlier::remove_notes(&*disk, dir);
        let mut cut_offs = CutOffs::read(&*disk, dir)?;
        if let Some(alive) = recovery.polls_cut_off.filter(|_| !stores.is_empty()) {
            cut_offs.0.push(CutOff::new(alive, stores));
            cut_offs.write(&*disk, dir)?;
        }
        let (ledger, last, cut_offs) = (Mutex::new(ledger), Mutex::new(last), Mutex::new(cut_offs));
        let inner = Inner { disk, dir: dir.to_owned(), ledger, last, cut_offs, counters };
        let account = Self(Arc::new(inner));
        account.update_counters(&account.ledger());
        Ok(account)
    }

    /// Returns all entries, the oldest first, without the spool's lock: for use beside the running process.
    pub fn look(dir: &Path) -> Result<Vec<LossEntry>, AccountError> {
        let mut ledger = Ledger::read(&RealDisk, dir)?;
        ledger.take_settlements(&RealDisk, dir)?;
        Ok(entries(&ledger))
    }

    /// Requests to settle an entry: a person says that nothing of it is missing any more. Needs no lock: the process
    /// that holds the spool carries it out in its next pass, or the next process at its start.
    ///
    /// # Errors
    /// An entry that does not exist, or that no pass has looked for.
    pub fn settle(dir: &Path, read_id: ReadId) -> Result<(), AccountError> {
        let entries = Self::look(dir)?;
        match entries.iter().find(|entry| entry.reads.contains(&read_id)) {
            None => Err(AccountError::NotThere(read_id)),
            Some(entry) if entry.open == OpenLoss::NotLookedFor => Err(AccountError::NotLookedFor(read_id)),
            Some(_) => ledger::request_settlement(dir, read_id),
        }
    }

    /// All entries, the oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<LossEntry> {
        entries(&self.ledger())
    }

    /// What is missing over all stores. Never blocks, so metrics may call it.
    #[must_use]
    pub fn unaccounted(&self) -> Unaccounted {
        let Counters { unaccounted, unaccounted_reads, possibly_unaccounted, .. } = &*self.0.counters;
        Unaccounted { orders: unaccounted.get(), reads: unaccounted_reads.get(), possible: possibly_unaccounted.get() }
    }

    #[must_use]
    pub fn unaccounted_of(&self, store: &StoreName) -> Unaccounted {
        let ledger = self.ledger();
        let mut sum = Unaccounted::default();
        ledger.of(store).for_each(|gap| sum.add(gap));
        sum
    }

    /// How many orders the store's last answer left pending, if it said so and no read was lost since.
    #[must_use]
    pub fn pending(&self, store: &StoreName) -> Option<Pending> {
        self.last().get(store)
    }

    /// Records a good answer. Call it when the page is durable and before it is handed on.
    pub fn note_answer(&self, store: &StoreName, counted: Counted, at: Timestamp) -> Result<(), AccountError> {
        if self.ledger().unanswered(store).is_some() {
            self.change(|ledger| {
                if let Some(gap) = ledger.unanswered(store) {
                    gap.answer(counted.before);
                }
            })?;
        }
        self.last().set(store, counted.after.map(|orders| Pending { orders, at }));
        Ok(())
    }

    /// Another instance reads these stores, or has read them. So what is pending when this one reads them again tells
    /// nothing of the reads that it made before.
    pub fn leave(&self, is_left: impl Fn(&StoreName) -> bool) -> Result<(), AccountError> {
        // guard: what another instance leaves pending is not compared
        self.change(|ledger| ledger.leave(&is_left))?;
        self.last().leave(is_left);
        Ok(())
    }

    /// Leaves the last answers to the next process. Call it when this one makes no read any more.
    pub fn close(&self) -> Result<(), AccountError> {
        self.last().write(&*self.0.disk, &self.0.dir)
    }

    /// Whether a former process may have polled this store when it ended, and no pass has looked since.
    #[must_use]
    pub fn is_cut_off(&self, store: &StoreName) -> bool {
        self.cut_offs().has(store)
    }

    /// Whether a read of this store, or a poll that was cut off, has an outcome that no pass has looked into.
    #[must_use]
    pub fn is_to_be_looked_for(&self, store: &StoreName) -> bool {
        self.is_cut_off(store) || !self.to_be_looked_for(store).is_empty()
    }

    /// Whether a pass has looked into this read.
    #[must_use]
    pub fn was_looked_for(&self, read: ReadId) -> bool {
        self.ledger().gaps.iter().any(|gap| gap.has(read) && gap.was_looked_for())
    }

    /// Records a read of unknown outcome, whose trace is durable. `at_most`: the orders that it can have marked;
    /// [`PAGE`] if nothing more is known.
    ///
    /// # Errors
    /// [`AccountError::File`]; the next process then finds the trace and records the read.
    pub fn note_lost_read(&self, read: &UnknownRead, at_most: u64) -> Result<(), AccountError> {
        let before = self.last().set(&read.store, None);
        self.change(|ledger| ledger.lost(&read.store, lost_read(read, at_most), before))
    }

    /// Passes over a store that began and did not record what they found.
    #[must_use]
    pub fn passes_of(&self, store: &StoreName) -> Vec<ReadId> {
        self.ledger().passes_of(store)
    }

    /// The entries of a store that no pass has looked into. The caller fills in how many orders were tracked before
    /// each.
    #[must_use]
    pub fn to_be_looked_for(&self, store: &StoreName) -> Vec<KnownBefore> {
        let ledger = self.ledger();
        let gaps = ledger.of(store).filter_map(Gap::to_be_looked_for);
        gaps.map(|(first_read, since)| KnownBefore { first_read, since, orders: 0 }).collect()
    }

    /// Records that a pass is about to publish. `earlier`: orders that earlier passes published without recording them.
    pub fn begin(&self, store: &StoreName, pass: ReadId, earlier: u64) -> Result<(), AccountError> {
        self.change(|ledger| {
            // guard: a killed pass is ticked off by the next
            ledger.credit(store, earlier);
            ledger.end(store);
            // Without an entry there is nothing to credit.
            if ledger.of(store).next().is_some() {
                ledger.begin(store, pass);
            }
        })
    }

    /// Records that a pass is over, and how many orders it found. `covered`: what the pass covers, if it could fetch
    /// every missing order.
    pub fn end(&self, store: &StoreName, found: u64, covered: Option<Covered<'_>>) -> Result<(), AccountError> {
        let polls = covered.map(|covered| self.cut_offs().judge(store, covered.listed_at));
        self.change(|ledger| {
            ledger.credit(store, found);
            ledger.end(store);
            if let Some(covered) = covered {
                ledger.looked(store, covered);
            }
            ledger.gaps.extend(polls.into_iter().flatten());
        })?;
        let mut cut_offs = self.cut_offs();
        if covered.is_some() && cut_offs.take_off(store) {
            in_place(|| cut_offs.write(&*self.0.disk, &self.0.dir))?;
        }
        Ok(())
    }

    /// Removes entries of the store that are settled, and all that have lapsed; carries out settle requests. `traced`:
    /// the store's reads whose traces still exist.
    pub fn forget_settled(&self, store: &StoreName, traced: &[UnknownRead]) -> Result<(), AccountError> {
        let mut requests = Ok(Vec::new());
        self.change(|ledger| {
            requests = ledger.take_settlements(&*self.0.disk, &self.0.dir);
            ledger.forget_settled_of(store, |read| traced.iter().any(|trace| trace.read_id == read));
            // guard: what is only possible lapses
            ledger.lapse(clock::now());
        })?;
        remove_requests(&*self.0.disk, &requests?);
        Ok(())
    }

    /// Whether a page of this store may bring back an order of the account.
    #[must_use]
    pub fn expects_orders(&self, store: &StoreName) -> bool {
        !self.unaccounted().is_nothing() && !self.unaccounted_of(store).is_nothing()
    }

    /// Credits orders of one page that were never published before, given by their time of creation. Call it after
    /// their commit and before the page is released; a replayed page counts once.
    pub fn credit_page(&self, store: &StoreName, page: ReadId, created: &[Timestamp]) -> Result<(), AccountError> {
        self.change(|ledger| ledger.arrived(store, page, created))
    }

    /// Applies a change and makes it durable before returning. Writes nothing if nothing changed.
    fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> Result<T, AccountError> {
        let mut ledger = self.ledger();
        let before = ledger.clone();
        let told = change(&mut ledger);
        if *ledger != before {
            if let Err(error) = in_place(|| ledger.write(&*self.0.disk, &self.0.dir)) {
                *ledger = before;
                return Err(error);
            }
            self.update_counters(&ledger);
        }
        Ok(told)
    }

    fn update_counters(&self, ledger: &Ledger) {
        let mut sum = Unaccounted::default();
        ledger.gaps.iter().for_each(|gap| sum.add(gap));
        self.0.counters.unaccounted.set(sum.orders);
        self.0.counters.unaccounted_reads.set(sum.reads);
        self.0.counters.possibly_unaccounted.set(sum.possible);
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // The account changes in one assignment or not at all, so a poisoned lock is safe to use.
        self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, LastAnswers> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_offs(&self) -> MutexGuard<'_, CutOffs> {
        self.0.cut_offs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    /// Records a store's recovered reads, in their order. Returns how many orders were pending after the last one.
    fn take_up(&mut self, disk: &dyn Disk, dir: &Path, store: &StoreName, left: Vec<LeftRead<'_>>) -> Option<Pending> {
        let note = earlier::note(disk, dir, store);
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
                    let noted = note.filter(|note| note.next.is_none_or(|next| next == read.read_id));
                    let before = last.take().or(read.pending).or_else(|| noted.and_then(|note| note.pending));
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

/// The pending counts that a page holds. Empty if the page can't be read: the lane that publishes it reports that.
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

/// A request that stays behind is carried out once more, which changes nothing.
fn remove_requests(disk: &dyn Disk, requests: &[PathBuf]) {
    for request in requests {
        if let Err(error) = disk.remove(request) {
            tracing::warn!(file = %request.display(), %error, "a settle request that was carried out can't be removed");
        }
    }
}

#[cfg(test)]
mod tests;

//! Bounds on the number of orders that reads of unknown outcome may have marked. Pure: no disk, no clock.
//!
//! A gap is a run of such reads of one store without a good answer in between. Let *b* be what was pending after the
//! last answer before it, *a* what the first answer after it found pending, *n* the orders that became pending in
//! between, and *m* those that the reads marked. Then *a = b + n − m*. Nobody but the marketplace knows *n*, and one
//! read marks no more than [`PAGE`] orders. So:
//!
//! | known | orders marked |
//! |---|---|
//! | *a* and *b*, and *b − a* is a whole page for each read | exactly that |
//! | *a* and *b* | at least *b − a*, at most a page for each read |
//! | *a* or *b* is missing: the first reads of all, a power failure, an answer without counts | an unknown number, at most a page for each read |
//!
//! An order that was marked and does not come back through the list of IDs is older than the list goes back. So it was
//! pending before the gap: whatever became pending after the answer that told *b* is in the list, if the list is taken
//! within 8 days of that answer. After such a pass:
//!
//! - Where *b* is 0 nothing is missing, whatever *a* says (a program that is killed while it waits for orders).
//! - Where both are known, *b − a* less the found orders is the minimum that is missing.
//! - Otherwise the number is unknown: at most *b*, or a page for each read.
//!
//! One thing besides age keeps a marked order from being found missing: it was published before, and the seller had
//! requested it again. The list then names an order that is tracked, so it is not missing, whatever its last hand-over
//! brought. Nobody can tell such an order from one that is too old. There are at most *k* of them: the listed orders
//! that were tracked before the gap. Hence *b − a* less the found orders less *k* is certainly missing, and the rest is
//! possible. Where orders really are too old, at a first start and after an outage of more than 8 days, *k* is about 0.
//!
//! A loss that is only possible is no finding. The entry keeps its number until the marketplace no longer hands over
//! any order that the reads can have marked, [`REACH`] after them: from then on nobody could act on it.
//!
//! "At least" is weaker than "exactly" in one case: new orders that became pending between the two answers, which are
//! mostly a second apart, hide as many old ones.

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::marketplace::body::Pending;
use crate::order::ids::{ReadId, StoreName};

/// Maximum number of orders that one read marks, according to the marketplace.
pub const PAGE: u64 = 30;
/// How far back the list of IDs goes.
pub const LISTED: SignedDuration = SignedDuration::from_hours(8 * 24);
/// How far back the marketplace hands over orders at all, however they are requested.
pub const REACH: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A read of unknown outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LostRead {
    pub read_id: ReadId,
    /// When its file was reserved.
    pub since: Timestamp,
    /// How it ended, as far as known.
    pub reason: String,
    /// Maximum number of orders that it can have marked.
    pub at_most: u64,
}

/// The first good answer after the gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CountedAnswer {
    /// The number of pending orders that it found, if it said so.
    found: Option<u64>,
}

/// A reconciler pass that covers the gap and could fetch every missing order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Looked {
    /// When it took its list.
    listed_at: Timestamp,
    /// Orders in that list that were tracked before the gap: the seller may have requested them again. After an audit,
    /// those that other instances found, too.
    #[serde(default)]
    known: u64,
}

/// Bounds on the number of marked orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Marked {
    pub at_least: u64,
    pub at_most: u64,
    /// Whether the marketplace's counts before and after are known. Without them `at_least` is 0 for lack of knowledge.
    pub counted: bool,
}

impl fmt::Display for Marked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at_least, at_most, counted } = self;
        match (counted, at_least == at_most) {
            (false, _) => write!(f, "unknown, at most {at_most}"),
            (true, true) => write!(f, "exactly {at_least}"),
            (true, false) => write!(f, "at least {at_least}, at most {at_most}"),
        }
    }
}

/// How many orders are still missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OpenLoss {
    /// No pass has looked for the orders yet.
    NotLookedFor,
    /// Nothing is missing.
    Nothing,
    /// At least this many are missing: they are older than the list goes back.
    AtLeast(u64),
    /// Nothing that is listed is missing, but up to this many older orders may be.
    UnknownUpTo(u64),
}

impl fmt::Display for OpenLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLookedFor => f.write_str("not looked for yet"),
            Self::Nothing => f.write_str("none"),
            Self::AtLeast(orders) => write!(f, "{orders}"),
            Self::UnknownUpTo(orders) => write!(f, "possibly some, at most {orders}"),
        }
    }
}

/// Consecutive reads of unknown outcome, with no good answer between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Gap {
    pub(super) store: StoreName,
    pub(super) reads: Vec<LostRead>,
    /// Whether this process found no trace of any of the reads: a part of the spool was lost, or put aside as damaged.
    #[serde(skip)]
    pub(super) is_untraced: bool,
    before: Option<Pending>,
    after: Option<CountedAnswer>,
    /// Orders that the reconciler found and that are credited to this gap.
    reconciled: u64,
    /// Orders that came back in a page because a person un-synchronised them, by the page's read: a replayed page
    /// counts once.
    arrived: BTreeMap<ReadId, u64>,
    looked: Option<Looked>,
}

impl Gap {
    pub(super) fn new(store: StoreName, read: LostRead, before: Option<Pending>) -> Self {
        Self {
            store,
            reads: vec![read],
            is_untraced: false,
            before,
            after: None,
            reconciled: 0,
            arrived: BTreeMap::new(),
            looked: None,
        }
    }

    /// Whether no good answer has come since. If so, a further unknown read belongs to this gap.
    pub(super) fn is_unanswered(&self) -> bool {
        self.after.is_none()
    }

    pub(super) fn answer(&mut self, found: Option<u64>) {
        self.after = Some(CountedAnswer { found });
    }

    pub(super) fn add(&mut self, read: LostRead) {
        self.reads.push(read);
        self.is_untraced = false;
    }

    /// Whether a pass that covers these reads covers the gap. A store's reads follow each other, so those before the last
    /// were over as well; the trace of one may be gone, for a pass may have begun between two of them. Reads of which
    /// there is no trace are a former process's.
    pub(super) fn is_covered_by(&self, reads: &[ReadId]) -> bool {
        // guard: a pass that covers the last read of an entry covers the entry
        self.is_untraced || self.reads.last().is_some_and(|read| reads.contains(&read.read_id))
    }

    pub(super) fn has(&self, read_id: ReadId) -> bool {
        self.reads.iter().any(|read| read.read_id == read_id)
    }

    pub(super) fn was_looked_for(&self) -> bool {
        self.looked.is_some()
    }

    /// Records a pass that covers the gap. Only the first one counts: its list goes back the furthest.
    pub(super) fn look(&mut self, listed_at: Timestamp, known: u64) {
        self.looked.get_or_insert(Looked { listed_at, known });
    }

    /// Its first read and when that began, if no pass has looked for its orders.
    pub(super) fn to_be_looked_for(&self) -> Option<(ReadId, Timestamp)> {
        let first = self.reads.first().filter(|_| self.looked.is_none())?;
        Some((first.read_id, first.since))
    }

    /// When a loss that is only possible is dropped.
    pub(super) fn lapses_at(&self) -> Option<Timestamp> {
        let last = self.reads.last().filter(|_| matches!(self.open(), OpenLoss::UnknownUpTo(_)))?;
        last.since.checked_add(REACH).ok()
    }

    pub(super) fn listed_at(&self) -> Option<Timestamp> {
        self.looked.map(|looked| looked.listed_at)
    }

    pub(super) fn marked(&self) -> Marked {
        let at_most = self.reads.iter().fold(0, |sum: u64, read| sum.saturating_add(read.at_most));
        match (self.before, self.after.and_then(|after| after.found)) {
            (Some(before), Some(after)) => {
                let at_least = before.orders.saturating_sub(after).min(at_most);
                Marked { at_least, at_most, counted: true }
            }
            _ => Marked { at_least: 0, at_most, counted: false },
        }
    }

    pub(super) fn found(&self) -> u64 {
        self.arrived.values().fold(self.reconciled, |sum, orders| sum.saturating_add(*orders))
    }

    pub(super) fn open(&self) -> OpenLoss {
        let Some(looked) = self.looked else { return OpenLoss::NotLookedFor };
        let (marked, found) = (self.marked(), self.found());
        let short = marked.at_least.saturating_sub(found);
        // guard: an order that was tracked before is not certainly missing
        let certain = short.saturating_sub(looked.known);
        if certain > 0 {
            return OpenLoss::AtLeast(certain);
        }
        let unseen = marked.at_most.saturating_sub(found);
        let unseen = match self.before {
            Some(before) if is_in_time(looked.listed_at.duration_since(before.at)) => {
                if marked.counted {
                    short
                } else {
                    unseen.min(before.orders)
                }
            }
            _ => unseen,
        };
        if unseen == 0 { OpenLoss::Nothing } else { OpenLoss::UnknownUpTo(unseen) }
    }

    /// Credits found orders to this gap, up to the limit of `share`. Returns how many it took.
    pub(super) fn credit(&mut self, orders: u64, share: Share) -> u64 {
        let taken = orders.min(self.room(share));
        self.reconciled += taken;
        taken
    }

    fn room(&self, share: Share) -> u64 {
        let marked = self.marked();
        let limit = match share {
            // guard: certain losses are ticked off first
            Share::Certain => marked.at_least,
            Share::Possible => marked.at_most,
        };
        limit.saturating_sub(self.found())
    }

    /// Credits an order that came in a page, was never published, and is older than the gap. The drain had found
    /// nothing pending since, so the order had been marked and a person un-synchronised it.
    pub(super) fn arrive(&mut self, page: ReadId, created: Timestamp) -> bool {
        let old = self.reads.first().is_some_and(|read| created < read.since);
        let takes = old && matches!(self.open(), OpenLoss::AtLeast(_) | OpenLoss::UnknownUpTo(_));
        if takes {
            *self.arrived.entry(page).or_default() += 1;
        }
        takes
    }

    pub(super) fn forget_arrivals(&mut self, page: ReadId) {
        self.arrived.remove(&page);
    }
}

/// Whether a list taken this long after the last known count goes back far enough. A negative age means that the clock
/// was set back by an unknown amount; up to a minute, the usual daily correction, is accepted.
fn is_in_time(age: SignedDuration) -> bool {
    // guard: a list that came too late proves nothing
    // guard: a clock that was set back proves nothing
    (SignedDuration::from_mins(-1)..LISTED).contains(&age)
}

/// Found orders are distributed in two rounds: first to what each gap certainly lacks, then to what it possibly lacks.
/// Nobody knows which order belongs to which gap. So the gaps together count as certainly missing no more than they
/// certainly lack, less all found orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    Certain,
    Possible,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn read(hours: i64) -> LostRead {
        LostRead { read_id: ReadId::fresh(), since: at(hours), reason: "cut".to_owned(), at_most: PAGE }
    }

    fn gap(before: Option<u64>, after: Option<Option<u64>>) -> Gap {
        let before = before.map(|orders| Pending { orders, at: at(1000) });
        let mut gap = Gap::new("bogota".parse().unwrap(), read(1000), before);
        if let Some(found) = after {
            gap.answer(found);
        }
        gap
    }

    fn looked(before: Option<u64>, after: Option<u64>, found: u64) -> OpenLoss {
        let mut gap = gap(before, Some(after));
        gap.look(at(1001), 0);
        gap.reconciled = found;
        gap.open()
    }

    #[test]
    fn what_was_marked_follows_from_what_was_pending_before_and_after() {
        let shown = |before, after| gap(before, after).marked().to_string();
        assert_eq!(shown(Some(65), Some(Some(35))), "exactly 30");
        assert_eq!(shown(Some(65), Some(Some(40))), "at least 25, at most 30");
        assert_eq!(shown(Some(5), Some(Some(9))), "at least 0, at most 30");
        assert_eq!(shown(Some(65), Some(None)), "unknown, at most 30");
        assert_eq!(shown(None, Some(Some(35))), "unknown, at most 30");
        assert_eq!(shown(Some(65), None), "unknown, at most 30");
        // Somebody else reads as well: our read still marks no more than a page.
        assert_eq!(shown(Some(95), Some(Some(5))), "exactly 30");
    }

    #[test]
    fn reads_in_a_row_share_their_bounds() {
        let mut gap = gap(Some(100), None);
        gap.reads.push(read(1000));
        gap.answer(Some(40));
        assert_eq!(gap.marked().to_string(), "exactly 60");
    }

    #[test]
    fn what_the_list_does_not_give_back_is_missing() {
        assert_eq!(gap(Some(65), Some(Some(35))).open(), OpenLoss::NotLookedFor);
        assert_eq!(looked(Some(65), Some(35), 30), OpenLoss::Nothing);
        assert_eq!(looked(Some(65), Some(35), 10), OpenLoss::AtLeast(20));
        assert_eq!(looked(Some(65), Some(40), 10), OpenLoss::AtLeast(15));
        assert_eq!(looked(Some(5), Some(0), 5), OpenLoss::Nothing);
        assert_eq!(looked(None, Some(35), 12), OpenLoss::UnknownUpTo(18));
        assert_eq!(looked(None, Some(35), 30), OpenLoss::Nothing);
        assert_eq!(looked(Some(4), None, 1), OpenLoss::UnknownUpTo(4));
    }

    #[test]
    fn a_kill_while_nothing_was_pending_is_no_loss_unless_the_list_came_too_late() {
        assert_eq!(looked(Some(0), None, 0), OpenLoss::Nothing);
        assert_eq!(looked(Some(0), Some(3), 0), OpenLoss::Nothing);
        let looked_at = |listed_at| {
            let mut gap = gap(Some(0), Some(Some(3)));
            gap.look(listed_at, 0);
            gap.open()
        };
        assert_eq!(looked_at(at(1000) + LISTED), OpenLoss::UnknownUpTo(30));
        assert_eq!(looked_at(at(999)), OpenLoss::UnknownUpTo(30), "a clock that was set back proves nothing");
        assert_eq!(looked_at(at(1000) - SignedDuration::from_secs(1)), OpenLoss::Nothing);
    }

    #[test]
    fn an_order_that_is_listed_and_tracked_is_not_certainly_missing() {
        let looked = |known| {
            let mut gap = gap(Some(65), Some(Some(35)));
            gap.look(at(1001), known);
            gap.open()
        };
        assert_eq!(looked(0), OpenLoss::AtLeast(30));
        assert_eq!(looked(10), OpenLoss::AtLeast(20));
        assert_eq!(looked(470), OpenLoss::UnknownUpTo(30));
    }

    #[test]
    fn what_is_only_possible_lapses_once_the_marketplace_hands_it_over_no_more() {
        let mut gap = gap(None, Some(Some(35)));
        assert_eq!(gap.lapses_at(), None);
        gap.look(at(1001), 0);
        assert_eq!((gap.open(), gap.lapses_at()), (OpenLoss::UnknownUpTo(30), Some(at(1000) + REACH)));
        gap.reconciled = 30;
        assert_eq!(gap.lapses_at(), None);
    }

    #[test]
    fn an_exact_number_does_not_age() {
        let mut gap = gap(Some(65), Some(Some(35)));
        gap.look(at(1000) + LISTED, 0);
        assert_eq!(gap.open(), OpenLoss::AtLeast(30));
    }

    #[test]
    fn only_an_old_order_is_one_that_a_person_brought_back_and_a_replayed_page_counts_once() {
        let mut gap = gap(Some(65), Some(Some(35)));
        let page = ReadId::fresh();
        assert!(!gap.arrive(page, at(1)), "nobody has looked for it yet");
        gap.look(at(1001), 0);
        assert!(!gap.arrive(page, at(1000)), "it is not older than the read");
        assert!(gap.arrive(page, at(999)));
        gap.forget_arrivals(page);
        assert!(gap.arrive(page, at(999)) && gap.arrive(page, at(998)));
        assert_eq!(gap.open(), OpenLoss::AtLeast(28));
    }
}

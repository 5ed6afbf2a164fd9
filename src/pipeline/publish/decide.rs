//! Decides whether an order is published, as which revision, and why. This table keeps events from being lost or
//! doubled.

use crate::avro::event::{Reason, Revision};
use crate::config::ResyncPolicy;
use crate::pipeline::index::{ContentMark, IndexEntry, Millis48, OrderState, ReadMark};

/// Who brings the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A destructive read.
    Drain,
    /// The reconciler, which found the order in the ID list and not in the tracking topic.
    Reconcile,
    /// The reconciler, which checks whether a tracked order has changed.
    Changes,
    /// An operator.
    Operator,
}

/// An order to be decided.
#[derive(Debug, Clone, Copy)]
pub struct Candidate {
    pub source: Source,
    /// The read that brought it.
    pub read: ReadMark,
    /// When it was read: for a page, when the page was complete; for a fetch by ID, before the request.
    pub read_at: Millis48,
    /// When this is decided.
    pub now: Millis48,
    pub content: ContentMark,
    /// Whether nothing but the clocks tells if a page waited in another program's spool.
    pub by_clock: bool,
}

/// What happens to the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Publish an event.
    Publish {
        reason: Reason,
        /// One more than the last event's.
        revision: Revision,
    },
    /// This same read has published it already: a replayed page, or an order twice in one page.
    Replayed,
    /// The order came by another way, or the policy suppresses it because it has not changed.
    NothingToDo,
}

/// The decision table.
#[must_use]
pub fn decide(known: Option<IndexEntry>, candidate: Candidate, policy: ResyncPolicy) -> Decision {
    let Candidate { source, read, read_at, now, content, by_clock } = candidate;
    let Some(known) = known else {
        // Only tracked orders are checked for changes. One that is no longer tracked is too old to matter.
        return if source == Source::Changes { Decision::NothingToDo } else { publish(None, source) };
    };
    // guard: a page that is replayed is known
    if known.read == read {
        return Decision::Replayed;
    }
    let unchanged = known.content == content;
    match source {
        Source::Operator => publish(known.revision, source),
        Source::Reconcile => Decision::NothingToDo,
        Source::Changes if unchanged || known.state == OrderState::Gone => Decision::NothingToDo,
        // A page brought it after it was requested, and may hold newer content: the next round checks again.
        Source::Changes if read_at < known.at && !was_set_back(known, now) => Decision::NothingToDo,
        Source::Changes => publish(known.revision, source),
        Source::Drain if by_clock && is_late(known, read_at, now) => Decision::NothingToDo,
        Source::Drain
            if unchanged && known.state == OrderState::Published && policy == ResyncPolicy::SuppressUnchanged =>
        {
            Decision::NothingToDo
        }
        Source::Drain => publish(known.revision, source),
    }
}

/// How many milliseconds the clocks of two machines may differ, or a clock may be set back, before a page is classified
/// wrongly.
const CLOCK_SKEW_MS: i64 = 60_000;

/// Whether a drained page is older, by more than [`CLOCK_SKEW_MS`], than the fetch by ID that already published the
/// order.
///
/// Such a page waited in another program's spool while its order was found missing, fetched and published. It is the
/// missed delivery, not a seller's request to hand the order over again. If it was such a request, the fetch has
/// already fulfilled it with content that is no older. A page that was read after the fetch began, even in the same
/// second, counts as a request: one event too many is better than one lost. So does every page while the clock is
/// behind what it showed at the fetch: it was set back, and does not tell which came first.
///
/// Within one spool no page is late: it is in the lane's queue before anything that is fetched after it.
fn is_late(known: IndexEntry, read_at: Millis48, now: Millis48) -> bool {
    let was_fetched = matches!(known.reason, Reason::Reconciled | Reason::Updated | Reason::Republished);
    was_fetched && read_at.millis() + CLOCK_SKEW_MS < known.at.millis() && !was_set_back(known, now)
}

/// Whether the clock is behind what it showed when the order was published. Then it does not tell what came later.
fn was_set_back(known: IndexEntry, now: Millis48) -> bool {
    now.millis() + CLOCK_SKEW_MS < known.at.millis()
}

/// Decides the next revision. An order that has an event comes again because the seller requested it, even if its last
/// reading ended as a dead letter.
fn publish(last: Option<Revision>, source: Source) -> Decision {
    let Some(last) = last else {
        let reason = match source {
            Source::Drain => Reason::Drained,
            // A dead letter that can be mapped now counts as found.
            Source::Reconcile | Source::Changes => Reason::Reconciled,
            Source::Operator => Reason::Republished,
        };
        return Decision::Publish { reason, revision: Revision::FIRST };
    };
    let reason = match source {
        Source::Drain | Source::Reconcile => Reason::Resynced,
        Source::Changes => Reason::Updated,
        Source::Operator => Reason::Republished,
    };
    // An order that has used up all two thousand million revisions is not published any more.
    last.next().map_or(Decision::NothingToDo, |revision| Decision::Publish { reason, revision })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::event::ContentHash;
    use crate::order::ids::ReadId;

    const NOON: i64 = 1_764_000_000_000;

    fn known(state: OrderState, revision: i32, read: ReadMark) -> IndexEntry {
        let revision = Revision::try_from(revision).ok();
        IndexEntry {
            revision,
            state,
            reason: Reason::Drained,
            read,
            content: content('a'),
            at: Millis48::from_millis(NOON),
        }
    }

    fn content(text: char) -> ContentMark {
        ContentHash::of_bytes(text.to_string().as_bytes()).into()
    }

    fn candidate(source: Source, read: ReadMark, text: char) -> Candidate {
        let now = Millis48::from_millis(NOON + 1);
        Candidate { source, read, read_at: now, now, content: content(text), by_clock: true }
    }

    fn published(reason: Reason, revision: i32) -> Decision {
        Decision::Publish { reason, revision: Revision::try_from(revision).unwrap() }
    }

    #[test]
    fn the_table_of_decisions() {
        use Source::{Changes, Drain, Operator, Reconcile};
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        for (entry, source, expected) in [
            (None, Drain, published(Reason::Drained, 1)),
            (None, Reconcile, published(Reason::Reconciled, 1)),
            (None, Changes, Decision::NothingToDo),
            (None, Operator, published(Reason::Republished, 1)),
            (Some(known(OrderState::Published, 1, this)), Drain, Decision::Replayed),
            (Some(known(OrderState::Published, 1, this)), Changes, Decision::Replayed),
            (Some(known(OrderState::Published, 1, this)), Operator, Decision::Replayed),
            (Some(known(OrderState::Published, 1, other)), Drain, published(Reason::Resynced, 2)),
            (Some(known(OrderState::Published, 2, other)), Reconcile, Decision::NothingToDo),
            (Some(known(OrderState::Published, 2, other)), Changes, published(Reason::Updated, 3)),
            (Some(known(OrderState::Published, 2, other)), Operator, published(Reason::Republished, 3)),
            (Some(known(OrderState::DeadLettered, 0, this)), Drain, Decision::Replayed),
            (Some(known(OrderState::DeadLettered, 0, other)), Drain, published(Reason::Drained, 1)),
            (Some(known(OrderState::DeadLettered, 1, other)), Drain, published(Reason::Resynced, 2)),
            (Some(known(OrderState::DeadLettered, 0, other)), Reconcile, Decision::NothingToDo),
            (Some(known(OrderState::DeadLettered, 0, other)), Changes, published(Reason::Reconciled, 1)),
            (Some(known(OrderState::DeadLettered, 1, other)), Changes, published(Reason::Updated, 2)),
            (Some(known(OrderState::DeadLettered, 0, other)), Operator, published(Reason::Republished, 1)),
            (Some(known(OrderState::Gone, 0, other)), Drain, published(Reason::Drained, 1)),
            (Some(known(OrderState::Gone, 0, other)), Changes, Decision::NothingToDo),
        ] {
            let decision = decide(entry, candidate(source, this, 'b'), ResyncPolicy::Publish);
            assert_eq!(decision, expected, "{entry:?} {source:?}");
        }
    }

    #[test]
    fn an_unchanged_order_is_suppressed_only_where_the_policy_says_so() {
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        let entry = Some(known(OrderState::Published, 1, other));
        let (suppress, drain) = (ResyncPolicy::SuppressUnchanged, |text| candidate(Source::Drain, this, text));
        assert_eq!(decide(entry, drain('a'), suppress), Decision::NothingToDo);
        assert_eq!(decide(entry, drain('b'), suppress), published(Reason::Resynced, 2));
        assert_eq!(decide(entry, drain('a'), ResyncPolicy::Publish), published(Reason::Resynced, 2));
    }

    #[test]
    fn an_order_that_has_not_changed_is_no_update() {
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        let entry = Some(known(OrderState::Published, 1, other));
        assert_eq!(decide(entry, candidate(Source::Changes, this, 'a'), ResyncPolicy::Publish), Decision::NothingToDo);
    }

    #[test]
    fn a_page_that_waited_elsewhere_while_its_orders_were_reconciled_is_no_wish_to_see_them_again() {
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        let fetched = |reason| Some(IndexEntry { reason, ..known(OrderState::Published, 1, other) });
        let reconciled = fetched(Reason::Reconciled);
        let read_at =
            |millis| Candidate { read_at: Millis48::from_millis(millis), ..candidate(Source::Drain, this, 'b') };
        let late = read_at(NOON - CLOCK_SKEW_MS - 1);
        for reason in [Reason::Reconciled, Reason::Updated, Reason::Republished] {
            assert_eq!(decide(fetched(reason), late, ResyncPolicy::Publish), Decision::NothingToDo);
            let shared = Candidate { by_clock: false, ..late };
            assert_eq!(decide(fetched(reason), shared, ResyncPolicy::Publish), published(Reason::Resynced, 2));
        }
        for wish in [NOON - CLOCK_SKEW_MS, NOON, NOON + 1] {
            let decision = decide(reconciled, read_at(wish), ResyncPolicy::Publish);
            assert_eq!(decision, published(Reason::Resynced, 2), "{wish}");
        }
        for reason in [Reason::Drained, Reason::Resynced] {
            assert_eq!(decide(fetched(reason), late, ResyncPolicy::Publish), published(Reason::Resynced, 2));
        }
        let set_back = Candidate { now: Millis48::from_millis(NOON - CLOCK_SKEW_MS - 1), ..late };
        assert_eq!(decide(reconciled, set_back, ResyncPolicy::Publish), published(Reason::Resynced, 2));
    }

    #[test]
    fn what_was_asked_for_before_a_page_brought_the_order_is_no_update() {
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        let entry = Some(known(OrderState::Published, 1, other));
        let asked =
            |millis| Candidate { read_at: Millis48::from_millis(millis), ..candidate(Source::Changes, this, 'b') };
        assert_eq!(decide(entry, asked(NOON - 1), ResyncPolicy::Publish), Decision::NothingToDo);
        assert_eq!(decide(entry, asked(NOON), ResyncPolicy::Publish), published(Reason::Updated, 2));
    }

    #[test]
    fn a_clock_that_was_set_back_hides_no_change() {
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        let now = Millis48::from_millis(NOON - CLOCK_SKEW_MS - 1);
        let asked = Candidate { read_at: now, now, ..candidate(Source::Changes, this, 'b') };
        let entry = Some(known(OrderState::Published, 1, other));
        assert_eq!(decide(entry, asked, ResyncPolicy::Publish), published(Reason::Updated, 2));
    }
}

//! Whether an order is published, as which revision, and why: the table that keeps events from being lost or doubled.

use crate::config::ResyncPolicy;
use crate::event::{Reason, Revision};
use crate::index::{ContentMark, Entry, ReadMark, State};

/// Who brings the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A destructive read.
    Drain,
    /// The reconciler, which found the order in the ID list and not in the tracking topic.
    Reconcile,
}

/// What follows for the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Publish it.
    Publish {
        /// The reason that the event carries.
        reason: Reason,
        /// One more than the last event's.
        revision: Revision,
    },
    /// It is out already, by this same read: a page that was replayed, or an order twice in one page.
    Replayed,
    /// Somebody else has dealt with it, or it has not changed and the policy says that this is enough.
    NothingToDo,
}

/// The table.
#[must_use]
pub fn decide(
    known: Option<&Entry>,
    source: Source,
    read: ReadMark,
    content: ContentMark,
    policy: ResyncPolicy,
) -> Decision {
    let Some(known) = known else { return publish(None, source) };
    if known.read == read {
        return Decision::Replayed;
    }
    let unchanged = known.state == State::Published && known.content == content;
    match source {
        Source::Reconcile => Decision::NothingToDo,
        Source::Drain if unchanged && policy == ResyncPolicy::SuppressUnchanged => Decision::NothingToDo,
        Source::Drain => publish(known.revision, source),
    }
}

/// The next revision. An order that has an event already comes again because the seller asked for it, even if its last
/// reading ended as a dead letter.
fn publish(last: Option<Revision>, source: Source) -> Decision {
    match (last.map(Revision::next), source) {
        (None, Source::Drain) => Decision::Publish { reason: Reason::Drained, revision: Revision::FIRST },
        (None, Source::Reconcile) => Decision::Publish { reason: Reason::Reconciled, revision: Revision::FIRST },
        (Some(Some(revision)), _) => Decision::Publish { reason: Reason::Resynced, revision },
        // Two thousand million revisions of one order are not an order any more.
        (Some(None), _) => Decision::NothingToDo,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ResyncPolicy;
    use crate::event::ContentHash;
    use crate::ids::ReadId;

    fn known(state: State, revision: i32, read: ReadMark) -> Entry {
        Entry { revision: Revision::try_from(revision).ok(), state, read, content: content('a') }
    }

    fn content(text: char) -> ContentMark {
        ContentHash::of_bytes(text.to_string().as_bytes()).into()
    }

    #[test]
    fn the_table_of_decisions() {
        use Source::{Drain, Reconcile};
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        let publish =
            |reason, revision: i32| Decision::Publish { reason, revision: Revision::try_from(revision).unwrap() };
        for (entry, source, expected) in [
            (None, Drain, publish(Reason::Drained, 1)),
            (None, Reconcile, publish(Reason::Reconciled, 1)),
            (Some(known(State::Published, 1, this)), Drain, Decision::Replayed),
            (Some(known(State::Published, 1, other)), Drain, publish(Reason::Resynced, 2)),
            (Some(known(State::Published, 2, other)), Reconcile, Decision::NothingToDo),
            (Some(known(State::DeadLettered, 0, this)), Drain, Decision::Replayed),
            (Some(known(State::DeadLettered, 0, other)), Drain, publish(Reason::Drained, 1)),
            (Some(known(State::DeadLettered, 1, other)), Drain, publish(Reason::Resynced, 2)),
            (Some(known(State::DeadLettered, 0, other)), Reconcile, Decision::NothingToDo),
            (Some(known(State::Gone, 0, other)), Drain, publish(Reason::Drained, 1)),
        ] {
            let decision = decide(entry.as_ref(), source, this, content('b'), ResyncPolicy::Publish);
            assert_eq!(decision, expected, "{entry:?} {source:?}");
        }
    }

    #[test]
    fn an_unchanged_order_is_suppressed_only_where_the_policy_says_so() {
        let (this, other) = (ReadId::fresh().into(), ReadId::fresh().into());
        let entry = known(State::Published, 1, other);
        let suppress = ResyncPolicy::SuppressUnchanged;
        assert_eq!(decide(Some(&entry), Source::Drain, this, content('a'), suppress), Decision::NothingToDo);
        let again = Decision::Publish { reason: Reason::Resynced, revision: Revision::try_from(2).unwrap() };
        assert_eq!(decide(Some(&entry), Source::Drain, this, content('b'), suppress), again);
        assert_eq!(decide(Some(&entry), Source::Drain, this, content('a'), ResyncPolicy::Publish), again);
    }
}

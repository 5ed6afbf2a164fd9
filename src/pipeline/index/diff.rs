//! Missing orders = listed − tracked. Pure.

use std::collections::HashSet;

use crate::avro::event::Revision;
use crate::order::ids::{OrderId, OrderIds, StoreName};
use crate::pipeline::account::KnownBefore;
use crate::pipeline::index::{Index, Millis48, OrderState};

/// The result of comparing a list of IDs with the index.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Listed and not tracked, each once, in the order of the list.
    pub missing: Vec<OrderId>,
    /// A listed order that is published: if the path is right, the marketplace must have it.
    pub published: Option<OrderId>,
    /// Listed orders that are published or dead-lettered and may have changed since. Filled only on request.
    pub tracked: OrderIds,
    /// For each account entry in the query, how many listed orders were tracked before it.
    pub known: Vec<KnownBefore>,
    /// Orders that earlier passes published without recording them. Not related to the list.
    pub earlier: u64,
}

/// Compares a list with the index. An order that is tracked in any state (published, dead-lettered, gone) is not
/// missing.
#[must_use]
pub fn missing(store: &StoreName, listed: &OrderIds, tracked: &Index, with_tracked: bool) -> Diff {
    let states = tracked.states(store, listed);
    let mut diff = Diff::default();
    let mut seen = HashSet::new();
    for (id, state) in listed.iter().zip(states) {
        match state {
            Some(state) => {
                if diff.published.is_none() && state == OrderState::Published {
                    diff.published = Some(id.into());
                }
                if with_tracked && matches!(state, OrderState::Published | OrderState::DeadLettered) {
                    diff.tracked.push(id);
                }
            }
            None if seen.insert(id.as_str()) => diff.missing.push(id.into()),
            None => {}
        }
    }
    diff
}

/// Counts, for each account entry, the listed orders that were tracked before its reads. An order with a later revision
/// may have been tracked before, whenever that revision came.
#[must_use]
pub fn known_before(
    store: &StoreName,
    listed: &OrderIds,
    tracked: &Index,
    mut known: Vec<KnownBefore>,
) -> Vec<KnownBefore> {
    if known.is_empty() {
        return known;
    }
    let mut seen = HashSet::new();
    for (id, entry) in listed.iter().zip(tracked.entries(store, listed)) {
        let Some(entry) = entry.filter(|_| seen.insert(id.as_str())) else { continue };
        let is_revised = entry.revision.is_some_and(|revision| revision > Revision::FIRST);
        for known in &mut known {
            known.orders += u64::from(is_revised || entry.at < Millis48::from(known.since));
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avro::event::{ContentHash, Reason};
    use crate::order::ids::{OrderKey, ReadId};
    use crate::pipeline::index::{IndexEntry, IndexUpdate, Millis48};

    fn ids(texts: &[&str]) -> Vec<OrderId> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn listed(texts: &[&str]) -> OrderIds {
        ids(texts).into_iter().collect()
    }

    fn index(orders: &[(&str, OrderState)]) -> Index {
        let mut index = Index::default();
        for (key, state) in orders {
            let key: OrderKey = key.parse().unwrap();
            let entry = IndexEntry {
                revision: Some(Revision::FIRST),
                state: *state,
                reason: Reason::Drained,
                read: ReadId::fresh().into(),
                content: ContentHash::of_bytes(b"x").into(),
                at: Millis48::from_millis(0),
            };
            index.apply(IndexUpdate::new(key.to_string().as_bytes(), Some(entry)));
        }
        index
    }

    #[test]
    fn what_is_tracked_in_any_state_is_not_missing() {
        let tracked = index(&[
            ("bogota/1", OrderState::Gone),
            ("bogota/2", OrderState::DeadLettered),
            ("bogota/3", OrderState::Published),
            ("bogota/4", OrderState::Unknown),
        ]);
        let diff = missing(&"bogota".parse().unwrap(), &listed(&["1", "2", "5", "3", "4", "6"]), &tracked, true);
        let expected = Diff {
            missing: ids(&["5", "6"]),
            published: ids(&["3"]).pop(),
            tracked: listed(&["2", "3"]),
            ..Diff::default()
        };
        assert_eq!(diff, expected);
    }

    #[test]
    fn an_order_that_is_listed_twice_is_missing_once() {
        let diff = missing(&"bogota".parse().unwrap(), &listed(&["7", "8", "7"]), &Index::default(), false);
        assert_eq!(diff.missing, ids(&["7", "8"]));
    }

    #[test]
    fn an_order_of_another_store_with_the_same_id_is_another_order() {
        let diff =
            missing(&"bogota".parse().unwrap(), &listed(&["1"]), &index(&[("quito/1", OrderState::Published)]), true);
        assert_eq!(diff, Diff { missing: ids(&["1"]), ..Diff::default() });
    }

    #[test]
    fn a_list_without_entries_misses_nothing() {
        let diff = missing(
            &"bogota".parse().unwrap(),
            &OrderIds::default(),
            &index(&[("bogota/1", OrderState::Published)]),
            true,
        );
        assert_eq!(diff, Diff::default());
    }

    #[test]
    fn listed_orders_that_were_tracked_before_a_read_or_have_been_handed_over_again_are_counted() {
        let store: StoreName = "bogota".parse().unwrap();
        let mut tracked = Index::default();
        for (id, millis, revision) in [("1", 500, 1), ("2", 1_500, 1), ("3", 1_500, 2), ("9", 500, 1)] {
            let entry = IndexEntry {
                revision: Some(Revision::try_from(revision).unwrap()),
                state: OrderState::Published,
                reason: Reason::Drained,
                read: ReadId::fresh().into(),
                content: ContentHash::of_bytes(b"x").into(),
                at: Millis48::from_millis(millis),
            };
            tracked.apply(IndexUpdate::new(format!("bogota/{id}").as_bytes(), Some(entry)));
        }
        let asked = |millis| KnownBefore {
            first_read: ReadId::fresh(),
            since: jiff::Timestamp::from_millisecond(millis).unwrap(),
            orders: 0,
        };
        let listed = listed(&["1", "2", "3", "4", "1"]);
        let known = known_before(&store, &listed, &tracked, vec![asked(1_000), asked(2_000), asked(100)]);
        assert_eq!(known.iter().map(|known| known.orders).collect::<Vec<_>>(), [2, 3, 1]);
    }
}

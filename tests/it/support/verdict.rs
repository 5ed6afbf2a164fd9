//! The verdict of most tests: was an order lost, and was one doubled?

use std::collections::BTreeMap;

use super::consume::Record;

/// What was handed over, compared with what a downstream system sees. All three lists are empty when all is well.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Handed over, and not seen (as often).
    pub lost: Vec<String>,
    /// Seen more often than handed over.
    pub doubled: Vec<String>,
    /// Seen, and never handed over.
    pub invented: Vec<String>,
}

impl Verdict {
    /// `delivered` names the ID of each order that the marketplace marked and delivered, as often as the seller asked
    /// for it; `seen` are the records of the orders topic, keyed by that ID.
    pub fn of<S: Into<String>>(delivered: impl IntoIterator<Item = S>, seen: &[Record]) -> Self {
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for id in delivered {
            counts.entry(id.into()).or_default().0 += 1;
        }
        for record in seen {
            counts.entry(record.key.clone().expect("an event has a key")).or_default().1 += 1;
        }
        let mut verdict = Self::default();
        for (id, (delivered, seen)) in counts {
            match (delivered, seen) {
                (0, _) => verdict.invented.push(id),
                (delivered, seen) if seen < delivered => verdict.lost.push(id),
                (delivered, seen) if seen > delivered => verdict.doubled.push(id),
                _ => {}
            }
        }
        verdict
    }

    /// # Panics
    /// When an order was lost, doubled or invented.
    pub fn assert_clean(&self) {
        assert_eq!(*self, Self::default());
    }
}

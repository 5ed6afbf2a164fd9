//! The proof that a Kafka transaction was committed.

/// What was published is in a committed transaction. Only with this in hand may the spool let go of a page.
#[derive(Debug)]
pub struct Committed(());

impl Committed {
    /// Called in exactly one place: after the producer's commit returned `Ok`.
    pub(crate) fn seen() -> Self {
        Self(())
    }
}

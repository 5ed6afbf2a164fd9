//! The proof that a Kafka transaction was committed.

/// Proof that the published records are in a committed transaction. The spool releases a page only for this proof.
#[derive(Debug)]
pub struct Committed(());

impl Committed {
    /// Called in exactly one place: after the producer's commit returned `Ok`.
    pub(crate) fn seen() -> Self {
        Self(())
    }
}

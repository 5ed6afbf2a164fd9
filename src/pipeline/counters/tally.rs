//! The result of a piece of work.

use super::published::Published;

/// How many orders of a piece of work became what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub published: Published,
    pub dead_letters: u64,
    /// Orders that needed neither an event nor a dead letter.
    pub skipped: u64,
    /// Orders that are tracked as gone.
    pub gone: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.published += other.published;
        self.dead_letters += other.dead_letters;
        self.skipped += other.skipped;
        self.gone += other.gone;
    }
}

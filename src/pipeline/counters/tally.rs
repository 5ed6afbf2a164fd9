//! What became of a piece of work.

use super::published::Published;

/// What became of a piece of work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Events.
    pub published: Published,
    /// Dead letters.
    pub dead_letters: u64,
    /// Orders that needed neither.
    pub skipped: u64,
    /// Orders that are remembered as gone.
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

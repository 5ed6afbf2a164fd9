//! Two wall clocks: the marketplace's, which is right, and that of the program's machine.

use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

#[derive(Clone)]
pub struct ModelClock(Arc<Mutex<Hands>>);

struct Hands {
    born: Instant,
    /// While the machine slept: no timer has run.
    slept: SignedDuration,
    /// The machine's clock is ahead of the marketplace's, or behind.
    ahead: SignedDuration,
    was_wrong: bool,
}

impl ModelClock {
    /// Within the runtime whose timers go with it.
    pub fn new() -> Self {
        let (slept, ahead) = (SignedDuration::ZERO, SignedDuration::ZERO);
        Self(Arc::new(Mutex::new(Hands { born: Instant::now(), slept, ahead, was_wrong: false })))
    }

    pub fn elapsed(&self) -> std::time::Duration {
        self.0.lock().unwrap().born.elapsed()
    }

    /// What time it is.
    pub fn true_time(&self) -> Timestamp {
        let hands = self.0.lock().unwrap();
        let start = Timestamp::constant(1_800_000_000, 0);
        start + hands.slept + SignedDuration::try_from(hands.born.elapsed()).unwrap()
    }

    /// What the machine's clock shows.
    pub fn shown(&self) -> Timestamp {
        let time = self.true_time();
        time + self.0.lock().unwrap().ahead
    }

    pub fn sleep(&self, days: i64) {
        self.0.lock().unwrap().slept += SignedDuration::from_hours(24 * days);
    }

    /// Somebody sets the machine's clock.
    pub fn set(&self, minutes: i64) {
        let mut hands = self.0.lock().unwrap();
        hands.ahead += SignedDuration::from_mins(minutes);
        hands.was_wrong = true;
    }

    /// Whether the machine's clock was right all the time.
    pub fn was_right(&self) -> bool {
        !self.0.lock().unwrap().was_wrong
    }
}

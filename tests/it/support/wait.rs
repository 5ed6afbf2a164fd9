//! Waits for a condition: polls it until a deadline, and never sleeps for as long as it "should" take.

use std::thread;
use std::time::{Duration, Instant};

const BETWEEN_PROBES: Duration = Duration::from_millis(20);

/// Asks `probe` until it gives a value, or `None` when `deadline` has passed without one.
pub fn poll<T>(deadline: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(value) = probe() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(BETWEEN_PROBES);
    }
}

/// Asks `condition` until it holds.
///
/// # Panics
/// When it does not hold within `deadline`; the message says `what` was waited for.
pub fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    if poll(deadline, || condition().then_some(())).is_none() {
        panic!("waited {deadline:?} in vain: {what}");
    }
}

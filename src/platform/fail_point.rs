//! Named places at which a test kills or suspends the program, or lets it panic.
//!
//! `IMOTRIZ_TEST_KILL_AT=durable:3` kills the program as `kill -9` does when it reaches the place `durable` for the
//! third time: nothing is flushed, dropped or logged. `IMOTRIZ_TEST_STOP_AT` suspends it as `kill -STOP` does; the test
//! resumes it later. `IMOTRIZ_TEST_PANIC_AT` is a bug at this place. A release build contains none of this.

/// All places, in the order in which a page passes them.
pub const PLACES: [&str; 12] = [
    "opening",
    "fenced",
    "loaded",
    "reserved",
    "fetched",
    "writing",
    "durable",
    "planned",
    "begun",
    "delivered",
    "committed",
    "released",
];

/// Kills or suspends the program or panics if a test asked for it at this place; otherwise does nothing.
#[inline]
pub fn reach(place: &str) {
    #[cfg(debug_assertions)]
    armed::reach(place);
    #[cfg(not(debug_assertions))]
    let _: &str = place;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;
    use std::{env, thread};

    use rustix::process::{Signal, getpid, kill_process};

    #[derive(Clone, Copy)]
    enum Action {
        Signal(Signal),
        Panic,
    }

    struct Order {
        action: Action,
        place: String,
        visits_left: AtomicU32,
    }

    static ORDERS: LazyLock<Vec<Order>> = LazyLock::new(|| {
        let variables = [
            ("IMOTRIZ_TEST_KILL_AT", Action::Signal(Signal::KILL)),
            ("IMOTRIZ_TEST_STOP_AT", Action::Signal(Signal::STOP)),
            ("IMOTRIZ_TEST_PANIC_AT", Action::Panic),
        ];
        variables.into_iter().filter_map(|(variable, action)| read(variable, action)).collect()
    });

    pub(super) fn reach(place: &str) {
        debug_assert!(super::PLACES.contains(&place), "{place} is not in the list that the tests go through");
        for order in ORDERS.iter().filter(|order| order.place == place) {
            if order.visits_left.fetch_sub(1, Ordering::SeqCst) == 1 {
                order.action.take(place);
            }
        }
    }

    impl Action {
        fn take(self, place: &str) {
            let Self::Signal(signal) = self else { panic!("a test asked for it at the place {place}") };
            kill_process(getpid(), signal).expect("a process may signal itself");
            // The signal takes a moment to reach every thread, and this thread must not run on meanwhile.
            thread::sleep(Duration::from_millis(200));
        }
    }

    fn read(variable: &str, action: Action) -> Option<Order> {
        let order = env::var(variable).ok()?;
        let (place, visit) = order.split_once(':').unwrap_or((&order, "1"));
        let visits_left = visit.parse().unwrap_or_else(|_| panic!("{variable} reads place:visit"));
        Some(Order { action, place: place.to_owned(), visits_left: AtomicU32::new(visits_left) })
    }
}

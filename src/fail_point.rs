//! Named places at which a test can have the program killed as by `kill -9`: nothing is flushed, dropped or said.
//!
//! `IMOTRIZ_TEST_KILL_AT=durable:3` kills it when it comes to the place `durable` for the third time. In a release build
//! there is nothing of it.

/// Every place, in the order in which a page passes them.
pub const PLACES: [&str; 13] = [
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
    "tracked",
    "committed",
    "released",
];

/// Does nothing, unless a test has asked for the end at this place.
#[inline]
pub fn reach(place: &str) {
    #[cfg(debug_assertions)]
    armed::reach(place);
    #[cfg(not(debug_assertions))]
    let _: &str = place;
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    struct Order {
        place: String,
        visits_left: AtomicU32,
    }

    static ORDER: OnceLock<Option<Order>> = OnceLock::new();

    pub(super) fn reach(place: &str) {
        debug_assert!(super::PLACES.contains(&place), "{place} is not in the list that the tests go through");
        let Some(order) = ORDER.get_or_init(read) else { return };
        if order.place == place && order.visits_left.fetch_sub(1, Ordering::SeqCst) == 1 {
            kill_process(getpid(), Signal::KILL).expect("a process may kill itself");
        }
    }

    fn read() -> Option<Order> {
        let order = std::env::var("IMOTRIZ_TEST_KILL_AT").ok()?;
        let (place, visit) = order.split_once(':').unwrap_or((&order, "1"));
        let visits_left = visit.parse().expect("IMOTRIZ_TEST_KILL_AT reads place:visit");
        Some(Order { place: place.to_owned(), visits_left: AtomicU32::new(visits_left) })
    }
}

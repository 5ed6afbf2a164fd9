use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::{JoinSet, yield_now};

use super::*;
use crate::marketplace::client::HostLimits;
use crate::marketplace::client::slow_down::FIRST_DISTANCE;

const WITHOUT_LIMITS: HostLimits = HostLimits { max_in_flight: 1000, requests_per_second: 1_000_000 };
const SECOND: Duration = Duration::from_secs(1);

/// The paces of so many shops of one host.
fn paces(shops: usize, limits: HostLimits) -> Vec<Pace> {
    let (hosts, url) = (Hosts::new(limits), "https://localhost".parse().unwrap());
    (0..shops).map(|shop| Pace::new(format!("shop-{shop}").parse().unwrap(), &hosts, &url)).collect()
}

fn pace() -> Pace {
    paces(1, WITHOUT_LIMITS).remove(0)
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_back_before_a_429_and_everybody_waits_after_it() {
    let pace = pace();
    let start = Instant::now();
    for _ in 0..100 {
        drop(pace.turn().await);
        assert!(pace.try_turn().is_some());
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(pace.busy(start, Some(7 * SECOND)).pause, 7 * SECOND);
    assert!(pace.clone().try_turn().is_none(), "whoever else asks for the store waits as well");
    drop(pace.turn().await);
    assert_eq!(start.elapsed().as_secs(), 7);
    drop(pace.turn().await);
    assert!(start.elapsed() >= 7 * SECOND + FIRST_DISTANCE, "one after the other");
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_begins_while_a_request_waits_for_its_turn_holds_it_back() {
    let pace = pace();
    pace.busy(Instant::now(), Some(SECOND));
    let start = Instant::now();
    let waiting = tokio::spawn({
        let pace = pace.clone();
        async move { drop(pace.turn().await) }
    });
    yield_now().await;
    pace.busy(start, Some(5 * SECOND));
    waiting.await.unwrap();
    assert!(start.elapsed() >= 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn it_gives_up_after_nothing_but_429_and_a_single_answer_renews_its_patience() {
    let pace = pace();
    let busy = async || {
        drop(pace.turn().await);
        pace.busy(Instant::now(), Some(60 * SECOND))
    };
    for _ in 0..9 {
        assert!(!busy().await.is_hopeless);
    }
    pace.answered();
    let start = Instant::now();
    while !busy().await.is_hopeless {}
    assert!(start.elapsed() >= MAX_BUSY && start.elapsed() < MAX_BUSY * 2);
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_are_in_flight_at_a_host_than_its_limit() {
    let (in_flight, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut asking = JoinSet::new();
    let start = Instant::now();
    for pace in paces(100, HostLimits { max_in_flight: 10, ..WITHOUT_LIMITS }) {
        let (in_flight, most) = (in_flight.clone(), most.clone());
        asking.spawn(async move {
            let _turn = pace.turn().await;
            most.fetch_max(in_flight.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(SECOND).await;
            in_flight.fetch_sub(1, Ordering::SeqCst);
        });
    }
    asking.join_all().await;
    assert_eq!(most.load(Ordering::SeqCst), 10);
    assert_eq!(start.elapsed(), 10 * SECOND, "no place stays empty");
}

#[tokio::test(start_paused = true)]
async fn a_host_gets_its_requests_per_second_whoever_makes_them() {
    let paces = paces(3, HostLimits { requests_per_second: 20, ..WITHOUT_LIMITS });
    let start = Instant::now();
    for round in 0..20 {
        assert!(paces[round % 3].try_turn().is_some(), "after a quiet second, so many leave at once");
    }
    assert!(paces[0].try_turn().is_none());
    for round in 0..100 {
        drop(paces[round % 3].turn().await);
    }
    assert_eq!(start.elapsed(), 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn hosts_do_not_share_their_limits() {
    let hosts = Hosts::new(HostLimits { max_in_flight: 1, ..WITHOUT_LIMITS });
    let pace = |url: &str| Pace::new("bogota".parse().unwrap(), &hosts, &url.parse().unwrap());
    let (one, same, other) = (pace("https://one"), pace("https://one:443/api"), pace("https://other"));
    let _turn = one.try_turn().unwrap();
    assert!(same.try_turn().is_none());
    assert!(other.try_turn().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_one_request_of_each_other_shop_however_many_they_want_to_make() {
    let mut paces = paces(3, HostLimits { max_in_flight: 1, ..WITHOUT_LIMITS });
    let reader = paces.pop().unwrap();
    let mut asking = JoinSet::new();
    for pace in paces {
        for _ in 0..50 {
            let pace = pace.clone();
            asking.spawn(async move {
                let _turn = pace.turn().await;
                tokio::time::sleep(SECOND).await;
            });
        }
    }
    yield_now().await;
    let start = Instant::now();
    let _turn = reader.turn().await;
    assert!(start.elapsed() <= 3 * SECOND, "one is in flight, and one of each waits: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_shop_that_waits_out_a_429_holds_up_no_other() {
    let paces = paces(2, HostLimits { max_in_flight: 1, ..WITHOUT_LIMITS });
    let (start, limited) = (Instant::now(), paces[0].clone());
    limited.busy(start, Some(60 * SECOND));
    let waiting = tokio::spawn(async move { limited.turn().await });
    yield_now().await;
    drop(paces[1].turn().await);
    assert_eq!(start.elapsed(), Duration::ZERO);
    drop(waiting.await.unwrap());
    assert_eq!(start.elapsed(), 60 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn several_shops_with_a_429_slow_down_their_host_and_two_do_not() {
    let paces = paces(4, WITHOUT_LIMITS);
    let start = Instant::now();
    for _ in 0..5 {
        paces[0].busy(start, Some(30 * SECOND));
        paces[1].busy(start, Some(30 * SECOND));
    }
    assert!(paces[3].try_turn().is_some());
    paces[2].busy(start, Some(30 * SECOND));
    assert!(paces[3].try_turn().is_none());
    drop(paces[3].turn().await);
    assert_eq!(start.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_429_now_and_then_among_many_answers_is_not_the_hosts() {
    let paces = paces(4, WITHOUT_LIMITS);
    for pace in &paces[..3] {
        (0..100).for_each(|_| paces[3].answered());
        pace.busy(Instant::now(), Some(30 * SECOND));
    }
    assert!(paces[3].try_turn().is_some());
    for pace in &paces[..3] {
        tokio::time::sleep(11 * SECOND).await;
        pace.busy(Instant::now(), Some(30 * SECOND));
    }
    assert!(paces[3].try_turn().is_some(), "far apart they say nothing about the host");
}

#[tokio::test(start_paused = true)]
async fn shops_begin_within_the_time_that_their_host_needs_for_all_of_them() {
    let rate = HostLimits { requests_per_second: 100, ..WITHOUT_LIMITS };
    assert_eq!(paces(1, rate)[0].spread(), Duration::ZERO);
    let paces = paces(1000, rate);
    let spread: Vec<_> = paces.iter().map(Pace::spread).collect();
    assert!(spread.iter().all(|wait| *wait < 10 * SECOND));
    let late = spread.iter().filter(|wait| **wait > 5 * SECOND).count();
    assert!((400..600).contains(&late), "{late} of 1000 begin in the second half");
}

#[tokio::test(start_paused = true)]
async fn answers_that_hang_make_room_for_others_and_not_for_ever_more() {
    let paces = paces(6, HostLimits { max_in_flight: 1, ..WITHOUT_LIMITS });
    let mut hanging = JoinSet::new();
    // In the end one is in flight, and three are overdue.
    for (number, pace) in paces.iter().take(4).cloned().enumerate() {
        hanging.spawn(async move { pace.turn().await.until(std::future::pending::<()>()).await });
        yield_now().await;
        let has_turn = tokio::time::timeout(60 * SECOND, paces[4].turn()).await.is_ok();
        assert_eq!(has_turn, number < 3, "beside {} that hang", number + 1);
    }
    assert!(
        tokio::time::timeout(60 * SECOND, paces[5].turn()).await.is_err(),
        "a host that answers nobody is left alone"
    );
    hanging.shutdown().await;
    drop(paces[5].turn().await);
}

//! Tests of a network between program and marketplace that misbehaves.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io, thread};

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;

use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;

/// A port before the marketplace that resets its first connections: at once, or when a request has come.
struct Resets {
    address: SocketAddr,
    done: Arc<AtomicUsize>,
}

impl Resets {
    fn before(server: &str, times: usize, after_request: bool) -> Self {
        let server: SocketAddr = server.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let resets = Self { address: listener.local_addr().unwrap(), done: Arc::default() };
        let done = resets.done.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if done.load(Ordering::SeqCst) < times {
                    reset(client, after_request);
                    done.fetch_add(1, Ordering::SeqCst);
                } else {
                    pass_on(client, TcpStream::connect(server).unwrap());
                }
            }
        });
        resets
    }
}

/// Closed with nothing left to be said, a connection ends with a reset and not in good order.
fn reset(mut client: TcpStream, after_request: bool) {
    if after_request {
        assert!(client.read(&mut [0; 64]).unwrap() > 0, "a request was expected");
    }
    set_socket_linger(&client, Some(std::time::Duration::ZERO)).unwrap();
}

fn pass_on(client: TcpStream, server: TcpStream) {
    for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
        thread::spawn(move || io::copy(&mut from, &mut to).ok());
    }
}

fn drain_with_resets(after_request: bool) {
    let scene = Scene::new("reset", SandboxArgs::with_orders(60)).without_list();
    let resets = Resets::before(&scene.base_url(), 2, after_request);
    let scene = scene.with("IMOTRIZ_STORES__BOGOTA__BASE_URL", &format!("http://{}", resets.address));
    scene.drain();
    assert_eq!(resets.done.load(Ordering::SeqCst), 2);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 60);
    // Who is cut off after a connection stood can't know how far the request has come.
    let unknown = scene.spooled("unknown");
    assert!(if after_request { unknown == 2 } else { unknown <= 2 }, "{unknown} unknown reads");
}

#[test]
fn connections_that_are_reset_at_once_are_made_again() {
    drain_with_resets(false);
}

#[test]
fn a_connection_that_is_reset_after_the_request_is_an_unknown_read() {
    drain_with_resets(true);
}

#[test]
fn a_name_that_nobody_knows_ends_a_drain_with_advice_and_without_an_unknown_read() {
    let scene = Scene::new("dns", SandboxArgs::with_orders(30))
        .with("IMOTRIZ_STORES__BOGOTA__BASE_URL", "http://marketplace.invalid")
        .with("IMOTRIZ_STORES__BOGOTA__ALLOW_INSECURE_HTTP", "true");
    let program = scene.run(&["drain"], 3);
    assert!(program.stderr().contains("Check the network and the store's `base_url`"), "{}", program.stderr());
    assert_eq!(scene.spool().len(), 0);
}

#[test]
fn a_spool_that_is_removed_under_a_running_program_ends_it_and_loses_nothing() {
    let scene = Scene::new("removed", SandboxArgs { page_size: 10, ..SandboxArgs::with_orders(10) })
        .with("IMOTRIZ_API__POLL_INTERVAL", "50ms");
    scene.run(&["topics", "ensure"], 0);
    let mut program = scene.settings.start(&["run"]);
    wait::until("it is at work", RUN_DEADLINE, || scene.events().len() == 10);
    fs::remove_dir_all(scene.settings.directory().join("spool")).unwrap();
    scene.shop().add(200, 0);
    program.expect_exit(6, RUN_DEADLINE);
    assert!(program.stderr().contains("spool"), "{}", program.stderr());
    // What it had read by then is published; the others are still on the marketplace.
    scene.verdict().assert_clean();
    assert!(scene.shop().summary().pending > 0);
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 210);
}

#[test]
fn a_marketplace_that_always_says_that_more_is_pending_ends_a_drain_with_advice() {
    let scene = Scene::new("never", SandboxArgs::with_orders(30));
    scene.drain();
    scene.shop().add(5, 0);
    scene.shop().set_fault_rates("empty-pending=1".parse().unwrap());
    let program = scene.run(&["drain"], 3);
    assert!(program.stderr().contains("hands over none"), "{}", program.stderr());
    assert!(scene.shop().summary().faults["empty-pending"] >= 6);
    scene.shop().set_fault_rates("".parse().unwrap());
    let mut program = scene.settings.start(&["run"]);
    wait::until("the rest is read", RUN_DEADLINE, || scene.shop().summary().pending == 0);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
}

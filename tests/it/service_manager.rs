//! Tests of what `run` reports to systemd, with a socket in systemd's place.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use super::admin::address;
use crate::support::http;
use crate::support::program::Program;
use crate::support::scene::{RUN_DEADLINE, Scene};
use crate::support::wait;

const WATCHDOG: Duration = Duration::from_millis(400);

struct Notified {
    scene: Scene,
    socket: UnixDatagram,
    name: PathBuf,
}

impl Notified {
    fn new(args: SandboxArgs) -> Self {
        let scene = Scene::new("notified", args);
        let name = scene.settings.directory().join("notify");
        let socket = UnixDatagram::bind(&name).unwrap();
        socket.set_read_timeout(Some(RUN_DEADLINE)).unwrap();
        Self { scene, socket, name }
    }

    fn start(&self, more: &[(&str, &str)]) -> Program {
        let variables = [&[("NOTIFY_SOCKET", self.name.to_str().unwrap())], more].concat();
        self.scene.settings.start_with(&["run"], &variables)
    }

    fn next(&self) -> String {
        let mut message = [0; 256];
        let length = self.socket.recv(&mut message).expect("a message before the deadline");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// The next message that is about something else than the watchdog.
    fn next_state(&self) -> String {
        std::iter::repeat_with(|| self.next()).find(|message| message != "WATCHDOG=1").unwrap()
    }
}

#[test]
fn it_reports_that_it_is_ready_that_it_reloads_that_it_lives_and_that_it_stops() {
    let notified = Notified::new(SandboxArgs::with_orders(3));
    let mut program = notified.start(&[("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())]);
    assert_eq!(notified.next_state(), "READY=1");
    let status = http::get(&format!("{}/status", address(&mut program))).1;
    assert!(status.contains("\"phase\": \"running\""), "{status}");

    program.signal(Signal::HUP);
    assert_eq!([notified.next_state(), notified.next_state()], ["RELOADING=1", "READY=1"]);

    // Each comes in time, over several times the watchdog's period.
    notified.socket.set_read_timeout(Some(WATCHDOG)).unwrap();
    for _ in 0..10 {
        assert_eq!(notified.next(), "WATCHDOG=1");
    }
    notified.socket.set_read_timeout(Some(RUN_DEADLINE)).unwrap();
    program.signal(Signal::TERM);
    assert_eq!(notified.next_state(), "STOPPING=1");
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn it_is_not_ready_while_kafka_is_away_and_says_that_it_lives() {
    let mut notified = Notified::new(SandboxArgs::with_orders(1));
    notified.scene = notified.scene.with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1");
    let mut program = notified.start(&[("WATCHDOG_USEC", &WATCHDOG.as_micros().to_string())]);
    for _ in 0..5 {
        assert_eq!(notified.next(), "WATCHDOG=1");
    }
    program.signal(Signal::TERM);
    assert_eq!(notified.next_state(), "STOPPING=1");
    program.wait(RUN_DEADLINE);
}

#[test]
fn a_reload_that_is_refused_is_no_reload() {
    let notified = Notified::new(SandboxArgs::with_orders(3));
    let mut program = notified.start(&[]);
    assert_eq!(notified.next(), "READY=1");
    std::fs::write(notified.scene.settings.directory().join("imotriz-kafka.toml"), "[nonsense]\n").unwrap();
    program.signal(Signal::HUP);
    program.wait_for_line("the new settings are refused", RUN_DEADLINE);
    program.signal(Signal::TERM);
    assert_eq!(notified.next(), "STOPPING=1");
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn a_watchdog_that_is_for_another_process_is_not_fed() {
    let notified = Notified::new(SandboxArgs::with_orders(3));
    let mut program = notified.start(&[("WATCHDOG_USEC", "1000"), ("WATCHDOG_PID", "1")]);
    assert_eq!(notified.next(), "READY=1");
    wait::until("all is published", RUN_DEADLINE, || notified.scene.events().len() == 3);
    program.signal(Signal::TERM);
    assert_eq!(notified.next(), "STOPPING=1");
    program.expect_exit(0, RUN_DEADLINE);
}

#[test]
fn a_socket_in_the_abstract_namespace_is_reached_and_one_that_is_gone_is_no_reason_to_stop() {
    let mut notified = Notified::new(SandboxArgs::with_orders(3));
    let name = format!("imotriz-kafka-test-{}", std::process::id());
    notified.socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    notified.socket.set_read_timeout(Some(RUN_DEADLINE)).unwrap();
    notified.name = format!("@{name}").into();
    let mut program = notified.start(&[]);
    assert_eq!(notified.next(), "READY=1");

    drop(notified.socket);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    assert!(program.stderr().contains("can't report to NOTIFY_SOCKET"), "{}", program.output());
}

//! sd_notify: tells systemd how the program stands, over the datagram socket that `NOTIFY_SOCKET` names. Without that
//! variable nobody wants to know, and nothing is sent.
//!
//! The protocol is text and a socket of the standard library; see `man sd_notify` and `man sd_watchdog_enabled`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A state that systemd knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceState {
    /// The start, or a reload, is over.
    Ready,
    Reloading,
    Stopping,
    /// It lives. systemd restarts a service that has not said so for as long as its unit's `WatchdogSec`.
    Watchdog,
}

impl ServiceState {
    fn message(self) -> &'static str {
        match self {
            Self::Ready => "READY=1",
            Self::Reloading => "RELOADING=1",
            Self::Stopping => "STOPPING=1",
            Self::Watchdog => "WATCHDOG=1",
        }
    }
}

/// systemd, or whoever else has started the program with a socket to report to.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// Reads `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. A socket that can't be used is logged: the service
    /// manager then ends the program for want of an answer, and the reason must stand somewhere.
    #[must_use]
    pub fn from_environment() -> Self {
        let name = env::var_os("NOTIFY_SOCKET");
        let socket = name.and_then(|name| {
            let open = address(&name).and_then(|address| Ok((UnixDatagram::unbound()?, address)));
            open.inspect_err(|error| tracing::warn!(?name, %error, "can't report to NOTIFY_SOCKET")).ok()
        });
        let for_us = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let period = env::var("WATCHDOG_USEC").ok().and_then(|period| period.parse().ok());
        let watchdog = period.filter(|_| for_us).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    /// Reports a state. A report that can't be sent is logged, and the program goes on.
    pub fn notify(&self, state: ServiceState) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(state.message().as_bytes(), address)
        {
            tracing::warn!(?state, %error, "can't report to NOTIFY_SOCKET");
        }
    }

    /// How often to report that the program lives, if the service manager watches it: twice as often as it has to be,
    /// as systemd advises.
    #[must_use]
    pub fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.filter(|watchdog| self.socket.is_some() && !watchdog.is_zero()).map(|watchdog| watchdog / 2)
    }
}

/// An absolute path, or a name in Linux's abstract namespace, with `@` before it.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    if !name.as_bytes().starts_with(b"/") {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "neither an absolute path nor a name after `@`"));
    }
    SocketAddr::from_pathname(name)
}

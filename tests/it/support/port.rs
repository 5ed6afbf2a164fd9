//! Ports for servers that must come back on the same port.

use std::net::TcpListener;

/// A free port on 127.0.0.1, below those that the system gives to outgoing connections: otherwise, while a broker is
/// down, a client's connection could happen to take the port that the broker needs to come back.
pub fn free() -> u16 {
    let candidates = std::iter::repeat_with(|| rand::random_range(20_000..32_000)).take(1_000);
    let mut free = candidates.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.next().expect("a thousand ports were tried, and none is free")
}

//! A TCP proxy that can be shut and opened: the server behind it is away, and is back.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::port;
use super::scene::runtime;

/// Shut at first: nobody listens on its port.
pub struct Gate {
    port: u16,
    server: SocketAddr,
    open: Option<AbortHandle>,
}

impl Gate {
    /// Before the server of `url`, `http://host:port/path`. Also gives the URL by way of the gate.
    pub fn before(url: &str) -> (Self, String) {
        let url: url::Url = url.parse().unwrap();
        let server = url.socket_addrs(|| None).unwrap()[0];
        let gate = Self { port: port::free(), server, open: None };
        let through = format!("http://127.0.0.1:{}{}", gate.port, url.path());
        (gate, through)
    }

    /// Another server takes the place of the first: the gate leads there when it is opened the next time.
    pub fn lead_to(&mut self, url: &str) {
        let url: url::Url = url.parse().unwrap();
        self.server = url.socket_addrs(|| None).unwrap()[0];
    }

    /// From now on connections are passed on.
    pub fn open(&mut self) {
        let (server, address) = (self.server, ("127.0.0.1", self.port));
        let listener = runtime().block_on(TcpListener::bind(address)).unwrap();
        let pass_on = async move {
            // Aborted with this task, and all its connections with it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut server = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        };
        self.open = Some(runtime().spawn(pass_on).abort_handle());
    }

    /// From now on connections are refused; those that are open are cut.
    pub fn shut(&mut self) {
        self.open.take().expect("it is open").abort();
    }
}

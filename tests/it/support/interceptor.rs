//! A TCP proxy between program and broker that reads the Kafka protocol and cuts the connection at a chosen request.
//!
//! A Kafka request begins with its length (four bytes) and its `api_key` (two bytes). Answers come in the order of the
//! requests, so the proxy finds the answer to a chosen request by counting.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::Kafka;
use super::scene::runtime;

/// What a client asks a broker for, by the protocol's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api {
    AddPartitions = 24,
    EndTransaction = 26,
}

/// When the connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The broker never sees the request.
    Before(Api),
    /// The broker has done what it was asked for, and its answer never arrives.
    After(Api),
}

/// Cuts connections to a broker that can only be reached by way of this port.
pub struct Interceptor {
    state: Arc<State>,
}

struct State {
    target: OnceLock<String>,
    cut: Cut,
    /// So many are still to be cut.
    left: AtomicUsize,
    done: AtomicUsize,
}

impl Interceptor {
    /// Starts a broker that names this port as its own. Nothing is cut yet.
    pub fn start(cut: Cut) -> (Self, Kafka) {
        let (left, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let state = Arc::new(State { target: OnceLock::new(), cut, left, done });
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let advertised = format!("PLAINTEXT://{}", listener.local_addr().unwrap());
        runtime().spawn(serve(listener, state.clone()));
        let kafka = Kafka::start_behind(&advertised, |address| state.target.set(address.to_owned()).unwrap());
        (Self { state }, kafka)
    }

    /// Cuts the next so many, in the place of those that were left.
    pub fn cut_next(&self, times: usize) {
        self.state.left.store(times, Ordering::SeqCst);
    }

    /// How many were cut.
    pub fn cuts(&self) -> usize {
        self.state.done.load(Ordering::SeqCst)
    }
}

impl State {
    /// Whether the connection goes here; counts it.
    fn strikes(&self, cut: Cut) -> bool {
        let fewer = |left: usize| left.checked_sub(1);
        let strikes = cut == self.cut && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fewer).is_ok();
        self.done.fetch_add(usize::from(strikes), Ordering::SeqCst);
        strikes
    }
}

async fn serve(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let state = state.clone();
        tokio::spawn(async move {
            let Some(target) = state.target.get() else { return };
            let Ok(broker) = TcpStream::connect(target).await else { return };
            for stream in [&client, &broker] {
                stream.set_nodelay(true).unwrap();
            }
            let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
            // The keys of the requests that wait for their answers.
            let (asked, awaited) = mpsc::unbounded_channel();
            // Whichever ends first takes both connections with it.
            tokio::select! {
                _ = requests(from_client, to_broker, asked, &state) => {}
                _ = answers(from_broker, to_client, awaited, &state) => {}
            }
        });
    }
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    asked: mpsc::UnboundedSender<i16>,
    state: &State,
) -> io::Result<()> {
    loop {
        let request = frame(&mut from).await?;
        let key = i16::from_be_bytes([request[4], request[5]]);
        if api(key).is_some_and(|api| state.strikes(Cut::Before(api))) {
            return Ok(());
        }
        asked.send(key).ok();
        to.write_all(&request).await?;
    }
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut awaited: mpsc::UnboundedReceiver<i16>,
    state: &State,
) -> io::Result<()> {
    loop {
        let answer = frame(&mut from).await?;
        let key = awaited.recv().await.ok_or(io::ErrorKind::UnexpectedEof)?;
        if api(key).is_some_and(|api| state.strikes(Cut::After(api))) {
            return Ok(());
        }
        to.write_all(&answer).await?;
    }
}

fn api(key: i16) -> Option<Api> {
    [Api::AddPartitions, Api::EndTransaction].into_iter().find(|api| *api as i16 == key)
}

/// One request or answer, with its length before it.
async fn frame(from: &mut OwnedReadHalf) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.resize(4 + length as usize, 0);
    from.read_exact(&mut frame[4..]).await?;
    Ok(frame)
}

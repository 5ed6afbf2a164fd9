//! Connections that can be cut or slowed down at a given byte of an answer.
//!
//! A handler can't cut its own connection: hyper frames whatever it returns properly, or ends it in an order of its own
//! choosing. So each connection is wrapped, and a handler uses its [`Line`] to say how the bytes of its answer are
//! sent. A cut is then a real one: the head promises a `Content-Length`, and the socket closes before it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// How the bytes of an answer are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Plan {
    /// All of them, at once.
    #[default]
    Send,
    /// None of them: the connection is cut.
    Cut,
    /// The head and this many bytes of the body. Then the connection is cut.
    CutAfter(usize),
    /// Pieces of this many bytes, with a pause before each further one.
    Trickle(usize, Duration),
}

/// A handler's control over its connection.
#[derive(Debug, Clone, Default)]
pub(super) struct Line(Arc<Mutex<Plan>>);

impl Line {
    /// Sets how the next answer is sent.
    pub(super) fn plan(&self, plan: Plan) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = plan;
    }

    fn current(&self) -> Plan {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connected<IncomingStream<'_, Exchange>> for Line {
    fn connect_info(stream: IncomingStream<'_, Exchange>) -> Self {
        stream.io().line.clone()
    }
}

/// Accepts connections and wraps each of them.
pub(super) struct Exchange {
    pub(super) listener: TcpListener,
    pub(super) stop: watch::Receiver<bool>,
}

impl Listener for Exchange {
    type Io = Wire;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Wire, Self::Addr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection keeps Nagle's delay");
        }
        (Wire { stream, line: Line::default(), allowance: None, pause: None, stop: self.stop.clone() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that follows the plan of its [`Line`].
pub(super) struct Wire {
    stream: TcpStream,
    line: Line,
    /// Bytes that may still be sent before the cut. None until the head of the answer was written.
    allowance: Option<usize>,
    pause: Option<Pin<Box<Sleep>>>,
    stop: watch::Receiver<bool>,
}

impl Wire {
    fn cut() -> io::Error {
        io::Error::new(io::ErrorKind::ConnectionAborted, "cut on purpose")
    }

    fn write_until_cut(&mut self, cx: &mut Context<'_>, bytes: &[u8], body: usize) -> Poll<io::Result<usize>> {
        // The first write of an answer begins with its head.
        let left = self.allowance.unwrap_or_else(|| head_len(bytes) + body);
        if left == 0 {
            return Poll::Ready(Err(Self::cut()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(left)]))?;
        self.allowance = Some(left - written);
        Poll::Ready(Ok(written))
    }

    fn write_piece(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
        piece: usize,
        pause: Duration,
    ) -> Poll<io::Result<usize>> {
        if let Some(sleep) = &mut self.pause {
            ready!(sleep.as_mut().poll(cx));
        }
        if *self.stop.borrow() {
            return Poll::Ready(Err(Self::cut()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &bytes[..bytes.len().min(piece)]))?;
        self.pause = Some(Box::pin(sleep_until(Instant::now() + pause)));
        Poll::Ready(Ok(written))
    }
}

fn head_len(answer: &[u8]) -> usize {
    answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").map_or(answer.len(), |start| start + 4)
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            // The plan is for one answer only: the next request on the connection begins without one.
            self.line.plan(Plan::Send);
        }
        Poll::Ready(Ok(()))
    }
}

/// Has no vectored writes, so that head and body arrive in one buffer and in order.
impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.line.current() {
            Plan::Send => Pin::new(&mut self.stream).poll_write(cx, bytes),
            Plan::Cut => Poll::Ready(Err(Self::cut())),
            Plan::CutAfter(body) => self.write_until_cut(cx, bytes, body),
            Plan::Trickle(piece, pause) => self.write_piece(cx, bytes, piece, pause),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn connected() -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut exchange = Exchange { listener, stop: watch::channel(false).1 };
        let (client, (wire, _)) = tokio::join!(TcpStream::connect(address), exchange.accept());
        (client.unwrap(), wire)
    }

    #[tokio::test]
    async fn a_cut_comes_at_its_byte_of_the_body_however_the_answer_is_written() {
        let (mut client, mut wire) = connected().await;
        wire.line.plan(Plan::CutAfter(4));
        for part in ["HTTP/1.1 200 OK\r\n\r\nab", "cd"] {
            wire.write_all(part.as_bytes()).await.unwrap();
        }
        assert!(wire.write_all(b"ef").await.is_err());
        drop(wire);
        let mut got = String::new();
        client.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "HTTP/1.1 200 OK\r\n\r\nabcd");
    }

    #[tokio::test]
    async fn a_new_request_finds_the_connection_without_the_plan_of_the_last_one() {
        let (mut client, mut wire) = connected().await;
        wire.line.plan(Plan::Trickle(1, Duration::from_secs(3600)));
        client.write_all(b"G").await.unwrap();
        wire.read_u8().await.unwrap();
        assert_eq!(wire.line.current(), Plan::Send);
    }
}

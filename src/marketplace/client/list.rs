//! Receives the list of IDs, which may be long, as it comes.
//!
//! A short list is parsed once it is whole. A long one is parsed while it arrives, on a thread of its own: the runtime
//! has few threads for blocking work, and lists that do not come to an end must not keep them from pages.

use std::io::{self, Cursor, Read};
use std::thread;

use bytes::Bytes;
use reqwest::Response;
use tokio::sync::{mpsc, oneshot};

use super::{ApiError, LONG_LIST, plain};
use crate::marketplace::body::{self, IdList, PageError};

/// From this length on a list is long.
const LONG: usize = 64 << 10;
/// Capacity of the channel between the connection and the thread, in chunks: enough that neither waits for every chunk of
/// the other.
const CAPACITY: usize = 4;

/// Receives and parses a list of up to `most` bytes. Of a long one only the IDs are kept in memory.
///
/// # Panics
/// If the parsing thread panicked.
pub(super) async fn receive(response: Response, most: usize) -> Result<IdList, ApiError> {
    let mut body = Body { response, length: 0, most };
    let mut start = Vec::new();
    while start.len() < LONG {
        match body.chunk().await? {
            Some(chunk) => start.extend_from_slice(&chunk),
            None => return Ok(body::read_id_list(&*start)?),
        }
    }
    let (chunks, coming) = mpsc::channel(CAPACITY);
    let list = parse(Cursor::new(start).chain(Chunks { coming, chunk: Bytes::new() }))?;
    let whole = body.hand_on(chunks).await;
    let list = list.await.expect("reading a list does not panic");
    // Check the connection first: the parser's result may stem from a truncated body.
    whole?;
    Ok(list?)
}

/// Parses a list on a thread of its own.
fn parse(body: impl Read + Send + 'static) -> Result<oneshot::Receiver<Result<IdList, PageError>>, ApiError> {
    let (done, list) = oneshot::channel();
    // Nobody waits for the list if the request was given up.
    let read = move || drop(done.send(body::read_id_list(body)));
    // guard: a list that does not end holds no thread of the pool
    let started = thread::Builder::new().name("list".to_owned()).spawn(read);
    started.map_err(|error| ApiError::Failed(format!("the operating system refuses a thread: {error}")))?;
    Ok(list)
}

struct Body {
    response: Response,
    /// How many bytes have come.
    length: usize,
    most: usize,
}

impl Body {
    async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let chunk = self.response.chunk().await.map_err(|error| ApiError::Failed(plain(error)))?;
        self.length += chunk.as_ref().map_or(0, Bytes::len);
        if self.length > self.most {
            let most = self.most;
            let reason = format!("the list is larger than {most} bytes ({LONG_LIST} times `api.max_body`)");
            return Err(ApiError::Failed(reason));
        }
        Ok(chunk)
    }

    /// Forwards the chunks until the body ends or the receiver is gone.
    async fn hand_on(&mut self, chunks: mpsc::Sender<Bytes>) -> Result<(), ApiError> {
        while let Some(chunk) = self.chunk().await? {
            if chunks.send(chunk).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Joins the chunks into one body for a reader that blocks. It ends when the sender is dropped, so the reader must learn
/// by other means whether it was complete.
struct Chunks {
    coming: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.coming.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.chunk.len());
        buffer[..length].copy_from_slice(&self.chunk.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::runtime::Builder;
    use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
    use tokio::task::{JoinSet, spawn_blocking, yield_now};
    use tokio::time::timeout;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A marketplace whose lists begin with so many IDs and never end. Returns its address, and what tells that the
    /// beginning of one has been sent.
    async fn endless_lists(ids: usize) -> (String, UnboundedReceiver<()>) {
        let socket = TcpSocket::new_v4().unwrap();
        // So that a beginning has been sent only when nearly all of it has been received.
        socket.set_send_buffer_size(4096).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(16).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sent, begun) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((connection, _)) = listener.accept().await {
                connections.spawn(begin_a_list(connection, ids, sent.clone()));
            }
        });
        (url, begun)
    }

    async fn begin_a_list(mut connection: TcpStream, ids: usize, sent: UnboundedSender<()>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            connection.read_buf(&mut head).await.unwrap();
        }
        let ids = "12345678,".repeat(ids);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n[{ids}");
        connection.write_all(answer.as_bytes()).await.unwrap();
        sent.send(()).unwrap();
        std::future::pending::<()>().await;
    }

    #[test]
    fn lists_that_do_not_end_leave_the_threads_for_blocking_work_to_others() {
        let runtime = Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            for ids in [3, LONG] {
                let (url, mut begun) = endless_lists(ids).await;
                let mut lists = JoinSet::new();
                for _ in 0..4 {
                    let response = reqwest::get(&url).await.unwrap();
                    lists.spawn(receive(response, usize::MAX));
                }
                for _ in 0..4 {
                    timeout(DEADLINE, begun.recv()).await.expect("it is received").unwrap();
                }
                // Each has been asked for what comes next.
                yield_now().await;
                timeout(DEADLINE, spawn_blocking(|| ())).await.expect("it has a thread").unwrap();
                assert!(lists.try_join_next().is_none(), "no list has ended");
            }
        });
    }
}

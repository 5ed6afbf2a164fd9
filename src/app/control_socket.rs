//! The control socket: through it a command asks the running program to publish orders again.
//!
//! The socket is `control.sock` in the spool's folder and exists while `run` is running. A request is one line of JSON.
//! The answer is another line, sent once everything is committed; then the connection is closed. Requests are served
//! one after the other, whatever store they are for.
//!
//! There is no password: whoever may open the socket may also write into the spool. Deliberately absent: the same
//! operation on `admin.listen`. Other users may read that port, and a browser on this machine can be made to post to
//! it.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::order::ids::{OrderId, StoreName};
use crate::pipeline::publish::Source;
use crate::pipeline::reconcile::{Republished, Republisher, Wanted};

/// A client must send its request within this time, so that a silent client does not block the others.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A client must take its answer within this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum request size in bytes: more than ten thousand dead letters.
const MAX_REQUEST: u64 = 64 << 20;
/// Pause after a socket error.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Why the running program did not do what was asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody listens: the running process is not `run`, or could not create its socket.
    #[error("the program that is at work with this spool takes no requests: stop it first")]
    NobodyThere,
    /// The connection ended without an answer.
    #[error(
        "the program that is at work with this spool went away before it answered: ask again. What it has published by \
         then gets one more revision"
    )]
    Unanswered,
    /// The running program's own error message.
    #[error("the program that is at work with this spool could not do it: {0}")]
    Failed(String),
    /// The running program does not serve the store.
    #[error("the store `{0}` is not at work in the program that is at work with this spool")]
    NotAtWork(StoreName),
    /// The command was stopped while it waited.
    #[error("stopped before the answer; the program that is at work with this spool publishes them all the same")]
    Left,
}

#[derive(Serialize, Deserialize)]
struct ControlRequest {
    store: StoreName,
    orders: Vec<Order>,
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: OrderId,
    /// See [`Wanted::kept`].
    kept: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ControlResponse {
    Republished(Republished),
    NotAtWork,
    Failed(String),
}

fn path(spool: &Path) -> PathBuf {
    spool.join("control.sock")
}

/// Who publishes orders of a store again, for the stores that are at work. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct Republishers(Arc<Mutex<HashMap<StoreName, Republisher>>>);

/// A store that takes requests until this is dropped.
#[derive(Debug)]
pub struct TakesRequests {
    republishers: Republishers,
    store: StoreName,
}

impl Republishers {
    /// Takes requests for a store. It has to end with the store's reconciler: a republisher keeps its lane open.
    #[must_use]
    pub fn add(&self, store: &StoreName, republisher: Republisher) -> TakesRequests {
        self.lock().insert(store.clone(), republisher);
        TakesRequests { republishers: self.clone(), store: store.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<StoreName, Republisher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TakesRequests {
    fn drop(&mut self) {
        self.republishers.lock().remove(&self.store);
    }
}

/// The control socket of a running program.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    republishers: Republishers,
}

/// Closes the socket: a later client gets a connection error at once.
impl Drop for ControlSocket {
    fn drop(&mut self) {
        // If the process is killed first, the next one removes the file.
        fs::remove_file(&self.path).ok();
    }
}

impl ControlSocket {
    /// Opens the socket in the folder of a spool that this process has locked. A socket file found there is left over
    /// from a former process.
    ///
    /// # Errors
    /// The file system's error. A socket path has at most about a hundred characters.
    pub fn open(spool: &Path, republishers: Republishers) -> io::Result<Self> {
        let path = path(spool);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path, republishers })
    }

    /// Opens and serves the socket, and never returns. Without one the program still runs; `republish` then needs the
    /// program to be stopped first.
    pub async fn open_and_serve(spool: PathBuf, republishers: Republishers) {
        match Self::open(&spool, republishers) {
            Ok(socket) => socket.serve().await,
            Err(error) => tracing::warn!(%error, "no requests can be taken: `republish` wants a stop"),
        }
    }

    /// Serves requests and never returns. When dropped, it closes the connection of a waiting client, which then sees
    /// that no answer comes.
    pub async fn serve(self) {
        loop {
            let served = match self.listener.accept().await {
                Ok((client, _)) => self.serve_client(client).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::warn!(%error, "a request to publish orders anew was given up");
                sleep(ERROR_PAUSE).await;
            }
        }
    }

    async fn serve_client(&self, client: UnixStream) -> io::Result<()> {
        let mut client = BufReader::new(client);
        let mut line = String::new();
        timeout(REQUEST_TIMEOUT, (&mut client).take(MAX_REQUEST).read_line(&mut line)).await??;
        let answer = match serde_json::from_str(&line) {
            Ok(request) => self.publish(request).await,
            Err(_) => ControlResponse::Failed("the request is none of this version's".to_owned()),
        };
        let answer = serde_json::to_string(&answer)? + "\n";
        timeout(ANSWER_TIMEOUT, client.write_all(answer.as_bytes())).await?
    }

    async fn publish(&self, request: ControlRequest) -> ControlResponse {
        let kept = |kept: Option<String>| kept.map(Bytes::from);
        let ControlRequest { store, orders } = request;
        let orders = orders.into_iter().map(|order| Wanted { id: order.id, kept: kept(order.kept) });
        let Some(republisher) = self.republishers.lock().get(&store).cloned() else {
            return ControlResponse::NotAtWork;
        };
        match republisher.publish(orders.collect::<Vec<_>>(), Source::Operator).await {
            Ok(republished) => ControlResponse::Republished(republished),
            Err(error) => ControlResponse::Failed(error.to_string()),
        }
    }
}

/// Asks the program that runs on this spool to publish orders again, and waits until they are committed.
pub async fn ask(
    spool: &Path,
    store: &StoreName,
    orders: &[Wanted],
    stop: &CancellationToken,
) -> Result<Republished, ControlError> {
    let client = UnixStream::connect(path(spool)).await.map_err(|_| ControlError::NobodyThere)?;
    tokio::select! {
        () = stop.cancelled() => Err(ControlError::Left),
        answer = exchange(client, store, orders) => match answer.map_err(|_| ControlError::Unanswered)? {
            ControlResponse::Republished(republished) => Ok(republished),
            ControlResponse::NotAtWork => Err(ControlError::NotAtWork(store.clone())),
            ControlResponse::Failed(why) => Err(ControlError::Failed(why)),
        },
    }
}

async fn exchange(mut client: UnixStream, store: &StoreName, orders: &[Wanted]) -> io::Result<ControlResponse> {
    // A body that is not UTF-8 can't be mapped, so nobody asks to republish one.
    let kept = |kept: &Bytes| String::from_utf8_lossy(kept).into_owned();
    let orders = orders.iter().map(|Wanted { id, kept: it }| Order { id: id.clone(), kept: it.as_ref().map(kept) });
    let request = serde_json::to_string(&ControlRequest { store: store.clone(), orders: orders.collect() })? + "\n";
    client.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}

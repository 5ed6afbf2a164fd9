//! A store's control_socket: where a command that runs beside the program asks it to publish orders anew.
//!
//! A socket in the spool's folder, `STORE.sock`, as long as `run` is at work. A request is a line of JSON, the answer is
//! another one once all is committed, and the connection is over. They are served one after the other.
//!
//! There is no password: who may open the socket is who may write into the spool. Deliberately absent: the same on
//! `admin.listen`. Others may look there, and whatever a browser on this machine is told to post would be as good as an
//! operator's word.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

use crate::order::ids::{OrderId, StoreName};
use crate::pipeline::publish::Source;
use crate::pipeline::reconcile::{Republished, Republisher, Wanted};

/// For a request to come: whoever connects and says nothing must not hold up others.
const REQUEST: Duration = Duration::from_secs(10);
/// For the answer to be taken.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest request in bytes: ten thousand dead letters, and more.
const LONGEST: u64 = 64 << 20;
/// After a fault of the socket.
const PAUSE: Duration = Duration::from_secs(1);

/// Why the program at work did not do as it was asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nobody takes requests: what is at work is no `run`, or its socket could not be made.
    #[error("the program that is at work with this spool takes no requests: stop it first")]
    NobodyThere,
    /// The answer did not come.
    #[error(
        "the program that is at work with this spool went away before it answered: ask again. What it has published by \
         then gets one more revision"
    )]
    Unanswered,
    /// In the words of the program at work.
    #[error("the program that is at work with this spool could not do it: {0}")]
    Failed(String),
    /// The command was stopped.
    #[error("stopped before the answer; the program that is at work with this spool publishes them all the same")]
    Left,
}

#[derive(Serialize, Deserialize)]
struct ControlRequest {
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
    Failed(String),
}

fn path(spool: &Path, store: &StoreName) -> PathBuf {
    spool.join(format!("{store}.sock"))
}

/// One store's.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
    republisher: Republisher,
}

/// It is closed; whoever comes later is told at once that nobody is there.
impl Drop for ControlSocket {
    fn drop(&mut self) {
        // What is left of a program that was killed is removed by the next one.
        fs::remove_file(&self.path).ok();
    }
}

impl ControlSocket {
    /// Opens it in the folder of a spool that this process has: whatever is left there is a former one's.
    ///
    /// # Errors
    /// The file system's. A socket's path has a hundred characters at most.
    pub fn open(spool: &Path, store: &StoreName, republisher: Republisher) -> io::Result<Self> {
        let path = path(spool, store);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        Ok(Self { listener, path, republisher })
    }

    /// Never returns: it ends when it is dropped, and whoever waits for an answer then sees that none comes.
    pub async fn serve(self) {
        loop {
            let served = match self.listener.accept().await {
                Ok((client, _)) => self.attend(client).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::warn!(%error, "a request to publish orders anew was given up");
                sleep(PAUSE).await;
            }
        }
    }

    async fn attend(&self, client: UnixStream) -> io::Result<()> {
        let mut client = BufReader::new(client);
        let mut line = String::new();
        timeout(REQUEST, (&mut client).take(LONGEST).read_line(&mut line)).await??;
        let answer = match serde_json::from_str(&line) {
            Ok(request) => self.publish(request).await,
            Err(_) => ControlResponse::Failed("the request is none of this version's".to_owned()),
        };
        let answer = serde_json::to_string(&answer)? + "\n";
        timeout(ANSWER, client.write_all(answer.as_bytes())).await?
    }

    async fn publish(&self, request: ControlRequest) -> ControlResponse {
        let kept = |kept: Option<String>| kept.map(Bytes::from);
        let orders = request.orders.into_iter().map(|order| Wanted { id: order.id, kept: kept(order.kept) });
        match self.republisher.publish(orders.collect::<Vec<_>>(), Source::Operator).await {
            Ok(republished) => ControlResponse::Republished(republished),
            Err(error) => ControlResponse::Failed(error.to_string()),
        }
    }
}

/// Asks the program that is at work with this spool to publish orders anew, and waits until they are committed.
///
/// # Errors
/// See [`ControlError`].
pub async fn ask(
    spool: &Path,
    store: &StoreName,
    orders: &[Wanted],
    stop: &CancellationToken,
) -> Result<Republished, ControlError> {
    let client = UnixStream::connect(path(spool, store)).await.map_err(|_| ControlError::NobodyThere)?;
    tokio::select! {
        () = stop.cancelled() => Err(ControlError::Left),
        answer = exchange(client, orders) => match answer.map_err(|_| ControlError::Unanswered)? {
            ControlResponse::Republished(republished) => Ok(republished),
            ControlResponse::Failed(why) => Err(ControlError::Failed(why)),
        },
    }
}

async fn exchange(mut client: UnixStream, orders: &[Wanted]) -> io::Result<ControlResponse> {
    // What is no text can't be mapped, so that nobody asks for it.
    let kept = |kept: &Bytes| String::from_utf8_lossy(kept).into_owned();
    let orders = orders.iter().map(|Wanted { id, kept: it }| Order { id: id.clone(), kept: it.as_ref().map(kept) });
    let request = serde_json::to_string(&ControlRequest { orders: orders.collect() })? + "\n";
    client.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    BufReader::new(client).read_line(&mut answer).await?;
    Ok(serde_json::from_str(&answer)?)
}

//! Watches whether the registry still has the schemas under the IDs that the messages carry.
//!
//! A registry can forget schemas while the program runs: it kept them in memory and was restarted, or was restored from
//! an older backup. Messages then name a schema that nobody can resolve or, worse, a different one. So the program asks
//! the registry at intervals, and on each readiness check.
//!
//! | the registry's answer for an ID in use | what follows |
//! |---|---|
//! | our schema | nothing |
//! | no schema, or another one | the schema is registered again if allowed, and messages carry its new ID from then on; otherwise, and while that fails, nothing is published |
//! | no answer, or any other | nothing: a registry that is merely away does no harm |

use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Frames, SchemaError, SchemaResolver, Subject};
use crate::avro::contract::Contract;
use crate::avro::framing::{Frame, fingerprint};
use crate::avro::registry::{Registry, RegistryError};
use crate::platform::shutdown::cancelled_within;

/// The interval between two checks, each of two small requests.
const BETWEEN_LOOKS: Duration = Duration::from_secs(30);
/// The interval while the schemas are gone: somebody may be restoring them.
const WHILE_GONE: Duration = Duration::from_secs(3);

/// The resolved frames, shared by all clones of a [`SchemaResolver`].
#[derive(Default)]
pub(super) struct Settled {
    state: RwLock<State>,
    /// When the last check began. It is locked during a check, so that only one runs at a time.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

#[derive(Debug, Clone, Default)]
enum State {
    /// The frames have not been resolved yet.
    #[default]
    Unknown,
    /// The registry has the schemas.
    Known(Frames),
    /// The registry had the schemas, and no longer has them.
    Gone { before: Frames, why: String },
}

impl Settled {
    /// The frames in use, if they are resolved.
    pub(super) fn frames(&self) -> Option<Result<Frames, SchemaError>> {
        match self.state() {
            State::Unknown => None,
            State::Known(frames) => Some(Ok(frames)),
            State::Gone { why, .. } => Some(Err(SchemaError::Forgotten(why))),
        }
    }

    /// Sets the frames, unless another lane has resolved them meanwhile.
    pub(super) fn settle(&self, frames: Frames) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Unknown) {
            *state = State::Known(frames);
        }
    }

    fn state(&self) -> State {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

/// How the registry lost an ID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// The registry has no schema under the ID.
    Unknown {
        id: u32,
        /// The subject under which our schema was registered.
        subject: String,
    },
    /// The registry has another schema under the ID.
    Another {
        id: u32,
        /// The subject under which our schema was registered.
        subject: String,
    },
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { id, subject } => {
                write!(f, "the schema registry has forgotten the schema ID {id} of `{subject}`")
            }
            Self::Another { id, subject } => {
                write!(f, "the schema registry has another schema under the ID {id} of `{subject}`")
            }
        }
    }
}

/// How the registry lost the schema of `subject` under `id`; `None` if it still has it.
///
/// # Errors
/// The registry gave no usable answer.
pub async fn lost(
    registry: &Registry,
    subject: &Subject,
    id: u32,
    is_ours: impl Fn(&apache_avro::Schema) -> bool,
) -> Result<Option<Lost>, RegistryError> {
    let name = subject.name.clone();
    match registry.schema_by_id(id).await {
        Ok(schema) if is_ours(&schema) => Ok(None),
        Ok(_) | Err(RegistryError::Unreadable(_)) => Ok(Some(Lost::Another { id, subject: name })),
        Err(RegistryError::UnknownId(_)) => Ok(Some(Lost::Unknown { id, subject: name })),
        Err(error) => Err(error),
    }
}

fn is_exactly(contract: &Contract, schema: &apache_avro::Schema) -> bool {
    Frame::SingleObject { fingerprint: fingerprint(schema) } == contract.frame()
}

impl SchemaResolver {
    /// Why nothing can be framed, if the registry has forgotten the schemas.
    #[must_use]
    pub fn forgotten(&self) -> Option<String> {
        match self.settled.state() {
            State::Gone { why, .. } => Some(why),
            State::Unknown | State::Known(_) => None,
        }
    }

    /// Checks at intervals until `stop`.
    pub async fn watch(self, stop: CancellationToken) {
        loop {
            let pause = if self.forgotten().is_some() { WHILE_GONE } else { BETWEEN_LOOKS };
            if cancelled_within(&stop, pause).await {
                return;
            }
            self.look_again(pause / 2).await;
        }
    }

    /// Asks the registry again, unless the last check is no older than `fresh`.
    pub async fn look_again(&self, fresh: Duration) {
        let Some(registry) = &self.registry else { return };
        let mut looked = self.settled.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < fresh) {
            return;
        }
        *looked = Some(Instant::now());
        let (before, was_gone) = match self.settled.state() {
            State::Unknown => return,
            State::Known(before) => (before, false),
            State::Gone { before, .. } => (before, true),
        };
        match self.lost_of(registry, before).await {
            Ok(None) if was_gone => {
                tracing::info!("the schema registry knows the schemas again");
                self.settled.set(State::Known(before));
            }
            Ok(None) => {}
            Ok(Some(lost)) => self.settle_anew(registry, before, &lost, was_gone).await,
            Err(error) => tracing::debug!(%error, "the schema registry does not tell whether it knows the schemas"),
        }
    }

    async fn lost_of(&self, registry: &Registry, used: Frames) -> Result<Option<Lost>, RegistryError> {
        for (subject, frame) in [(&self.orders, used.order), (&self.tracking, used.tracking)] {
            let Frame::Confluent { id } = frame else { continue };
            let lost = lost(registry, subject, id, |schema| is_exactly(subject.contract, schema)).await?;
            if lost.is_some() {
                return Ok(lost);
            }
        }
        Ok(None)
    }

    async fn settle_anew(&self, registry: &Registry, before: Frames, lost: &Lost, was_gone: bool) {
        let settled = match self.ask().await {
            // The answer to `ensure` must agree with what consumers get when they ask for the ID.
            Ok(frames) => match self.lost_of(registry, frames).await {
                Ok(None) => Ok(frames),
                Ok(Some(lost)) => Err(lost.to_string()),
                Err(error) => Err(error.to_string()),
            },
            Err(error) => Err(error.to_string()),
        };
        match settled {
            Ok(frames) => {
                tracing::warn!(
                    %lost, before = %before, now = %frames,
                    "the schemas have other IDs now; records that carry the former ones can't be read until the registry is \
                     restored from a backup"
                );
                // guard: a forgotten schema is framed by its new ID
                self.settled.set(State::Known(frames));
            }
            Err(error) => {
                let why = format!("{lost}, and nothing is published until it has it: {error}");
                if !was_gone {
                    tracing::error!(why, "not ready; orders stay on the marketplace or in the spool");
                }
                // guard: nothing is published while the registry has forgotten the schemas
                self.settled.set(State::Gone { before, why });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::body::Bytes;
    use axum::http::{Method, StatusCode, Uri};
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;

    const FRESH: Duration = Duration::ZERO;

    /// The state of a fake registry: a schema for each ID, from 1.
    #[derive(Default)]
    struct Held {
        schemas: Vec<String>,
        is_away: bool,
        calls: usize,
    }

    type Shared = Arc<Mutex<Held>>;

    impl Held {
        /// Implements enough of the API for our subjects; every schema is compatible.
        fn answer(&mut self, method: &Method, path: &str, body: &[u8]) -> (u16, Value) {
            self.calls += 1;
            if self.is_away {
                return (503, json!({}));
            }
            let missing = |code: u32| (404, json!({ "error_code": code, "message": "not found" }));
            if let Some(id) = path.strip_prefix("/schemas/ids/") {
                let index = id.parse::<usize>().unwrap() - 1;
                return self.schemas.get(index).map_or(missing(40403), |text| (200, json!({ "schema": text })));
            }
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            let id = self.schemas.iter().position(|held| body["schema"] == **held).map(|index| index + 1);
            match (method.as_str(), path.ends_with("/versions"), id) {
                ("POST", _, Some(id)) if path.starts_with("/subjects") => (200, json!({ "id": id })),
                ("POST", false, None) if path.starts_with("/subjects") => missing(40401),
                ("POST", true, None) => {
                    self.schemas.push(body["schema"].as_str().unwrap().to_owned());
                    (200, json!({ "id": self.schemas.len() }))
                }
                ("PUT", ..) => (200, json!({ "compatibility": "FULL_TRANSITIVE" })),
                _ => missing(40401),
            }
        }
    }

    async fn source(may_register: bool) -> (SchemaResolver, Shared) {
        let held = Shared::default();
        let shared = held.clone();
        let app = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| async move {
            let (status, body) = shared.lock().unwrap().answer(&method, uri.path(), &body);
            (StatusCode::from_u16(status).unwrap(), axum::Json(body))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let toml = format!("[schema_registry]\nurl = \"{url}\"\nauto_register = {may_register}");
        (SchemaResolver::from_config(&Config::from_toml(&toml).unwrap()).unwrap(), held)
    }

    fn texts(source: &SchemaResolver) -> [String; 2] {
        source.subjects().map(|subject| subject.contract.text().to_owned())
    }

    async fn ids(source: &SchemaResolver) -> Option<[u32; 2]> {
        let Frames { order: Frame::Confluent { id: order }, tracking: Frame::Confluent { id: tracking } } =
            source.open().await.ok()?
        else {
            return None;
        };
        Some([order, tracking])
    }

    #[tokio::test]
    async fn what_was_forgotten_is_registered_anew_and_framed_by_its_new_id() {
        let (source, held) = source(true).await;
        let clone = source.clone();
        assert_eq!(ids(&source).await, Some([1, 2]));
        source.look_again(FRESH).await;
        assert_eq!(ids(&clone).await, Some([1, 2]));
        held.lock().unwrap().schemas.clear();
        source.look_again(FRESH).await;
        assert_eq!(ids(&clone).await, Some([1, 2]), "the same IDs are as good as others");
        // A backup in which the IDs belong to other schemas.
        held.lock().unwrap().schemas = vec!["\"int\"".into(), "\"long\"".into()];
        source.look_again(FRESH).await;
        assert_eq!(ids(&clone).await, Some([3, 4]));
        // A backup in which only the ID of the tracking schema belongs to another one.
        held.lock().unwrap().schemas[3] = "\"string\"".into();
        source.look_again(FRESH).await;
        assert_eq!(ids(&clone).await, Some([3, 5]));
    }

    #[tokio::test]
    async fn what_may_not_be_registered_is_waited_for() {
        let (source, held) = source(false).await;
        held.lock().unwrap().schemas = texts(&source).to_vec();
        assert_eq!(ids(&source).await, Some([1, 2]));
        held.lock().unwrap().schemas[1] = "\"int\"".into();
        source.look_again(FRESH).await;
        let why = source.forgotten().unwrap();
        assert!(why.contains("another schema under the ID 2") && why.contains("schemas register"), "{why}");
        let error = source.open().await.unwrap_err();
        assert!(matches!(error, SchemaError::Forgotten(_)) && error.is_transient(), "{error}");
        // An unreachable registry does not prove that it has them again.
        held.lock().unwrap().is_away = true;
        source.look_again(FRESH).await;
        assert!(source.forgotten().is_some());

        let [orders, tracking] = texts(&source);
        *held.lock().unwrap() =
            Held { schemas: vec!["\"int\"".into(), tracking.clone(), orders.clone()], ..Held::default() };
        source.look_again(FRESH).await;
        assert_eq!((source.forgotten(), ids(&source).await), (None, Some([3, 2])));
        held.lock().unwrap().schemas.clear();
        source.look_again(FRESH).await;
        assert!(source.forgotten().is_some());
        held.lock().unwrap().schemas = vec!["\"int\"".into(), tracking, orders];
        source.look_again(FRESH).await;
        assert_eq!((source.forgotten(), ids(&source).await), (None, Some([3, 2])));
    }

    #[tokio::test]
    async fn a_registry_that_is_away_is_not_missed_and_is_not_asked_more_often_than_need_be() {
        let (source, held) = source(true).await;
        source.look_again(FRESH).await;
        assert_eq!(held.lock().unwrap().calls, 0, "nothing is in use yet");
        assert_eq!(ids(&source).await, Some([1, 2]));
        *held.lock().unwrap() = Held { is_away: true, ..Held::default() };
        source.look_again(FRESH).await;
        assert_eq!((source.forgotten(), ids(&source).await), (None, Some([1, 2])));
        let calls = held.lock().unwrap().calls;
        assert!(calls > 0);
        let probes: Vec<_> = (0..100).map(|_| source.clone()).collect();
        for probe in probes {
            probe.look_again(Duration::from_secs(60)).await;
        }
        assert_eq!(held.lock().unwrap().calls, calls);
    }
}

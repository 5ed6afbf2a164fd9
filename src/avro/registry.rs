//! A client of the schema registry: Confluent's own, or one with the same API, such as Apicurio under
//! `/apis/ccompat/v7`.
//!
//! Every call may be repeated without harm; the caller uses [`RegistryError::is_transient`] to decide whether to.
//! Schemas with references to other subjects are not supported: ours have none.

use std::fmt;
use std::time::Duration;

use apache_avro::Schema;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Client, Method, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

use crate::platform::root_cause::root_cause;
use crate::platform::tls::{self, Authorities};

/// The compatibility level for our subjects: every version can read every other.
pub const FULL_TRANSITIVE: &str = "FULL_TRANSITIVE";

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer accepted; ours are below 20 KiB.
const MAX_ANSWER: usize = 1 << 20;
/// How many characters of the registry's own message an error quotes.
const MAX_MESSAGE: usize = 500;

/// Credentials for a registry that requires a login.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub username: String,
    pub password: SecretString,
}

/// Why a call to the registry failed. The error omits addresses and secrets.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// The URL can't be used.
    #[error(
        "the schema registry's URL must start with http:// or https:// and hold no user or password: correct `schema_registry.url`, and use `schema_registry.username` and `.password`"
    )]
    Url,
    #[error("the HTTP client for the schema registry could not be set up: look at this machine's TLS certificates")]
    Tls(#[from] native_tls::Error),
    #[error("the HTTP client for the schema registry could not be set up: {0}")]
    Client(#[source] reqwest::Error),
    /// Nothing answered, or the connection broke.
    #[error("the schema registry can't be reached: see that it runs, and that `schema_registry.url` is right")]
    Unreachable(#[source] reqwest::Error),
    /// Nobody whom we trust has signed its certificate, or not for this name.
    #[error(
        "the schema registry's certificate is not trusted: see that `schema_registry.url` has the name that the \
         certificate is for, and name a file of the authorities that signed it in `schema_registry.ca_file`"
    )]
    Untrusted(#[source] reqwest::Error),
    /// The registry did not answer in time.
    #[error("the schema registry did not answer in time: see whether it is overloaded or blocked by a firewall")]
    TimedOut(#[source] reqwest::Error),
    /// The registry reported an internal error.
    #[error("the schema registry answered {0}: look at its log")]
    Server(StatusCode),
    /// 401 or 403.
    #[error(
        "the schema registry answered {0}: check `schema_registry.username` and `.password`, and the user's rights"
    )]
    Unauthorized(StatusCode),
    /// The answer did not come from a schema registry.
    #[error(
        "what answered ({0}) is no schema registry: check the path in `schema_registry.url` (Apicurio: /apis/ccompat/v7)"
    )]
    NotARegistry(StatusCode),
    /// The schema must already be registered, and is not.
    #[error(
        "the schema is not registered under `{subject}`, and registering is off: run `imotriz-kafka schemas register`"
    )]
    NotRegistered { subject: String },
    /// The subject has a version that is incompatible with our schema.
    #[error(
        "the schema is not compatible with what is registered under `{subject}`: use another topic, or a version of this program that goes with it. The registry says: {messages}"
    )]
    Incompatible {
        subject: String,
        /// The registry's explanation.
        messages: Messages,
    },
    /// No schema has this ID.
    #[error("the schema registry has no schema with the ID {0}: was the topic filled through another registry?")]
    UnknownId(u32),
    /// This program can't parse the schema with this ID.
    #[error("the schema with the ID {0} is not Avro, or not in one piece: which program wrote to this topic?")]
    Unreadable(u32),
    /// Any other refusal.
    #[error("the schema registry refused the request ({status}): {messages}")]
    Refused {
        /// The HTTP status.
        status: StatusCode,
        /// The registry's explanation.
        messages: Messages,
    },
}

impl RegistryError {
    /// Whether the same call may succeed later without human help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut(_) | Self::Server(_))
    }
}

/// The registry's own messages, cut to a bounded length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages(pub Vec<String>);

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { f.write_str(&self.0.join("; ")) }
    }
}

/// Whether a schema may join a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may, or the subject has no version yet.
    Compatible,
    Incompatible(Messages),
}

/// The result of looking up a schema in a subject.
enum Found {
    Id(u32),
    NoSchema,
    NoSubject,
}

/// The client. Cheap to clone: clones share connections.
#[derive(Clone)]
pub struct Registry {
    http: Client,
    base: Url,
    credentials: Option<Credentials>,
}

impl Registry {
    /// Creates a client of the registry at `base`, whose path is kept. `authorities` are trusted besides
    /// those whom the machine trusts; `timeout` limits a whole request.
    ///
    /// # Errors
    /// [`RegistryError::Url`] and [`RegistryError::Client`]. No request is made yet.
    pub fn new(
        base: Url,
        credentials: Option<Credentials>,
        authorities: Option<&Authorities>,
        timeout: Duration,
    ) -> Result<Self, RegistryError> {
        let bare = base.username().is_empty() && base.password().is_none();
        if !matches!(base.scheme(), "http" | "https") || !bare {
            return Err(RegistryError::Url);
        }
        let http = Client::builder()
            .tls_backend_preconfigured(tls::connector(authorities)?)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            // A redirect could send the password to another host.
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(RegistryError::Client)?;
        Ok(Self { http, base, credentials })
    }

    /// Returns the ID of `schema` under `subject`, and registers the schema if it is new there and `may_register`. A
    /// subject without schemas first gets the level [`FULL_TRANSITIVE`], unless somebody chose a level; one with
    /// schemas keeps its level.
    ///
    /// # Errors
    /// [`RegistryError`]; [`NotRegistered`](RegistryError::NotRegistered) only if not `may_register`.
    pub async fn ensure(&self, subject: &str, schema: &str, may_register: bool) -> Result<u32, RegistryError> {
        let found = self.find(subject, schema).await?;
        if let Found::Id(id) = found {
            return Ok(id);
        }
        if !may_register {
            return Err(RegistryError::NotRegistered { subject: subject.to_owned() });
        }
        if let Verdict::Incompatible(messages) = self.compatible(subject, schema).await? {
            return Err(RegistryError::Incompatible { subject: subject.to_owned(), messages });
        }
        if matches!(found, Found::NoSubject) {
            // Set the level before the schema, so that a crash between the two is repaired by the next attempt.
            // Apicurio reports NONE if no level was chosen.
            match self.compatibility_level(subject).await?.as_deref() {
                None | Some("NONE") => self.set_compatibility(subject, FULL_TRANSITIVE).await?,
                Some(_) => {}
            }
        }
        self.register(subject, schema).await
    }

    /// The ID of exactly this schema under `subject`; `None` if the schema or the subject does not exist.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        match self.find(subject, schema).await? {
            Found::Id(id) => Ok(Some(id)),
            Found::NoSchema | Found::NoSubject => Ok(None),
        }
    }

    async fn find(&self, subject: &str, schema: &str) -> Result<Found, RegistryError> {
        let url = self.url(&["subjects", subject])?;
        self.call(Method::POST, url, Some(json!({ "schema": schema }))).await?.found(subject)
    }

    /// Registers `schema` under `subject` and returns its ID. If it exists already, this is the same as
    /// [`lookup`](Self::lookup).
    ///
    /// # Errors
    /// [`RegistryError`], in particular [`Incompatible`](RegistryError::Incompatible).
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let url = self.url(&["subjects", subject, "versions"])?;
        self.call(Method::POST, url, Some(json!({ "schema": schema }))).await?.id(subject)
    }

    /// Whether `schema` could be registered under `subject`, by its latest version and compatibility level.
    ///
    /// # Errors
    /// [`RegistryError`]. Incompatibility is not an error but a [`Verdict`].
    pub async fn compatible(&self, subject: &str, schema: &str) -> Result<Verdict, RegistryError> {
        let mut url = self.url(&["compatibility", "subjects", subject, "versions", "latest"])?;
        url.set_query(Some("verbose=true"));
        self.call(Method::POST, url, Some(json!({ "schema": schema }))).await?.verdict(subject)
    }

    /// The compatibility level of `subject` itself, such as `FULL_TRANSITIVE`. `None` if the registry's default applies
    /// or the subject does not exist.
    pub async fn compatibility_level(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        self.call(Method::GET, self.url(&["config", subject])?, None).await?.level(subject)
    }

    /// Sets the compatibility level of `subject`.
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let body = json!({ "compatibility": level });
        self.call(Method::PUT, self.url(&["config", subject])?, Some(body)).await?.success(subject).map(drop)
    }

    /// The schema with this ID. It never changes, so it can be cached for ever.
    ///
    /// # Errors
    /// [`RegistryError`], in particular [`UnknownId`](RegistryError::UnknownId) and
    /// [`Unreadable`](RegistryError::Unreadable).
    pub async fn schema_by_id(&self, id: u32) -> Result<Schema, RegistryError> {
        self.call(Method::GET, self.url(&["schemas", "ids", &id.to_string()])?, None).await?.schema(id)
    }

    async fn call(&self, method: Method, url: Url, body: Option<Value>) -> Result<RegistryResponse, RegistryError> {
        let mut request = self.http.request(method, url).header(ACCEPT, MEDIA_TYPE);
        if let Some(Credentials { username, password }) = &self.credentials {
            request = request.basic_auth(username, Some(password.expose_secret()));
        }
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_string());
        }
        let mut response = request.send().await.map_err(failure)?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failure)? {
            if bytes.len() + chunk.len() > MAX_ANSWER {
                return Err(RegistryError::NotARegistry(status));
            }
            bytes.extend(chunk);
        }
        Ok(RegistryResponse::of(status, &bytes))
    }

    fn url(&self, path: &[&str]) -> Result<Url, RegistryError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| RegistryError::Url)?.pop_if_empty().extend(path);
        Ok(url)
    }
}

fn failure(error: reqwest::Error) -> RegistryError {
    let error = error.without_url();
    if error.is_timeout() {
        return RegistryError::TimedOut(error);
    }
    match root_cause(&error).to_string().contains("certificate verify failed") {
        true => RegistryError::Untrusted(error),
        false => RegistryError::Unreachable(error),
    }
}

/// The status of an answer, and its body if that is JSON.
struct RegistryResponse {
    status: StatusCode,
    json: Value,
}

impl RegistryResponse {
    fn of(status: StatusCode, body: &[u8]) -> Self {
        Self { status, json: serde_json::from_slice(body).unwrap_or(Value::Null) }
    }

    /// Whether the registry says that a subject, version or schema does not exist. A bare 404 does not count: a wrong
    /// path returns that as well.
    fn is_missing(&self) -> bool {
        let code = self.json["error_code"].as_u64();
        self.status == StatusCode::NOT_FOUND && code.is_some_and(|code| code / 100 == 404)
    }

    fn success(self, subject: &str) -> Result<Self, RegistryError> {
        let status = self.status;
        match status.as_u16() {
            200..=299 if self.json.is_object() => Ok(self),
            401 | 403 => Err(RegistryError::Unauthorized(status)),
            409 => Err(RegistryError::Incompatible { subject: subject.to_owned(), messages: self.messages() }),
            429 | 500..=599 => Err(RegistryError::Server(status)),
            400..=499 if self.json["error_code"].is_number() => {
                Err(RegistryError::Refused { status, messages: self.messages() })
            }
            _ => Err(RegistryError::NotARegistry(status)),
        }
    }

    fn id(self, subject: &str) -> Result<u32, RegistryError> {
        let body = self.success(subject)?;
        let id = body.json["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or(RegistryError::NotARegistry(body.status))
    }

    fn found(self, subject: &str) -> Result<Found, RegistryError> {
        match self.json["error_code"].as_u64() {
            Some(40401) => Ok(Found::NoSubject),
            _ if self.is_missing() => Ok(Found::NoSchema),
            _ => self.id(subject).map(Found::Id),
        }
    }

    fn verdict(self, subject: &str) -> Result<Verdict, RegistryError> {
        if self.is_missing() {
            return Ok(Verdict::Compatible);
        }
        let body = self.success(subject)?;
        match body.json["is_compatible"].as_bool() {
            Some(true) => Ok(Verdict::Compatible),
            Some(false) => Ok(Verdict::Incompatible(body.messages())),
            None => Err(RegistryError::NotARegistry(body.status)),
        }
    }

    fn level(self, subject: &str) -> Result<Option<String>, RegistryError> {
        if self.is_missing() {
            return Ok(None);
        }
        let body = self.success(subject)?;
        let level = body.json["compatibilityLevel"].as_str().ok_or(RegistryError::NotARegistry(body.status))?;
        Ok(Some(level.to_owned()))
    }

    fn schema(self, id: u32) -> Result<Schema, RegistryError> {
        if self.is_missing() {
            return Err(RegistryError::UnknownId(id));
        }
        let body = self.success("")?;
        let text = body.json["schema"].as_str().ok_or(RegistryError::NotARegistry(body.status))?;
        Schema::parse_str(text).map_err(|_| RegistryError::Unreadable(id))
    }

    fn messages(&self) -> Messages {
        let list = self.json["messages"].as_array().into_iter().flatten();
        let all = list.chain(self.json.get("message")).filter_map(Value::as_str);
        Messages(all.map(|message| message.chars().take(MAX_MESSAGE).collect()).take(10).collect())
    }
}

#[cfg(test)]
mod tests;

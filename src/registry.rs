//! A client of the schema registry: Confluent's own, or any other with its API, such as Apicurio under `/apis/ccompat/v7`.
//!
//! Every call may be repeated without harm; the caller decides by [`RegistryError::is_transient`] whether it does.
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

/// Under which our subjects are to be: any version can be read by any other.
pub const FULL_TRANSITIVE: &str = "FULL_TRANSITIVE";

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No answer is larger; ours are below 20 KiB.
const MAX_ANSWER: usize = 1 << 20;
/// As much of a registry's own words as an error repeats, in characters.
const MAX_MESSAGE: usize = 500;

/// For a registry that wants to know who asks.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The user's password.
    pub password: SecretString,
}

/// Why the registry could not be used. No address and no secret is told.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// Not an address that can be called.
    #[error(
        "the schema registry's URL must start with http:// or https:// and hold no user or password: correct `schema_registry.url`, and use `schema_registry.username` and `.password`"
    )]
    Url,
    /// The HTTP client could not be set up.
    #[error("the HTTP client for the schema registry could not be set up: look at this machine's TLS certificates")]
    Client(#[source] reqwest::Error),
    /// Nothing answered, or the connection broke.
    #[error("the schema registry can't be reached: see that it runs, and that `schema_registry.url` is right")]
    Unreachable(#[source] reqwest::Error),
    /// No answer came in time.
    #[error("the schema registry did not answer in time: see whether it is overloaded or blocked by a firewall")]
    TimedOut(#[source] reqwest::Error),
    /// Its own fault.
    #[error("the schema registry answered {0}: look at its log")]
    Server(StatusCode),
    /// 401 or 403.
    #[error(
        "the schema registry answered {0}: check `schema_registry.username` and `.password`, and the user's rights"
    )]
    Unauthorized(StatusCode),
    /// Something answered that is no registry.
    #[error(
        "what answered ({0}) is no schema registry: check the path in `schema_registry.url` (Apicurio: /apis/ccompat/v7)"
    )]
    NotARegistry(StatusCode),
    /// The schema must be there already, and is not.
    #[error(
        "the schema is not registered under `{subject}`, and registering is off: run `imotriz-kafka schemas register`"
    )]
    NotRegistered {
        /// The subject.
        subject: String,
    },
    /// The subject has a version that does not go with ours.
    #[error(
        "the schema is not compatible with what is registered under `{subject}`: use another topic, or a version of this program that goes with it. The registry says: {messages}"
    )]
    Incompatible {
        /// The subject.
        subject: String,
        /// What the registry says about it.
        messages: Messages,
    },
    /// No schema has this ID.
    #[error("the schema registry has no schema with the ID {0}: was the topic filled through another registry?")]
    UnknownId(u32),
    /// The schema is there, but this program can't read it.
    #[error("the schema with the ID {0} is not Avro, or not in one piece: which program wrote to this topic?")]
    Unreadable(u32),
    /// Any other refusal.
    #[error("the schema registry refused the request ({status}): {messages}")]
    Refused {
        /// The status of the answer.
        status: StatusCode,
        /// What the registry says about it.
        messages: Messages,
    },
}

impl RegistryError {
    /// May the same call succeed later, without anybody's doing?
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::TimedOut(_) | Self::Server(_))
    }
}

/// The registry's own words, cut to a bearable length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages(pub Vec<String>);

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { f.write_str(&self.0.join("; ")) }
    }
}

/// May a schema join a subject?
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It may, or the subject has none yet.
    Compatible,
    /// It may not.
    Incompatible(Messages),
}

/// What a subject holds of a schema.
enum Found {
    Id(u32),
    NoSchema,
    NoSubject,
}

/// The client. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Registry {
    http: Client,
    base: Url,
    credentials: Option<Credentials>,
}

impl Registry {
    /// A client of the registry at `base`, whose path is kept; `timeout` is for a whole request.
    ///
    /// # Errors
    /// [`RegistryError::Url`] and [`RegistryError::Client`]; nothing is called yet.
    pub fn new(base: Url, credentials: Option<Credentials>, timeout: Duration) -> Result<Self, RegistryError> {
        let bare = base.username().is_empty() && base.password().is_none();
        if !matches!(base.scheme(), "http" | "https") || !bare {
            return Err(RegistryError::Url);
        }
        let http = Client::builder()
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(timeout)
            // A redirect could carry the password elsewhere.
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| RegistryError::Client(error.without_url()))?;
        Ok(Self { http, base, credentials })
    }

    /// The ID of `schema` under `subject`; registers it if it is new there and `may_register`. A new subject is put under
    /// [`FULL_TRANSITIVE`] first, unless somebody chose a level for it; one that has schemas is left as it is.
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
            // Before the schema, so that a crash between the two heals. Apicurio says NONE where nothing was chosen.
            match self.compatibility_level(subject).await?.as_deref() {
                None | Some("NONE") => self.set_compatibility(subject, FULL_TRANSITIVE).await?,
                Some(_) => {}
            }
        }
        self.register(subject, schema).await
    }

    /// The ID of exactly this schema under `subject`, if it is there.
    ///
    /// # Errors
    /// [`RegistryError`]; a subject that is not there is no error.
    pub async fn lookup(&self, subject: &str, schema: &str) -> Result<Option<u32>, RegistryError> {
        match self.find(subject, schema).await? {
            Found::Id(id) => Ok(Some(id)),
            Found::NoSchema | Found::NoSubject => Ok(None),
        }
    }

    async fn find(&self, subject: &str, schema: &str) -> Result<Found, RegistryError> {
        let url = self.url(&["subjects", subject])?;
        let answer = self.call(Method::POST, url, Some(json!({ "schema": schema }))).await?;
        match answer.json["error_code"].as_u64() {
            Some(40401) => Ok(Found::NoSubject),
            _ if answer.is_missing() => Ok(Found::NoSchema),
            _ => answer.id(subject).map(Found::Id),
        }
    }

    /// Registers `schema` under `subject` and returns its ID; the same as [`lookup`](Self::lookup) if it is there.
    ///
    /// # Errors
    /// [`RegistryError`], [`Incompatible`](RegistryError::Incompatible) among them.
    pub async fn register(&self, subject: &str, schema: &str) -> Result<u32, RegistryError> {
        let url = self.url(&["subjects", subject, "versions"])?;
        self.call(Method::POST, url, Some(json!({ "schema": schema }))).await?.id(subject)
    }

    /// Could `schema` be registered under `subject`, going by its latest version and its compatibility level?
    ///
    /// # Errors
    /// [`RegistryError`]; an incompatible schema is a [`Verdict`].
    pub async fn compatible(&self, subject: &str, schema: &str) -> Result<Verdict, RegistryError> {
        let mut url = self.url(&["compatibility", "subjects", subject, "versions", "latest"])?;
        url.set_query(Some("verbose=true"));
        let answer = self.call(Method::POST, url, Some(json!({ "schema": schema }))).await?;
        if answer.is_missing() {
            return Ok(Verdict::Compatible);
        }
        let body = answer.success(subject)?;
        match body.json["is_compatible"].as_bool() {
            Some(true) => Ok(Verdict::Compatible),
            Some(false) => Ok(Verdict::Incompatible(body.messages())),
            None => Err(RegistryError::NotARegistry(body.status)),
        }
    }

    /// The compatibility level of `subject` itself, such as `FULL_TRANSITIVE`; none if the registry's default holds.
    ///
    /// # Errors
    /// [`RegistryError`]; a subject that is not there is no error.
    pub async fn compatibility_level(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let answer = self.call(Method::GET, self.url(&["config", subject])?, None).await?;
        if answer.is_missing() {
            return Ok(None);
        }
        let body = answer.success(subject)?;
        let level = body.json["compatibilityLevel"].as_str().ok_or(RegistryError::NotARegistry(body.status))?;
        Ok(Some(level.to_owned()))
    }

    /// Sets the compatibility level of `subject`.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn set_compatibility(&self, subject: &str, level: &str) -> Result<(), RegistryError> {
        let body = json!({ "compatibility": level });
        self.call(Method::PUT, self.url(&["config", subject])?, Some(body)).await?.success(subject).map(drop)
    }

    /// The schema with this ID. It never changes: keep it.
    ///
    /// # Errors
    /// [`RegistryError`], [`UnknownId`](RegistryError::UnknownId) and [`Unreadable`](RegistryError::Unreadable) among
    /// them.
    pub async fn schema_by_id(&self, id: u32) -> Result<Schema, RegistryError> {
        let answer = self.call(Method::GET, self.url(&["schemas", "ids", &id.to_string()])?, None).await?;
        if answer.is_missing() {
            return Err(RegistryError::UnknownId(id));
        }
        let body = answer.success("")?;
        let text = body.json["schema"].as_str().ok_or(RegistryError::NotARegistry(body.status))?;
        Schema::parse_str(text).map_err(|_| RegistryError::Unreadable(id))
    }

    async fn call(&self, method: Method, url: Url, body: Option<Value>) -> Result<Answer, RegistryError> {
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
        Ok(Answer { status, json: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    fn url(&self, path: &[&str]) -> Result<Url, RegistryError> {
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| RegistryError::Url)?.pop_if_empty().extend(path);
        Ok(url)
    }
}

fn failure(error: reqwest::Error) -> RegistryError {
    let error = error.without_url();
    if error.is_timeout() { RegistryError::TimedOut(error) } else { RegistryError::Unreachable(error) }
}

/// A status, and the body where it is JSON.
struct Answer {
    status: StatusCode,
    json: Value,
}

impl Answer {
    /// Subject, version or schema not found. A bare 404 does not count: a wrong path gives that as well.
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

    fn messages(&self) -> Messages {
        let list = self.json["messages"].as_array().into_iter().flatten();
        let all = list.chain(self.json.get("message")).filter_map(Value::as_str);
        Messages(all.map(|message| message.chars().take(MAX_MESSAGE).collect()).take(10).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::Request;
    use axum::response::{IntoResponse, Response};

    use super::*;

    /// A registry that answers what it is told to, in turn, and keeps what it was asked.
    struct Fake {
        base: Url,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Fake {
        async fn answering<const N: usize>(answers: [(u16, &'static str); N]) -> Self {
            let answers = Arc::new(Mutex::new(answers.into_iter()));
            Self::serving(move |_| {
                let (status, body) = answers.lock().unwrap().next().expect("no more is asked than is answered");
                (StatusCode::from_u16(status).unwrap(), body).into_response()
            })
            .await
        }

        async fn serving(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> Self {
            let asked = Arc::new(Mutex::new(Vec::new()));
            let log = asked.clone();
            let app = Router::new().fallback(move |request: Request| async move {
                let line = format!("{} {}", request.method(), request.uri());
                let answer = answer(&request);
                let auth =
                    request.headers().get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
                let body = axum::body::to_bytes(request.into_body(), MAX_ANSWER).await.unwrap();
                let body = String::from_utf8(body.to_vec()).unwrap();
                log.lock().unwrap().push([line, body, auth].join(" ").trim_end().to_owned());
                answer
            });
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = format!("http://{}/apis/ccompat/v7/", listener.local_addr().unwrap()).parse().unwrap();
            tokio::spawn(async move { axum::serve(listener, app).await });
            Self { base, asked }
        }

        fn registry(&self) -> Registry {
            Registry::new(self.base.clone(), None, Duration::from_secs(10)).unwrap()
        }

        fn asked(&self) -> Vec<String> {
            self.asked.lock().unwrap().clone()
        }
    }

    const NO_SUBJECT: (u16, &str) = (404, r#"{"error_code":40401,"message":"Subject not found"}"#);
    const NO_SCHEMA: (u16, &str) = (404, r#"{"error_code":40403,"message":"Schema not found"}"#);
    const NO_LEVEL: (u16, &str) = (404, r#"{"error_code":40408,"message":"No config"}"#);

    #[tokio::test]
    async fn a_schema_that_is_there_is_only_looked_up() {
        let fake = Fake::answering([(200, r#"{"subject":"s","version":1,"id":7}"#)]).await;
        assert_eq!(fake.registry().ensure("a/b-value", r#""int""#, true).await.unwrap(), 7);
        let asked = r#"POST /apis/ccompat/v7/subjects/a%2Fb-value {"schema":"\"int\""}"#;
        assert_eq!(fake.asked(), [asked]);
    }

    #[tokio::test]
    async fn a_new_subject_is_put_under_full_transitive_before_its_first_schema() {
        // The second is what Apicurio says of a subject without a level.
        for level in [NO_LEVEL, (200, r#"{"compatibilityLevel":"NONE"}"#)] {
            let set = (200, r#"{"compatibility":"FULL_TRANSITIVE"}"#);
            let fake = Fake::answering([NO_SUBJECT, NO_SUBJECT, level, set, (200, r#"{"id":8}"#)]).await;
            assert_eq!(fake.registry().ensure("s", "{}", true).await.unwrap(), 8);
            assert_eq!(
                fake.asked(),
                [
                    r#"POST /apis/ccompat/v7/subjects/s {"schema":"{}"}"#,
                    r#"POST /apis/ccompat/v7/compatibility/subjects/s/versions/latest?verbose=true {"schema":"{}"}"#,
                    "GET /apis/ccompat/v7/config/s",
                    r#"PUT /apis/ccompat/v7/config/s {"compatibility":"FULL_TRANSITIVE"}"#,
                    r#"POST /apis/ccompat/v7/subjects/s/versions {"schema":"{}"}"#,
                ]
            );
        }
    }

    #[tokio::test]
    async fn a_level_that_somebody_chose_is_left_alone() {
        let (chosen, id) = ((200, r#"{"compatibilityLevel":"BACKWARD"}"#), (200, r#"{"id":8}"#));
        let fake = Fake::answering([NO_SUBJECT, NO_SUBJECT, chosen, id]).await;
        assert_eq!(fake.registry().ensure("s", "{}", true).await.unwrap(), 8);
        let fake = Fake::answering([NO_SCHEMA, (200, r#"{"is_compatible":true}"#), id]).await;
        assert_eq!(fake.registry().ensure("s", "{}", true).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn nothing_is_registered_without_leave() {
        let fake = Fake::answering([NO_SCHEMA]).await;
        let error = fake.registry().ensure("s", "{}", false).await.unwrap_err();
        assert!(matches!(&error, RegistryError::NotRegistered { subject } if subject == "s"), "{error}");
        assert!(!error.is_transient());
        assert_eq!(fake.asked().len(), 1);
    }

    #[tokio::test]
    async fn an_incompatible_schema_is_not_registered_and_the_reason_is_told() {
        let refusal = (200, r#"{"is_compatible":false,"messages":["READER_FIELD_MISSING_DEFAULT_VALUE","x"]}"#);
        let fake = Fake::answering([NO_SCHEMA, refusal]).await;
        let error = fake.registry().ensure("s", "{}", true).await.unwrap_err();
        assert!(matches!(&error, RegistryError::Incompatible { .. }) && !error.is_transient());
        assert!(error.to_string().ends_with("The registry says: READER_FIELD_MISSING_DEFAULT_VALUE; x"), "{error}");

        let fake = Fake::answering([(409, r#"{"error_code":409,"message":"no"}"#)]).await;
        let error = fake.registry().register("s", "{}").await.unwrap_err();
        assert!(matches!(&error, RegistryError::Incompatible { messages, .. } if messages.0 == ["no"]), "{error}");
    }

    #[tokio::test]
    async fn only_what_can_pass_by_itself_is_transient() {
        let cases = [
            (401, "{}", false),
            (403, r#"{"error_code":40301}"#, false),
            (422, r#"{"error_code":42201,"message":"Invalid schema"}"#, false),
            (429, "", true),
            (500, r#"{"error_code":50001}"#, true),
            (503, "<html>", true),
            // Not ours to guess at: wrong path, a proxy's login page, another service.
            (404, r#"{"detail":"RESTEASY003210"}"#, false),
            (302, "", false),
            (200, "<html>", false),
            (200, "{}", false),
            (200, r#"{"id":4294967296}"#, false),
        ];
        for (status, body, transient) in cases {
            let error = Fake::answering([(status, body)]).await.registry().lookup("s", "{}").await.unwrap_err();
            assert_eq!(error.is_transient(), transient, "{status} {body}: {error}");
        }
    }

    #[tokio::test]
    async fn a_registry_that_is_not_there_is_transient_and_its_address_is_not_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base: Url = format!("http://{}/hidden", listener.local_addr().unwrap()).parse().unwrap();
        drop(listener);
        let error = Registry::new(base, None, Duration::from_secs(10)).unwrap().lookup("s", "{}").await.unwrap_err();
        assert!(matches!(error, RegistryError::Unreachable(_)) && error.is_transient());
        let debug = format!("{error:?}");
        let told = format!("{debug} {:#}", anyhow::Error::from(error));
        assert!(!told.contains("hidden"), "{told}");
    }

    #[tokio::test]
    async fn a_registry_that_does_not_answer_is_transient() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", silent.local_addr().unwrap()).parse().unwrap();
        let registry = Registry::new(base, None, Duration::from_millis(50)).unwrap();
        let error = registry.lookup("s", "{}").await.unwrap_err();
        assert!(matches!(error, RegistryError::TimedOut(_)) && error.is_transient());
    }

    #[tokio::test]
    async fn an_answer_without_end_is_cut_off() {
        let fake = Fake::serving(|_| "x".repeat(MAX_ANSWER + 1).into_response()).await;
        let error = fake.registry().lookup("s", "{}").await.unwrap_err();
        assert!(matches!(error, RegistryError::NotARegistry(_)), "{error}");
    }

    #[tokio::test]
    async fn credentials_go_into_the_header_and_nowhere_else() {
        let fake = Fake::answering([(200, r#"{"id":1}"#)]).await;
        let credentials = Credentials { username: "ana".to_owned(), password: "clave".into() };
        let shown = format!("{credentials:?}");
        let registry = Registry::new(fake.base.clone(), Some(credentials), Duration::from_secs(10)).unwrap();
        assert_eq!(registry.lookup("s", "{}").await.unwrap(), Some(1));
        assert!(fake.asked()[0].ends_with(" Basic YW5hOmNsYXZl"));
        assert!(!shown.contains("clave"));
        for bad in ["http://ana:clave@localhost", "http://ana@localhost", "ftp://localhost", "mailto:x"] {
            assert!(
                matches!(Registry::new(bad.parse().unwrap(), None, Duration::from_secs(10)), Err(RegistryError::Url)),
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn a_schema_is_found_by_its_id_or_said_not_to_be_there() {
        let fake = Fake::answering([
            (200, r#"{"schema":"\"int\""}"#),
            NO_SCHEMA,
            (200, r#"{"schema":"syntax = \"proto3\";","schemaType":"PROTOBUF"}"#),
        ])
        .await;
        let registry = fake.registry();
        assert_eq!(registry.schema_by_id(3).await.unwrap(), Schema::Int);
        assert!(matches!(registry.schema_by_id(4).await, Err(RegistryError::UnknownId(4))));
        assert!(matches!(registry.schema_by_id(5).await, Err(RegistryError::Unreadable(5))));
        assert_eq!(fake.asked()[0], "GET /apis/ccompat/v7/schemas/ids/3");
    }
}

//! An HTTP client for the marketplace's three resources.
//!
//! The read of new orders is destructive: orders that it returns are never reported again. So the client sends it once,
//! waits minutes rather than seconds, and never repeats it. Each possible outcome is a [`Read`], and only the caller
//! decides what follows. The other two reads may be repeated at will.
//!
//! Deliberately absent: retries (see `connections.rs`), redirects, compression (a truncated answer must be recognised as such), and HTTP/2
//! (its GOAWAY makes a client repeat requests).

mod charset;
mod connections;
mod host;
mod list;
mod pace;
mod refusal;
mod slow_down;

use std::pin::Pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LINK, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use crate::marketplace::body::{Extent, IdList, Message, PageError, PageVerdict};
use crate::order::ids::{OrderId, OrderIds};
use crate::platform::clock;
use crate::platform::root_cause::root_cause;
use crate::platform::tls::Authorities;
use refusal::{refusal, said_by};

pub use connections::Connections;
pub use host::{HostLimits, Hosts, Turn};
pub use pace::Pace;
pub use refusal::{Front, Refusal};

/// How many times larger than other bodies the list of IDs may be. By default that is 64 MiB, some seven million
/// orders.
pub const LONG_LIST: usize = 8;

/// Paths of the three resources under the base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Path of the destructive read.
    pub new_orders: String,
    /// Path of the IDs of the last 8 days.
    pub order_ids: String,
    /// Path of one order; contains `{id}`.
    pub order: String,
}

/// Options of a [`Client`].
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Scheme, host and port, optionally with a path prefix.
    pub base_url: Url,
    pub paths: Paths,
    /// The query parameter for the page number, if the marketplace returns the list of IDs in pages.
    pub list_page_parameter: Option<String>,
    /// Whom to trust besides those whom the machine trusts.
    pub authorities: Option<Authorities>,
    /// Limit for the TCP and TLS handshakes, during which nothing has been sent yet.
    pub connect_timeout: Duration,
    /// Longest silence within an answer. It is long because a late answer is still the only copy.
    pub idle_timeout: Duration,
    /// Longest time for a whole answer.
    pub total_timeout: Duration,
    /// Largest body accepted, in bytes. The list of IDs, of which only the IDs are kept in memory, may be [`LONG_LIST`]
    /// times larger.
    pub max_body: usize,
}

/// The TLS library or the HTTP client can't be set up.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error(transparent)]
    Tls(#[from] native_tls::Error),
    #[error(transparent)]
    Http(#[from] reqwest::Error),
}

/// The outcome of a destructive read.
#[derive(Debug)]
pub enum Read {
    /// A complete answer with status 200. [`PageVerdict`] classifies it.
    Fetched(Fetched),
    /// The marketplace, or something in front of it, refused the request before reading anything.
    Refused(Refusal),
    /// The marketplace has no orders, and says so without a page.
    NoOrders(NoOrders),
    /// The marketplace limits the rate of requests (429): nothing was read.
    Busy {
        /// The value of `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// The request was not sent: no connection.
    NotSent {
        /// The cause, without the URL.
        reason: String,
    },
    /// The marketplace may have marked orders that never reached us.
    Unknown(UnknownOutcome),
}

/// How an answer says that there are no orders, other than with a page without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOrders {
    /// 204, which has no body.
    NoContent,
    /// 404 with the API's own message. A wrong path can be answered like this too.
    NotFound,
    /// A message with status 200, and no `data`.
    Message,
}

/// A complete answer.
#[derive(Debug)]
pub struct Fetched {
    /// The body as it came. If another character set was declared, and the body is not UTF-8, it has been converted to
    /// UTF-8.
    pub body: Bytes,
    /// When the last byte arrived.
    pub read_at: Timestamp,
}

/// Why it is unknown which orders a read marked, and the bytes that arrived.
pub struct UnknownOutcome {
    /// The reason, without personal data.
    pub reason: String,
    /// The part of the body that arrived, as evidence for an investigation.
    pub partial: Bytes,
    /// The value of `Retry-After`.
    pub retry_after: Option<Duration>,
}

impl UnknownOutcome {
    /// Without a body: nothing arrived, or nothing worth keeping.
    #[must_use]
    pub fn without_body(reason: String) -> Self {
        Self::with_body(reason, Bytes::new())
    }

    /// With the part of the body that arrived.
    #[must_use]
    pub fn with_body(reason: String, partial: Bytes) -> Self {
        Self { reason, partial, retry_after: None }
    }
}

impl std::fmt::Debug for UnknownOutcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnknownOutcome").field("reason", &self.reason).field("bytes", &self.partial.len()).finish()
    }
}

/// Why a repeatable read failed.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The request was refused, and only a person can change that.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// 404 for an order that was requested by ID.
    #[error("the marketplace does not know this order (404)")]
    NotFound,
    /// 429, or 503 with `Retry-After`, and the value of that header.
    #[error("the marketplace asked for patience (429)")]
    Busy(Option<Duration>),
    /// No answer, a truncated one, a time-out, or an unexpected status.
    #[error("{0}")]
    Failed(String),
    /// A complete answer of an unknown shape.
    #[error("the answer can't be read: {0}")]
    Shape(#[from] PageError),
}

impl ApiError {
    /// Whether the same request may succeed later without human help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Failed(_) | Self::Refused(Refusal::InFront(_)))
    }
}

/// The future of an API call.
pub type ApiFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store's marketplace: the seam at which a simulation puts one that loses answers.
pub trait Marketplace: std::fmt::Debug + Send + Sync {
    /// The destructive read. The future must not be cancelled: the answer is the only copy.
    fn new_orders<'a>(&'a self, token: &'a SecretString) -> ApiFuture<'a, Read>;
    /// IDs of all orders of the last 8 days, read or not, or one page of them. May be repeated.
    fn order_ids<'a>(&'a self, page: Option<u64>, token: &'a SecretString) -> ApiFuture<'a, Result<IdList, ApiError>>;
    /// One order by its ID: the body as it came. May be repeated.
    fn order<'a>(&'a self, id: &'a OrderId, token: &'a SecretString) -> ApiFuture<'a, Result<Bytes, ApiError>>;
}

impl Marketplace for Client {
    fn new_orders<'a>(&'a self, token: &'a SecretString) -> ApiFuture<'a, Read> {
        Box::pin(self.new_orders(token))
    }

    fn order_ids<'a>(&'a self, page: Option<u64>, token: &'a SecretString) -> ApiFuture<'a, Result<IdList, ApiError>> {
        Box::pin(self.order_ids(page, token))
    }

    fn order<'a>(&'a self, id: &'a OrderId, token: &'a SecretString) -> ApiFuture<'a, Result<Bytes, ApiError>> {
        Box::pin(self.order(id, token))
    }
}

/// A store's HTTP client. Cheap to clone: clones share connections, and so do stores that were given the same ones.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    options: ClientOptions,
}

/// A body that could not be read to its end.
struct CutBody {
    reason: String,
    partial: Bytes,
}

impl Client {
    /// # Errors
    /// [`ClientError`]. No request is made yet.
    pub fn new(options: ClientOptions, connections: &Connections) -> Result<Self, ClientError> {
        Ok(Self { http: connections.client(&options)?, options })
    }

    /// The destructive read. The future must not be cancelled: the answer is the only copy.
    pub async fn new_orders(&self, token: &SecretString) -> Read {
        let response = match self.send(&self.options.paths.new_orders, token).await {
            Ok(response) => response,
            // guard: what was sent is never taken for not sent
            Err(error) if connections::was_not_sent(&error) => return Read::NotSent { reason: plain(error) },
            Err(error) => return Read::unknown(plain(error), Bytes::new()),
        };
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        match status {
            StatusCode::TOO_MANY_REQUESTS => return Read::Busy { retry_after },
            StatusCode::NO_CONTENT => return Read::NoOrders(NoOrders::NoContent),
            _ => {}
        }
        let front = Front::of(&response);
        match (self.body(response).await, refusal(status)) {
            (Ok(body), _) if status == StatusCode::OK || is_page(status, &body) => Read::fetched(body),
            (read, Some(refusal)) => refused(front, refusal, &read.unwrap_or_else(|cut| cut.partial)),
            (Ok(body), None) => {
                let (reason, partial) = (format!("the marketplace answered with {front}"), body);
                Read::Unknown(UnknownOutcome { reason, partial, retry_after })
            }
            (Err(cut), None) => Read::unknown(cut.reason, cut.partial),
        }
    }

    /// IDs of all orders of the last 8 days, read or not. May be repeated. A long body is parsed while it arrives and is
    /// never in memory as a whole. `page` is the page number, from 1, if the list comes in pages. The caller checks by
    /// [`IdList::extent`] whether the list is complete.
    ///
    /// # Errors
    /// See [`ApiError`]. A truncated list is an error, never a shorter list.
    ///
    /// # Panics
    /// If the parsing thread panicked.
    pub async fn order_ids(&self, page: Option<u64>, token: &SecretString) -> Result<IdList, ApiError> {
        let response = self.safe_answer(&self.list_path(page), token).await?;
        let in_headers = extent_in(response.headers());
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(IdList { ids: OrderIds::default(), extent: in_headers });
        }
        let most = self.options.max_body.saturating_mul(LONG_LIST);
        let IdList { ids, extent } = list::receive(response, most).await?;
        Ok(IdList { ids, extent: extent.or(in_headers) })
    }

    fn list_path(&self, page: Option<u64>) -> String {
        let path = &self.options.paths.order_ids;
        match (&self.options.list_page_parameter, page) {
            (Some(parameter), Some(page)) => {
                let separator = if path.contains('?') { '&' } else { '?' };
                format!("{path}{separator}{parameter}={page}")
            }
            _ => path.clone(),
        }
    }

    /// One order by its ID: the body as it came. Safe to repeat.
    pub async fn order(&self, id: &OrderId, token: &SecretString) -> Result<Bytes, ApiError> {
        let path = self.options.paths.order.replace("{id}", &percent_encoded(id.as_str()));
        self.safe_read(&path, token).await
    }

    async fn safe_read(&self, path: &str, token: &SecretString) -> Result<Bytes, ApiError> {
        let response = self.safe_answer(path, token).await?;
        if response.status() == StatusCode::NO_CONTENT {
            return Err(ApiError::NotFound);
        }
        self.body(response).await.map_err(|cut| ApiError::Failed(cut.reason))
    }

    /// An answer with status 200, whose body is still to come, or with 204.
    async fn safe_answer(&self, path: &str, token: &SecretString) -> Result<Response, ApiError> {
        let response = self.send(path, token).await.map_err(|error| ApiError::Failed(plain(error)))?;
        match response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT => Ok(response),
            StatusCode::NOT_FOUND => Err(ApiError::NotFound),
            StatusCode::TOO_MANY_REQUESTS => Err(ApiError::Busy(retry_after(response.headers()))),
            StatusCode::SERVICE_UNAVAILABLE if response.headers().contains_key(RETRY_AFTER) => {
                Err(ApiError::Busy(retry_after(response.headers())))
            }
            status => {
                let front = Front::of(&response);
                let Some(refusal) = refusal(status) else {
                    return Err(ApiError::Failed(format!("the marketplace answered with {front}")));
                };
                let body = self.body(response).await.unwrap_or_else(|cut| cut.partial);
                Err(said_by(front, refusal, &body).into())
            }
        }
    }

    async fn send(&self, path: &str, token: &SecretString) -> Result<Response, reqwest::Error> {
        let base = self.options.base_url.as_str().trim_end_matches('/');
        let mut request = self.http.get(format!("{base}{path}")).header(CONTENT_TYPE, "application/json");
        // A token that no header can hold can't be valid. Send none, and let the server answer 401.
        if let Ok(mut value) = HeaderValue::from_str(token.expose_secret()) {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.send().await
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, CutBody> {
        // The announced length is a hint, not a reason to allocate unlimited memory.
        let hint = response.content_length().unwrap_or(0).min(1 << 18);
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| Some(value.to_str().ok()?.to_owned()));
        let mut body = BytesMut::with_capacity(usize::try_from(hint).unwrap_or(0));
        loop {
            match response.chunk().await {
                // guard: a body has a limit
                Ok(Some(chunk)) if body.len() + chunk.len() > self.options.max_body => {
                    let reason = format!("the answer is larger than {} bytes (`api.max_body`)", self.options.max_body);
                    return Err(CutBody { reason, partial: body.freeze() });
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(charset::decoded(body.freeze(), content_type.as_deref())),
                Err(error) => return Err(CutBody { reason: plain(error), partial: body.freeze() }),
            }
        }
    }
}

impl Read {
    /// The marketplace may have marked orders; `partial` is the part of the body that arrived.
    #[must_use]
    pub fn unknown(reason: String, partial: Bytes) -> Self {
        Self::Unknown(UnknownOutcome::with_body(reason, partial))
    }

    /// A complete body whose last byte has just arrived.
    #[must_use]
    pub fn fetched(body: Bytes) -> Self {
        Self::Fetched(Fetched { body, read_at: clock::now() })
    }
}

/// Whether a body is a page despite an unexpected status. A page with records counts under any status: its records were
/// marked, and there is no other copy. A page without records counts only under 404, with which some back ends answer
/// an empty result.
fn is_page(status: StatusCode, body: &Bytes) -> bool {
    match PageVerdict::of(body) {
        PageVerdict::Orders(_) => true,
        PageVerdict::Empty(_) => status == StatusCode::NOT_FOUND,
        PageVerdict::Message(..) | PageVerdict::Unreadable(_) => false,
    }
}

/// The outcome for a status that promises that nothing was read.
fn refused(front: Front, refusal: Refusal, body: &[u8]) -> Read {
    if front.status == 404 && Message::of(body).is_some() {
        return Read::NoOrders(NoOrders::NotFound);
    }
    Read::Refused(said_by(front, refusal, body))
}

/// Parses `Retry-After`: seconds, or a date. A date is compared with the server's own clock (`Date`) if it is sent, so
/// our clock need not agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let told = text(RETRY_AFTER)?;
    if let Ok(seconds) = told.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = |text: &str| DateTimeParser::new().parse_timestamp(text).ok();
    let now = text(DATE).and_then(date).unwrap_or_else(clock::now);
    Some(Duration::try_from(date(told)?.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// The extent that the headers give: some APIs put it there.
fn extent_in(headers: &HeaderMap) -> Extent {
    let total = headers.get("x-total-count").and_then(|count| count.to_str().ok()?.trim().parse().ok());
    let links = headers.get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let names_next = |link: &str| {
        let link = link.to_ascii_lowercase();
        link.contains("rel=\"next\"") || link.contains("rel=next")
    };
    let has_next = links.map(names_next).reduce(|one, other| one || other);
    Extent { total, has_next, ..Extent::default() }
}

/// The kind of error and its root cause in one line, without the URL.
fn plain(error: reqwest::Error) -> String {
    let kind = if connections::was_not_sent(&error) {
        "no connection to the marketplace"
    } else if error.is_timeout() {
        "the marketplace did not answer in time"
    } else {
        "the connection broke before the answer was whole"
    };
    let error = error.without_url();
    let cause = root_cause(&error).to_string();
    if cause.contains("certificate verify failed") {
        return format!(
            "{kind}: its certificate is not trusted. name a file of the authorities that signed it in `api.ca_file`"
        );
    }
    format!("{kind} ({cause})")
}

/// Percent-encodes an ID as one segment of a path; only unreserved characters stay as they are.
fn percent_encoded(id: &str) -> String {
    use std::fmt::Write as _;
    id.bytes().fold(String::with_capacity(id.len()), |mut path, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => write!(path, "%{byte:02X}").expect("a String takes every write"),
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_retry_after_is_understood_in_seconds_and_as_a_date() {
        let told = |pairs: &[(HeaderName, &'static str)]| retry_after(&headers(pairs));
        assert_eq!(told(&[(RETRY_AFTER, " 7 ")]), Some(Duration::from_secs(7)));
        let (now, later) = ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:29:30 GMT");
        assert_eq!(told(&[(DATE, now), (RETRY_AFTER, later)]), Some(Duration::from_secs(90)));
        assert_eq!(told(&[(DATE, later), (RETRY_AFTER, now)]), Some(Duration::ZERO));
        assert_eq!(told(&[(RETRY_AFTER, "soon")]), None);
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn headers_that_speak_of_more_are_heard() {
        let count = HeaderName::from_static("x-total-count");
        assert_eq!(extent_in(&headers(&[(count, "40")])).total, Some(40));
        let next = |link| extent_in(&headers(&[(LINK, link)])).has_next;
        assert_eq!(next("</ids?page=2>; rel=\"next\", </ids?page=3>; rel=\"last\""), Some(true));
        assert_eq!(next("</ids?page=1>; rel=\"prev\""), Some(false));
        assert_eq!(extent_in(&HeaderMap::new()), Extent::default());
    }

    #[test]
    fn an_id_stays_one_segment_of_the_path() {
        assert_eq!(percent_encoded("A/7 ñ?"), "A%2F7%20%C3%B1%3F");
    }

    #[test]
    fn only_statuses_that_promise_that_nothing_was_read_are_refusals() {
        assert_eq!(refusal(StatusCode::UNAUTHORIZED), Some(Refusal::Token));
        assert_eq!(refusal(StatusCode::FORBIDDEN), Some(Refusal::StartDate));
        assert_eq!(refusal(StatusCode::NOT_FOUND), Some(Refusal::Status(404)));
        for unknown in [200, 302, 408, 429, 500, 502, 504] {
            assert_eq!(refusal(StatusCode::from_u16(unknown).unwrap()), None, "{unknown}");
        }
    }
}

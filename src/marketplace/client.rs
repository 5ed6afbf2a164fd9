//! The marketplace's three resources, over HTTP.
//!
//! The read of new orders is destructive: what it returns is never reported again. So it is asked once, awaited for
//! minutes rather than seconds, and never repeated here; every way in which it can end is a [`Read`], and only the
//! caller decides what follows. The other two reads may be repeated at will.
//!
//! Deliberately absent: retries, redirects, compression (a cut answer must be seen as cut), HTTP/2 (its GOAWAY makes a
//! client repeat requests).

mod charset;
mod chunks;
mod pace;
mod refusal;

use std::pin::Pin;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use native_tls::TlsConnector;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, LINK, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::marketplace::body::{self, Extent, IdList, Message, PageError, PageVerdict};
use crate::order::ids::{OrderId, OrderIds};
use crate::platform::clock;
use refusal::{refusal, said_by};

pub use pace::Pace;
pub use refusal::{Front, Refusal};

/// How many times larger than another body the list of IDs may be: by default 64 MiB, some seven million orders.
pub const LONG_LIST: usize = 8;

/// Where the three resources stand under the base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// The destructive read.
    pub new_orders: String,
    /// IDs of the last 8 days.
    pub order_ids: String,
    /// One order; holds `{id}`.
    pub order: String,
}

/// What a client is built from.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Scheme, host and port, perhaps with a path before the resources'.
    pub base_url: Url,
    /// Where the resources stand.
    pub paths: Paths,
    /// The parameter that asks for a page of the list of IDs, where the marketplace gives it in pages.
    pub list_page_parameter: Option<String>,
    /// For the TCP and TLS handshakes: nothing has been sent while it runs.
    pub connect_timeout: Duration,
    /// Longest silence inside an answer. Long, since a late answer is still the only copy.
    pub idle_timeout: Duration,
    /// Longest time for a whole answer.
    pub total_timeout: Duration,
    /// Largest body that is taken, in bytes. Of the list of IDs, of which only the IDs are held, [`LONG_LIST`] times that.
    pub max_body: usize,
}

/// How a destructive read ended.
#[derive(Debug)]
pub enum Read {
    /// An answer under 200 that came to its end. What it says is [`PageVerdict`](crate::marketplace::body::PageVerdict).
    Fetched(Fetched),
    /// The marketplace, or something in front of it, said no before it read anything.
    Refused(Refusal),
    /// The marketplace has no orders, and does not say so with a page.
    NoOrders(NoOrders),
    /// The marketplace asked for patience (429): nothing was read.
    Busy {
        /// What `Retry-After` asks for, if it is there.
        retry_after: Option<Duration>,
    },
    /// The request never left: no connection.
    NotSent {
        /// What stood in the way, without the URL.
        reason: String,
    },
    /// The marketplace may have marked orders that never reached us.
    Unknown(UnknownOutcome),
}

/// How an answer says that there are no orders, other than with a page without records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoOrders {
    /// 204: an answer that has no body.
    NoContent,
    /// 404 with the API's own message. A wrong path can be answered like this too.
    NotFound,
    /// A message under 200, and no `data`.
    Message,
}

/// An answer as it came.
#[derive(Debug)]
pub struct Fetched {
    /// The body, untouched but for its character set: if that was declared and is another, it is UTF-8 now.
    pub body: Bytes,
    /// When its last byte came.
    pub read_at: Timestamp,
}

/// Why it isn't known what a read marked, with whatever bytes arrived.
pub struct UnknownOutcome {
    /// A sentence without personal data.
    pub reason: String,
    /// The part of the body that came: evidence for whoever looks into it.
    pub partial: Bytes,
    /// What `Retry-After` asks for.
    pub retry_after: Option<Duration>,
}

impl UnknownOutcome {
    /// Nothing came, or nothing that is worth keeping.
    #[must_use]
    pub fn without_body(reason: String) -> Self {
        Self::with_body(reason, Bytes::new())
    }

    /// So much came.
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

/// Why a read that is safe to repeat brought nothing.
#[derive(Debug, Error)]
pub enum ApiError {
    /// Only a person can help.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// 404 for an order that was asked for by ID.
    #[error("the marketplace does not know this order (404)")]
    NotFound,
    /// 429, or a 503 with `Retry-After`, and what that asks for.
    #[error("the marketplace asked for patience (429)")]
    Busy(Option<Duration>),
    /// No answer, a cut one, a time-out, or a status that promises nothing.
    #[error("{0}")]
    Failed(String),
    /// A whole answer of an unknown shape.
    #[error("the answer can't be read: {0}")]
    Shape(#[from] PageError),
}

impl ApiError {
    /// Whether the same request may succeed later without anybody's help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::Failed(_) | Self::Refused(Refusal::InFront(_)))
    }
}

/// What takes its time.
pub type ApiFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A store's marketplace: the seam at which a simulation puts one that loses answers.
#[allow(clippy::missing_errors_doc)]
pub trait Marketplace: std::fmt::Debug + Send + Sync {
    /// The destructive read. Awaiting it must not be cancelled: the answer is the only copy.
    fn new_orders<'a>(&'a self, token: &'a SecretString) -> ApiFuture<'a, Read>;
    /// IDs of all orders of the last 8 days, read or not, or a page of them. Safe to repeat. For errors see [`ApiError`].
    fn order_ids<'a>(&'a self, page: Option<u64>, token: &'a SecretString) -> ApiFuture<'a, Result<IdList, ApiError>>;
    /// One order by its ID: the body as it came. Safe to repeat. For errors see [`ApiError`].
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

/// Made once for all stores: to read the certificates of all authorities takes some 70 ms.
static TLS: LazyLock<Option<TlsConnector>> = LazyLock::new(|| TlsConnector::new().ok());

/// A store's way to the marketplace. Cheap to clone: clones share connections.
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
    /// Fails only where the TLS library can't be set up.
    ///
    /// # Errors
    /// The TLS library's.
    pub fn new(options: ClientOptions) -> Result<Self, reqwest::Error> {
        let builder = match &*TLS {
            Some(tls) => reqwest::Client::builder().tls_backend_preconfigured(tls.clone()),
            // It fails once more, and says why.
            None => reqwest::Client::builder(),
        };
        let http = builder
            .http1_only()
            .tcp_nodelay(true)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .https_only(options.base_url.scheme() == "https")
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.idle_timeout)
            .timeout(options.total_timeout)
            // A connection that the server closed while it was idle would turn a safe call into an unknown one.
            .pool_idle_timeout(Duration::from_secs(4))
            .user_agent(concat!("imotriz-kafka/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { http, options })
    }

    /// The destructive read. Awaiting it must not be cancelled: the answer is the only copy.
    pub async fn new_orders(&self, token: &SecretString) -> Read {
        let response = match self.send(&self.options.paths.new_orders, token).await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_builder() => return Read::NotSent { reason: plain(error) },
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

    /// IDs of all orders of the last 8 days, read or not. Safe to repeat. They are read while they come: at no time is the
    /// body in memory. `page`: which page of them, from 1, where they are asked for in pages. Whether the list is whole is
    /// for the caller to see, by what it says of its extent.
    ///
    /// # Errors
    /// See [`ApiError`]. A list that is cut is an error, never a shorter one.
    ///
    /// # Panics
    /// If the thread that reads did.
    pub async fn order_ids(&self, page: Option<u64>, token: &SecretString) -> Result<IdList, ApiError> {
        let response = self.safe_answer(&self.list_path(page), token).await?;
        let in_headers = extent_in(response.headers());
        if response.status() == StatusCode::NO_CONTENT {
            return Ok(IdList { ids: OrderIds::default(), extent: in_headers });
        }
        let (chunks, body) = chunks::chunks();
        let list = spawn_blocking(move || body::read_id_list(body));
        let whole = self.hand_on(response, chunks).await;
        let list = list.await.expect("reading a list does not panic");
        // First of all: what ends early for the reader may have been cut, or fail for want of its end.
        whole?;
        let IdList { ids, extent } = list?;
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

    /// Hands a body on as it comes, to its end or to where nobody wants more of it.
    async fn hand_on(&self, mut response: Response, chunks: mpsc::Sender<Bytes>) -> Result<(), ApiError> {
        let most = self.options.max_body.saturating_mul(LONG_LIST);
        let mut length = 0;
        while let Some(chunk) = response.chunk().await.map_err(|error| ApiError::Failed(plain(error)))? {
            length += chunk.len();
            if length > most {
                let reason = format!("the list is larger than {most} bytes ({LONG_LIST} times `api.max_body`)");
                return Err(ApiError::Failed(reason));
            }
            if chunks.send(chunk).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// One order by its ID: the body as it came. Safe to repeat.
    ///
    /// # Errors
    /// See [`ApiError`].
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

    /// An answer under 200, its body still to come, or under 204, without one.
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
        // A token that can't stand in a header can't be a valid one: send none and let the server say 401.
        if let Ok(mut value) = HeaderValue::from_str(token.expose_secret()) {
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.send().await
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, CutBody> {
        // The announced length is a hint, not a reason to set aside memory without end.
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
    /// The marketplace may have marked orders, of which so much came.
    #[must_use]
    pub fn unknown(reason: String, partial: Bytes) -> Self {
        Self::Unknown(UnknownOutcome::with_body(reason, partial))
    }

    /// A whole body, of which the last byte has just come.
    #[must_use]
    pub fn fetched(body: Bytes) -> Self {
        Self::Fetched(Fetched { body, read_at: clock::now() })
    }
}

/// A page is one whatever the status says: its records were marked for it, and there is no other copy. Without records it
/// is believed under 404 alone, which a back end answers for an empty result.
fn is_page(status: StatusCode, body: &Bytes) -> bool {
    match PageVerdict::of(body) {
        PageVerdict::Orders(_) => true,
        PageVerdict::Empty(_) => status == StatusCode::NOT_FOUND,
        PageVerdict::Message(..) | PageVerdict::Unreadable(_) => false,
    }
}

/// What a status that promises that nothing was read says.
fn refused(front: Front, refusal: Refusal, body: &[u8]) -> Read {
    if front.status == 404 && Message::of(body).is_some() {
        return Read::NoOrders(NoOrders::NotFound);
    }
    Read::Refused(said_by(front, refusal, body))
}

/// Seconds, or a date. A date is held against the server's own clock, if it tells the time, so that ours need not agree.
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

/// What the headers say of a list's extent: some interfaces put it there.
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

/// The error and its causes in one line, without the URL.
fn plain(error: reqwest::Error) -> String {
    let kind = if error.is_connect() {
        "no connection to the marketplace"
    } else if error.is_timeout() {
        "the marketplace did not answer in time"
    } else {
        "the connection broke before the answer was whole"
    };
    let error = error.without_url();
    let mut cause: &dyn std::error::Error = &error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    let cause = cause.to_string();
    if cause.contains("certificate verify failed") {
        return format!("{kind}: its certificate is not trusted. `SSL_CERT_FILE` names a file of authorities to trust");
    }
    format!("{kind} ({cause})")
}

/// An ID as one segment of a path: all but unreserved characters escaped.
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

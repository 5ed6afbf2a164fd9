//! `[api]` and `[stores.NAME]`: how the marketplace is asked, in general and for one store.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use url::Url;

use super::authorities::CaFile;
use super::secret::{Secret, TokenSource};
use super::values;
use crate::marketplace::client::HostLimits;
use crate::order::country::Country;

/// `[api]`: how the marketplace is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// The interval between two reads of new orders when none is pending.
    #[serde(with = "values::duration")]
    pub poll_interval: Duration,
    /// What that interval grows to while a shop has no orders; see [`Api::longest_poll_interval`].
    #[serde(deserialize_with = "values::duration::optional", serialize_with = "values::duration::serialize_optional")]
    pub poll_interval_max: Option<Duration>,
    /// How many requests to one host are in flight at most, of all stores together. `None` in a store's own settings.
    #[serde(deserialize_with = "values::some_positive")]
    pub max_in_flight_per_host: Option<u32>,
    /// How many requests one host gets per second at most, from all stores together. `None` in a store's own settings.
    #[serde(deserialize_with = "values::some_positive")]
    pub requests_per_second_per_host: Option<u32>,
    /// Authorities to trust besides the machine's.
    pub ca_file: Option<CaFile>,
    /// Time limit for connecting.
    #[serde(with = "values::duration")]
    pub connect_timeout: Duration,
    /// Longest wait for the next byte of an answer. It is long because a late answer of a destructive read is still the
    /// only copy.
    #[serde(with = "values::duration")]
    pub idle_timeout: Duration,
    /// Time limit for a whole request.
    #[serde(with = "values::duration")]
    pub total_timeout: Duration,
    /// The largest body accepted, in bytes.
    #[serde(with = "values::size")]
    pub max_body: u64,
    /// The query parameter for the page number, if the marketplace returns the list of IDs in pages.
    #[serde(deserialize_with = "optional_parameter")]
    pub list_page_parameter: Option<String>,
    /// Paths of the resources.
    pub paths: Paths,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(30),
            poll_interval_max: None,
            max_in_flight_per_host: Some(Self::MAX_IN_FLIGHT),
            requests_per_second_per_host: Some(Self::REQUESTS_PER_SECOND),
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(120),
            total_timeout: Duration::from_secs(300),
            max_body: 8 << 20,
            list_page_parameter: None,
            paths: Paths::default(),
        }
    }
}

impl Api {
    /// The defaults must not slow down any one shop, which waits for each answer before it asks again: it makes some
    /// 50 requests a second at 20 ms an answer, and about a thousand of a server on the same machine. They are there
    /// for the moments when thousands of shops have something to read at once. Polling alone, ten thousand shops make
    /// 333 requests a second at first, and 33 once they are idle.
    const MAX_IN_FLIGHT: u32 = 64;
    const REQUESTS_PER_SECOND: u32 = 1000;
    /// How many poll intervals an idle shop may stay unread by default.
    const LONGEST_IN_INTERVALS: u32 = 10;

    /// What the interval between two reads grows to while a shop has no orders: never less than `poll_interval`.
    #[must_use]
    pub fn longest_poll_interval(&self) -> Duration {
        let default = self.poll_interval.saturating_mul(Self::LONGEST_IN_INTERVALS);
        self.poll_interval_max.unwrap_or(default).max(self.poll_interval)
    }

    /// The limits for each host.
    #[must_use]
    pub fn host_limits(&self) -> HostLimits {
        HostLimits {
            max_in_flight: self.max_in_flight_per_host.unwrap_or(Self::MAX_IN_FLIGHT),
            requests_per_second: self.requests_per_second_per_host.unwrap_or(Self::REQUESTS_PER_SECOND),
        }
    }
}

/// `[api.paths]`: each begins with `/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// Path of the destructive read.
    #[serde(deserialize_with = "path")]
    pub new_orders: String,
    /// Path of the IDs of the last 8 days.
    #[serde(deserialize_with = "path")]
    pub order_ids: String,
    /// Path of one order; `{id}` is replaced by the ID.
    #[serde(deserialize_with = "order_path")]
    pub order: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            new_orders: "/api/cart/transaction/newOrders".to_owned(),
            order_ids: "/api/cart/transaction/ordersIds".to_owned(),
            order: "/api/cart/transaction/order/{id}".to_owned(),
        }
    }
}

fn path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    match is_path(&path) {
        true => Ok(path),
        false => Err(D::Error::custom("is no path: it begins with one `/` and has neither blanks nor any of `{}#\\`")),
    }
}

fn order_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let path = String::deserialize(deserializer)?;
    match path.contains("{id}") && is_path(&path.replacen("{id}", "0", 1)) {
        true => Ok(path),
        false => Err(D::Error::custom("is no path of an order: it begins with one `/` and has `{id}` once")),
    }
}

/// Two slashes at the beginning would send the token to another host. So would a backslash, which counts as a slash in
/// a URL.
fn is_path(text: &str) -> bool {
    let clean = |c: char| c.is_ascii_graphic() && !matches!(c, '{' | '}' | '#' | '\\');
    text.starts_with('/') && !text.starts_with("//") && text.chars().all(clean)
}

/// `[stores.NAME]`, completed with the values of `[api]`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Store {
    /// Determines host, currency and time zone.
    pub country: Country,
    pub base_url: Url,
    /// Whether the token may be sent unencrypted to another machine.
    pub allow_insecure_http: bool,
    /// The token, or its file.
    #[serde(flatten)]
    pub token: TokenSource,
    #[serde(flatten)]
    pub api: Api,
}

/// `[stores.NAME]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoreEntry {
    #[serde(deserialize_with = "values::text")]
    pub country: Country,
    pub token: Option<Secret>,
    pub token_file: Option<PathBuf>,
    #[serde(default, deserialize_with = "optional_url")]
    pub base_url: Option<Url>,
    #[serde(default)]
    pub allow_insecure_http: bool,
    #[serde(default, deserialize_with = "values::duration::optional")]
    poll_interval: Option<Duration>,
    #[serde(default, deserialize_with = "values::duration::optional")]
    poll_interval_max: Option<Duration>,
    ca_file: Option<CaFile>,
    #[serde(default, deserialize_with = "values::duration::optional")]
    connect_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "values::duration::optional")]
    idle_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "values::duration::optional")]
    total_timeout: Option<Duration>,
    #[serde(default, deserialize_with = "values::size::optional")]
    max_body: Option<u64>,
    #[serde(default, deserialize_with = "optional_parameter")]
    list_page_parameter: Option<String>,
    #[serde(default)]
    paths: PathsEntry,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PathsEntry {
    #[serde(deserialize_with = "optional_path")]
    new_orders: Option<String>,
    #[serde(deserialize_with = "optional_path")]
    order_ids: Option<String>,
    #[serde(deserialize_with = "optional_order_path")]
    order: Option<String>,
}

fn optional_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    values::http_url(deserializer).map(Some)
}

/// The parameter is put into a URL unescaped.
fn optional_parameter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = String::deserialize(deserializer)?;
    match !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '[' | ']'))
    {
        true => Ok(Some(name)),
        false => Err(D::Error::custom("is no name of a parameter: it has letters, digits and `-_.[]`, such as `page`")),
    }
}

fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    path(deserializer).map(Some)
}

fn optional_order_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    order_path(deserializer).map(Some)
}

impl StoreEntry {
    /// `[api]` overridden by the values of this store.
    pub fn api(&self, general: &Api) -> Api {
        let path = |own: &Option<String>, general: &String| own.as_ref().unwrap_or(general).clone();
        Api {
            poll_interval: self.poll_interval.unwrap_or(general.poll_interval),
            poll_interval_max: self.poll_interval_max.or(general.poll_interval_max),
            max_in_flight_per_host: None,
            requests_per_second_per_host: None,
            ca_file: self.ca_file.as_ref().or(general.ca_file.as_ref()).cloned(),
            connect_timeout: self.connect_timeout.unwrap_or(general.connect_timeout),
            idle_timeout: self.idle_timeout.unwrap_or(general.idle_timeout),
            total_timeout: self.total_timeout.unwrap_or(general.total_timeout),
            max_body: self.max_body.unwrap_or(general.max_body),
            list_page_parameter: self.list_page_parameter.as_ref().or(general.list_page_parameter.as_ref()).cloned(),
            paths: Paths {
                new_orders: path(&self.paths.new_orders, &general.paths.new_orders),
                order_ids: path(&self.paths.order_ids, &general.paths.order_ids),
                order: path(&self.paths.order, &general.paths.order),
            },
        }
    }
}

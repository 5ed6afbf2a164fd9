//! The small sections.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::Targets;
use url::Url;

use super::authorities::CaFile;
use super::secret::{PasswordSource, Secret};
use super::values;
use crate::order::ids::StoreName;
use crate::order::privacy::Personal;

/// `[schema_registry]`: a registry with Confluent's API. Without it, events are in Avro's single-object encoding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SchemaRegistry {
    pub url: Url,
    /// Whether missing schemas are registered.
    pub auto_register: bool,
    /// Time limit for a whole request.
    #[serde(with = "values::duration")]
    pub timeout: Duration,
    /// Authorities to trust besides the machine's.
    pub ca_file: Option<CaFile>,
    /// The user, if the registry requires a login. Never set without a password.
    pub username: Option<String>,
    #[serde(flatten)]
    pub password: Option<PasswordSource>,
}

/// `[schema_registry]` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SchemaRegistryEntry {
    #[serde(deserialize_with = "values::http_url")]
    pub url: Url,
    #[serde(default = "yes")]
    pub auto_register: bool,
    #[serde(default = "ten_seconds", with = "values::duration")]
    pub timeout: Duration,
    pub ca_file: Option<CaFile>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub password_file: Option<PathBuf>,
}

fn yes() -> bool {
    true
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// `[spool]`: where pages are until they are published.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// The folder; only one process may use it at a time. A relative path is relative to the working directory.
    pub dir: PathBuf,
    /// How many pages may wait. At this limit, reading stops.
    #[serde(deserialize_with = "values::positive")]
    pub max_pages: u32,
    /// The disk space reserved before each destructive read, in bytes.
    #[serde(with = "values::size")]
    pub page_space: u64,
}

impl Default for Spool {
    fn default() -> Self {
        Self { dir: "spool".into(), max_pages: 64, page_space: 256 << 10 }
    }
}

/// `[cluster]`: several instances share the stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Whether this process is one of several instances. All of them need the same stores, topics and prefix, and a spool
    /// of their own each.
    pub enabled: bool,
    /// The consumer group in which the instances share the lanes.
    pub group_id: String,
    /// A name of this instance that stays the same when it is started again.
    pub instance_id: Option<String>,
    /// An instance that gives no sign of life for this long loses its lanes.
    #[serde(with = "values::duration")]
    pub session_timeout: Duration,
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            enabled: false,
            group_id: "imotriz-kafka".to_owned(),
            instance_id: None,
            session_timeout: Duration::from_secs(45),
        }
    }
}

/// `[telemetry]`: traces and the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where traces are sent, if they are.
    #[serde(deserialize_with = "values::optional_http_url")]
    pub otlp_endpoint: Option<Url>,
    /// What is logged, if the environment says nothing else.
    #[serde(with = "values::log_filter")]
    pub log: Targets,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { otlp_endpoint: None, log: "info,rdkafka=off".parse().expect("the default is well-formed") }
    }
}

/// `[admin]`: health, metrics and the status page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The address to listen on; port 0 takes any free port.
    #[serde(deserialize_with = "values::address")]
    pub listen: SocketAddr,
    /// Stores whose metrics have series of their own.
    #[serde(deserialize_with = "values::list")]
    pub metrics_stores: Vec<StoreName>,
    /// Names under which the server may be asked, besides addresses, `localhost` and names without a dot.
    #[serde(deserialize_with = "values::list")]
    pub hosts: Vec<String>,
}

impl Default for Admin {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 9464));
        Self { listen, metrics_stores: Vec::new(), hosts: Vec::new() }
    }
}

/// `[reconcile]`: compares the list of IDs with the published orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reconcile {
    /// The interval between two passes.
    #[serde(with = "values::duration")]
    pub interval: Duration,
    /// Whether published orders are fetched again to detect changes.
    pub detect_changes: bool,
    /// How many of them are fetched per second at most.
    #[serde(deserialize_with = "values::positive")]
    pub changes_per_second: u16,
    /// How many orders of a store are fetched in parallel.
    #[serde(deserialize_with = "values::positive")]
    pub concurrency: u16,
    /// How long a published order is remembered; never shorter than the marketplace may list it.
    #[serde(with = "values::duration")]
    pub retention: Duration,
}

impl Default for Reconcile {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(600),
            detect_changes: false,
            changes_per_second: 5,
            concurrency: 8,
            retention: Reconcile::DAY * 90,
        }
    }
}

impl Reconcile {
    const DAY: Duration = Duration::from_secs(86_400);
    /// The marketplace lists orders up to 30 days back. An order that is forgotten sooner would be published again.
    pub(super) const LEAST_RETENTION: Duration = Self::DAY.saturating_mul(31);
}

/// `[events]`: what an event holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// How much of the buyer the orders topic shows.
    pub personal: Personal,
}

/// `[resync]`: what happens when a seller asks for an order again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resync {
    /// Whether to publish it always, or only if it changed.
    pub policy: ResyncPolicy,
}

/// What happens to a published order when the marketplace reports it as new again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResyncPolicy {
    /// It is published with the next revision.
    #[default]
    Publish,
    /// It is published with the next revision, unless its content equals that of the last event.
    SuppressUnchanged,
}

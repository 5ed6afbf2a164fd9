//! The environment of the pipeline: marketplace, broker, an empty spool, and the settings that point to them.

use std::io;
use std::path::PathBuf;
use std::{env, fs};

use thiserror::Error;
use toml::Value;
use uuid::Uuid;

use super::broker::{BrokerError, EmbeddedBroker};
use crate::config::{Config, ConfigError};
use crate::kafka::topics::{Layout, TopicPlan};
use crate::sandbox::{Market, Rates, Sandbox, SandboxArgs, Shop};

/// The faults by default: pages that are marked and then cut off; errors and cut connections that mark nothing, which a
/// client can't tell from the former; late answers; requests to slow down; and JSON as PHP writes it.
pub const FAULTS: &str = "truncate=0.02,drop-after=0.02,error-before=0.02,drop-before=0.02,empty-pending=0.01,throttle:1s=0.01,late:250ms=0.03,\
                          object-data=0.03,empty-as-list=0.03,duplicates=0.03,bom=0.02,text-html=0.02,overfull=0.02";

/// The options of a demonstration.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// How many orders are in the shop at first.
    pub orders: usize,
    /// Determines the orders, and which reads meet which fault.
    pub seed: u64,
    /// What goes wrong, and how often.
    pub faults: Rates,
    /// A real broker to use instead of the embedded one.
    pub bootstrap_servers: Option<String>,
}

/// Why the demonstration can't start.
#[derive(Debug, Error)]
pub enum DemoError {
    /// There are more orders than the embedded broker is sure to keep.
    #[error(
        "the embedded broker keeps 5 MiB of a partition, which {most} orders are sure to fit in, and {asked} may not: use \
         a real broker, --bootstrap-servers HOST:PORT"
    )]
    TooMany { asked: usize, most: usize },
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The settings are wrong: a bug of this program, or a malformed broker address.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The operating system refused something.
    #[error("{what}: {why}")]
    System {
        /// What was tried.
        what: &'static str,
        why: io::Error,
    },
}

/// Everything except the pipeline and the consumer.
pub struct DemoEnvironment {
    pub sandbox: Sandbox,
    pub config: Config,
    broker: Option<EmbeddedBroker>,
    _spool: ScratchDirectory,
}

impl DemoEnvironment {
    /// Starts the marketplace and, unless the options name a broker, the embedded one.
    ///
    /// # Errors
    /// [`DemoError`].
    pub async fn build(options: DemoOptions) -> Result<Self, DemoError> {
        let DemoOptions { orders, seed, faults, bootstrap_servers } = options;
        let most = EmbeddedBroker::MOST_ORDERS;
        if bootstrap_servers.is_none() && orders > most {
            return Err(DemoError::TooMany { asked: orders, most });
        }
        let args = SandboxArgs { seed, faults, ..SandboxArgs::with_orders(orders) };
        let token = args.token.clone();
        let sandbox = Sandbox::serve(Market::new(&args), args.listen, args.delay).await;
        let sandbox = sandbox.map_err(|why| DemoError::System { what: "starting the sandbox", why })?;
        let spool = ScratchDirectory::new().map_err(|why| DemoError::System { what: "making a spool", why })?;
        let settings = Settings {
            // Unique, so that several demonstrations can use one real broker.
            name: format!("imotriz-demo-{}", Uuid::now_v7().simple()),
            bootstrap_servers: bootstrap_servers.clone().unwrap_or_else(|| "embedded:9092".to_owned()),
            spool: spool.0.display().to_string(),
            base_url: sandbox.base_url(),
            token,
        };
        let mut config = Config::from_toml(&settings.toml())?;
        let broker = match bootstrap_servers {
            Some(_) => None,
            None => Some(EmbeddedBroker::start(&TopicPlan::from(&config.kafka))?),
        };
        if let Some(broker) = &broker {
            // The broker's port is known only once it runs, and it starts with the topics of the settings.
            broker.bootstrap_servers().clone_into(&mut config.kafka.bootstrap_servers);
        }
        Ok(Self { sandbox, config, broker, _spool: spool })
    }

    /// Returns a handle to the marketplace's state.
    #[must_use]
    pub fn shop(&self) -> Shop {
        self.sandbox.shop()
    }

    /// Returns the layout of the embedded broker. None for a real broker, which can be asked.
    #[must_use]
    pub fn known_layout(&self) -> Option<Layout> {
        self.broker.as_ref().map(EmbeddedBroker::layout)
    }
}

struct Settings {
    name: String,
    bootstrap_servers: String,
    spool: String,
    base_url: String,
    token: String,
}

impl Settings {
    fn toml(&self) -> String {
        let text = |text: &str| Value::from(text).to_string();
        format!(
            r#"
            [kafka]
            bootstrap_servers = {servers}
            transactional_id_prefix = {name}
            [kafka.topics]
            orders = {orders}
            tracking = {tracking}
            dead_letter = {dead_letter}
            [spool]
            dir = {spool}
            [api]
            poll_interval = "1s"
            [stores.demo]
            country = "CO"
            base_url = {base_url}
            token = {token}
            "#,
            servers = text(&self.bootstrap_servers),
            name = text(&self.name),
            orders = text(&format!("{}.orders", self.name)),
            tracking = text(&format!("{}.tracking", self.name)),
            dead_letter = text(&format!("{}.dlq", self.name)),
            spool = text(&self.spool),
            base_url = text(&self.base_url),
            token = text(&self.token),
        )
    }
}

/// A directory that is removed on drop.
struct ScratchDirectory(PathBuf);

impl ScratchDirectory {
    fn new() -> io::Result<Self> {
        let path = env::temp_dir().join(format!("imotriz-kafka-demo-{}", Uuid::now_v7().simple()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for ScratchDirectory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::debug!(%error, "the demonstration's spool stays behind");
        }
    }
}

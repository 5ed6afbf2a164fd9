//! What the program meets outside of itself, and the real of it.

use std::sync::Arc;

use super::AppError;
use crate::config::{self, Config};
use crate::kafka::{Broker, Cluster, Connection};
use crate::marketplace::client::{Client, ClientOptions, Marketplace, Paths};
use crate::order::ids::StoreName;
use crate::platform::disk::{Disk, RealDisk};
use crate::platform::jobs::{Jobs, Threads};

/// What the program meets outside of itself: the seam at which a simulation puts all of it.
#[derive(Clone)]
pub struct Environment {
    /// Where the spool is.
    pub disk: Arc<dyn Disk>,
    /// Threads.
    pub jobs: Arc<dyn Jobs>,
    /// Kafka.
    pub broker: Arc<dyn Broker>,
    /// The way to a store's marketplace.
    pub marketplace: Arc<MarketplaceFactory>,
}

/// Makes the way to a store's marketplace, as the settings describe it.
pub type MarketplaceFactory =
    dyn Fn(&StoreName, &config::Store) -> Result<Arc<dyn Marketplace>, AppError> + Send + Sync;

impl Environment {
    /// Those of a real program.
    #[must_use]
    pub fn real(config: &Config) -> Self {
        let (connection, tracking) = (Connection::from(&config.kafka), config.kafka.topics.tracking.clone());
        Self {
            disk: RealDisk::shared(),
            jobs: Threads::shared(),
            broker: Arc::new(Cluster { connection, tracking }),
            marketplace: Arc::new(|_, store| Ok(Arc::new(client(store)?))),
        }
    }
}

/// A store's way to the marketplace, as the settings describe it.
///
/// # Errors
/// [`AppError::Start`].
pub(crate) fn client(store: &config::Store) -> Result<Client, AppError> {
    let api = &store.api;
    let options = ClientOptions {
        base_url: store.base_url.clone(),
        paths: Paths {
            new_orders: api.paths.new_orders.clone(),
            order_ids: api.paths.order_ids.clone(),
            order: api.paths.order.clone(),
        },
        list_page_parameter: api.list_page_parameter.clone(),
        connect_timeout: api.connect_timeout,
        idle_timeout: api.idle_timeout,
        total_timeout: api.total_timeout,
        max_body: usize::try_from(api.max_body).unwrap_or(usize::MAX),
    };
    Client::new(options).map_err(|error| AppError::Start { what: "making the HTTP client", why: error.to_string() })
}

//! The program's external dependencies, and their real implementations.

use std::sync::Arc;

use super::error::AppError;
use crate::config::{self, CaFile, Config};
use crate::kafka::topics::TopicNames;
use crate::kafka::{Broker, Cluster, Connection, GroupOptions};
use crate::marketplace::client::{Client, ClientOptions, Connections, Marketplace, Paths};
use crate::order::ids::StoreName;
use crate::platform::disk::{Disk, RealDisk};
use crate::platform::jobs::{Jobs, Threads};

/// The program's external dependencies: the seam at which a simulation replaces all of them.
#[derive(Clone)]
pub struct Environment {
    /// The disk that holds the spool.
    pub disk: Arc<dyn Disk>,
    pub jobs: Arc<dyn Jobs>,
    pub broker: Arc<dyn Broker>,
    pub marketplace: Arc<MarketplaceFactory>,
}

/// Builds a store's marketplace client from its settings.
pub type MarketplaceFactory =
    dyn Fn(&StoreName, &config::Store) -> Result<Arc<dyn Marketplace>, AppError> + Send + Sync;

impl Environment {
    /// The real disk, threads, cluster and HTTP client.
    #[must_use]
    pub fn real(config: &Config) -> Self {
        let (connection, topics) = (Connection::from(&config.kafka), TopicNames::from(&config.kafka));
        let connections = Connections::default();
        Self {
            disk: RealDisk::shared(),
            jobs: Threads::shared(),
            broker: Arc::new(Cluster { connection, topics, group: GroupOptions::from(&config.cluster) }),
            marketplace: Arc::new(move |_, store| Ok(Arc::new(client(store, &connections)?))),
        }
    }
}

/// Builds a store's HTTP client from its settings.
pub(crate) fn client(store: &config::Store, connections: &Connections) -> Result<Client, AppError> {
    let api = &store.api;
    let options = ClientOptions {
        base_url: store.base_url.clone(),
        paths: Paths {
            new_orders: api.paths.new_orders.clone(),
            order_ids: api.paths.order_ids.clone(),
            order: api.paths.order.clone(),
        },
        list_page_parameter: api.list_page_parameter.clone(),
        authorities: api.ca_file.as_ref().map(CaFile::read).transpose()?,
        connect_timeout: api.connect_timeout,
        idle_timeout: api.idle_timeout,
        total_timeout: api.total_timeout,
        max_body: usize::try_from(api.max_body).unwrap_or(usize::MAX),
    };
    Client::new(options, connections)
        .map_err(|error| AppError::Start { what: "making the HTTP client", why: error.to_string() })
}

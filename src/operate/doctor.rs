//! `doctor`: checks whether everything that the program needs is there and set up as it should be. Each finding says
//! what to do.
//!
//! The checks change nothing, and never make the destructive read. They leave one trace: a transactional ID of their
//! own on the broker, because they open a producer as a drain does.

mod broker;
mod each_store;
mod group;
mod marketplace;
mod registry;
mod spool;
mod stores;

use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

pub use marketplace::check_token;
pub use stores::examine_stores;

use crate::config::Config;
use crate::order::ids::StoreName;

/// Timeout of each check. Whoever waits takes a later answer for none.
const CHECK_TIMEOUT: Duration = Duration::from_secs(12);

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Good,
    /// It works, and somebody should look at it.
    Doubtful,
    /// It does not work, or breaks a guarantee.
    Bad,
    /// It was not checked, because something that it needs is bad.
    Skipped,
}

/// A check and what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked, such as `token bogota`.
    pub name: String,
    /// The store that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreName>,
    pub health: Health,
    pub found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cure: Option<String>,
}

impl Check {
    fn good(name: impl Into<String>, found: impl Into<String>) -> Self {
        Self { name: name.into(), store: None, health: Health::Good, found: found.into(), cure: None }
    }

    fn doubtful(name: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name: name.into(), store: None, health: Health::Doubtful, found: found.into(), cure: Some(cure.into()) }
    }

    fn bad(name: impl Into<String>, found: impl Into<String>, cure: impl Into<String>) -> Self {
        Self { name: name.into(), store: None, health: Health::Bad, found: found.into(), cure: Some(cure.into()) }
    }

    fn of_store(self, store: &StoreName) -> Self {
        Self { store: Some(store.clone()), ..self }
    }

    fn skipped(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self { name: name.into(), store: None, health: Health::Skipped, found: why.into(), cure: None }
    }
}

/// Runs all checks at the same time. Returns them in the order in which a person should work through them.
pub async fn examine(config: &Config) -> Vec<Check> {
    let (spool, broker, registry, marketplace) = tokio::join!(
        in_time("spool", "see whether the disk answers: `df` and the kernel's log tell", spool::check(&config.spool)),
        in_time(
            "broker",
            "see that the broker of `kafka.bootstrap_servers` runs and is not overloaded",
            broker::check(config)
        ),
        in_time("registry", "see that the registry of `schema_registry.url` runs", registry::check(config)),
        marketplace::check(config),
    );
    let is_reachable = broker.first().is_some_and(|check| check.health == Health::Good);
    let (group, records) = match is_reachable {
        true => tokio::join!(
            in_time("group", "see that all brokers run", group::check(config)),
            in_time("records", "see that all brokers and the registry run", registry::records(config))
        ),
        false => Default::default(),
    };
    [spool, broker, group, registry, records, stores::refused(config, |_| true), marketplace].concat()
}

async fn in_time(name: &str, cure: &str, check: impl Future<Output = Vec<Check>>) -> Vec<Check> {
    let late = |_| vec![Check::bad(name, format!("no answer within {} s", CHECK_TIMEOUT.as_secs()), cure)];
    timeout(CHECK_TIMEOUT, check).await.unwrap_or_else(late)
}

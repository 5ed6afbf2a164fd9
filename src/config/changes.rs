//! What differs between two loads of the settings.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Config;
use super::error::Origin;
use super::key::Key;
use super::layers::RefusedStore;
use super::store::Store;
use crate::order::ids::StoreName;

/// What became of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreChange {
    Added,
    /// One of its settings is another one, or comes from another `[api]`. A token file whose content changes is no change.
    Changed,
    Removed,
}

/// The stores that differ, by what is in force in the end: where a setting stands does not matter.
#[must_use]
pub fn changes(
    former: &BTreeMap<StoreName, Arc<Store>>,
    new: &BTreeMap<StoreName, Arc<Store>>,
) -> BTreeMap<StoreName, StoreChange> {
    let removed = former.keys().filter(|name| !new.contains_key(*name)).map(|name| (name, StoreChange::Removed));
    let others = new.iter().filter_map(|(name, store)| match former.get(name) {
        None => Some((name, StoreChange::Added)),
        Some(former) if former != store => Some((name, StoreChange::Changed)),
        Some(_) => None,
    });
    removed.chain(others).map(|(name, change)| (name.clone(), change)).collect()
}

impl Config {
    /// Whether these settings differ from the former ones in anything besides the stores, the admin server and the log. A
    /// file with a secret of Kafka or the registry that was replaced is a difference.
    #[must_use]
    pub fn differs_beyond_stores(&self, former: &Self) -> bool {
        let Self { kafka, schema_registry, spool, cluster, reconcile, mapping, resync, events, secret_files, .. } =
            self;
        let otlp_endpoint = &self.telemetry.otlp_endpoint;
        (kafka, schema_registry) != (&former.kafka, &former.schema_registry)
            || (spool, cluster) != (&former.spool, &former.cluster)
            || (reconcile, mapping) != (&former.reconcile, &former.mapping)
            || (resync, events) != (&former.resync, &former.events)
            || (secret_files, otlp_endpoint) != (&former.secret_files, &former.telemetry.otlp_endpoint)
            || self.api.host_limits() != former.api.host_limits()
    }

    /// Leaves the former settings of stores in force whose new ones are refused. Of a file of which nothing can be used
    /// these are all its stores.
    pub fn keep_refused(&mut self, former: &Self) {
        let is_refused = |name: &StoreName| self.refused.iter().any(|refused| former.defines(name, refused));
        let kept: Vec<_> =
            former.stores.iter().filter(|(name, _)| !self.stores.contains_key(*name) && is_refused(name)).collect();
        for (name, store) in kept {
            self.stores.insert(name.clone(), store.clone());
            self.origins.copy_store(name, &former.origins);
        }
    }

    /// Refuses a store of the folder for a reason that shows only when its settings are used.
    pub fn refuse(&mut self, name: &StoreName, reason: String) {
        let file = self.place(name).and_then(Origin::file).map(Path::to_owned);
        self.stores.remove(name);
        self.refused.push(RefusedStore { store: Some(name.clone()), file, reason });
    }

    /// Whether a file of the folder `stores_dir` defines the store.
    #[must_use]
    pub fn is_in_folder(&self, name: &StoreName) -> bool {
        let folder = self.place(name).and_then(Origin::file).and_then(Path::parent);
        folder.is_some() && folder == self.stores_dir.as_deref()
    }

    /// Whether what was refused takes the place of what these settings say about the store.
    fn defines(&self, name: &StoreName, refused: &RefusedStore) -> bool {
        match (&refused.store, &refused.file) {
            (Some(store), _) => store == name,
            (None, Some(path)) => self.place(name).is_some_and(|place| place.file() == Some(path.as_path())),
            (None, None) => false,
        }
    }

    /// Where the store is defined.
    #[must_use]
    pub fn place(&self, name: &StoreName) -> Option<&Origin> {
        self.origins.get(&Key::of_store(name))
    }
}

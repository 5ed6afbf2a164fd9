//! What the lanes know of the stores.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::avro::event::Readers;
use crate::order::country::Country;
use crate::order::ids::StoreName;
use crate::order::mapping::Mapping;
use crate::pipeline::counters::StoreCounters;

/// What a lane needs to know of a store.
#[derive(Debug, Clone)]
pub struct StoreFacts {
    /// Determines currency and time zone.
    pub country: Country,
    /// Where the fields are in a record.
    pub mapping: Arc<Mapping>,
    /// Who sees what of its buyers.
    pub readers: Readers,
    pub counters: Arc<StoreCounters>,
}

/// The stores of all lanes. Clones share them. A store may come or change while the lanes are at work. None goes: pages
/// of a store that was removed may still wait to be published.
#[derive(Debug, Clone, Default)]
pub struct Stores(Arc<RwLock<HashMap<StoreName, StoreFacts>>>);

impl Stores {
    /// Makes a store known, which has to be done before its first read.
    pub fn set(&self, name: StoreName, facts: StoreFacts) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(name, facts);
    }

    #[must_use]
    pub fn get(&self, name: &StoreName) -> Option<StoreFacts> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Whether the store was made known.
    #[must_use]
    pub fn knows(&self, name: &StoreName) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(name)
    }
}

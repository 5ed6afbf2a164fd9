//! Where each setting was set.

use std::collections::BTreeMap;

use super::error::{ConfigError, Origin};
use super::key::Key;
use crate::order::ids::StoreName;

/// The place where each setting or section was set, by the layer that wins. Contains no values.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(BTreeMap<Key, Origin>);

impl Origins {
    /// Where a setting was set. For a store's setting that the store does not set, where `[api]` sets it.
    pub(super) fn of(&self, key: &Key) -> Origin {
        let general = match key.segments() {
            [stores, _, rest @ ..] if stores == "stores" => {
                Some(Key::new(["api"]).segments().iter().chain(rest).cloned().collect::<Vec<_>>())
            }
            _ => None,
        };
        let own = self.0.get(key);
        own.or_else(|| self.0.get(&Key::new(general?))).cloned().unwrap_or(Origin::Default)
    }

    /// Where this very setting or section was set.
    pub(super) fn get(&self, key: &Key) -> Option<&Origin> {
        self.0.get(key)
    }

    pub(super) fn set(&mut self, key: Key, origin: Origin) {
        self.0.insert(key, origin);
    }

    pub(super) fn set_if_absent(&mut self, key: Key, origin: &Origin) {
        self.0.entry(key).or_insert_with(|| origin.clone());
    }

    /// The names of all stores, those included that only a variable names.
    pub(super) fn stores(&self) -> impl Iterator<Item = &str> {
        self.below(Key::dotted("stores")).filter_map(|(key, _)| match key.segments() {
            [_, store] => Some(store.as_str()),
            _ => None,
        })
    }

    /// Takes the places of a store's settings from `other`.
    pub(super) fn copy_store(&mut self, name: &StoreName, other: &Self) {
        let places = other.below(Key::of_store(name));
        self.0.extend(places.map(|(key, origin)| (key.clone(), origin.clone())));
    }

    /// A section, and all that is in it.
    fn below(&self, section: Key) -> impl Iterator<Item = (&Key, &Origin)> {
        let depth = section.segments().len();
        self.0
            .range(section.clone()..)
            .take_while(move |(key, _)| key.segments().get(..depth) == Some(section.segments()))
    }

    /// Where a person should look: the place of the setting, or else of the nearest section around it.
    fn nearest(&self, key: &Key) -> Origin {
        let mut key = Some(key.clone());
        while let Some(here) = key {
            if let Some(origin) = self.0.get(&here) {
                return origin.clone();
            }
            key = here.parent();
        }
        Origin::Default
    }

    /// The error for an unusable value.
    pub(super) fn invalid(&self, key: Key, reason: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { origin: self.nearest(&key), key, reason: reason.into() }
    }

    /// The error for an unknown key.
    pub(super) fn unknown(&self, key: Key, hint: String) -> ConfigError {
        ConfigError::Unknown { origin: self.nearest(&key), hint, key }
    }
}

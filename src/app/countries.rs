//! Remembers in the spool's folder which country a store is of. It is all that publishing takes of a store's own
//! settings, so the pages of a store that was removed do not wait for its return.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::config;
use crate::order::country::Country;
use crate::order::ids::StoreName;
use crate::platform::disk::{Disk, replace};

const FILE: &str = "countries.json";

type Countries = BTreeMap<StoreName, Country>;

pub(super) struct StoreCountries {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    known: Mutex<Countries>,
}

impl StoreCountries {
    /// Reads the file in `dir`. One that can't be read is begun anew.
    pub(super) fn open_on(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        let path = dir.join(FILE);
        let read = disk.read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
        let known = read.unwrap_or_else(|error| {
            if error.kind() != ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the countries of the stores are not known any more");
            }
            Countries::new()
        });
        Self { disk, path, known: Mutex::new(known) }
    }

    pub(super) fn of(&self, store: &StoreName) -> Option<Country> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(store).copied()
    }

    /// Adds these stores, durably, and forgets those that are neither among them nor to be kept. Call it before their first
    /// read.
    pub(super) fn remember(
        &self,
        stores: &BTreeMap<StoreName, Arc<config::Store>>,
        is_kept: impl Fn(&StoreName) -> bool,
    ) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = known.iter().filter(|(name, _)| is_kept(name)).map(|(name, country)| (name.clone(), *country));
        let now: Countries = kept.chain(stores.iter().map(|(name, store)| (name.clone(), store.country))).collect();
        if *known == now {
            return;
        }
        let text = serde_json::to_vec_pretty(&now).map_err(Into::into);
        match text.and_then(|text| replace(&*self.disk, &self.path, &text)) {
            Ok(()) => *known = now,
            // What is read meanwhile is published all the same, unless its store is removed before the next start.
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "the countries of the stores can't be written down")
            }
        }
    }
}

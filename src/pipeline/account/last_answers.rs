//! How many orders were pending after each store's last answer. A process that ends leaves it to the next one.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use super::error::AccountError;
use crate::marketplace::body::Pending;
use crate::order::ids::StoreName;
use crate::platform::disk::{self, Disk};

const FILE: &str = "pending.json";

#[derive(Debug, Default)]
pub(super) struct LastAnswers(BTreeMap<StoreName, Pending>);

impl LastAnswers {
    /// Takes up what the former process left. The file goes before any read: it says nothing of what is read from now on.
    pub(super) fn take(disk: &dyn Disk, dir: &Path) -> Result<Self, AccountError> {
        let path = dir.join(FILE);
        let text = match disk.read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(AccountError::io(&path))?,
        };
        // guard: a note is believed once
        disk.remove(&path).and_then(|()| disk.sync_dir(dir)).map_err(AccountError::io(&path))?;
        Ok(Self(serde_json::from_slice(&text).unwrap_or_default()))
    }

    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), AccountError> {
        let path = dir.join(FILE);
        if self.0.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(&self.0).map_err(AccountError::parse(&path))?;
        disk::replace(disk, &path, &text).map_err(AccountError::io(&path))
    }

    pub(super) fn get(&self, store: &StoreName) -> Option<Pending> {
        self.0.get(store).copied()
    }

    pub(super) fn leave(&mut self, is_left: impl Fn(&StoreName) -> bool) {
        self.0.retain(|store, _| !is_left(store));
    }

    /// Returns the former number.
    pub(super) fn set(&mut self, store: &StoreName, pending: Option<Pending>) -> Option<Pending> {
        match pending {
            Some(pending) => self.0.insert(store.clone(), pending),
            None => self.0.remove(store),
        }
    }
}

//! Polls that the end of a process may have cut off.
//!
//! A poll follows an answer that nothing is pending, and leaves no trace before it is answered. So after a process that
//! did not end well, a poll of any store may have marked orders. They were placed since the answer before it: the list of
//! IDs shows them, and the first pass over the store finds them. Only if that pass comes too late, or the clock can't be
//! believed, is there something to account for.
//!
//! `cut-off.json` names the stores that no pass has looked at yet. It is written at the start and removed when none is
//! left; a process that is killed in between looks once more.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::error::AccountError;
use super::gap::{Gap, LostRead, OpenLoss, PAGE};
use crate::marketplace::body::Pending;
use crate::order::ids::{ReadId, StoreName};
use crate::platform::disk::{self, Disk, gone_is_as_good};

const FILE: &str = "cut-off.json";

/// More than the time from a store's last answer to the last sign of life of its process.
const MARGIN: SignedDuration = SignedDuration::from_hours(24);

/// The end of a process, and the stores that no pass has looked at since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CutOff {
    /// When the process was last seen alive.
    alive: Timestamp,
    stores: BTreeSet<StoreName>,
}

impl CutOff {
    pub(super) fn new(alive: Timestamp, stores: BTreeSet<StoreName>) -> Self {
        Self { alive, stores }
    }

    /// What may be lost of this store, judged by a pass that took its list at this time.
    fn judge(&self, store: &StoreName, listed_at: Timestamp) -> Option<Gap> {
        let since = self.alive.checked_sub(MARGIN).unwrap_or(Timestamp::MIN);
        let reason = "the process ended while it polled".to_owned();
        let read = LostRead { read_id: ReadId::fresh(), since, reason, at_most: PAGE };
        let mut gap = Gap::new(store.clone(), read, Some(Pending { orders: 0, at: since }));
        gap.answer(None);
        gap.look(listed_at, 0);
        (gap.open() != OpenLoss::Nothing).then_some(gap)
    }
}

/// All of them, the oldest first.
#[derive(Debug, Default)]
pub(super) struct CutOffs(pub(super) Vec<CutOff>);

impl CutOffs {
    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, AccountError> {
        let path = dir.join(FILE);
        match disk.read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(AccountError::io(&path)(error)),
            Ok(text) => Ok(Self(serde_json::from_slice(&text).map_err(AccountError::parse(&path))?)),
        }
    }

    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), AccountError> {
        let path = dir.join(FILE);
        if self.0.is_empty() {
            return gone_is_as_good(disk.remove(&path)).map_err(AccountError::io(&path));
        }
        let text = serde_json::to_vec(&self.0).map_err(AccountError::parse(&path))?;
        disk::replace(disk, &path, &text).map_err(AccountError::io(&path))
    }

    pub(super) fn has(&self, store: &StoreName) -> bool {
        self.0.iter().any(|cut_off| cut_off.stores.contains(store))
    }

    /// What may be lost of a store that a pass has looked at.
    pub(super) fn judge(&self, store: &StoreName, listed_at: Timestamp) -> Vec<Gap> {
        let of_store = self.0.iter().filter(|cut_off| cut_off.stores.contains(store));
        of_store.filter_map(|cut_off| cut_off.judge(store, listed_at)).collect()
    }

    /// Takes a store off, once the account holds what may be lost. Returns whether an entry is over with it.
    pub(super) fn take_off(&mut self, store: &StoreName) -> bool {
        let before = self.0.len();
        self.0.iter_mut().for_each(|cut_off| {
            cut_off.stores.remove(store);
        });
        self.0.retain(|cut_off| !cut_off.stores.is_empty());
        self.0.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::super::gap::LISTED;
    use super::*;

    #[test]
    fn only_a_pass_that_comes_too_late_leaves_a_doubt() {
        let (alive, bogota): (Timestamp, StoreName) =
            ("2026-11-24T10:00:00Z".parse().unwrap(), "bogota".parse().unwrap());
        let cut_offs = CutOffs(vec![CutOff::new(alive, BTreeSet::from([bogota.clone()]))]);
        let open = |listed_at| cut_offs.judge(&bogota, listed_at).iter().map(Gap::open).collect::<Vec<_>>();
        assert_eq!(open(alive), []);
        assert_eq!(open(alive + LISTED - MARGIN - SignedDuration::from_secs(1)), []);
        assert_eq!(open(alive + LISTED - MARGIN), [OpenLoss::UnknownUpTo(PAGE)]);
        assert_eq!(open(alive - MARGIN * 2), [OpenLoss::UnknownUpTo(PAGE)], "the clock was set back");
    }

    #[test]
    fn it_is_over_when_a_pass_has_looked_at_each_store() {
        let dir = tempfile::tempdir().unwrap();
        let disk = disk::RealDisk;
        let [bogota, cali]: [StoreName; 2] = ["bogota", "cali"].map(|name| name.parse().unwrap());
        let stores = BTreeSet::from([bogota.clone(), cali.clone()]);
        CutOffs(vec![CutOff::new(Timestamp::UNIX_EPOCH, stores)]).write(&disk, dir.path()).unwrap();
        let mut cut_offs = CutOffs::read(&disk, dir.path()).unwrap();
        assert!(cut_offs.has(&bogota) && !cut_offs.take_off(&bogota) && !cut_offs.has(&bogota));
        assert!(cut_offs.has(&cali) && cut_offs.take_off(&cali));
        cut_offs.write(&disk, dir.path()).unwrap();
        assert_eq!(CutOffs::read(&disk, dir.path()).unwrap().0, []);
    }
}

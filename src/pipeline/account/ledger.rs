//! The account: the gaps of all stores, and the file that holds them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::error::AccountError;
use super::gap::{Gap, LostRead, OpenLoss, Share};
use super::{Covered, KnownBefore};
use crate::marketplace::body::Pending;
use crate::order::ids::{ReadId, StoreName};
use crate::platform::disk::{self, Disk, RealDisk, gone_is_as_good};

const FILE: &str = "account.json";
const SETTLED: &str = "settled";

/// A reconciler pass that has begun to publish what it found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pass {
    store: StoreName,
    read_id: ReadId,
}

/// The content of `account.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ledger {
    /// The oldest first.
    pub(super) gaps: Vec<Gap>,
    /// Passes that have not recorded what they found. If they were killed, the tracking topic has the number.
    passes: Vec<Pass>,
}

impl Ledger {
    pub(super) fn lost(&mut self, store: &StoreName, read: LostRead, before: Option<Pending>) {
        if self.gaps.iter().any(|gap| gap.has(read.read_id)) {
            return;
        }
        match self.unanswered(store) {
            Some(gap) => gap.add(read),
            None => self.gaps.push(Gap::new(store.clone(), read, before)),
        }
    }

    pub(super) fn unanswered(&mut self, store: &StoreName) -> Option<&mut Gap> {
        self.gaps.iter_mut().find(|gap| gap.store == *store && gap.is_unanswered())
    }

    /// Notes which entries have no trace at all.
    pub(super) fn note_untraced(&mut self, is_traced: impl Fn(ReadId) -> bool) {
        for gap in &mut self.gaps {
            gap.is_untraced = !gap.reads.iter().any(|read| is_traced(read.read_id));
        }
    }

    /// Waits for no answer any more that tells what the reads of these stores left pending.
    pub(super) fn leave(&mut self, is_left: impl Fn(&StoreName) -> bool) {
        self.gaps.iter_mut().filter(|gap| gap.is_unanswered() && is_left(&gap.store)).for_each(|gap| gap.answer(None));
    }

    pub(super) fn of<'a>(&'a self, store: &'a StoreName) -> impl Iterator<Item = &'a Gap> {
        self.gaps.iter().filter(move |gap| gap.store == *store)
    }

    pub(super) fn passes_of(&self, store: &StoreName) -> Vec<ReadId> {
        self.passes.iter().filter(|pass| pass.store == *store).map(|pass| pass.read_id).collect()
    }

    pub(super) fn begin(&mut self, store: &StoreName, pass: ReadId) {
        self.end(store);
        self.passes.push(Pass { store: store.clone(), read_id: pass });
    }

    pub(super) fn end(&mut self, store: &StoreName) {
        self.passes.retain(|pass| pass.store != *store);
    }

    /// Distributes found orders, the oldest gap first: to each gap what it certainly lacks, then to each what it may
    /// have marked besides.
    pub(super) fn credit(&mut self, store: &StoreName, mut orders: u64) {
        for share in [Share::Certain, Share::Possible] {
            for gap in self.gaps.iter_mut().filter(|gap| gap.store == *store && gap.open() != OpenLoss::Nothing) {
                orders -= gap.credit(orders, share);
            }
        }
    }

    /// Records a pass that covers these reads and fetched every missing order.
    pub(super) fn looked(&mut self, store: &StoreName, covered: Covered<'_>) {
        let Covered { reads, listed_at, known } = covered;
        for gap in self.gaps.iter_mut().filter(|gap| gap.store == *store && !gap.is_unanswered()) {
            if gap.is_covered_by(reads) {
                let known = known.iter().find(|known| gap.has(known.first_read));
                gap.look(listed_at, known.map_or(0, |KnownBefore { orders, .. }| *orders));
            }
        }
    }

    /// Credits orders of one page that were never published before, given by their time of creation.
    pub(super) fn arrived(&mut self, store: &StoreName, page: ReadId, created: &[Timestamp]) {
        let mut gaps: Vec<&mut Gap> = self.gaps.iter_mut().filter(|gap| gap.store == *store).collect();
        // guard: a replayed page is ticked off once
        gaps.iter_mut().for_each(|gap| gap.forget_arrivals(page));
        for created in created {
            // An order that no gap takes is new, or was marked before this program served the store.
            gaps.iter_mut().any(|gap| gap.arrive(page, *created));
        }
    }

    /// Removes gaps whose loss is only possible and whose orders are too old to be handed over again.
    pub(super) fn lapse(&mut self, now: Timestamp) {
        self.gaps.retain(|gap| gap.lapses_at().is_none_or(|at| at > now));
    }

    /// Removes settled gaps. A gap stays while the trace of one of its reads exists: the trace would be recorded as a
    /// new loss.
    pub(super) fn forget_settled(&mut self, is_traced: impl Fn(ReadId) -> bool) {
        // guard: an entry stays until the trace of its read is gone
        self.gaps.retain(|gap| gap.open() != OpenLoss::Nothing || gap.reads.iter().any(|read| is_traced(read.read_id)));
    }

    pub(super) fn read(disk: &dyn Disk, dir: &Path) -> Result<Self, AccountError> {
        let path = dir.join(FILE);
        match disk.read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(AccountError::io(&path)(error)),
            Ok(text) => serde_json::from_slice(&text).map_err(AccountError::parse(&path)),
        }
    }

    pub(super) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), AccountError> {
        let path = dir.join(FILE);
        let text = serde_json::to_vec_pretty(self).map_err(AccountError::parse(&path))?;
        disk::replace(disk, &path, &text).map_err(AccountError::io(&path))
    }

    /// Carries out the requests of `spool account settle`; returns the files that held them.
    pub(super) fn take_settlements(&mut self, disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, AccountError> {
        let mut requests = Vec::new();
        let files = match disk.list(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(requests),
            files => files.map_err(AccountError::io(dir))?,
        };
        for path in files {
            if path.extension().is_none_or(|extension| extension != SETTLED) {
                continue;
            }
            let read_id = path.file_stem().and_then(|stem| stem.to_str()?.parse::<ReadId>().ok());
            if let Some(read_id) = read_id {
                self.gaps.retain(|gap| !(gap.was_looked_for() && gap.has(read_id)));
                requests.push(path);
            }
        }
        Ok(requests)
    }
}

/// Leaves a request to settle a read, for the process that holds the spool, now or later.
pub(super) fn request_settlement(dir: &Path, read_id: ReadId) -> Result<(), AccountError> {
    let path = dir.join(format!("{read_id}.{SETTLED}"));
    let request = || {
        gone_is_as_good(RealDisk.remove(&path))?;
        RealDisk.create(&path)?.sync_data()?;
        RealDisk.sync_dir(dir)
    };
    request().map_err(AccountError::io(&path))
}

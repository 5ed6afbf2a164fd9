//! Watches the folder of stores while `run` is running.
//!
//! It looks at the names and the metadata of the files, again and again: this also sees files that another machine
//! writes, on a disk that is shared, and those that Kubernetes replaces.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};

use crate::config::{Config, FolderWatch};

/// The pause between two looks. A change is taken up at the second look that finds it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// The pause is at least as many times as long as a look: however many files there are, looking takes at most half a
/// per cent of a core.
const PAUSE_PER_LOOK: u32 = 200;

/// Watches until it is dropped.
pub struct StoresWatch {
    changed: Arc<Notify>,
    _watch: JoinSet<()>,
}

impl StoresWatch {
    /// Watches from the state on that the settings were read in. Without a folder nothing ever changes.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let (changed, mut watch) = (Arc::<Notify>::default(), JoinSet::new());
        if let Some(dir) = &config.stores_dir {
            watch.spawn(look(FolderWatch::new(dir.clone(), config.folder_version), changed.clone()));
        }
        Self { changed, _watch: watch }
    }

    /// Waits for the next change. Cancel-safe.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

async fn look(mut watch: FolderWatch, changed: Arc<Notify>) {
    let mut pause = LOOK_INTERVAL;
    loop {
        sleep(pause).await;
        let began = Instant::now();
        let looked = spawn_blocking(move || {
            let has_changed = watch.look();
            (watch, has_changed)
        });
        // The runtime ends.
        let Ok((back, has_changed)) = looked.await else { return };
        watch = back;
        if has_changed {
            changed.notify_one();
        }
        pause = LOOK_INTERVAL.max(began.elapsed() * PAUSE_PER_LOOK);
    }
}

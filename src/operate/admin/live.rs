//! Server-sent events: the sections of the status page, each time that they change.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::AdminState;
use super::advice::Language;
use super::page::View;
use super::snapshot::Wanted;

/// How often the page is looked at for changes.
const PERIOD: Duration = Duration::from_secs(2);
/// A sign of life where nothing changes: it also notices that nobody listens any more.
const SILENT_PERIODS: u32 = 7;
/// How many pages may be open at the same time. Each costs a look at all stores every two seconds.
pub(super) const MAX_WATCHERS: usize = 32;

/// A place among those who watch.
pub(super) struct Watcher(Arc<AtomicUsize>);

impl Watcher {
    /// Takes a place, if there is one left.
    pub(super) fn enter(watchers: &Arc<AtomicUsize>) -> Option<Self> {
        let taken = watchers.fetch_add(1, Ordering::Relaxed);
        let watcher = Self(watchers.clone());
        (taken < MAX_WATCHERS).then_some(watcher)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Writes events until nobody reads them any more, or the server stops.
pub(super) async fn stream(
    admin: Arc<AdminState>,
    wanted: Wanted,
    language: Language,
    mut to: DuplexStream,
    stop: CancellationToken,
    _place: Watcher,
) {
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut shown = HashMap::new();
    let mut silent = 0;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let (admin, wanted) = (admin.clone(), wanted.clone());
        let view = spawn_blocking(move || {
            let view = View::of(&admin, wanted, language);
            (view.title(), view.sections())
        });
        let Ok((title, sections)) = view.await else { return };
        let changed: Map<String, Value> = sections
            .into_iter()
            .filter(|(id, html)| shown.insert(*id, html.clone()).as_ref() != Some(html))
            .map(|(id, html)| (id.to_owned(), html.into()))
            .collect();
        silent = if changed.is_empty() { silent + 1 } else { 0 };
        let text = match (changed.is_empty(), silent % SILENT_PERIODS) {
            (false, _) => format!("data: {}\n\n", json!({ "title": title, "sections": changed })),
            (true, 0) => ":\n\n".to_owned(),
            (true, _) => continue,
        };
        if to.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

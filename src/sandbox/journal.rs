//! The state file: a sandbox that is restarted goes on where it was, as a real marketplace does.
//!
//! The file has a line of JSON for each change, written and synced before the call is answered. So an order that was
//! handed over stays marked after a `kill -9`. If a kill leaves half a line at the end, it is cut off: that call was
//! never answered. Requests, and the scripts and rates of faults, are not kept.
//!
//! A line is an [`Event`] of the first shop, or a pair: the index of another shop, and its event.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use super::faults::Call;
use crate::order::ids::OrderId;

/// Why a state file can't be used.
#[derive(Debug, Clone, Error)]
pub enum StateError {
    /// The file can't be opened, read or written.
    #[error("the sandbox can't keep its state in {}: {reason}. Let user {}, as whom the sandbox runs, \
             read and write it, make room on its disk, or name another file with --state", path.display(), user())]
    Unusable { path: PathBuf, reason: Arc<io::Error> },
    /// Another sandbox has the file: two would hand out the same orders.
    #[error("another sandbox keeps its state in {}: stop it, or name another file with --state", path.display())]
    Locked { path: PathBuf },
    /// The file has a line that no sandbox has written.
    #[error("line {line} of {} is no state of a sandbox: name another file with --state", path.display())]
    Damaged {
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The file is of a sandbox with more shops.
    #[error("the state in {} is of {shops} shops or more: start the sandbox with --shops {shops}, or name another file \
             with --state", path.display())]
    MoreShops { path: PathBuf, shops: usize },
}

fn user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// A change of the shop. Orders are named by their index, because two may have the same ID.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// A made-up order was placed, and is pending.
    Placed { id: OrderId, created: Timestamp, record: String },
    /// A record was inserted as it was given, and is pending.
    Inserted { id: Option<OrderId>, created: Timestamp, record: String },
    /// A read returned the orders, and so they are marked.
    Marked(Vec<usize>),
    /// The orders are pending again.
    Unsynchronised(Vec<usize>),
    /// The order's record has changed.
    Changed { order: usize, record: String },
    /// Orders were hidden from a call, or are shown again.
    Hidden { orders: Vec<usize>, from: Call, hidden: bool },
    /// The token was replaced.
    Token(String),
    /// The start date was set or removed.
    StartDate(bool),
}

/// The open state file, which holds the lock on it.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
    /// Set once a write has failed. From then on nothing is written, and nothing changes.
    failure: watch::Sender<Option<StateError>>,
}

impl Journal {
    /// Opens and locks the file, and returns its events, each with the index of its shop.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<(usize, Event)>), StateError> {
        let unusable = |reason| StateError::Unusable { path: path.to_owned(), reason: Arc::new(reason) };
        let mut file = File::options().read(true).append(true).create(true).open(path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StateError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(reason)) => return Err(unusable(reason)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(unusable)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(unusable)?;
        }
        let lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n').enumerate();
        let events = lines.map(|(index, line)| {
            parse(line).map_err(|_| StateError::Damaged { path: path.to_owned(), line: index + 1 })
        });
        let events = events.collect::<Result<_, _>>()?;
        Ok((Self { file, path: path.to_owned(), failure: watch::channel(None).0 }, events))
    }

    /// Appends events of a shop to the file. Returns whether they were written.
    pub(super) fn append(&mut self, shop: usize, events: &[Event]) -> bool {
        if self.failure.borrow().is_some() {
            return false;
        }
        let Err(reason) = self.write(shop, events) else { return true };
        let failure = StateError::Unusable { path: self.path.clone(), reason: Arc::new(reason) };
        tracing::error!("{failure}");
        self.failure.send_replace(Some(failure));
        false
    }

    fn write(&mut self, shop: usize, events: &[Event]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in events {
            match shop {
                0 => serde_json::to_writer(&mut lines, event)?,
                _ => serde_json::to_writer(&mut lines, &(shop, event))?,
            }
            lines.push(b'\n');
        }
        self.file.write_all(&lines)?;
        self.file.sync_data()
    }

    pub(super) fn failure(&self) -> watch::Receiver<Option<StateError>> {
        self.failure.subscribe()
    }
}

fn parse(line: &[u8]) -> serde_json::Result<(usize, Event)> {
    if line.starts_with(b"[") { serde_json::from_slice(line) } else { Ok((0, serde_json::from_slice(line)?)) }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::time::Duration;

    use axum::http::StatusCode;

    use serde_json::Value;
    use tempfile::TempDir;

    use super::*;
    use crate::sandbox::{Change, Fault, Market, NEW_ORDERS, ORDER_IDS, Sandbox, SandboxArgs, Shop};

    fn kept_in(folder: &TempDir, orders: usize) -> SandboxArgs {
        SandboxArgs { state: Some(folder.path().join("state")), ..SandboxArgs::with_orders(orders) }
    }

    /// The only shop.
    fn resume(args: &SandboxArgs) -> Result<Shop, StateError> {
        Market::resume(args).map(|market| market.shops()[0].clone())
    }

    /// Reads without stopping the sandbox afterwards. Only what is in the file survives, as after a `kill -9`.
    fn read(shop: &Shop, token: &[u8]) -> Vec<OrderId> {
        let (number, _) = shop.call(Call::NewOrders, NEW_ORDERS, None, Some(token), Duration::ZERO);
        shop.requests()[number as usize - 1].ids.iter().flatten().cloned().collect()
    }

    #[test]
    fn a_shop_that_is_started_anew_hands_out_what_it_had_not_and_nothing_twice() {
        let folder = tempfile::tempdir().unwrap();
        let args = kept_in(&folder, 70);
        let shop = resume(&args).unwrap();
        shop.script(Call::NewOrders, &[Some(Fault::DropAfter)]).unwrap();
        let first = read(&shop, b"sandbox-token");
        assert_eq!(shop.summary().faults.keys().collect::<Vec<_>>(), [&"drop-after"]);
        shop.unsynchronise(&first[..1]).unwrap();
        shop.change(&first[1], Change { status: Some("anulado".to_owned()), total: None }).unwrap();
        shop.hide(&first[2..3], Call::OrderIds, true).unwrap();
        shop.insert("{\"order\": {\"id\": \"A/7\"},\n\"products\": \"none\"}").unwrap();
        shop.set_token("rotated");
        let added = shop.add(2, 0);
        let (orders, summary) = (shop.orders(), shop.summary());
        drop(shop);

        let shop = resume(&args).unwrap();
        assert_eq!((shop.summary().orders, shop.summary().pending), (summary.orders, summary.pending));
        for (before, after) in orders.iter().zip(shop.orders()) {
            assert_eq!((&before.id, before.pending, before.created), (&after.id, after.pending, after.created));
        }
        assert!(std::str::from_utf8(&shop.record(&first[1]).unwrap()).unwrap().contains("anulado"));
        assert_eq!(
            shop.record(&"A/7".parse().unwrap()).unwrap(),
            "{\"order\": {\"id\": \"A/7\"},\n\"products\": \"none\"}"
        );
        let (_, list) = shop.call(Call::OrderIds, ORDER_IDS, None, Some(b"rotated"), Duration::ZERO);
        assert_eq!(serde_json::from_slice::<Value>(&list.body).unwrap()["data"].as_array().unwrap().len(), 72);
        let mut rest = Vec::new();
        while shop.summary().pending > 0 {
            rest.extend(read(&shop, b"rotated"));
        }
        assert_eq!(rest.len(), 44);
        assert!(rest.ends_with(&added) && rest[0] == first[0] && !first[1..].iter().any(|id| rest.contains(id)));
        let later = shop.add(1, 0);
        assert!(later[0].as_str().parse::<u64>().unwrap() > added[1].as_str().parse::<u64>().unwrap());
    }

    #[test]
    fn what_a_kill_left_of_a_line_is_cut_off_and_the_next_change_is_kept_behind_what_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let args = kept_in(&folder, 3);
        let path = args.state.clone().unwrap();
        drop(resume(&args).unwrap());
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, [&whole[..], b"{\"marked\":[0,1"].concat()).unwrap();
        let shop = resume(&args).unwrap();
        assert_eq!(shop.summary().pending, 3);
        assert_eq!(read(&shop, b"sandbox-token").len(), 3);
        drop(shop);
        assert_eq!(resume(&args).unwrap().summary().pending, 0);
    }

    #[test]
    fn a_state_file_is_one_shops_alone_and_another_file_is_named_as_none() {
        let folder = tempfile::tempdir().unwrap();
        let args = kept_in(&folder, 1);
        let shop = resume(&args).unwrap();
        assert!(matches!(resume(&args), Err(StateError::Locked { .. })));
        drop(shop);
        for line in ["{\"marked\":[1]}", "[]", "{\"changed\":{\"order\":9,\"record\":\"\"}}"] {
            drop(std::fs::remove_file(args.state.as_ref().unwrap()));
            drop(resume(&args).unwrap());
            let mut text = std::fs::read_to_string(args.state.as_ref().unwrap()).unwrap();
            text.push_str(&format!("{line}\n"));
            std::fs::write(args.state.as_ref().unwrap(), text).unwrap();
            assert!(matches!(resume(&args), Err(StateError::Damaged { line: 2, .. })), "{line}");
        }
        let args = SandboxArgs { state: Some(folder.path().join("no/such/folder")), ..args };
        assert!(matches!(resume(&args), Err(StateError::Unusable { .. })));
    }

    #[tokio::test]
    async fn what_the_disk_does_not_take_is_not_handed_over_and_the_sandbox_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let args = kept_in(&folder, 3);
        let sandbox = Sandbox::start(args.clone()).await.unwrap();
        let shop = sandbox.shop();
        let full = File::options().write(true).open("/dev/full").unwrap();
        sandbox.market().host().journal().unwrap().file = full;
        let read = || shop.call(Call::NewOrders, NEW_ORDERS, None, Some(b"sandbox-token"), Duration::ZERO).1;
        assert_eq!(
            (read().status, read().status),
            (StatusCode::INTERNAL_SERVER_ERROR, StatusCode::INTERNAL_SERVER_ERROR)
        );
        assert_eq!((shop.summary().pending, shop.add(1, 0).len()), (3, 0));
        assert!(matches!(sandbox.failed().await, StateError::Unusable { .. }));
        drop((sandbox, shop));
        assert_eq!(resume(&args).unwrap().summary().pending, 3);
    }
    #[test]
    fn each_of_many_shops_goes_on_where_it_was_and_a_file_of_more_shops_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let of = |shops| SandboxArgs { shops: NonZeroUsize::new(shops), ..kept_in(&folder, 40) };
        let market = Market::resume(&of(3)).unwrap();
        let first = read(&market.shops()[2], b"shop-3");
        assert_eq!(read(&market.shops()[0], b"shop-1").len(), 30);
        market.shops()[1].set_token("rotated");
        drop(market);

        assert!(matches!(Market::resume(&of(2)), Err(StateError::MoreShops { shops: 3, .. })));
        // A fourth shop opens meanwhile.
        let market = Market::resume(&of(4)).unwrap();
        let pending: Vec<_> = market.shops().iter().map(|shop| shop.summary().pending).collect();
        assert_eq!(pending, [10, 40, 10, 40]);
        assert_eq!(market.shop_of(b"rotated").name(), "shop-2");
        let rest = read(&market.shops()[2], b"shop-3");
        assert!(rest.len() == 10 && !rest.iter().any(|id| first.contains(id)));
    }
}

//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.
//!
//! The marketplace hands each new order over once: the read marks it, and its answer is the only copy. So an answer is
//! on the disk before the next one is asked for, and leaves the disk once Kafka has it.
//!
//! # The way of an order
//! ```text
//!   GET newOrders (destructive)                     GET the list of IDs, GET an order (safe to repeat)
//!               │                                                      │
//!   ┌─ drain ───▼──────────────┐  a thread per store  ┌─ reconcile ────▼─────────┐  a task per store
//!   │  reserve ► read ► write, │                      │  list ► drained ► which  │
//!   │  fdatasync ► read on     │                      │  are not tracked ► fetch │
//!   └───────────┬──────────────┘                      └────────────────┬─────────┘
//!               │ Durable                                              │
//!   ┌─ spool ───▼──────────────┐  a file per read; what a crash left   │
//!   │  a folder, one process   │  is published first                   │
//!   └───────────┬──────────────┘                                       │
//!               │ Durable                                              │
//!   ┌─ publish ─▼──────────────────────────────────────────────────────▼─────────┐  a thread per lane: it alone
//!   │  fence ► load the index ► take what queued up ► decide ► transaction       │  has the producer and the index
//!   └───────────┬────────────────────────────────────────────────────────────────┘
//!               │ one Kafka transaction ► Committed ► the spool lets go of the files
//!      ┌────────┼──────────────────────┐
//!      ▼        ▼                      ▼
//!   orders   tracking (compacted)   dead letters
//! ```
//!
//! # Three words of our own
//! - **lane**: the unit of ownership. Partition *p* of the tracking topic, the transactional producer whose ID ends in
//!   *p*, and the index of that partition are lane *p*, and one thread owns all three. A stable hash of its name gives
//!   each store one lane for ever, so that no two producers ever decide about the same order.
//! - **spool**: the folder in which the answers of destructive reads are, one file each, from before the read until
//!   their orders are in a committed transaction.
//! - **revision**: which event of its order an event is, from 1. It grows when the marketplace hands an order over
//!   again, because the seller asked for it, when the order changed, and when an operator asks for it.
//!   `(store, order ID, revision)` names an event.
//!
//! # What holds
//! The promise:
//!
//! 1. **G1, nothing lost.** Every order of a page that was read to its end and made durable, and every order in an ID
//!    list that was reconciled, comes to stand in a committed transaction, as an event or as a dead letter.
//! 2. **G2, nothing doubled.** A `read_committed` consumer of the orders topic meets each `(store, order ID, revision)`
//!    at most once.
//! 3. **G3, nothing silent.** A read of which nobody knows what it marked leaves a durable trace, is counted, and wakes
//!    the reconciler. What it marked and no list gives back stays on the account of losses, with what is known of its
//!    number, until it has come or a person settles it.
//!
//! What it rests on, with the place that enforces it:
//!
//! 4. A destructive read is made only with a durable reservation in hand: a full disk is met while the orders are still
//!    on the server, and a crash in mid-read is seen afterwards. [`spool::Spool::reserve`]
//! 5. The next read of a store needs the [`spool::Durable`] of the last one, or its durable trace. What was made durable
//!    and turns out to be no page becomes such a trace, after a kill too. [`drain`], [`spool::Recovery::disown`]
//! 6. A read in flight is awaited, never cancelled and never repeated. [`api::Client::new_orders`]
//! 7. A page leaves the spool only for a [`committed::Committed`], which a successful commit alone mints, and it has
//!    left before its lane commits again: what a kill brings back is never older than what the index knows of its orders.
//!    [`spool::Spool::release`], [`publish`]
//! 8. Events, dead letters and tracking records of a page are in one transaction. [`publish`]
//! 9. A lane fences its former owner before it loads the index, and loads the index before it publishes: nobody writes
//!    behind the index's back. [`publish`]
//! 10. "Not tracked" needs proof: an index that was not read to the partition's true end, or a tracking topic that is
//!     not the one that this spool remembers, is an error. [`kafka::tracking_reader`], [`tracking_memory`]
//! 11. After a failed transaction its outcome counts as open, whatever the error says: a new producer settles it, the
//!     index is read on, and only then is decided anew about the same pages. [`kafka::transaction`], [`publish`]
//! 12. Pages of a store are published in the order of their reads, those of an earlier process first. [`app`]
//! 13. An order is called missing only by a lane, after a read that began after the list was taken found nothing
//!     pending, and behind all pages that came before: it may otherwise be merely late. It is called gone
//!     only where the marketplace was seen to answer under the same path. [`reconcile`]
//! 14. Amounts are exact, and what is there and can't be understood is a dead letter, never a guess. [`mapping`]
//! 15. No message, log line or `Debug` shows an order, a buyer or a secret; `spool show` alone prints a page.
//! 16. What an unknown read may have marked is on the account before its trace goes, and what was found is ticked off
//!     once, whatever is killed. [`account`]
//!
//! # Layout
//! | module | what is in it |
//! |---|---|
//! | [`app`] | the whole: built from the settings, run to its end |
//! | [`cli`] | command line, exit codes, log |
//! | [`config`] | settings: defaults, file, environment; secrets |
//! | [`shutdown`] | the wish to stop |
//! | [`counters`] | what was done, by store and by lane |
//! | [`admin`] | a running instance as seen from outside: health, metrics, status |
//! | [`api`] | the marketplace's three resources, and how a read can end |
//! | [`page`] | bodies of answers: records, counts, IDs |
//! | [`drain`] | a thread per store: fetch, spool |
//! | [`spool`] | reserve, write, recover, release |
//! | [`disk`], [`jobs`], [`clock`] | files, threads and the time, so that a simulation can put its own under the program |
//! | [`account`] | how many orders reads of unknown outcome marked, and what is still missing |
//! | [`publish`] | a thread per lane: decide, transaction, release |
//! | [`desk`] | where a command asks the program at work to publish orders anew |
//! | [`reconcile`] | a task per store: what was marked and never arrived; what changed since; what an operator wants again |
//! | [`committed`] | the proof of a commit |
//! | [`index`] | what a lane has published, in memory |
//! | [`tracking`], [`tracking_memory`] | the records that fill the index; what the spool knows of their topic |
//! | [`kafka`] | client settings, topics, transactions, reading a partition to its end |
//! | [`mapping`], [`country`] | a JSON record to an order; what a country settles |
//! | [`order`], [`ids`] | an order; names that are parsed once, at the edge |
//! | [`event`], [`amount`], [`contract`] | an order to an event and its headers; exact decimals; the Avro schemas |
//! | [`framing`], [`encoding`], [`decoder`], [`registry`] | what stands before a datum, and gives it its meaning |
//! | [`sandbox`] | a fake of the marketplace, with faults |
//! | [`inquiry`] | what an operator asks about orders, from outside |
//! | [`doctor`] | whether all that it needs is there and fit |
//! | [`demo`] | an embedded broker, a consumer and a verdict around the real thing |
//! | [`fail_point`] | places at which a test kills the program |
//!
//! # Deliberately absent
//! A database, and any state beside the spool and Kafka. An abort: see [`kafka::transaction`]. Repeated reads, and any
//! time-out that gives up a late answer early. Corrections of what the marketplace says, sums above all. Traits for
//! what has one implementation.

#![warn(clippy::print_stdout, reason = "it panics once nobody reads: see `cli::out`")]

pub mod app;
pub mod avro;
pub mod cli;
pub mod config;
pub mod demo;
pub mod kafka;
pub mod marketplace;
pub mod operate;
pub mod order;
pub mod pipeline;
pub mod platform;
pub mod sandbox;
pub mod spool;

//! Drains iMotriz marketplace orders into Kafka: nothing lost, nothing doubled.
//!
//! The marketplace hands each new order over once: the read marks it, and the answer is the only copy. So each answer is
//! durable on the disk before the next one is requested, and leaves the disk only when Kafka has it.
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
//!   ┌─ spool ───▼──────────────┐  one log of reads; what a crash left  │
//!   │  a folder, one process   │  is published first                   │
//!   └───────────┬──────────────┘                                       │
//!               │ Durable                                              │
//!   ┌─ publish ─▼──────────────────────────────────────────────────────▼─────────┐  a thread per lane: it alone
//!   │  fence ► load the index ► take what queued up ► decide ► transaction       │  has the producer and the index
//!   └───────────┬────────────────────────────────────────────────────────────────┘
//!               │ one Kafka transaction ► Committed ► the spool lets go of the pages
//!      ┌────────┼──────────────────────┐
//!      ▼        ▼                      ▼
//!   orders   tracking (compacted)   dead letters
//! ```
//!
//! # Three words of our own
//! - **lane**: the unit of ownership. Lane *p* is partition *p* of the tracking topic, the transactional producer whose
//!   ID ends in *p*, and the index of that partition. One thread owns all three. A stable hash of a store's name gives
//!   it one lane for ever, so no two producers ever decide about the same order.
//! - **spool**: the folder with the log of the destructive reads: it holds each answer from before the next read until its
//!   orders are in a committed transaction.
//! - **revision**: the number of an event among the events of its order, from 1. It grows when the marketplace hands an
//!   order over again because the seller requested it, when the order has changed, and when an operator requests it.
//!   `(store, order ID, revision)` identifies an event.
//!
//! # Guarantees and invariants
//! The promise:
//!
//! 1. **G1, nothing lost.** Every order of a page that was read to its end and made durable, and every order in an ID
//!    list that was reconciled, ends up in a committed transaction, as an event or as a dead letter.
//! 2. **G2, nothing doubled.** A `read_committed` consumer of the orders topic sees each `(store, order ID, revision)`
//!    at most once.
//! 3. **G3, nothing silent.** A read after which nobody knows what it marked leaves a durable trace, is counted, and
//!    starts the reconciler. Orders that it marked and that no list gives back stay on the account of losses, with
//!    bounds on their number, until they have come or a person settles the entry.
//!
//! What it rests on, with the place that enforces it:
//!
//! 4. A destructive read is made only with space for its page, and announced durably unless the answer before it said
//!    that nothing is pending. So a full disk is noticed while the orders are still on the server, and a crash in
//!    mid-read is noticed afterwards. [`spool::Spool::reserve`], [`spool::Reservation::announce`]
//! 5. The next read of a store needs the [`spool::Durable`] of the last one, or its durable trace. A durable answer that
//!    turns out to be no page becomes such a trace, after a kill too. [`pipeline::drain`], [`spool::Recovery::disown`]
//! 6. A read in flight is awaited, never cancelled and never repeated. [`marketplace::client::Marketplace::new_orders`]
//! 7. A page leaves the spool only for a [`spool::committed::Committed`], which only a successful commit creates. It
//!    leaves before its lane commits again, so a kill never brings back a page older than what the index knows of its
//!    orders. [`spool::Spool::release`], [`pipeline::publish`]
//! 8. Events, dead letters and tracking records of a page are in one transaction. [`pipeline::publish`]
//! 9. A lane fences its former owner before it loads the index, and loads the index before it publishes: nobody writes
//!    behind the index's back. [`pipeline::publish`]
//! 10. "Not tracked" needs proof: it is an error if the index was not read to the partition's true end, or if the
//!     tracking topic is not the one that this spool remembers. [`kafka::tracking_reader`],
//!     [`pipeline::tracking_memory`]
//! 11. After a failed transaction its outcome counts as open, whatever the error says. A new producer settles it, the
//!     index is read on, and only then are the same pages decided again. [`kafka::transaction`], [`pipeline::publish`]
//! 12. Pages of a store are published in the order of their reads, those of an earlier process first. [`app`]
//! 13. Only a lane may call an order missing: after a read that began after the list was taken has found nothing
//!     pending, and behind all pages that came before. Otherwise the order may merely be late. An order is called gone
//!     only if the marketplace was seen to answer under the same path. [`pipeline::reconcile`]
//! 14. Amounts are exact. A field that is present and can't be understood makes a dead letter, never a guess.
//!     [`order::mapping`]
//! 15. No message, log line or `Debug` output contains an order, a buyer or a secret; only `spool show` prints a page.
//! 16. The orders that an unknown read may have marked are on the account before its trace is removed, and each found
//!     order is credited once, whatever is killed. [`pipeline::account`]
//!
//! # Layout
//! Each folder of `src/` is a room with one purpose. A room imports only rooms above it in this table, and no two modules
//! import each other; `tests/structure.rs` enforces both.
//!
//! | room | what is in it |
//! |---|---|
//! | [`platform`] | what the operating system provides: [disk](platform::disk), [threads](platform::jobs), [time](platform::clock), [signals](platform::shutdown); the [places](platform::fail_point) at which a test kills the program |
//! | [`order`] | the order, its [IDs](order::ids), [amounts](order::amount) and [country](order::country), and the [mapping](order::mapping) from a JSON record |
//! | [`marketplace`] | the [HTTP client](marketplace::client) and how each call can end; the [bodies](marketplace::body) of the answers |
//! | [`config`] | settings from defaults, file and environment; secrets |
//! | [`avro`] | the [schemas](avro::contract), [events](avro::event) and [tracking records](avro::tracking), their [framing](avro::framing), and the [schema registry](avro::registry) |
//! | [`kafka`] | [client settings](kafka::settings), [topics](kafka::topics), [transactions](kafka::transaction), and the [reader](kafka::tracking_reader) of a tracking partition |
//! | [`spool`] | durable answers: reserve, write, recover, release; the [proof](spool::committed) of a commit |
//! | [`pipeline`] | the way of an order: [drain](pipeline::drain) (a thread per store), [publish](pipeline::publish) (a thread per lane), [reconcile](pipeline::reconcile) (a task per store); shared by them: the [index](pipeline::index), the [account](pipeline::account) of losses, the [tracking memory](pipeline::tracking_memory), the [counters](pipeline::counters) |
//! | [`app`] | assembles all parts from the settings and runs them; the [control socket](app::control_socket) |
//! | [`sandbox`] | a fake marketplace with faults |
//! | [`demo`] | an embedded broker, a consumer and a verdict around the real pipeline |
//! | [`operate`] | the operator's view: [admin server](operate::admin), [doctor](operate::doctor), [queries](operate::queries) about orders |
//! | [`cli`] | command line, exit codes, log |
//!
//! # Deliberately absent
//! - A database, and any state besides the spool and Kafka.
//! - Aborted transactions: see [`kafka::transaction`].
//! - Repeated destructive reads, and any time-out that gives up on a late answer early.
//! - Corrections of what the marketplace says, above all of sums.
//! - Traits for what has one implementation.

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

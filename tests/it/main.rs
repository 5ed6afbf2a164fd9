//! Tests against the real thing: an Apache Kafka, a schema registry, HTTP, and processes that get killed.
//!
//! One binary, so that all of them share one broker and one registry, which the first test that needs them starts.
//! They want a JDK 17 and Maven (which fetches both, once), or the addresses of running ones in `IMOTRIZ_TEST_KAFKA`
//! and `IMOTRIZ_TEST_REGISTRY`; the consumers under `examples` want their own languages as well. Without either they
//! fail: a test that skips itself proves nothing. Whoever runs them all is told at the start, and all at once, what is
//! missing.
#![allow(clippy::unwrap_used, reason = "all of this is a test, and a panic is how a test reports")]

mod account;
mod acls;
mod admin;
mod again;
mod asyncapi;
mod bodies;
mod broker;
mod clock;
mod commands;
mod consumers;
mod demo;
mod desk;
mod disk;
mod doctor;
mod documents;
mod drain;
mod erp;
mod faults;
mod harness;
mod kill;
mod migration;
mod network;
mod operators;
mod outage;
mod ownership;
mod pause;
mod reconcile;
mod reload;
mod replay;
mod sandbox;
mod schemas;
mod secrets;
mod secured;
mod signals;
mod soak;
mod stack;
mod support;
mod tls;

//! Integration tests against real services: Apache Kafka, a schema registry, HTTP, and processes that are killed.
//!
//! They are one binary, so that they share one broker and one registry, started by the first test that needs them. They
//! need a JDK 17 and Maven (which downloads both once), or the addresses of running ones in `IMOTRIZ_TEST_KAFKA` and
//! `IMOTRIZ_TEST_REGISTRY`. The consumers under `examples` also need their own languages. If something is missing, the
//! tests fail: a skipped test proves nothing. A run of the whole suite lists everything that is missing at its start.
#![allow(clippy::unwrap_used, reason = "all of this is a test, and a panic is how a test reports")]

mod account;
mod acls;
mod admin;
mod again;
mod asyncapi;
mod audit;
mod bodies;
mod broker;
mod browsers;
mod canary;
mod clock;
mod commands;
mod confined;
mod consumers;
mod demo;
mod desk;
mod disk;
mod doctor;
mod documents;
mod drain;
mod erp;
mod faults;
mod group;
mod harness;
mod kill;
mod kubernetes;
mod many;
mod migration;
mod network;
mod operators;
mod outage;
mod ownership;
mod page;
mod pause;
mod personal;
mod reconcile;
mod reload;
mod replay;
mod sandbox;
mod schemas;
mod secrets;
mod secured;
mod service_manager;
mod shared;
mod signals;
mod soak;
mod stack;
mod stores;
mod supply_chain;
mod support;
mod telemetry;
mod three_brokers;
mod tls;

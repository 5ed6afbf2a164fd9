//! The sandbox in a process of its own.

use std::collections::BTreeMap;

use imotriz_kafka::sandbox::{Call, NEW_ORDERS};
use jiff::Timestamp;
use serde_json::Value;

use super::measure::Usage;
use super::support::program::Program;
use super::{BINARY, child, http};
use crate::program::DEADLINE;

pub struct Marketplace {
    pub base_url: String,
    process: Program,
}

impl Marketplace {
    /// `shops` of them, with so many orders each.
    pub fn open(shops: usize, orders: usize, more: &[&str]) -> Self {
        let mut command = child::command(BINARY);
        command.args(["--json", "sandbox", "--listen", "127.0.0.1:0"]);
        command.args(["--shops", &shops.to_string(), "--orders", &orders.to_string()]).args(more);
        let mut process = Program::spawn(command);
        let line: Value = serde_json::from_str(&process.wait_for_line("base_url", DEADLINE)).unwrap();
        Self { base_url: line["base_url"].as_str().unwrap().to_owned(), process }
    }

    pub fn port(&self) -> u16 {
        self.base_url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    pub fn usage(&self) -> Usage {
        Usage::of(self.process.pid()).unwrap()
    }

    fn get(&self, what: &str) -> Value {
        let (status, answer) = http::get(&format!("{}/_sandbox/{what}", self.base_url));
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str(&answer).unwrap()
    }

    /// Destructive reads so far, of all shops.
    pub fn reads(&self) -> u64 {
        self.get("state")["requests"][Call::NewOrders.name()].as_u64().unwrap()
    }

    /// Orders of a shop that no read has returned.
    pub fn pending(&self, shop: &str) -> u64 {
        self.get(&format!("state?shop={shop}"))["pending"].as_u64().unwrap()
    }

    /// When each shop was read for the first time, the earliest first.
    pub fn first_reads(&self) -> Vec<Timestamp> {
        let mut first = BTreeMap::new();
        let requests = self.get("requests");
        for request in requests.as_array().unwrap() {
            if request["path"] == NEW_ORDERS {
                first.entry(request["shop"].to_string()).or_insert(&request["at"]);
            }
        }
        let mut first: Vec<Timestamp> = first.into_values().map(|at| at.as_str().unwrap().parse().unwrap()).collect();
        first.sort();
        first
    }

    /// Places orders in a shop, and returns their IDs.
    pub fn place(&self, shop: &str, orders: usize) -> Vec<u64> {
        let url = format!("{}/_sandbox/orders?shop={shop}", self.base_url);
        let (status, answer) = http::post(&url, &serde_json::json!({ "count": orders }));
        assert_eq!(status, 200, "{answer}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer["ids"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect()
    }
}

//! The record of the orders topic, as it is read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Reason, Revision};
use crate::order::amount::Amount;

/// The record of the orders topic, field for field as in `schemas/order_event.avsc`, which documents the fields.
/// [`Event`](super::Event) writes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderEvent {
    pub store: String,
    #[serde(default)]
    pub country: String,
    pub order_id: String,
    pub revision: Revision,
    #[serde(default)]
    pub reason: Reason,
    #[serde(default)]
    pub read_id: String,
    pub read_at: i64,
    #[serde(default)]
    pub content_hash: String,
    #[serde(default)]
    pub currency: String,
    pub status: Option<String>,
    pub payment_status: Option<String>,
    pub payment_method: Option<String>,
    pub created_at: Option<i64>,
    pub created_at_raw: Option<String>,
    pub updated_at: Option<i64>,
    pub updated_at_raw: Option<String>,
    pub total: Option<Amount>,
    pub subtotal: Option<Amount>,
    pub shipping: Option<Amount>,
    pub discount: Option<Amount>,
    pub tax: Option<Amount>,
    #[serde(default)]
    pub buyer: EventBuyer,
    #[serde(default)]
    pub lines: Vec<EventLine>,
    pub extra: Option<String>,
}

/// The event's record `Buyer`: personal data.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "Buyer")]
pub struct EventBuyer {
    pub name: Option<String>,
    pub email: Option<String>,
    pub mobile: Option<String>,
    pub document: Option<String>,
    pub address: Option<String>,
    pub city: Option<String>,
    pub region: Option<String>,
    pub postal_code: Option<String>,
    pub extra: Option<String>,
}

/// The event's record `OrderLine`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename = "OrderLine")]
pub struct EventLine {
    pub code: Option<String>,
    pub name: Option<String>,
    pub quantity: Option<Amount>,
    pub unit_price: Option<Amount>,
    pub unit_price_before: Option<Amount>,
    pub extra: Option<String>,
}

/// Shows only what identifies the event: a log must not tell who bought, or for how much.
impl fmt::Debug for OrderEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderEvent({}/{}, revision {}, {})", self.store, self.order_id, self.revision, self.reason.as_str())
    }
}

//! Access to Kafka: client settings, topics, a lane's transactions, and the reader of its tracking records.

pub mod access;
pub mod acl;
pub mod admin;
pub mod broker;
pub mod cluster;
mod contact;
pub mod error;
mod from_config;
pub mod group;
pub mod group_view;
pub(crate) mod reasons;
pub mod settings;
pub mod topic_scan;
pub mod topics;
pub mod tracking_reader;
pub mod transaction;

pub use acl::Acl;
pub use admin::Admin;
pub use broker::Broker;
pub use cluster::Cluster;
pub(crate) use contact::Contact;
pub use error::KafkaFault;
pub use group_view::{GroupMember, GroupView};
pub use settings::{Connection, GroupOptions};
pub use transaction::{Delivered, OutgoingRecord, Transactions};

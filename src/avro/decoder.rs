//! Decodes the messages of a topic into records, each by the schema that it names, whoever wrote it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use apache_avro::Schema;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::avro::contract::{Contract, ContractError};
use crate::avro::framing::{Frame, FrameError, fingerprint};
use crate::avro::registry::{Registry, RegistryError};

/// Why a message could not be decoded.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The message names no schema.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The message does not match its schema, or our schema can't read it.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The schema could not be fetched.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The message names a schema in a registry, but none is configured.
    #[error("the message names the schema {0} of a schema registry: set `schema_registry.url`")]
    NoRegistry(u32),
    /// The message was written without a registry, by a schema that this version does not know.
    #[error(
        "the message was written by a schema that this version does not know (fingerprint {0:016x}): use a newer one"
    )]
    UnknownFingerprint(u64),
}

impl DecodeError {
    /// Whether decoding the same message may succeed later without human help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_transient())
    }

    /// Whether the registry says that the message's schema does not exist, or is not one of ours.
    #[must_use]
    pub fn is_of_no_schema_of_ours(&self) -> bool {
        matches!(
            self,
            Self::Registry(RegistryError::UnknownId(_) | RegistryError::Unreadable(_))
                | Self::Contract(ContractError::Incompatible(_))
        )
    }
}

/// Decodes the messages of one topic. Each schema is fetched and checked once.
pub struct Decoder {
    contract: &'static Contract,
    registry: Option<Registry>,
    fetched: HashMap<u32, Fetched>,
}

/// A schema fetched from the registry.
struct Fetched {
    schema: Schema,
    /// Whether it is exactly our own schema, whose messages have a faster decoder.
    is_ours: bool,
}

impl Decoder {
    /// A decoder for messages under `contract`. Without a registry it only decodes single-object encoding.
    #[must_use]
    pub fn new(contract: &'static Contract, registry: Option<Registry>) -> Self {
        Self { contract, registry, fetched: HashMap::new() }
    }

    /// Declares that messages with this frame are written with our schema, whatever the registry says.
    pub fn know(&mut self, frame: Frame) {
        if let Frame::Confluent { id } = frame {
            let ours = || Fetched { schema: self.contract.schema().clone(), is_ours: true };
            self.fetched.entry(id).or_insert_with(ours);
        }
    }

    /// The datum of a message, if the message is known to be written with exactly our schema. Makes no request.
    #[must_use]
    pub fn datum_of_ours<'m>(&self, message: &'m [u8]) -> Option<&'m [u8]> {
        let (frame, datum) = Frame::split(message).ok()?;
        let is_ours = match frame {
            Frame::Confluent { id } => self.fetched.get(&id)?.is_ours,
            frame @ Frame::SingleObject { .. } => frame == self.contract.frame(),
        };
        is_ours.then_some(datum)
    }

    /// Decodes a message.
    pub async fn decode<T: DeserializeOwned>(&mut self, message: &[u8]) -> Result<T, DecodeError> {
        let (frame, datum) = Frame::split(message)?;
        let contract = self.contract;
        let writer = match frame {
            Frame::Confluent { id } => self.fetch(id).await?,
            Frame::SingleObject { fingerprint } => {
                contract.known(fingerprint).ok_or(DecodeError::UnknownFingerprint(fingerprint))?
            }
        };
        Ok(contract.read(writer, datum)?)
    }

    async fn fetch(&mut self, id: u32) -> Result<&Schema, DecodeError> {
        match self.fetched.entry(id) {
            Entry::Occupied(entry) => Ok(&entry.into_mut().schema),
            Entry::Vacant(entry) => {
                let registry = self.registry.as_ref().ok_or(DecodeError::NoRegistry(id))?;
                let schema = registry.schema_by_id(id).await?;
                self.contract.check_writer(&schema)?;
                let is_ours = Frame::SingleObject { fingerprint: fingerprint(&schema) } == self.contract.frame();
                Ok(&entry.insert(Fetched { schema, is_ours }).schema)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    use axum::Router;
    use axum::http::StatusCode;

    use super::*;
    use crate::avro::contract::{ORDER_EVENT, ORDER_TRACKING};
    use crate::avro::event::{Reason, Revision};
    use crate::avro::tracking::{OrderState, OrderTracking};

    fn record() -> OrderTracking {
        OrderTracking {
            store: "bogota".parse().unwrap(),
            order_id: "7".parse().unwrap(),
            state: OrderState::Published,
            revision: Some(Revision::FIRST),
            reason: Reason::Drained,
            read_id: "0192f0c1-2345-7000-8000-000000000001".parse().unwrap(),
            content_hash: None,
            published_at: 0,
            event_partition: None,
            order_created_at: None,
        }
    }

    /// A fake registry that has `schema` under every ID, answers with `status`, and counts its calls.
    async fn registry(schema: &str, status: Arc<AtomicU16>) -> (Registry, Arc<AtomicUsize>) {
        let body = serde_json::json!({ "schema": schema }).to_string();
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let app = Router::new().fallback(move || async move {
            counter.fetch_add(1, Ordering::SeqCst);
            (StatusCode::from_u16(status.load(Ordering::SeqCst)).unwrap(), body)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        (Registry::new(base, None, None, std::time::Duration::from_secs(10)).unwrap(), calls)
    }

    #[tokio::test]
    async fn a_schema_is_fetched_once_and_a_failure_is_not_kept() {
        let status = Arc::new(AtomicU16::new(503));
        let (registry, calls) = registry(ORDER_TRACKING.text(), status.clone()).await;
        let mut decoder = Decoder::new(&ORDER_TRACKING, Some(registry));
        let message = record().to_message(Frame::Confluent { id: 5 });
        assert!(decoder.decode::<OrderTracking>(&message).await.unwrap_err().is_transient());
        status.store(200, Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(decoder.decode::<OrderTracking>(&message).await.unwrap(), record());
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_message_under_another_topics_schema_is_refused() {
        let (registry, _) = registry(ORDER_EVENT.text(), Arc::new(AtomicU16::new(200))).await;
        let message = record().to_message(Frame::Confluent { id: 5 });
        let error = Decoder::new(&ORDER_TRACKING, Some(registry)).decode::<OrderTracking>(&message).await.unwrap_err();
        assert!(matches!(error, DecodeError::Contract(ContractError::Incompatible(_))) && !error.is_transient());
    }

    #[tokio::test]
    async fn without_a_registry_only_known_fingerprints_are_read() {
        let mut decoder = Decoder::new(&ORDER_TRACKING, None);
        let message = |frame| record().to_message(frame);
        let known = message(ORDER_TRACKING.frame());
        assert_eq!(decoder.decode::<OrderTracking>(&known).await.unwrap(), record());
        let unknown = message(Frame::SingleObject { fingerprint: 1 });
        let error = decoder.decode::<OrderTracking>(&unknown).await.unwrap_err();
        assert!(matches!(error, DecodeError::UnknownFingerprint(1)), "{error}");
        let error = decoder.decode::<OrderTracking>(&message(Frame::Confluent { id: 5 })).await.unwrap_err();
        assert!(matches!(error, DecodeError::NoRegistry(5)), "{error}");
        let error = decoder.decode::<OrderTracking>(b"{}").await.unwrap_err();
        assert!(matches!(error, DecodeError::Frame(FrameError::Unknown)), "{error}");
    }
}

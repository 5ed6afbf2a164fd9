//! Messages of a topic back into records, whoever wrote them: by the schema that each message names.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use apache_avro::Schema;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::contract::{Contract, ContractError};
use crate::framing::{Frame, FrameError};
use crate::registry::{Registry, RegistryError};

/// Why a message could not be decoded.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// It names no schema.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It is not what its schema says, or its schema is not one that we can read.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Its schema could not be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// It names a schema in a registry, and we have none.
    #[error("the message names the schema {0} of a schema registry: set `schema_registry.url`")]
    NoRegistry(u32),
    /// It was written without a registry by a schema that this version does not know.
    #[error(
        "the message was written by a schema that this version does not know (fingerprint {0:016x}): use a newer one"
    )]
    UnknownFingerprint(u64),
}

impl DecodeError {
    /// May the same message be decoded later, without anybody's doing?
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Registry(error) if error.is_transient())
    }
}

/// Decodes the messages of one topic. Each schema is fetched and checked once.
pub struct Decoder {
    contract: &'static Contract,
    registry: Option<Registry>,
    fetched: HashMap<u32, Schema>,
}

impl Decoder {
    /// For messages under `contract`; without a registry only those in single-object encoding can be read.
    #[must_use]
    pub fn new(contract: &'static Contract, registry: Option<Registry>) -> Self {
        Self { contract, registry, fetched: HashMap::new() }
    }

    /// The record in a message.
    ///
    /// # Errors
    /// [`DecodeError`].
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
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let registry = self.registry.as_ref().ok_or(DecodeError::NoRegistry(id))?;
                let schema = registry.schema_by_id(id).await?;
                self.contract.check_writer(&schema)?;
                Ok(entry.insert(schema))
            }
        }
    }
}

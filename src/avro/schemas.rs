//! How messages are framed: by schema IDs if a registry is configured, or else in single-object encoding.

mod watch;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::avro::contract::{Contract, ORDER_EVENT, ORDER_TRACKING};
use crate::avro::decoder::{DecodeError, Decoder};
use crate::avro::framing::Frame;
use crate::avro::registry::{Credentials, Registry, RegistryError};
use crate::config::{AuthoritiesError, CaFile, Config, SecretError};
use watch::Settled;

pub use watch::{Lost, lost};

/// Why messages can't be framed.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// A call to the registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry's password can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The certificates of its authorities can't be read.
    #[error(transparent)]
    Authorities(#[from] AuthoritiesError),
    /// The registry had our schemas once, and no longer has them.
    #[error("{0}")]
    Forgotten(String),
    /// A tracking record can't be decoded.
    #[error("a tracking record can't be read: {0}")]
    Decode(#[from] DecodeError),
}

impl SchemaError {
    /// Whether the error may pass without human help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::Decode(error) => error.is_transient(),
            // Pages wait in the spool until somebody has restored the schemas.
            Self::Forgotten(_) => true,
            Self::Secret(_) | Self::Authorities(_) => false,
        }
    }
}

/// One of our schemas, and the name under which a registry holds it.
#[derive(Clone)]
pub struct Subject {
    /// The topic's name followed by `-value`.
    pub name: String,
    /// The contract whose schema is registered there.
    pub contract: &'static Contract,
}

/// Resolves the frames of our schemas. Clones share the result.
#[derive(Clone)]
pub struct SchemaResolver {
    registry: Option<Registry>,
    may_register: bool,
    orders: Subject,
    tracking: Subject,
    settled: Arc<Settled>,
}

impl fmt::Debug for SchemaResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchemaResolver").finish_non_exhaustive()
    }
}

/// The frames of both topics. They are resolved once, so a registry that is merely unreachable later does no harm.
/// One that has forgotten a schema does: see [`SchemaResolver::watch`].
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    /// The frame of events.
    pub order: Frame,
    /// The frame of tracking records.
    pub tracking: Frame,
}

impl fmt::Display for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.order, self.tracking) {
            (Frame::Confluent { id: order }, Frame::Confluent { id: tracking }) => {
                write!(f, "{order} for events, {tracking} for tracking records")
            }
            _ => f.write_str("none"),
        }
    }
}

impl SchemaResolver {
    /// Reads the settings. Makes no request yet.
    ///
    /// # Errors
    /// The registry's URL can't be used, or its password or its authorities can't be read.
    pub fn from_config(config: &Config) -> Result<Self, SchemaError> {
        let topics = &config.kafka.topics;
        let subject = |topic: &str, contract| Subject { name: format!("{topic}-value"), contract };
        let registry = match &config.schema_registry {
            None => None,
            Some(settings) => {
                let password = settings.password.as_ref().map(|password| password.read()).transpose()?;
                let credentials = settings
                    .username
                    .clone()
                    .zip(password)
                    .map(|(username, password)| Credentials { username, password });
                let authorities = settings.ca_file.as_ref().map(CaFile::read).transpose()?;
                Some(Registry::new(settings.url.clone(), credentials, authorities.as_ref(), settings.timeout)?)
            }
        };
        Ok(Self {
            registry,
            may_register: config.schema_registry.as_ref().is_some_and(|settings| settings.auto_register),
            orders: subject(&topics.orders, &ORDER_EVENT),
            tracking: subject(&topics.tracking, &ORDER_TRACKING),
            settled: Arc::default(),
        })
    }

    /// The registry, if one is configured.
    #[must_use]
    pub fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// Both subjects with their schemas.
    #[must_use]
    pub fn subjects(&self) -> [&Subject; 2] {
        [&self.orders, &self.tracking]
    }

    /// The frames. The first call resolves them, and registers schemas if needed and allowed. Later calls make no
    /// request.
    ///
    /// # Errors
    /// A call to the registry failed, or it has forgotten our schemas: [`SchemaError::Forgotten`].
    pub async fn open(&self) -> Result<Frames, SchemaError> {
        if let Some(settled) = self.settled.frames() {
            return settled;
        }
        let frames = self.ask().await?;
        self.settled.settle(frames);
        Ok(frames)
    }

    async fn ask(&self) -> Result<Frames, SchemaError> {
        Ok(Frames { order: self.frame(&self.orders).await?, tracking: self.frame(&self.tracking).await? })
    }

    async fn frame(&self, subject: &Subject) -> Result<Frame, SchemaError> {
        match &self.registry {
            None => Ok(subject.contract.frame()),
            Some(registry) => {
                let id = registry.ensure(&subject.name, subject.contract.text(), self.may_register).await?;
                Ok(Frame::Confluent { id })
            }
        }
    }

    /// A decoder for events.
    #[must_use]
    pub fn order_decoder(&self) -> Decoder {
        Decoder::new(self.orders.contract, self.registry.clone())
    }

    /// A decoder for tracking records.
    #[must_use]
    pub fn tracking_decoder(&self) -> Decoder {
        Decoder::new(self.tracking.contract, self.registry.clone())
    }
}

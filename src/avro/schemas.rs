//! How messages are framed: by schema IDs of a registry where one is configured, in single-object encoding where none is.

mod watch;

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::avro::contract::{Contract, ORDER_EVENT, ORDER_TRACKING};
use crate::avro::decoder::{DecodeError, Decoder};
use crate::avro::framing::Frame;
use crate::avro::registry::{Credentials, Registry, RegistryError};
use crate::config::{Config, SecretError};
use watch::Settled;

pub use watch::{Lost, lost};

/// Why messages can't be framed.
#[derive(Debug, Error)]
pub enum SchemaError {
    /// The registry's.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The registry's password can't be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The registry knew the schemas once, and no longer does.
    #[error("{0}")]
    Forgotten(String),
    /// A tracking record that can't be understood.
    #[error("a tracking record can't be read: {0}")]
    Decode(#[from] DecodeError),
}

impl SchemaError {
    /// Whether it may pass without anybody's doing.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::Decode(error) => error.is_transient(),
            // Pages wait in the spool until somebody has brought the schemas back.
            Self::Forgotten(_) => true,
            Self::Secret(_) => false,
        }
    }
}

/// A schema of ours, and the name under which a registry holds it.
#[derive(Clone)]
pub struct Subject {
    /// Topic name and `-value`.
    pub name: String,
    /// What is registered there.
    pub contract: &'static Contract,
}

/// Where frames come from. Clones share what is settled.
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

/// The frames of both topics, settled once: a registry that goes away later is not missed. One that forgets is.
#[derive(Debug, Clone, Copy)]
pub struct Frames {
    /// For events.
    pub order: Frame,
    /// For tracking records.
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
    /// As the settings say. Calls nothing yet.
    ///
    /// # Errors
    /// A registry URL that can't be used, or a password that can't be read.
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
                Some(Registry::new(settings.url.clone(), credentials, settings.timeout)?)
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

    /// The registry, where there is one.
    #[must_use]
    pub fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// Both schemas and their subjects.
    #[must_use]
    pub fn subjects(&self) -> [&Subject; 2] {
        [&self.orders, &self.tracking]
    }

    /// The frames. The first call settles them, and registers schemas where that is needed and allowed; later ones ask
    /// nobody.
    ///
    /// # Errors
    /// The registry's, and [`SchemaError::Forgotten`] as long as it knows the schemas no longer.
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

    /// Reads events back.
    #[must_use]
    pub fn order_decoder(&self) -> Decoder {
        Decoder::new(self.orders.contract, self.registry.clone())
    }

    /// Reads tracking records back.
    #[must_use]
    pub fn tracking_decoder(&self) -> Decoder {
        Decoder::new(self.tracking.contract, self.registry.clone())
    }
}

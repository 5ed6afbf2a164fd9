//! Maps errors to exit codes.

use super::dlq::NoLetter;
use super::exit::{KAFKA, MARKETPLACE, NOT_REPAIRED, REGISTRY, SPOOL, STOPPED, UNEXPECTED, USAGE};
use super::republish::{OwnedElsewhere, WhichStore};
use super::schemas::NoRegistry;
use super::stores::StoresError;
use crate::app::AppError;
use crate::app::control_socket::ControlError;
use crate::avro::registry::RegistryError;
use crate::avro::schemas::SchemaError;
use crate::config::{AuthoritiesError, ConfigError, SecretError};
use crate::demo::{DemoConsumerError, DemoError};
use crate::kafka::KafkaFault;
use crate::operate::admin::CannotListen;
use crate::operate::queries::QueryError;
use crate::operate::relane::RelaneError;
use crate::pipeline::account::AccountError;
use crate::pipeline::publish::LaneError;
use crate::pipeline::reconcile::{AskError, ReconcileError};
use crate::pipeline::tracking_memory::MemoryError;
use crate::sandbox::{SandboxError, StateError};
use crate::spool::SpoolError;

/// Returns the exit code of the first cause in the error's chain that has one.
#[must_use]
pub fn of(error: &anyhow::Error) -> u8 {
    error.chain().find_map(known).unwrap_or(UNEXPECTED)
}

fn known(cause: &(dyn std::error::Error + 'static)) -> Option<u8> {
    if let Some(error) = cause.downcast_ref::<AppError>() {
        return Some(of_app(error));
    }
    if let Some(error) = cause.downcast_ref::<SchemaError>() {
        return Some(of_encoding(error));
    }
    if let Some(error) = cause.downcast_ref::<DemoError>() {
        return Some(of_demo(error));
    }
    if let Some(error) = cause.downcast_ref::<QueryError>() {
        return Some(match error {
            QueryError::Kafka(fault) => of_kafka(fault),
            QueryError::Encoding(error) => of_encoding(error),
            QueryError::Spool(_) => SPOOL,
        });
    }
    if let Some(fault) = cause.downcast_ref::<KafkaFault>() {
        return Some(of_kafka(fault));
    }
    if let Some(error) = cause.downcast_ref::<ControlError>() {
        return match error {
            ControlError::Left => Some(STOPPED),
            ControlError::Unanswered | ControlError::NotAtWork(_) | ControlError::Failed(_) => Some(NOT_REPAIRED),
            // The error of the lock, further down the chain, is the cause to report.
            ControlError::NobodyThere => None,
        };
    }
    if let Some(error) = cause.downcast_ref::<StoresError>() {
        return Some(match error {
            StoresError::Refused { .. } | StoresError::WhichCountry(_) => MARKETPLACE,
            _ => USAGE,
        });
    }
    if let Some(error) = cause.downcast_ref::<RelaneError>() {
        return Some(match error {
            RelaneError::SameLanes { .. } => USAGE,
            RelaneError::Spool(_) | RelaneError::Locked(_) => SPOOL,
            RelaneError::Kafka(fault) => of_kafka(fault),
            _ => KAFKA,
        });
    }
    let is = [
        (cause.is::<OwnedElsewhere>(), NOT_REPAIRED),
        (cause.is::<NoLetter>(), USAGE),
        (cause.is::<ConfigError>() || cause.is::<SecretError>() || cause.is::<WhichStore>(), USAGE),
        (cause.is::<AuthoritiesError>() || cause.is::<CannotListen>() || cause.is::<NoRegistry>(), USAGE),
        (cause.is::<SandboxError>() || cause.is::<StateError>(), USAGE),
        (cause.is::<MemoryError>() || cause.is::<DemoConsumerError>(), KAFKA),
        (cause.is::<RegistryError>(), REGISTRY),
        (cause.is::<SpoolError>() || cause.is::<AccountError>(), SPOOL),
    ];
    is.into_iter().find_map(|(is, code)| is.then_some(code))
}

fn of_app(error: &AppError) -> u8 {
    match error {
        AppError::Config(_) | AppError::Secret(_) | AppError::Authorities(_) | AppError::Otlp(_) => USAGE,
        AppError::Kafka(fault) => of_kafka(fault),
        AppError::Memory(_) => KAFKA,
        AppError::Encoding(error) => of_encoding(error),
        AppError::Spool(_) | AppError::Account(_) => SPOOL,
        AppError::Drain(error) => of_drain(error),
        AppError::Lane(error) => of_lane(error),
        AppError::Reconcile(error) => of_reconcile(error),
        AppError::Start { .. } | AppError::Panicked => UNEXPECTED,
    }
}

fn of_kafka(fault: &KafkaFault) -> u8 {
    match fault {
        // A secret that can't be read is an error of the settings, here as elsewhere.
        KafkaFault::PropertyFile { .. } => USAGE,
        _ => KAFKA,
    }
}

fn of_drain(error: &crate::pipeline::drain::DrainError) -> u8 {
    use crate::pipeline::drain::DrainError;
    match error {
        DrainError::Spool(_) | DrainError::Account(_) | DrainError::PageNotKept(_) => SPOOL,
        DrainError::Token { .. } => USAGE,
        DrainError::Thread(_) => UNEXPECTED,
        _ => MARKETPLACE,
    }
}

fn of_reconcile(error: &ReconcileError) -> u8 {
    match error {
        ReconcileError::List { error: AskError::Token(_), .. } => USAGE,
        ReconcileError::NotFetched { .. } => NOT_REPAIRED,
        ReconcileError::NoList(_) | ReconcileError::List { .. } => MARKETPLACE,
        ReconcileError::Spool(_) | ReconcileError::Account(_) => SPOOL,
        ReconcileError::Stopped => STOPPED,
        ReconcileError::DrainGone | ReconcileError::LaneGone | ReconcileError::Panicked => UNEXPECTED,
    }
}

fn of_lane(error: &LaneError) -> u8 {
    match error {
        LaneError::Kafka(_) | LaneError::Memory(_) | LaneError::Decode(_) => KAFKA,
        LaneError::StoppedWaiting { .. } | LaneError::NotOwner(_) => KAFKA,
        LaneError::Encoding(error) => of_encoding(error),
        LaneError::Spool(_) | LaneError::Account(_) => SPOOL,
        LaneError::UnknownStore(_) => USAGE,
        LaneError::Event(_) | LaneError::Thread(_) => UNEXPECTED,
    }
}

fn of_demo(error: &DemoError) -> u8 {
    match error {
        DemoError::TooMany { .. } | DemoError::Config(_) => USAGE,
        DemoError::Broker(_) => KAFKA,
        DemoError::System { .. } => UNEXPECTED,
    }
}

fn of_encoding(error: &SchemaError) -> u8 {
    match error {
        SchemaError::Registry(_) | SchemaError::Forgotten(_) => REGISTRY,
        SchemaError::Secret(_) | SchemaError::Authorities(_) => USAGE,
        SchemaError::Decode(_) => KAFKA,
    }
}

//! `schemas register`, `schemas check` and `schemas show`.

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use thiserror::Error;

use super::out;
use crate::avro::registry::{Registry, Verdict};
use crate::avro::schemas::{SchemaResolver, Subject};
use crate::config::Config;

/// What to do with the schemas.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum SchemasCommand {
    /// Register both schemas with the registry, if they are compatible with what is there
    Register,
    /// Ask the registry whether both schemas are compatible with what is there; registers nothing
    Check,
    /// Print both schemas as they are registered
    Show,
}

/// Runs the command for each subject.
///
/// # Errors
/// [`NoRegistry`], the registry's errors, or an incompatible schema.
pub async fn run(command: SchemasCommand, config: &Config, json: bool) -> Result<()> {
    let source = SchemaResolver::from_config(config)?;
    for subject in source.subjects() {
        match command {
            SchemasCommand::Show => show(subject)?,
            SchemasCommand::Register => register(registry(&source)?, subject, json).await?,
            SchemasCommand::Check => check(registry(&source)?, subject, json).await?,
        }
    }
    Ok(())
}

/// The settings name no registry.
#[derive(Debug, Error)]
#[error("no schema registry is configured: set `schema_registry.url` (IMOTRIZ_SCHEMA_REGISTRY__URL)")]
pub struct NoRegistry;

fn registry(source: &SchemaResolver) -> Result<&Registry, NoRegistry> {
    source.registry().ok_or(NoRegistry)
}

fn show(subject: &Subject) -> Result<()> {
    let schema: Value = serde_json::from_str(subject.contract.text()).context("the schema is JSON")?;
    out::line(format_args!("{:#}", json!({ "subject": subject.name, "schema": schema })));
    Ok(())
}

async fn register(registry: &Registry, subject: &Subject, json: bool) -> Result<()> {
    let id = registry.ensure(&subject.name, subject.contract.text(), true).await?;
    if json {
        out::report(json!({ "subject": subject.name, "id": id }));
    } else {
        out::report(format_args!("{} has the ID {id}", subject.name));
    }
    Ok(())
}

async fn check(registry: &Registry, subject: &Subject, json: bool) -> Result<()> {
    let id = registry.lookup(&subject.name, subject.contract.text()).await?;
    match registry.compatible(&subject.name, subject.contract.text()).await? {
        Verdict::Incompatible(messages) => {
            bail!(crate::avro::registry::RegistryError::Incompatible { subject: subject.name.clone(), messages })
        }
        Verdict::Compatible if json => {
            out::report(json!({ "subject": subject.name, "compatible": true, "id": id }));
        }
        Verdict::Compatible => match id {
            Some(id) => out::report(format_args!("{} is registered with the ID {id}", subject.name)),
            None => out::report(format_args!("{} is compatible and not yet registered", subject.name)),
        },
    }
    Ok(())
}

//! The registry: reachable, both schemas there or welcome, and later versions held to what consumers need.

use super::Check;
use crate::config::Config;
use crate::encoding::{EncoderSource, Subject};
use crate::registry::{FULL_TRANSITIVE, Registry, RegistryError, Verdict};

pub(super) async fn check(config: &Config) -> Vec<Check> {
    let source = match EncoderSource::from_config(config) {
        Ok(source) => source,
        Err(error) => return vec![Check::bad("registry", error.to_string(), "correct `[schema_registry]`")],
    };
    let Some(registry) = source.registry() else {
        return vec![Check::good("registry", "none is set up: events travel in single-object encoding")];
    };
    let may_register = config.schema_registry.as_ref().is_some_and(|settings| settings.auto_register);
    let mut checks = Vec::new();
    for subject in source.subjects() {
        match look(registry, subject, may_register).await {
            Ok(check) => checks.push(check),
            Err(error) => {
                // The next subject would meet the same.
                checks.push(failed(&error));
                break;
            }
        }
    }
    checks
}

/// Its errors are of the form "what happened: what to do".
fn failed(error: &RegistryError) -> Check {
    let text = error.to_string();
    match text.split_once(": ") {
        Some((found, cure)) => Check::bad("registry", found, cure),
        None => Check::bad("registry", text, "see that the registry of `schema_registry.url` runs"),
    }
}

async fn look(registry: &Registry, subject: &Subject, may_register: bool) -> Result<Check, RegistryError> {
    let (name, text) = (format!("schema {}", subject.name), subject.contract.text());
    let id = registry.lookup(&subject.name, text).await?;
    if let Verdict::Incompatible(messages) = registry.compatible(&subject.name, text).await? {
        let cure = "use another topic, or a version of this program that goes with what is registered";
        return Ok(Check::bad(name, format!("not compatible with what is registered: {messages}"), cure));
    }
    let Some(id) = id else {
        let cure = "run `imotriz-kafka schemas register`";
        return Ok(match may_register {
            true => Check::good(name, "compatible; registered at the start"),
            false => Check::bad(name, "not registered, and `schema_registry.auto_register` is off", cure),
        });
    };
    let level = registry.compatibility_level(&subject.name).await?;
    Ok(match level.as_deref() {
        Some(FULL_TRANSITIVE) => Check::good(name, format!("ID {id}, {FULL_TRANSITIVE}")),
        level => Check::doubtful(
            name,
            format!("ID {id}, compatibility {}", level.unwrap_or("as the registry's default")),
            format!(
                "put {{\"compatibility\": \"{FULL_TRANSITIVE}\"}} to the registry's /config/{}: otherwise a later schema may \
                 break consumers",
                subject.name
            ),
        ),
    })
}

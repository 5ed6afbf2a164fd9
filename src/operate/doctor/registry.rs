//! Checks of the schema registry: whether it answers, whether both schemas are registered or compatible, whether its
//! compatibility level protects consumers, and whether it knows the schema IDs in the topics.

use std::collections::BTreeMap;

use super::Check;
use crate::avro::framing::Frame;
use crate::avro::registry::{FULL_TRANSITIVE, Registry, RegistryError, Verdict};
use crate::avro::schemas::{self, Lost, SchemaResolver, Subject};
use crate::config::Config;
use crate::kafka::Connection;
use crate::kafka::settings::Isolation;
use crate::kafka::topic_scan::{Start, TopicScan};

/// How many offsets of each partition are examined, counted from its end.
const LATEST: i64 = 20;

pub(super) async fn check(config: &Config) -> Vec<Check> {
    let source = match SchemaResolver::from_config(config) {
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
                // The next subject would fail in the same way.
                checks.push(failed(&error));
                break;
            }
        }
    }
    checks
}

/// Splits the error's text, which has the form "what happened: what to do".
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

/// Checks whether the registry resolves the schema IDs of the latest records. Needs a broker that answers.
pub(super) async fn records(config: &Config) -> Vec<Check> {
    let Ok(source) = SchemaResolver::from_config(config) else { return Vec::new() };
    let Some(registry) = source.registry() else { return Vec::new() };
    let (connection, topics) = (Connection::from(&config.kafka), &config.kafka.topics);
    let mut checks = Vec::new();
    for (subject, topic) in source.subjects().into_iter().zip([&topics.orders, &topics.tracking]) {
        let name = format!("records {topic}");
        let Some(ids) = ids_in_use(&connection, topic).await else { continue };
        match resolved(registry, subject, &ids).await {
            Ok(None) => checks.extend(known(name, &ids)),
            Ok(Some((place, lost))) => checks.push(unreadable(name, &place, &lost)),
            // The check of the registry itself says more about this error.
            Err(_) => checks.push(Check::skipped(name, "the registry does not tell")),
        }
    }
    checks
}

/// Returns the schema IDs of the latest records, each with the place of its last record. None if the topic can't be
/// read or does not exist, which the topic's own check reports.
async fn ids_in_use(connection: &Connection, topic: &str) -> Option<BTreeMap<u32, String>> {
    let topic_scan = TopicScan::open(connection, topic, Isolation::Committed, Start::Last(LATEST)).ok()?;
    let mut seen = topic_scan.all().await.ok()?;
    seen.sort_by_key(|record| record.at);
    let id = |value: &[u8]| match Frame::split(value) {
        Ok((Frame::Confluent { id }, _)) => Some(id),
        _ => None,
    };
    Some(seen.iter().filter_map(|record| Some((id(record.value.as_deref()?)?, record.place()))).collect())
}

/// Looks up the highest ID first, because new records carry it.
async fn resolved(
    registry: &Registry,
    subject: &Subject,
    ids: &BTreeMap<u32, String>,
) -> Result<Option<(String, Lost)>, RegistryError> {
    for (id, place) in ids.iter().rev() {
        let is_ours = |schema: &_| subject.contract.check_writer(schema).is_ok();
        if let Some(lost) = schemas::lost(registry, subject, *id, is_ours).await? {
            return Ok(Some((place.clone(), lost)));
        }
    }
    Ok(None)
}

fn known(name: String, ids: &BTreeMap<u32, String>) -> Option<Check> {
    let ids: Vec<String> = ids.keys().map(u32::to_string).collect();
    (!ids.is_empty()).then(|| Check::good(name, format!("the registry knows the ID {}", ids.join(", "))))
}

fn unreadable(name: String, place: &str, lost: &Lost) -> Check {
    let cure = "restore the registry from a backup that has this ID, for no consumer can read such records until then; a \
                program that runs registers its schemas anew within half a minute where \
                `schema_registry.auto_register` is on, and `imotriz-kafka schemas register` does it where it is off";
    Check::bad(name, format!("record {place} can't be read: {lost}"), cure)
}

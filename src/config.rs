//! The settings, merged from defaults, a TOML file, the environment and the command line; later layers win.
//!
//! An unknown key is an error, since a misspelt setting would silently keep its default. Secrets have types of their
//! own that never show their value. Files with secrets are read on demand, not here.

mod authorities;
mod changes;
mod document;
mod error;
mod folder;
mod kafka;
mod key;
mod layers;
mod origins;
mod secret;
mod sections;
mod service_link;
mod settings;
mod show;
mod sources;
mod stamp;
mod store;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

pub use authorities::{AuthoritiesError, CaFile};
pub use changes::{StoreChange, changes};
pub use error::{ConfigError, Origin};
pub use folder::{FolderVersion, FolderWatch};
pub use kafka::{Kafka, Properties, Topics};
pub use key::Key;
pub use layers::RefusedStore;
pub use secret::{PasswordSource, SecretError, Token, TokenSource};
pub use sections::{Admin, Cluster, Events, Reconcile, Resync, ResyncPolicy, SchemaRegistry, Spool, Telemetry};
pub use settings::reference;
pub use sources::Sources;
pub use store::{Api, Paths, Store};

use crate::order::ids::StoreName;
use layers::Layers;
use origins::Origins;
use secret::{Secret, SecretSource};
use sections::SchemaRegistryEntry;
use stamp::Stamp;
use store::StoreEntry;

/// The settings file that is read if none is named and it exists.
pub const DEFAULT_FILE: &str = "imotriz-kafka.toml";

pub use crate::order::mapping::Mapping;

/// All settings, validated.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Config {
    /// The folder whose files define further stores.
    pub stores_dir: Option<PathBuf>,
    pub kafka: Kafka,
    /// The schema registry, if there is one.
    pub schema_registry: Option<SchemaRegistry>,
    /// Where pages wait.
    pub spool: Spool,
    /// The instances that share the stores.
    pub cluster: Cluster,
    /// Health, metrics and status.
    pub admin: Admin,
    /// How the marketplace is asked, unless a store's own settings differ.
    pub api: Api,
    pub reconcile: Reconcile,
    /// Where in a record each field is.
    pub mapping: Mapping,
    /// What happens to an order that the marketplace hands over again.
    pub resync: Resync,
    /// What an event holds.
    pub events: Events,
    /// Traces and the log.
    pub telemetry: Telemetry,
    /// The stores by name. There may be none: see [`Config::stores_or_error`].
    pub stores: BTreeMap<StoreName, Arc<Store>>,
    /// What the folder `stores_dir` defines and can't be used. The other stores don't depend on it.
    #[serde(skip)]
    pub refused: Vec<RefusedStore>,
    /// The state of the folder when it was read.
    #[serde(skip)]
    pub folder_version: Option<FolderVersion>,
    /// The versions of the files that hold the secrets of Kafka and of the registry.
    #[serde(skip)]
    secret_files: Vec<Option<Stamp>>,
    #[serde(skip)]
    origins: Origins,
}

/// The settings as written but for the stores, before checks across several of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    stores_dir: Option<PathBuf>,
    #[serde(default)]
    kafka: Kafka,
    schema_registry: Option<SchemaRegistryEntry>,
    #[serde(default)]
    spool: Spool,
    #[serde(default)]
    cluster: Cluster,
    #[serde(default)]
    admin: Admin,
    #[serde(default)]
    api: Api,
    #[serde(default)]
    reconcile: Reconcile,
    #[serde(default)]
    mapping: Mapping,
    #[serde(default)]
    resync: Resync,
    #[serde(default)]
    events: Events,
    #[serde(default)]
    telemetry: Telemetry,
}

impl Config {
    /// Loads the settings: see [`Sources`].
    ///
    /// # Errors
    /// A file can't be read, a key is unknown, or a value can't be used. The message names the place.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        Sources::read(file, environment, overrides)?.load()
    }

    /// Loads settings only from a TOML text.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_file(Path::new(DEFAULT_FILE), text)?;
        Self::of_layers(layers, Some(Path::new(DEFAULT_FILE)), None)
    }

    /// Loads settings only from environment variables.
    pub fn from_environment(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_environment(&environment.into_iter().collect::<Vec<_>>())?;
        Self::of_layers(layers, None, None)
    }

    /// The stores, of which there is at least one.
    ///
    /// # Errors
    /// No store is set up, or none can be used.
    pub fn stores_or_error(&self) -> Result<&BTreeMap<StoreName, Arc<Store>>, ConfigError> {
        if !self.stores.is_empty() {
            return Ok(&self.stores);
        }
        self.refused_or_none()?;
        Err(ConfigError::NoStores)
    }

    /// # Errors
    /// Some of the stores can't be used.
    pub fn refused_or_none(&self) -> Result<(), ConfigError> {
        match self.refused.first() {
            Some(first) => Err(ConfigError::Refused { count: self.refused.len(), first: first.reason.clone() }),
            None => Ok(()),
        }
    }

    /// The store as a file of the folder `stores_dir` would define it, whose text this is. No variable counts.
    ///
    /// # Errors
    /// As for any settings, or the file defines no store of this name.
    pub fn store_in_file(&self, name: &StoreName, path: &Path, text: &str) -> Result<Store, ConfigError> {
        let mut layers = Layers::default();
        layers.add_file(path, text)?;
        let entries = layers.take_stores::<StoreEntry>();
        let (_, origins, _) = layers.extract::<Written>()?;
        let entry = entries.into_iter().find_map(|(found, entry)| (found == *name).then_some(entry));
        store(name, entry.ok_or(ConfigError::Missing { key: Key::of_store(name) })??, &self.api, &origins)
    }

    /// `file`: the settings file.
    fn of_layers(
        mut layers: Layers,
        file: Option<&Path>,
        folder_version: Option<FolderVersion>,
    ) -> Result<Self, ConfigError> {
        let entries = layers.take_stores::<StoreEntry>();
        let (mut written, origins, mut refused): (Written, _, _) = layers.extract()?;
        check_kafka(&written.kafka, &origins)?;
        settle_properties(&mut written.kafka.properties, &origins)?;
        if written.reconcile.retention < Reconcile::LEAST_RETENTION {
            let reason = "must be at least 31d: what is forgotten while the marketplace lists it is published again";
            return Err(origins.invalid(Key::dotted("reconcile.retention"), reason));
        }
        check_cluster(&written.cluster, &origins)?;
        let schema_registry = written.schema_registry.map(|entry| registry(entry, &origins)).transpose()?;
        let mut stores = BTreeMap::new();
        for (name, entry) in entries {
            match entry.and_then(|entry| store(&name, entry, &written.api, &origins)) {
                Ok(store) => drop(stores.insert(name, Arc::new(store))),
                Err(error) => {
                    let place = origins.get(&Key::of_store(&name)).and_then(Origin::file);
                    // What is wrong in the settings file concerns all, as it does without a folder.
                    if folder_version.is_none() || place.is_some() && place == file {
                        return Err(error);
                    }
                    let (file, reason) = (place.map(Path::to_owned), error.to_string());
                    refused.push(RefusedStore { store: Some(name), file, reason });
                }
            }
        }
        let password = schema_registry.as_ref().and_then(|registry| registry.password.as_ref()?.file());
        let properties = written.kafka.properties.files().map(|(_, path)| Path::new(path));
        let secret_files = properties.chain(password).map(|path| Stamp::of(path).ok()).collect();
        Ok(Self {
            stores_dir: written.stores_dir,
            kafka: written.kafka,
            schema_registry,
            spool: written.spool,
            cluster: written.cluster,
            admin: written.admin,
            api: written.api,
            reconcile: written.reconcile,
            mapping: written.mapping,
            resync: written.resync,
            events: written.events,
            telemetry: written.telemetry,
            stores,
            refused,
            folder_version,
            secret_files,
            origins,
        })
    }
}

/// The environment of this process. Invalid UTF-8 is marked by U+FFFD. A setting that contains it is rejected, since an
/// unreadable variable must not be overlooked.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

fn check_kafka(kafka: &Kafka, origins: &Origins) -> Result<(), ConfigError> {
    if let Some((name, reason)) = kafka.properties.fixed_by_program() {
        let key = Key::dotted("kafka.properties").child(name);
        return Err(origins.invalid(key, format!("this property belongs to the program: {reason}")));
    }
    if let Some((name, other)) = kafka.topics.duplicate_name() {
        let key = Key::dotted("kafka.topics").child(name);
        return Err(origins.invalid(key, format!("must be another topic than kafka.topics.{other}")));
    }
    // The broker's own limit is 15 minutes by default.
    if !(Duration::from_secs(1)..=Duration::from_secs(900)).contains(&kafka.transaction_timeout) {
        return Err(origins.invalid(Key::dotted("kafka.transaction_timeout"), "must be between 1s and 15m"));
    }
    Ok(())
}

fn check_cluster(cluster: &Cluster, origins: &Origins) -> Result<(), ConfigError> {
    let section = Key::dotted("cluster");
    for (name, text) in [("group_id", Some(&cluster.group_id)), ("instance_id", cluster.instance_id.as_ref())] {
        if text.is_some_and(|text| text.trim().is_empty()) {
            return Err(origins.invalid(section.child(name), "must not be empty"));
        }
    }
    // The broker's own limits are 6 s and 30 minutes by default.
    if !(Duration::from_secs(6)..=Duration::from_secs(1800)).contains(&cluster.session_timeout) {
        return Err(origins.invalid(section.child("session_timeout"), "must be between 6s and 30m"));
    }
    Ok(())
}

/// Resolves properties that are given both inline and in a file: the higher layer wins, as with other secrets.
fn settle_properties(properties: &mut Properties, origins: &Origins) -> Result<(), ConfigError> {
    let section = Key::dotted("kafka.properties");
    for name in properties.given_twice() {
        let file = format!("{name}{}", kafka::FILE);
        let loses = match file_wins(&section.child(&name), &section.child(&file), origins)? {
            true => &name,
            false => &file,
        };
        properties.remove(loses);
    }
    Ok(())
}

fn registry(entry: SchemaRegistryEntry, origins: &Origins) -> Result<SchemaRegistry, ConfigError> {
    let section = Key::dotted("schema_registry");
    let password = secret(&section, "password", entry.password, entry.password_file, origins)?;
    match (&entry.username, &password) {
        (Some(_), None) => return Err(ConfigError::Missing { key: section.child("password") }),
        (None, Some(_)) => return Err(ConfigError::Missing { key: section.child("username") }),
        _ => {}
    }
    Ok(SchemaRegistry {
        url: entry.url,
        auto_register: entry.auto_register,
        timeout: entry.timeout,
        ca_file: entry.ca_file,
        username: entry.username,
        password: password.map(PasswordSource),
    })
}

fn store(name: &StoreName, entry: StoreEntry, general: &Api, origins: &Origins) -> Result<Store, ConfigError> {
    let section = Key::of_store(name);
    let api = entry.api(general);
    let StoreEntry { country, token, token_file, base_url, allow_insecure_http, .. } = entry;
    let token = secret(&section, "token", token, token_file, origins)?
        .ok_or_else(|| origins.invalid(section.clone(), no_token(&section)))?;
    let base_url = match base_url {
        Some(url) => url,
        None => {
            country.base_url().parse::<Url>().map_err(|e| origins.invalid(section.child("country"), e.to_string()))?
        }
    };
    if base_url.scheme() != "https" && !values::is_loopback(&base_url) && !allow_insecure_http {
        let reason = "the token would travel in the clear; use https, or set allow_insecure_http = true";
        return Err(origins.invalid(section.child("base_url"), reason));
    }
    Ok(Store { country, base_url, allow_insecure_http, token: TokenSource(token), api })
}

fn no_token(section: &Key) -> String {
    let variable = section.child("token_file").variable();
    format!("has no token; set its token_file (or {variable}) or its token")
}

/// A secret given inline or in a file. If both are given, the higher layer wins, so that a variable overrides either
/// form in the settings file.
fn secret(
    section: &Key,
    name: &str,
    inline: Option<Secret>,
    file: Option<PathBuf>,
    origins: &Origins,
) -> Result<Option<SecretSource>, ConfigError> {
    let (inline, file) = match (inline, file) {
        (Some(secret), Some(path)) => (secret, path),
        (inline, file) => return Ok(inline.map(SecretSource::Inline).or(file.map(SecretSource::File))),
    };
    let file_wins = file_wins(&section.child(name), &section.child(format!("{name}_file")), origins)?;
    Ok(Some(if file_wins { SecretSource::File(file) } else { SecretSource::Inline(inline) }))
}

/// Whether the file was set in a higher layer than the inline secret. Both in one layer is an error.
fn file_wins(inline: &Key, file: &Key, origins: &Origins) -> Result<bool, ConfigError> {
    let (inline_origin, file_origin) = (origins.of(inline), origins.of(file));
    if inline_origin.same_layer(&file_origin) {
        return Err(origins.invalid(file.clone(), format!("`{inline}` is set as well ({inline_origin}); keep one")));
    }
    Ok(file_origin > inline_origin)
}

#[cfg(test)]
mod tests;

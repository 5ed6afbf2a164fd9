//! The settings, merged from defaults, a TOML file, the environment and the command line; later layers win.
//!
//! An unknown key is an error, since a misspelt setting would silently keep its default. Secrets have types of their
//! own that never show their value. Files with secrets are read on demand, not here.

mod error;
mod kafka;
mod key;
mod layers;
mod secret;
mod sections;
mod service_link;
mod settings;
mod show;
mod store;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use url::Url;

pub use error::{ConfigError, Origin};
pub use kafka::{Kafka, Properties, Topics};
pub use key::Key;
pub use secret::{PasswordSource, SecretError, Token, TokenSource};
pub use sections::{Admin, Reconcile, Resync, ResyncPolicy, SchemaRegistry, Spool};
pub use settings::reference;
pub use store::{Api, Paths, Store};

use crate::order::ids::StoreName;
use layers::{Layers, Origins};
use secret::{Secret, SecretSource};
use sections::SchemaRegistryEntry;
use store::StoreEntry;

/// The settings file that is read if none is named and it exists.
pub const DEFAULT_FILE: &str = "imotriz-kafka.toml";

pub use crate::order::mapping::Mapping;

/// All settings, validated.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Config {
    pub kafka: Kafka,
    /// The schema registry, if there is one.
    pub schema_registry: Option<SchemaRegistry>,
    /// Where pages wait.
    pub spool: Spool,
    /// Health, metrics and status.
    pub admin: Admin,
    /// How the marketplace is asked, unless a store's own settings differ.
    pub api: Api,
    pub reconcile: Reconcile,
    /// Where in a record each field is.
    pub mapping: Mapping,
    /// What happens to an order that the marketplace hands over again.
    pub resync: Resync,
    /// The stores by name. There may be none: see [`Config::stores_or_error`].
    pub stores: BTreeMap<StoreName, Store>,
    #[serde(skip)]
    origins: Origins,
}

/// The settings as written, before checks across several of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    kafka: Kafka,
    schema_registry: Option<SchemaRegistryEntry>,
    #[serde(default)]
    spool: Spool,
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
    stores: BTreeMap<StoreName, StoreEntry>,
}

impl Config {
    /// Loads the settings. The file is `file`, or else the one named by the variable `IMOTRIZ_CONFIG`, or else
    /// [`DEFAULT_FILE`] in the working directory if it exists. `overrides` are dotted names and their values.
    ///
    /// # Errors
    /// A file can't be read, a key is unknown, or a value can't be used. The message names the place.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        overrides: &[(&str, String)],
    ) -> Result<Self, ConfigError> {
        let variables: Vec<_> = environment.into_iter().collect();
        let mut layers = Layers::default();
        if let Some(path) = Self::file(file, &variables) {
            let text =
                fs::read_to_string(&path).map_err(|reason| ConfigError::Unreadable { path: path.clone(), reason })?;
            layers.add_file(&path, &text)?;
        }
        layers.add_environment(&variables)?;
        layers.add_command_line(overrides)?;
        Self::of_layers(layers)
    }

    /// Loads settings only from a TOML text.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_file(Path::new(DEFAULT_FILE), text)?;
        Self::of_layers(layers)
    }

    /// Loads settings only from environment variables.
    pub fn from_environment(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        layers.add_environment(&environment.into_iter().collect::<Vec<_>>())?;
        Self::of_layers(layers)
    }

    /// The stores, of which there is at least one.
    ///
    /// # Errors
    /// No store is set up.
    pub fn stores_or_error(&self) -> Result<&BTreeMap<StoreName, Store>, ConfigError> {
        if self.stores.is_empty() { Err(ConfigError::NoStores) } else { Ok(&self.stores) }
    }

    fn file(named: Option<&Path>, variables: &[(String, String)]) -> Option<PathBuf> {
        let variable = || {
            let set = variables.iter().find(|(name, value)| name == "IMOTRIZ_CONFIG" && !value.is_empty());
            set.map(|(_, value)| PathBuf::from(value))
        };
        // Only a clear "not found" means absent. Any other error shows when the file is read, so that settings are
        // never overlooked.
        let is_there = |path: &PathBuf| !path.symlink_metadata().is_err_and(|e| e.kind() == io::ErrorKind::NotFound);
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(is_there);
        named.map(Path::to_owned).or_else(variable).or_else(default)
    }

    fn of_layers(layers: Layers) -> Result<Self, ConfigError> {
        let (mut written, origins): (Written, _) = layers.extract()?;
        check_kafka(&written.kafka, &origins)?;
        settle_properties(&mut written.kafka.properties, &origins)?;
        if written.reconcile.retention < Reconcile::LEAST_RETENTION {
            let reason = "must be at least 31d: what is forgotten while the marketplace lists it is published again";
            return Err(origins.invalid(Key::dotted("reconcile.retention"), reason));
        }
        let schema_registry = written.schema_registry.map(|entry| registry(entry, &origins)).transpose()?;
        let stores = written.stores.into_iter().map(|(name, entry)| {
            let store = store(&name, entry, &written.api, &origins)?;
            Ok((name, store))
        });
        let stores = stores.collect::<Result<_, ConfigError>>()?;
        Ok(Self {
            kafka: written.kafka,
            schema_registry,
            spool: written.spool,
            admin: written.admin,
            api: written.api,
            reconcile: written.reconcile,
            mapping: written.mapping,
            resync: written.resync,
            stores,
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
        username: entry.username,
        password: password.map(PasswordSource),
    })
}

fn store(name: &StoreName, entry: StoreEntry, general: &Api, origins: &Origins) -> Result<Store, ConfigError> {
    let section = Key::new(["stores", name.as_str()]);
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

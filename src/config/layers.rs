//! Merges the layers of settings: a file, the environment, the command line.
//!
//! Each key is checked when its layer is added, so that an error can name the place. Values from the environment are
//! always text: a token that looks like a number stays text, and numeric settings parse text.

use std::collections::BTreeMap;
use std::path::Path;

use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::key::{Key, PREFIX};
use super::service_link::is_service_link;
use super::settings::{self, Known};
use crate::order::ids::StoreName;

/// The values set so far, and where.
#[derive(Default)]
pub(super) struct Layers {
    values: Figment,
    origins: Origins,
}

/// The place where each setting or section was set, by the layer that wins. Contains no values.
#[derive(Debug, Clone, Default)]
pub(super) struct Origins(BTreeMap<Key, Origin>);

impl Origins {
    /// Where a setting was set. For a store's setting that the store does not set, where `[api]` sets it.
    pub(super) fn of(&self, key: &Key) -> Origin {
        let general = match key.segments() {
            [stores, _, rest @ ..] if stores == "stores" => {
                Some(Key::new(["api"]).segments().iter().chain(rest).cloned().collect::<Vec<_>>())
            }
            _ => None,
        };
        let own = self.0.get(key);
        own.or_else(|| self.0.get(&Key::new(general?))).cloned().unwrap_or(Origin::Default)
    }

    /// Where a person should look: the place of the setting, or else of the nearest section around it.
    fn nearest(&self, key: &Key) -> Origin {
        let mut key = Some(key.clone());
        while let Some(here) = key {
            if let Some(origin) = self.0.get(&here) {
                return origin.clone();
            }
            key = here.parent();
        }
        Origin::Default
    }

    /// The error for an unusable value.
    pub(super) fn invalid(&self, key: Key, reason: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { origin: self.nearest(&key), key, reason: reason.into() }
    }
}

impl Layers {
    /// Adds the settings of a TOML file; `path` is for messages.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let line = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let syntax = |error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| line(span.start)),
            reason: error.message().trim_end_matches('.').to_owned(),
        };
        let table = DeTable::parse(text).map_err(syntax)?;
        let place = |offset| Origin::File(path.to_owned(), line(offset));
        self.note_table(&Key::default(), table.get_ref(), &place)?;
        let values = Dict::deserialize(toml::de::Deserializer::from(table)).map_err(syntax)?;
        self.merge(values);
        Ok(())
    }

    fn note_table(
        &mut self,
        section: &Key,
        table: &DeTable<'_>,
        place: &impl Fn(usize) -> Origin,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = section.child(name.get_ref().as_ref());
            let nested = match value.get_ref() {
                DeValue::Table(nested) => Some(nested),
                _ => None,
            };
            self.note(&key, place(name.span().start), nested.is_some())?;
            if let Some(nested) = nested {
                self.note_table(&key, nested, place)?;
            }
        }
        Ok(())
    }

    /// Adds the environment variables that begin with `IMOTRIZ_`. An empty variable counts as unset, since compose
    /// files pass variables on as `${NAME:-}`.
    pub(super) fn add_environment(&mut self, variables: &[(String, String)]) -> Result<(), ConfigError> {
        let mut variables: Vec<_> = variables.iter().filter(|(name, value)| is_ours(name, value)).collect();
        variables.sort();
        let mut values = Dict::new();
        for (name, value) in variables {
            let key = self.with_store_of_file(Key::of_variable(name.strip_prefix(PREFIX).unwrap_or(name)));
            self.check_variable(name, &key)?;
            if value.contains(char::REPLACEMENT_CHARACTER) {
                let reason = "is not valid UTF-8".to_owned();
                return Err(ConfigError::Invalid { key, origin: Origin::Variable(name.clone()), reason });
            }
            if !value.is_empty() {
                self.set(&mut values, key, Origin::Variable(name.clone()), value);
            }
        }
        self.merge(values);
        Ok(())
    }

    fn check_variable(&self, name: &str, key: &Key) -> Result<(), ConfigError> {
        let is_setting_or_section = !matches!(settings::look_up(key), Known::Unknown);
        let hint = match settings::did_you_mean(name) {
            _ if is_setting_or_section => None,
            None if key.segments().len() == 1 => Some(format!(
                "Settings have two underscores between section and key, as {PREFIX}KAFKA__BOOTSTRAP_SERVERS has."
            )),
            meant => meant,
        };
        match hint {
            Some(hint) => Err(ConfigError::UnknownVariable { name: name.to_owned(), hint }),
            None => self.check(key, &Origin::Variable(name.to_owned()), false),
        }
    }

    /// Adds settings of the command line, by their dotted names.
    pub(super) fn add_command_line(&mut self, overrides: &[(&str, String)]) -> Result<(), ConfigError> {
        let mut values = Dict::new();
        for (name, value) in overrides {
            let key = Key::dotted(name);
            self.check(&key, &Origin::CommandLine, false)?;
            self.set(&mut values, key, Origin::CommandLine, value);
        }
        self.merge(values);
        Ok(())
    }

    /// A variable's name can't contain `-`. So `BOGOTA_NORTE` means the store `bogota-norte` if the file has that store
    /// and no `bogota_norte`.
    fn with_store_of_file(&self, key: Key) -> Key {
        let [stores, name, rest @ ..] = key.segments() else { return key };
        let known = |store: &str| self.origins.0.contains_key(&Key::new(["stores", store]));
        if stores != "stores" || known(name) {
            return key;
        }
        let stores = self.origins.0.keys().filter_map(|known| match known.segments() {
            [section, store] if section == "stores" => Some(store),
            _ => None,
        });
        match stores.into_iter().find(|store| store.replace('-', "_") == *name) {
            Some(store) => Key::new(["stores", store].into_iter().chain(rest.iter().map(String::as_str))),
            None => key,
        }
    }

    fn set(&mut self, values: &mut Dict, key: Key, origin: Origin, value: &str) {
        insert(values, key.segments(), value);
        let mut section = key.parent();
        while let Some(here) = section {
            section = here.parent();
            self.origins.0.entry(here).or_insert_with(|| origin.clone());
        }
        self.origins.0.insert(key, origin);
    }

    fn note(&mut self, key: &Key, origin: Origin, is_table: bool) -> Result<(), ConfigError> {
        self.check(key, &origin, is_table)?;
        self.origins.0.insert(key.clone(), origin);
        Ok(())
    }

    fn check(&self, key: &Key, origin: &Origin, is_table: bool) -> Result<(), ConfigError> {
        let invalid = |reason: String| ConfigError::Invalid { key: key.clone(), origin: origin.clone(), reason };
        if let [stores, name, ..] = key.segments()
            && stores == "stores"
        {
            name.parse::<StoreName>().map_err(|error| {
                invalid(format!("{error}; a store's name has lower-case letters, digits, `-` and `_`"))
            })?;
        }
        match settings::look_up(key) {
            _ if settings::is_mapping(key) && key.segments().len() > 1 => Ok(()),
            Known::Section if is_table => Ok(()),
            Known::Section => Err(invalid(format!("is a section, not a setting. {}", settings::inside(key)))),
            Known::Setting(_) if !is_table => Ok(()),
            Known::Setting(_) => Err(invalid(
                "is a setting, not a section; a name with dots needs quotes, as in \"security.protocol\" = \"SSL\""
                    .into(),
            )),
            Known::Unknown => {
                Err(ConfigError::Unknown { key: key.clone(), origin: origin.clone(), hint: settings::hint(key) })
            }
        }
    }

    fn merge(&mut self, values: Dict) {
        let values = Serialized::from(values, Profile::Default);
        self.values = std::mem::take(&mut self.values).merge(values);
    }

    /// Deserialises the merged settings.
    pub(super) fn extract<T: DeserializeOwned>(self) -> Result<(T, Origins), ConfigError> {
        match self.values.extract_lossy() {
            Ok(settings) => Ok((settings, self.origins)),
            Err(error) => Err(explain(error, &self.origins)),
        }
    }
}

/// Whether a variable belongs to the settings. Excluded are the name of the settings file, the variables for tests, and
/// variables that Kubernetes sets for a Service with the same prefix.
fn is_ours(name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    rest != "CONFIG" && !rest.starts_with("TEST_") && (is_known(rest) || !is_service_link(name, value))
}

fn is_known(rest: &str) -> bool {
    !matches!(settings::look_up(&Key::of_variable(rest)), Known::Unknown)
}

fn insert(dict: &mut Dict, segments: &[String], value: &str) {
    match segments {
        [] => {}
        [last] => drop(dict.insert(last.clone(), Value::from(value))),
        [first, rest @ ..] => {
            let nested = dict.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
            // Text in place of a section was rejected before.
            if let Value::Dict(_, nested) = nested {
                insert(nested, rest, value);
            }
        }
    }
}

/// Converts figment's error into this program's words, because figment quotes the value, which may be a secret.
fn explain(error: figment::Error, origins: &Origins) -> ConfigError {
    let key = Key::new(error.path);
    match error.kind {
        Kind::Message(reason) => origins.invalid(key, reason),
        Kind::MissingField(name) => ConfigError::Missing { key: key.child(name) },
        Kind::UnknownField(name, _) => {
            let key = key.child(name);
            ConfigError::Unknown { origin: origins.nearest(&key), hint: settings::hint(&key), key }
        }
        _ => {
            let reason = match settings::look_up(&key) {
                Known::Setting(setting) => setting.kind.expected(),
                _ => "has the wrong type".to_owned(),
            };
            origins.invalid(key, reason)
        }
    }
}

//! Merges the layers of settings: the files, the environment, the command line.
//!
//! Each key is checked when its layer is added, so that an error can name the place. Values from the environment are
//! always text: a token that looks like a number stays text, and numeric settings parse text.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use figment::error::Kind;
use figment::providers::Serialized;
use figment::value::{Dict, Value};
use figment::{Figment, Profile};
use serde::de::DeserializeOwned;
use toml::de::DeValue;

use super::document::Document;
use super::error::{ConfigError, Origin};
use super::key::{Key, PREFIX};
use super::origins::Origins;
use super::service_link::is_service_link;
use super::settings::{self, Known};
use crate::order::ids::StoreName;

/// The values set so far, and where.
#[derive(Default)]
pub(super) struct Layers {
    values: Dict,
    origins: Origins,
    refused: Vec<RefusedStore>,
}

/// Settings of stores that can't be used, and do not keep the others from being used.
#[derive(Debug, Clone)]
pub struct RefusedStore {
    /// The store; none if nothing of the file can be used.
    pub store: Option<StoreName>,
    /// The file of the folder `stores_dir`; none if only variables name the store.
    pub file: Option<PathBuf>,
    /// What is wrong, and where.
    pub reason: String,
}

/// A store as a file of the folder defines it.
struct Definition {
    file: PathBuf,
    place: Origin,
    /// The values, and where each key stands.
    settings: Result<(Dict, Vec<(Key, Origin)>), ConfigError>,
}

impl Layers {
    /// Adds the settings of a TOML file; `path` is for messages.
    pub(super) fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let document = Document::parse(path, text)?;
        document.each_key(&Key::default(), document.table(), &mut |key, origin, is_table| {
            check(&key, &origin, is_table)?;
            self.origins.set(key, origin);
            Ok(())
        })?;
        merge(&mut self.values, document.values()?);
        Ok(())
    }

    /// Adds the stores of a folder's files. What is wrong with one of them is noted, and the others are added. A store
    /// that is defined twice is added from neither place: nobody knows which one is meant.
    pub(super) fn add_folder(&mut self, files: Vec<(PathBuf, Result<String, ConfigError>)>) {
        let mut defined = BTreeMap::<StoreName, Vec<Definition>>::new();
        for (path, text) in files {
            let read = text.and_then(|text| stores_in(&path, &text, &mut defined));
            if let Err(error) = read {
                self.refused.push(RefusedStore { store: None, file: Some(path), reason: error.to_string() });
            }
        }
        let mut values = Dict::new();
        for (name, mut definitions) in defined {
            let section = Key::of_store(&name);
            let elsewhere = self.origins.get(&section).cloned().into_iter();
            let places: Vec<_> = elsewhere.chain(definitions.iter().map(|one| one.place.clone())).collect();
            let Some(Definition { file, place, settings }) = definitions.pop() else { continue };
            let settings = match places.as_slice() {
                [_] => settings,
                [first, .., last] => Err(defined_twice(section.clone(), first, last)),
                [] => continue,
            };
            match settings {
                Ok((store, origins)) => {
                    self.origins.set(section, place);
                    origins.into_iter().for_each(|(key, origin)| self.origins.set(key, origin));
                    values.insert(name.to_string(), store.into());
                }
                Err(error) => {
                    let (store, file) = (Some(name), Some(file));
                    self.refused.push(RefusedStore { store, file, reason: error.to_string() });
                }
            }
        }
        merge(&mut self.values, Dict::from([(STORES.to_owned(), values.into())]));
    }

    /// The text of a setting, as the layers so far have it.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
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
        merge(&mut self.values, values);
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
            None => check(key, &Origin::Variable(name.to_owned()), false),
        }
    }

    /// Adds settings of the command line, by their dotted names.
    pub(super) fn add_command_line(&mut self, overrides: &[(String, String)]) -> Result<(), ConfigError> {
        let mut values = Dict::new();
        for (name, value) in overrides {
            let key = Key::dotted(name);
            check(&key, &Origin::CommandLine, false)?;
            self.set(&mut values, key, Origin::CommandLine, value);
        }
        merge(&mut self.values, values);
        Ok(())
    }

    /// A variable's name can't contain `-`. So `BOGOTA_NORTE` means the store `bogota-norte` if the file has that store
    /// and no `bogota_norte`.
    fn with_store_of_file(&self, key: Key) -> Key {
        let [stores, name, rest @ ..] = key.segments() else { return key };
        if stores != STORES || self.origins.get(&Key::new([STORES, name])).is_some() {
            return key;
        }
        match self.origins.stores().find(|store| store.replace('-', "_") == *name) {
            Some(store) => Key::new([STORES, store].into_iter().chain(rest.iter().map(String::as_str))),
            None => key,
        }
    }

    fn set(&mut self, values: &mut Dict, key: Key, origin: Origin, value: &str) {
        insert(values, key.segments(), value);
        let mut section = key.parent();
        while let Some(here) = section {
            section = here.parent();
            self.origins.set_if_absent(here, &origin);
        }
        self.origins.set(key, origin);
    }

    /// Takes the stores out, each with what is wrong with it.
    pub(super) fn take_stores<T: DeserializeOwned>(&mut self) -> Vec<(StoreName, Result<T, ConfigError>)> {
        let Some(Value::Dict(_, stores)) = self.values.remove(STORES) else { return Vec::new() };
        let refused: BTreeSet<_> = self.refused.iter().filter_map(|refused| refused.store.as_ref()).collect();
        let named = stores.into_iter().filter_map(|(name, values)| Some((name.parse::<StoreName>().ok()?, values)));
        let usable = named.filter(|(name, _)| !refused.contains(name));
        let store = |(name, values)| {
            let store = match values {
                Value::Dict(_, values) => deserialize(values, &Key::of_store(&name), &self.origins),
                _ => Err(self.origins.invalid(Key::of_store(&name), "is a section, not a setting")),
            };
            (name, store)
        };
        usable.map(store).collect()
    }

    /// Deserialises the merged settings.
    pub(super) fn extract<T: DeserializeOwned>(self) -> Result<(T, Origins, Vec<RefusedStore>), ConfigError> {
        let settings = deserialize(self.values, &Key::default(), &self.origins)?;
        Ok((settings, self.origins, self.refused))
    }
}

const STORES: &str = "stores";

/// Reads the stores that a file of the folder defines.
fn stores_in(path: &Path, text: &str, defined: &mut BTreeMap<StoreName, Vec<Definition>>) -> Result<(), ConfigError> {
    let document = Document::parse(path, text)?;
    let mut noted = Vec::new();
    for (name, value) in document.table() {
        let (key, place) = (Key::new([name.get_ref().as_ref()]), document.place(name.span().start));
        let DeValue::Table(stores) = value.get_ref() else { return Err(only_stores(key, place)) };
        if name.get_ref() != STORES {
            return Err(only_stores(key, place));
        }
        for (name, value) in stores {
            let (key, place) = (key.child(name.get_ref().as_ref()), document.place(name.span().start));
            let table = value.get_ref().as_table();
            check(&key, &place, table.is_some())?;
            let mut origins = Vec::new();
            let keys = table.map_or(Ok(()), |table| {
                document.each_key(&key, table, &mut |key, origin, is_table| {
                    check(&key, &origin, is_table)?;
                    origins.push((key, origin));
                    Ok(())
                })
            });
            noted.push((name.get_ref().to_string(), place, keys.map(|()| origins)));
        }
    }
    let mut values = document.values()?;
    let mut values = match values.remove(STORES) {
        Some(Value::Dict(_, values)) => values,
        _ => Dict::new(),
    };
    for (name, place, origins) in noted {
        let store = match values.remove(&name) {
            Some(Value::Dict(_, store)) => store,
            _ => Dict::new(),
        };
        let definition = Definition { file: path.to_owned(), place, settings: origins.map(|origins| (store, origins)) };
        // A name that is none was refused by `check`.
        if let Ok(name) = name.parse() {
            defined.entry(name).or_default().push(definition);
        }
    }
    Ok(())
}

fn only_stores(key: Key, origin: Origin) -> ConfigError {
    let reason = "a file of `stores_dir` has [stores.NAME] tables and nothing else".to_owned();
    ConfigError::Invalid { key, origin, reason }
}

fn defined_twice(key: Key, first: &Origin, last: &Origin) -> ConfigError {
    let reason = format!("is defined twice, here and in {last}; keep one");
    ConfigError::Invalid { key, origin: first.clone(), reason }
}

fn check(key: &Key, origin: &Origin, is_table: bool) -> Result<(), ConfigError> {
    let invalid = |reason: String| ConfigError::Invalid { key: key.clone(), origin: origin.clone(), reason };
    if let [stores, name, ..] = key.segments()
        && stores == STORES
    {
        name.parse::<StoreName>()
            .map_err(|error| invalid(format!("{error}; a store's name has lower-case letters, digits, `-` and `_`")))?;
    }
    match settings::look_up(key) {
        _ if settings::is_mapping(key) && key.segments().len() > 1 => Ok(()),
        Known::Section if is_table => Ok(()),
        Known::Section => Err(invalid(format!("is a section, not a setting. {}", settings::inside(key)))),
        Known::Setting(_) if !is_table => Ok(()),
        Known::Setting(_) => Err(invalid(
            "is a setting, not a section; a name with dots needs quotes, as in \"security.protocol\" = \"SSL\"".into(),
        )),
        Known::Unknown => {
            Err(ConfigError::Unknown { key: key.clone(), origin: origin.clone(), hint: settings::hint(key) })
        }
    }
}

/// Later values win; sections are merged.
fn merge(into: &mut Dict, values: Dict) {
    for (name, value) in values {
        match (into.get_mut(&name), value) {
            (Some(Value::Dict(_, into)), Value::Dict(_, values)) => merge(into, values),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

/// Deserialises the values of a section. Numbers and flags may be texts, since the environment has nothing else.
fn deserialize<T: DeserializeOwned>(values: Dict, section: &Key, origins: &Origins) -> Result<T, ConfigError> {
    let values = Figment::from(Serialized::from(values, Profile::Default));
    values.extract_lossy().map_err(|error| explain(error, section, origins))
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
fn explain(error: figment::Error, section: &Key, origins: &Origins) -> ConfigError {
    let key = Key::new(section.segments().iter().chain(&error.path));
    match error.kind {
        Kind::Message(reason) => origins.invalid(key, reason),
        Kind::MissingField(name) => ConfigError::Missing { key: key.child(name) },
        Kind::UnknownField(name, _) => {
            let key = key.child(name);
            let hint = settings::hint(&key);
            origins.unknown(key, hint)
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

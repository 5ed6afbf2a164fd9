//! Parses docker-compose.yml as docker compose does, as far as this file needs it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// The project's compose file with the variables of a `.env` put into it.
#[derive(Deserialize)]
pub struct Compose {
    pub services: BTreeMap<String, Service>,
    #[serde(default)]
    pub volumes: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
pub struct Service {
    pub image: String,
    #[serde(default)]
    pub build: Option<Value>,
    #[serde(default)]
    pub pull_policy: Option<String>,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    #[serde(default)]
    pub depends_on: BTreeMap<String, Dependency>,
    #[serde(default)]
    pub volumes: Vec<Mount>,
    #[serde(default)]
    pub ports: Vec<String>,
    #[serde(default)]
    pub profiles: Vec<String>,
    #[serde(default)]
    pub read_only: bool,
    #[serde(default)]
    pub cap_drop: Vec<String>,
}

#[derive(Deserialize)]
pub struct Healthcheck {
    pub test: Vec<String>,
}

#[derive(Deserialize)]
pub struct Dependency {
    pub condition: String,
    #[serde(default = "yes")]
    pub required: bool,
}

/// What is mounted where, in the short form or in the long one.
#[derive(Deserialize)]
#[serde(from = "Value")]
pub struct Mount {
    pub kind: Kind,
    /// A path of the host or the name of a volume.
    pub source: String,
    pub target: String,
    pub read_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bind,
    Volume,
    Tmpfs,
}

impl From<Value> for Mount {
    fn from(value: Value) -> Self {
        if let Some(short) = value.as_str() {
            let (source, rest) = short.split_once(':').unwrap_or_else(|| panic!("a volume without a name: {short}"));
            let (target, mode) = rest.split_once(':').unwrap_or((rest, ""));
            let kind = if source.starts_with(['.', '/']) { Kind::Bind } else { Kind::Volume };
            return Self { kind, source: source.to_owned(), target: target.to_owned(), read_only: mode == "ro" };
        }
        let kind = match &value["type"] {
            kind if kind == "bind" => Kind::Bind,
            kind if kind == "volume" => Kind::Volume,
            kind if kind == "tmpfs" => Kind::Tmpfs,
            kind => panic!("this test does not know the mount {kind}"),
        };
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        Self { kind, source: text("source"), target: text("target"), read_only: value["read_only"] == true }
    }
}

fn yes() -> bool {
    true
}

impl Compose {
    /// With the project's `.env` as it is.
    pub fn of_the_project() -> Self {
        Self::with(&dot_env(&read(".env")))
    }

    /// With these variables.
    pub fn with(variables: &BTreeMap<String, String>) -> Self {
        let mut file = parse(&read("docker-compose.yml"));
        fill_in(&mut file, variables);
        serde_json::from_value(file).unwrap()
    }

    /// The folder of the host in which the token of the shop is.
    pub fn secrets(&self) -> &str {
        &self.service("producer").mount("/run/secrets").source
    }

    pub fn service(&self, name: &str) -> &Service {
        self.services.get(name).unwrap_or_else(|| panic!("docker-compose.yml has no service `{name}`"))
    }
}

impl Service {
    /// What is mounted at this path.
    pub fn mount(&self, target: &str) -> &Mount {
        let found = self.volumes.iter().find(|mount| mount.target == target);
        found.unwrap_or_else(|| panic!("nothing is mounted at {target}"))
    }
}

/// A file of the project.
pub fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// YAML as JSON.
pub fn parse(yaml: &str) -> Value {
    serde_saphyr::from_str(yaml).unwrap()
}

/// The variables of a `.env`. Ours needs no quotes.
pub fn dot_env(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let pairs = lines.map(|line| line.split_once('=').unwrap_or_else(|| panic!("no variable: {line}")));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Puts variables in the places of `${…}`. It happens after parsing, as with docker compose: an empty value stays text.
fn fill_in(value: &mut Value, variables: &BTreeMap<String, String>) {
    match value {
        Value::String(text) => *text = filled_in(text, variables),
        Value::Array(values) => values.iter_mut().for_each(|value| fill_in(value, variables)),
        Value::Object(values) => values.values_mut().for_each(|value| fill_in(value, variables)),
        _ => {}
    }
}

fn filled_in(text: &str, variables: &BTreeMap<String, String>) -> String {
    let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
    let (inside, after) = rest.split_once('}').expect("what is opened is closed");
    let (name, operator) = inside.split_once(':').expect("an operator, for all may be unset");
    let set = variables.get(name).filter(|value| !value.is_empty());
    let value = match (operator.split_at(1), set) {
        (("?", _), None) => panic!("{name} is not set"),
        (("?" | "-", _), Some(value)) => value.as_str(),
        (("-", default), None) => default,
        (("+", instead), Some(_)) => instead,
        (("+", _), None) => "",
        ((other, _), _) => panic!("this test does not know `:{other}`"),
    };
    format!("{before}{value}{}", filled_in(after, variables))
}

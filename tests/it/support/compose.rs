//! docker-compose.yml as docker compose reads it, so far as this file needs it.

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
    pub secrets: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
pub struct Service {
    pub image: String,
    #[serde(default)]
    pub build: Option<String>,
    #[serde(default)]
    pub command: Vec<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub healthcheck: Option<Healthcheck>,
    #[serde(default)]
    pub depends_on: BTreeMap<String, Dependency>,
    #[serde(default)]
    pub volumes: Vec<String>,
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

#[derive(Deserialize)]
pub struct Secret {
    pub file: String,
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

    pub fn service(&self, name: &str) -> &Service {
        self.services.get(name).unwrap_or_else(|| panic!("docker-compose.yml has no service `{name}`"))
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

//! Prints the effective settings, and where each was set. Secrets are redacted by their types.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::Config;
use super::key::Key;

impl Config {
    /// All effective settings as TOML, each with its source as a comment. Except for secrets, the text can be loaded
    /// again.
    #[must_use]
    pub fn redacted_toml(&self) -> String {
        let mut text = String::new();
        self.write_table(&mut text, &Key::default(), &self.redacted());
        text
    }

    /// All effective settings as JSON: `settings` as in the file, and `sources` by the settings' names.
    #[must_use]
    pub fn redacted_json(&self) -> Value {
        let mut sources = BTreeMap::new();
        self.each_value(&mut |key, _| {
            sources.insert(key.to_string(), self.origins.of(key).to_string());
        });
        json!({ "settings": self.redacted(), "sources": sources })
    }

    /// Calls `visit` for each effective setting, with secrets redacted.
    pub(super) fn each_value(&self, visit: &mut impl FnMut(&Key, &Value)) {
        fn walk(key: &Key, table: &Map<String, Value>, visit: &mut impl FnMut(&Key, &Value)) {
            for (name, value) in table {
                match value {
                    Value::Object(nested) => walk(&key.child(name), nested, visit),
                    value => visit(&key.child(name), value),
                }
            }
        }
        walk(&Key::default(), &self.redacted(), visit);
    }

    fn redacted(&self) -> Map<String, Value> {
        match serde_json::to_value(self).map(without_nulls) {
            Ok(Value::Object(settings)) => settings,
            _ => unreachable!("settings are a struct of texts, numbers and maps by text"),
        }
    }

    fn write_table(&self, text: &mut String, key: &Key, table: &Map<String, Value>) {
        let (sections, values): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_object());
        if !values.is_empty() {
            let gap = if text.is_empty() { "" } else { "\n" };
            match key.segments() {
                [] => {}
                _ => writeln!(text, "{gap}[{key}]").unwrap_or_default(),
            }
        }
        for (name, value) in values {
            let source = self.origins.of(&key.child(name));
            writeln!(text, "{} = {}  # {source}", Key::quoted(name), toml_text(value)).unwrap_or_default();
        }
        for (name, section) in sections {
            if let Value::Object(section) = section {
                self.write_table(text, &key.child(name), section);
            }
        }
    }
}

/// TOML has no null: unset settings are left out.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let set = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(set.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        other => other,
    }
}

fn toml_text(value: &Value) -> String {
    match value {
        Value::String(text) => toml::Value::from(text.as_str()).to_string(),
        Value::Array(values) => format!("[{}]", values.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

//! The name of a setting, as spelt in the file and in the environment.

use std::fmt;

use super::kafka::FILE;
use crate::order::ids::StoreName;

/// Prefix of all environment variables of this program.
pub(super) const PREFIX: &str = "IMOTRIZ_";

/// The name of a setting or section, as its segments: `kafka.properties."security.protocol"` has three.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<String>);

impl Key {
    pub(super) fn new(segments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(segments.into_iter().map(Into::into).collect())
    }

    /// Parses a dotted name without dots inside a segment.
    pub(super) fn dotted(name: &str) -> Self {
        Self::new(name.split('.'))
    }

    /// The section of a store.
    pub(super) fn of_store(name: &StoreName) -> Self {
        Self::new(["stores", name.as_str()])
    }

    /// Parses the name of an environment variable, without the prefix. Names of Kafka properties have dots where the
    /// variable has `_`, since a variable's name can't contain a dot.
    pub(super) fn of_variable(name: &str) -> Self {
        let mut segments: Vec<String> = name.to_lowercase().split("__").map(String::from).collect();
        if let [section, map, property] = segments.as_mut_slice()
            && section == "kafka"
            && map == "properties"
        {
            let (name, file) = match property.strip_suffix(FILE) {
                Some(name) => (name, FILE),
                None => (property.as_str(), ""),
            };
            *property = name.replace('_', ".") + file;
        }
        Self(segments)
    }

    /// The environment variable of this setting.
    #[must_use]
    pub fn variable(&self) -> String {
        let name = self.0.join("__").replace(['.', '-'], "_");
        format!("{PREFIX}{}", name.to_uppercase())
    }

    pub(super) fn child(&self, segment: impl Into<String>) -> Self {
        let mut key = self.clone();
        key.0.push(segment.into());
        key
    }

    pub(super) fn parent(&self) -> Option<Self> {
        let (_, rest) = self.0.split_last()?;
        Some(Self(rest.to_vec()))
    }

    pub(super) fn segments(&self) -> &[String] {
        &self.0
    }

    /// A segment in TOML's spelling: quoted if it has characters other than letters, digits, `-` and `_`.
    pub(super) fn quoted(segment: &str) -> String {
        let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !segment.is_empty() && segment.chars().all(bare) { segment.to_owned() } else { format!("{segment:?}") }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            write!(f, "{dot}{}", Self::quoted(segment))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kafka_property_has_dots_in_the_file_and_underscores_in_the_environment() {
        let key = Key::of_variable("KAFKA__PROPERTIES__SECURITY_PROTOCOL");
        assert_eq!(key.to_string(), r#"kafka.properties."security.protocol""#);
        assert_eq!(key.variable(), "IMOTRIZ_KAFKA__PROPERTIES__SECURITY_PROTOCOL");
        let file = Key::of_variable("KAFKA__PROPERTIES__SASL_PASSWORD_FILE");
        assert_eq!(file.to_string(), r#"kafka.properties."sasl.password_file""#);
        assert_eq!(file.variable(), "IMOTRIZ_KAFKA__PROPERTIES__SASL_PASSWORD_FILE");
        assert_eq!(Key::of_variable("KAFKA__BOOTSTRAP_SERVERS").to_string(), "kafka.bootstrap_servers");
    }
}

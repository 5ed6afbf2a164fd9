//! A TOML text, in which each key knows its line.

use std::path::Path;
use std::sync::Arc;

use figment::value::Dict;
use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::error::{ConfigError, Origin};
use super::key::Key;

pub(super) struct Document<'t> {
    path: Arc<Path>,
    line_ends: Vec<usize>,
    table: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// Parses a file's text; `path` is for messages.
    pub(super) fn parse(path: &Path, text: &'t str) -> Result<Self, ConfigError> {
        let line_ends: Vec<_> =
            text.bytes().enumerate().filter_map(|(at, byte)| (byte == b'\n').then_some(at)).collect();
        let table = DeTable::parse(text).map_err(|error| syntax(path, &line_ends, &error))?;
        Ok(Self { path: path.into(), line_ends, table })
    }

    /// Calls `visit` for each key below `section`, the section before what is in it, with its place and with whether it
    /// is a table.
    pub(super) fn each_key<E>(
        &self,
        section: &Key,
        table: &DeTable<'_>,
        visit: &mut impl FnMut(Key, Origin, bool) -> Result<(), E>,
    ) -> Result<(), E> {
        for (name, value) in table {
            let key = section.child(name.get_ref().as_ref());
            let nested = match value.get_ref() {
                DeValue::Table(nested) => Some(nested),
                _ => None,
            };
            visit(key.clone(), self.place(name.span().start), nested.is_some())?;
            if let Some(nested) = nested {
                self.each_key(&key, nested, visit)?;
            }
        }
        Ok(())
    }

    pub(super) fn table(&self) -> &DeTable<'t> {
        self.table.get_ref()
    }

    /// The place of what stands `offset` bytes behind the beginning.
    pub(super) fn place(&self, offset: usize) -> Origin {
        Origin::File(self.path.clone(), line(&self.line_ends, offset))
    }

    pub(super) fn values(self) -> Result<Dict, ConfigError> {
        let Self { path, line_ends, table } = self;
        Dict::deserialize(Deserializer::from(table)).map_err(|error| syntax(&path, &line_ends, &error))
    }
}

/// The line, counted from 1.
fn line(line_ends: &[usize], offset: usize) -> usize {
    1 + line_ends.partition_point(|end| *end < offset)
}

fn syntax(path: &Path, line_ends: &[usize], error: &Error) -> ConfigError {
    ConfigError::Syntax {
        path: path.to_owned(),
        line: error.span().map_or(1, |span| line(line_ends, span.start)),
        reason: error.message().trim_end_matches('.').to_owned(),
    }
}

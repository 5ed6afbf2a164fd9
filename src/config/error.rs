//! Why settings can't be used. No message contains a value that could be a secret.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::key::Key;
use super::secret::access;

/// Where a value was set. A later variant overrides an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    Default,
    /// A settings file, and the line, counted from 1.
    File(Arc<Path>, usize),
    /// An environment variable, by its name.
    Variable(String),
    CommandLine,
}

impl Origin {
    /// The settings file.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path, _) => Some(path),
            _ => None,
        }
    }

    /// Whether both are in the same layer.
    pub(super) fn same_layer(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// Why settings can't be used, and what to do about it.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The settings file can't be read.
    #[error("can't read the settings file {}: {reason}{}. Name another with --config or IMOTRIZ_CONFIG.", path.display(), access(reason))]
    Unreadable { path: PathBuf, reason: io::Error },
    /// The folder `stores_dir` or one of its files can't be read.
    #[error("can't read {} for stores (`stores_dir`): {reason}{}.", path.display(), access(reason))]
    UnreadableStores { path: PathBuf, reason: io::Error },
    /// A settings file is not valid TOML.
    #[error("{}, line {line}, is not valid TOML: {reason}.", path.display())]
    Syntax {
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message; it quotes no values.
        reason: String,
    },
    /// A key is unknown.
    #[error("`{key}` ({origin}) is no setting of this program. {hint}.")]
    Unknown {
        key: Key,
        origin: Origin,
        /// The keys that may have been meant.
        hint: String,
    },
    /// An environment variable begins like a setting but is none.
    #[error("the environment variable {name} is no setting of this program. {hint}")]
    UnknownVariable {
        name: String,
        /// The variable that may have been meant.
        hint: String,
    },
    /// A value can't be used.
    #[error("`{key}` ({origin}): {reason}.")]
    Invalid {
        key: Key,
        /// Where the value was set.
        origin: Origin,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A setting without a default is not set.
    #[error("`{key}` is missing. Set it in the settings file or as {}.", key.variable())]
    Missing { key: Key },
    /// The command needs a store, and none is set up.
    #[error(
        "no store is set up. Add a [stores.NAME] table to the settings file or to a file of `stores_dir`, or set IMOTRIZ_STORES__NAME__COUNTRY=CO \
         (or MX, EC, CR) and IMOTRIZ_STORES__NAME__TOKEN_FILE=/path/to/token (or IMOTRIZ_STORES__NAME__TOKEN)."
    )]
    NoStores,
    /// Stores that are defined can't be used.
    #[error("{count} of the stores can't be used: {first}{}", if *count > 1 { " `imotriz-kafka stores check` tells of all." } else { "" })]
    Refused {
        count: usize,
        /// What is wrong with the first of them.
        first: String,
    },
}

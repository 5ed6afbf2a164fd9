//! Why settings can't be used. No message holds the value of a setting that could be a secret.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::key::Key;
use super::secret::access;

/// Where a value was set. A later variant overrides an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A settings file, and the line, counted from 1.
    File(PathBuf, usize),
    /// An environment variable, by its name.
    Variable(String),
    /// The command line.
    CommandLine,
}

impl Origin {
    /// Whether both stand on the same step of the ladder from default to command line.
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
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: io::Error,
    },
    /// The settings file is no TOML.
    #[error("{}, line {line}, is not valid TOML: {reason}.", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What the parser says; it quotes no values.
        reason: String,
    },
    /// A key that this program doesn't know.
    #[error("`{key}` ({origin}) is no setting of this program. {hint}.")]
    Unknown {
        /// The key.
        key: Key,
        /// Where it stands.
        origin: Origin,
        /// What may have been meant.
        hint: String,
    },
    /// An environment variable that looks like a setting and is none.
    #[error("the environment variable {name} is no setting of this program. {hint}")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// What may have been meant.
        hint: String,
    },
    /// A value that can't be used.
    #[error("`{key}` ({origin}): {reason}.")]
    Invalid {
        /// The setting.
        key: Key,
        /// Where its value comes from.
        origin: Origin,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// A setting that has no default and was not set.
    #[error("`{key}` is missing. Set it in the settings file or as {}.", key.variable())]
    Missing {
        /// The setting.
        key: Key,
    },
    /// The command needs a store, and none is set.
    #[error(
        "no store is set up. Add a [stores.NAME] table to the settings file, or set IMOTRIZ_STORES__NAME__COUNTRY=CO \
         (or MX, EC, CR) and IMOTRIZ_STORES__NAME__TOKEN_FILE=/path/to/token (or IMOTRIZ_STORES__NAME__TOKEN)."
    )]
    NoStores,
}

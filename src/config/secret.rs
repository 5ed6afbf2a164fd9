//! Secrets. They are never shown, and are read again on demand, so that rotation needs no restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::stamp::Stamp;

/// Replaces a secret wherever settings are shown.
pub(super) const REDACTED: &str = "[redacted]";

/// Why a secret can't be used. The message names the place, never the secret.
#[derive(Debug, Error)]
pub enum SecretError {
    #[error("can't read the {what} file {}: {reason}{}", path.display(), access(reason))]
    Unreadable { what: &'static str, path: PathBuf, reason: io::Error },
    /// The secret is blank.
    #[error("the {what} in {place} is empty")]
    Empty {
        what: &'static str,
        /// The file, or `the settings`.
        place: String,
    },
    /// The token can't be sent in an HTTP header as it is.
    #[error("the token in {place} is no bare token: no `Bearer` before it, on one line, nothing but visible ASCII")]
    NotBare {
        /// The file, or `the settings`.
        place: String,
    },
}

/// Advice for a file or folder that this program may not access. In a container, people don't see which user the
/// program runs as.
pub(super) fn access(reason: &io::Error) -> String {
    if reason.kind() != io::ErrorKind::PermissionDenied {
        return String::new();
    }
    let user = rustix::process::geteuid().as_raw();
    format!(". The program runs as user {user}, who must be able to read the file and to enter its folder")
}

/// A secret given in the settings.
#[derive(Debug, Clone)]
pub(super) struct Secret(SecretString);

/// Tells whether a setting has changed.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SecretSource {
    Inline(Secret),
    File(PathBuf),
}

impl SecretSource {
    fn place(&self) -> String {
        match self {
            Self::Inline(_) => "the settings".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Reads the secret, without the line break at its end.
    pub(super) fn read(&self, what: &'static str) -> Result<SecretString, SecretError> {
        let secret = match self {
            Self::Inline(Secret(secret)) => secret.clone(),
            Self::File(path) => fs::read_to_string(path)
                .map(SecretString::from)
                .map_err(|reason| SecretError::Unreadable { what, path: path.clone(), reason })?,
        };
        let text = secret.expose_secret();
        if text.trim().is_empty() {
            return Err(SecretError::Empty { what, place: self.place() });
        }
        Ok(text.trim_end_matches(['\r', '\n']).into())
    }

    /// Serialises a single entry, so that it can be flattened into the section: the redacted secret, or the file's
    /// path.
    fn serialize<S: Serializer>(&self, what: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Inline(_) => map.serialize_entry(what, REDACTED)?,
            Self::File(path) => map.serialize_entry(&format!("{what}_file"), path)?,
        }
        map.end()
    }
}

/// Where a store's token comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenSource(pub(super) SecretSource);

impl TokenSource {
    /// Reads the current token, without blanks around it. This reads the file each time; [`Token`] reads it only after
    /// a change.
    ///
    /// # Errors
    /// The file can't be read, or holds no bare token.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let secret = self.0.read("token")?;
        let token = secret.expose_secret().trim();
        let visible = token.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !visible || token.split(' ').next().is_some_and(|word| word.eq_ignore_ascii_case("bearer")) {
            return Err(SecretError::NotBare { place: self.0.place() });
        }
        Ok(token.into())
    }
}

#[cfg(test)]
impl TokenSource {
    /// A token given in the settings.
    pub(crate) fn fixed(token: &str) -> Self {
        Self(SecretSource::Inline(Secret(token.into())))
    }

    pub(crate) fn in_file(path: PathBuf) -> Self {
        Self(SecretSource::File(path))
    }
}

/// A store's token, as last read.
#[derive(Debug, Clone)]
pub struct Token {
    source: TokenSource,
    secret: SecretString,
    stamp: Option<Stamp>,
}

/// The version of the token's file; `None` if there is no file.
fn stamp(source: &TokenSource) -> Option<Stamp> {
    let SecretSource::File(path) = &source.0 else { return None };
    Stamp::of(path).ok()
}

impl Token {
    /// Reads the token.
    pub fn read(source: &TokenSource) -> Result<Self, SecretError> {
        // Take the stamp first: a file that changes in between is read once too often, never once too few.
        let stamp = stamp(source);
        Ok(Self { source: source.clone(), secret: source.read()?, stamp })
    }

    #[must_use]
    pub fn secret(&self) -> &SecretString {
        &self.secret
    }

    /// Reads the token again if its file has changed, and returns true if the token differs. An unchanged file costs
    /// one `stat`. A file that can't be used at the moment, because somebody is about to fill it, leaves the token as
    /// it is.
    pub fn refresh(&mut self) -> bool {
        let stamp = stamp(&self.source);
        stamp.is_some() && stamp != self.stamp && self.read_again().unwrap_or(false)
    }

    /// Reads the token again, and returns true if it differs.
    pub fn read_again(&mut self) -> Result<bool, SecretError> {
        let now = Self::read(&self.source)?;
        let changed = now.secret.expose_secret() != self.secret.expose_secret();
        *self = now;
        Ok(changed)
    }
}

impl Serialize for TokenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize("token", serializer)
    }
}

/// Where a password comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct PasswordSource(pub(super) SecretSource);

impl PasswordSource {
    pub(super) fn file(&self) -> Option<&Path> {
        match &self.0 {
            SecretSource::File(path) => Some(path),
            SecretSource::Inline(_) => None,
        }
    }

    /// Reads the current password; reads the file if one is set.
    ///
    /// # Errors
    /// The file can't be read or is empty.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        self.0.read("password")
    }
}

impl Serialize for PasswordSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize("password", serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(text: &str) -> TokenSource {
        TokenSource(SecretSource::Inline(Secret(text.into())))
    }

    #[test]
    fn a_token_file_is_read_again_each_time_and_trimmed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = TokenSource(SecretSource::File(file.path().into()));
        for token in ["first", "second"] {
            fs::write(file.path(), format!("  {token}\r\n")).unwrap();
            assert_eq!(source.read().unwrap().expose_secret(), token);
        }
    }

    #[test]
    fn a_token_is_taken_from_a_file_that_changed_and_kept_while_the_file_is_empty_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "first").unwrap();
        let mut token = Token::read(&TokenSource(SecretSource::File(path.clone()))).unwrap();
        assert!(!token.refresh());

        fs::write(&path, "").unwrap();
        assert!(!token.refresh());
        fs::remove_file(&path).unwrap();
        assert!(!token.refresh());
        assert_eq!(token.secret().expose_secret(), "first");

        // A different file of the same size takes its place by a rename.
        fs::write(folder.path().join("new"), "later").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(token.refresh());
        assert_eq!(token.secret().expose_secret(), "later");
        assert!(!token.refresh());
    }

    #[test]
    fn a_token_file_that_is_missing_or_empty_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display().to_string();
        let source = TokenSource(SecretSource::File(file.path().into()));
        assert_eq!(source.read().unwrap_err().to_string(), format!("the token in {path} is empty"));
        drop(file);
        assert!(source.read().unwrap_err().to_string().starts_with(&format!("can't read the token file {path}: ")));
    }

    #[test]
    fn a_file_that_is_closed_to_the_program_names_the_user_who_must_be_able_to_read_it() {
        let closed = |kind: io::ErrorKind| access(&kind.into());
        let user = rustix::process::geteuid().as_raw();
        assert!(closed(io::ErrorKind::PermissionDenied).contains(&format!("as user {user}, who must be able to read")));
        assert_eq!(closed(io::ErrorKind::NotFound), "");
    }

    #[test]
    fn a_token_with_the_word_bearer_or_a_second_line_is_refused_without_being_shown() {
        for bad in ["Bearer s3cret", "bearer", "s3cret\nsecond", "s3crét", "s3cret\u{fffd}"] {
            let message = inline(bad).read().unwrap_err().to_string();
            assert!(message.contains("no bare token") && !message.contains("s3cr"), "{message}");
        }
    }

    #[test]
    fn a_password_keeps_its_blanks() {
        let source = PasswordSource(SecretSource::Inline(Secret(" pass word \n".into())));
        assert_eq!(source.read().unwrap().expose_secret(), " pass word ");
    }
}

//! Files with the certificates of authorities, `ca_file`. They are read when a client is made, not here.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use super::secret::access;
use super::stamp::Stamp;
use crate::platform::tls::Authorities;

/// Why the certificates in a file can't be used.
#[derive(Debug, Error)]
pub enum AuthoritiesError {
    #[error(
        "can't read the authorities' certificates in {} (`ca_file`): {reason}{}. Name a file of certificates in PEM",
        path.display(), access(reason)
    )]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error(
        "{} (`ca_file`) holds no certificates in PEM, or a damaged one: put the certificates of those into it who signed \
         the server's, each with its lines BEGIN CERTIFICATE and END CERTIFICATE",
        path.display()
    )]
    NoCertificates { path: PathBuf },
}

/// A file with certificates of authorities. Two are equal if the same version of the same file was there when the
/// settings were loaded, so that a changed file counts as a changed setting.
#[derive(Debug, Clone, PartialEq)]
pub struct CaFile {
    path: PathBuf,
    version: Option<Stamp>,
}

impl CaFile {
    /// Reads the file as it is now.
    ///
    /// # Errors
    /// It can't be read, or holds no certificates.
    pub fn read(&self) -> Result<Authorities, AuthoritiesError> {
        let pem =
            fs::read(&self.path).map_err(|reason| AuthoritiesError::Unreadable { path: self.path.clone(), reason })?;
        Authorities::from_pem(pem).ok_or_else(|| AuthoritiesError::NoCertificates { path: self.path.clone() })
    }
}

impl<'de> Deserialize<'de> for CaFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let path = PathBuf::deserialize(deserializer)?;
        let version = Stamp::of(&path).ok();
        Ok(Self { path, version })
    }
}

impl Serialize for CaFile {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.path.serialize(serializer)
    }
}

//! TLS of the HTTP clients: they trust whom this machine trusts, and the authorities that a setting names besides.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use native_tls::{Certificate, TlsConnector};

/// Certificates of authorities, in PEM. Equal if their text is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Authorities(Arc<[u8]>);

impl Authorities {
    /// `None` if there is no certificate in the text, or one that can't be parsed.
    #[must_use]
    pub fn from_pem(pem: Vec<u8>) -> Option<Self> {
        let certificates = Certificate::stack_from_pem(&pem).ok()?;
        (!certificates.is_empty()).then(|| Self(pem.into()))
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorities").field("bytes", &self.0.len()).finish()
    }
}

/// Each is kept, since loading the certificates of the machine's authorities takes some 70 ms. There are as many as
/// files that settings named since the program started.
static CONNECTORS: LazyLock<Mutex<HashMap<Option<Authorities>, TlsConnector>>> = LazyLock::new(Mutex::default);

/// Trusts whom the machine trusts, and `further`.
///
/// # Errors
/// The TLS library can't be set up.
pub fn connector(further: Option<&Authorities>) -> Result<TlsConnector, native_tls::Error> {
    let mut connectors = CONNECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(connector) = connectors.get(&further.cloned()) {
        return Ok(connector.clone());
    }
    let mut builder = TlsConnector::builder();
    for certificate in further.map(|further| Certificate::stack_from_pem(&further.0)).transpose()?.unwrap_or_default() {
        builder.add_root_certificate(certificate);
    }
    let connector = builder.build()?;
    connectors.insert(further.cloned(), connector.clone());
    Ok(connector)
}

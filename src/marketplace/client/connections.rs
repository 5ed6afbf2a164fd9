//! Connections to the marketplace, which all shops share.
//!
//! # No request is sent twice
//! A kept connection may turn out to be closed when it is used. Then one of three things happens:
//! - The connection was seen to be closed before anything of the request was written to it. It never left, and goes out
//!   over another connection. This alone is repeated, within hyper-util, which gets the untouched request back.
//! - The same with a new connection: the request is given up as not sent.
//! - Something was written. Nobody knows how far it came, so the outcome is unknown, even if no byte came back.
//!
//! The third should not happen for a request that nobody had a need to send over an old connection. So a connection that
//! nobody used for a few seconds is closed from our side, before a server closes it: the usual servers wait 5 seconds or
//! more. Where connections are worth keeping, because many shops poll, one of them is used many times a second.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{ClientError, ClientOptions};
use crate::platform::tls::{self, Authorities};

/// How long an unused connection is kept: less than servers do.
const KEPT: Duration = Duration::from_secs(4);
/// How many unused connections are kept for a host.
const MAX_KEPT: usize = 64;

/// The connections of all shops, by host and by what their settings say about connections. Clones share them. They
/// belong to the runtime on which they are opened, and end with it.
#[derive(Debug, Clone, Default)]
pub struct Connections(Arc<Mutex<HashMap<Terms, reqwest::Client>>>);

/// Settings with which requests can share connections only if they are the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Terms {
    https_only: bool,
    authorities: Option<Authorities>,
    connect_timeout: Duration,
    idle_timeout: Duration,
    total_timeout: Duration,
}

impl Connections {
    pub(super) fn client(&self, options: &ClientOptions) -> Result<reqwest::Client, ClientError> {
        let terms = Terms {
            https_only: options.base_url.scheme() == "https",
            authorities: options.authorities.clone(),
            connect_timeout: options.connect_timeout,
            idle_timeout: options.idle_timeout,
            total_timeout: options.total_timeout,
        };
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&terms) {
            return Ok(client.clone());
        }
        let client = terms.client()?;
        clients.insert(terms, client.clone());
        Ok(client)
    }
}

impl Terms {
    fn client(&self) -> Result<reqwest::Client, ClientError> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::connector(self.authorities.as_ref())?)
            .http1_only()
            .tcp_nodelay(true)
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .https_only(self.https_only)
            .connect_timeout(self.connect_timeout)
            .read_timeout(self.idle_timeout)
            .timeout(self.total_timeout)
            .pool_idle_timeout(KEPT)
            .pool_max_idle_per_host(MAX_KEPT)
            .user_agent(concat!("imotriz-kafka/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(client)
    }
}

/// Whether nothing of the request was written to any connection.
pub(super) fn was_not_sent(error: &reqwest::Error) -> bool {
    error.is_connect() || error.is_builder() || was_given_back(error)
}

/// Whether hyper gave a request back as it came, which it calls cancelled.
fn was_given_back(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled)
        || error.source().is_some_and(was_given_back)
}

#[cfg(test)]
mod tests;

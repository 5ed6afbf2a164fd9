//! A question to a running instance.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, redirect};
use thiserror::Error;

use crate::platform::root_cause::root_cause;

/// It answers from memory, so it answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Nobody answers.
#[derive(Debug, Error)]
#[error("no running instance answers at {address} (`admin.listen`): {why}")]
pub struct NoAnswer {
    /// Who was asked.
    address: SocketAddr,
    /// What stood in the way.
    why: String,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminResponse {
    /// The status of HTTP.
    pub status: u16,
    /// The text.
    pub body: String,
}

impl AdminResponse {
    /// Whether the status is one of 2xx.
    #[must_use]
    pub fn is_good(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Asks the instance that listens at `listen`, the setting `admin.listen`, for a path such as `/readyz` or `/status`. An
/// instance that listens at any address is asked at the loopback one.
///
/// # Errors
/// [`NoAnswer`] within five seconds.
pub async fn get(listen: SocketAddr, path: &str) -> Result<AdminResponse, NoAnswer> {
    let address = reachable(listen);
    let ask = async {
        let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(TIMEOUT).build()?;
        let answer = client.get(format!("http://{address}{path}")).send().await?;
        Ok(AdminResponse { status: answer.status().as_u16(), body: answer.text().await? })
    };
    ask.await.map_err(|error: reqwest::Error| NoAnswer { address, why: reason(error) })
}

fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn reason(error: reqwest::Error) -> String {
    root_cause(&error.without_url()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_that_listens_everywhere_is_asked_at_the_loopback_address() {
        for (listen, asked) in
            [("0.0.0.0:9464", "127.0.0.1:9464"), ("[::]:1", "[::1]:1"), ("10.1.2.3:80", "10.1.2.3:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()), asked.parse().unwrap());
        }
    }

    #[tokio::test]
    async fn it_is_said_where_nobody_answers_and_why() {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = get(nobody, "/livez").await.unwrap_err().to_string();
        assert!(error.contains(&nobody.to_string()) && error.contains("refused"), "{error}");
    }
}

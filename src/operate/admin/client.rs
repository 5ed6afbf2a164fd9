//! A question to a running instance.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Position, Url};

use crate::platform::root_cause::root_cause;

/// It answers from memory, so it answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Nobody answers.
#[derive(Debug, thiserror::Error)]
#[error("no running instance answers at {address}: {why}")]
pub struct NoAnswer {
    /// Who was asked.
    address: String,
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
    let address = reachable(listen).to_string();
    let no_answer = |why| NoAnswer { address: format!("{address} (`admin.listen`)"), why };
    try_to_ask(&address, path).await.map_err(no_answer)
}

/// Asks whoever is at an `http://` URL.
///
/// # Errors
/// [`NoAnswer`] within five seconds; or the URL is of another kind.
pub async fn get_url(url: &Url) -> Result<AdminResponse, NoAnswer> {
    let no_answer = |why| NoAnswer { address: url.to_string(), why };
    let (Some(host), "http") = (url.host_str(), url.scheme()) else {
        return Err(no_answer("only http:// can be asked".to_owned()));
    };
    let address = format!("{host}:{}", url.port_or_known_default().unwrap_or(80));
    try_to_ask(&address, &url[Position::BeforePath..Position::AfterQuery]).await.map_err(no_answer)
}

async fn try_to_ask(address: &str, path: &str) -> Result<AdminResponse, String> {
    match timeout(TIMEOUT, ask(address, path)).await {
        Ok(answer) => answer.map_err(|error| root_cause(&*error).to_string()),
        Err(_) => Err(format!("no answer within {TIMEOUT:?}")),
    }
}

/// Without the client of the marketplace: to set up TLS, which is not spoken here, takes several times as long as all else
/// that a health check does.
async fn ask(address: &str, path: &str) -> Result<AdminResponse, Box<dyn Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with its sender, and what goes wrong with it the answer tells.
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, address).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(AdminResponse { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
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

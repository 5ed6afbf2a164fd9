//! Tells who refused a request, and why: the marketplace's API, or a proxy or firewall in front of it.

use std::fmt;

use reqwest::header::{CONTENT_TYPE, HeaderName, SERVER};
use reqwest::{Response, StatusCode};
use serde::de::IgnoredAny;
use thiserror::Error;

/// How many characters of a header are shown.
const SHOWN: usize = 60;

/// A refusal that only a person can resolve.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// 401.
    #[error(
        "the marketplace does not accept the token (401): a newer one voids the older ones, so generate one in the \
         shop's settings and put it into the store's `token` or `token_file`"
    )]
    Token,
    /// 403.
    #[error(
        "the marketplace has no start date for this shop (403): set \"synchronise orders from\" in the shop's settings, \
         at most 30 days back"
    )]
    StartDate,
    /// A refusing status with a body that is not the API's. It may pass by itself.
    #[error(
        "something in front of the marketplace refused the request, a firewall or a proxy ({0}): let this machine's \
         address and its requests through. If nothing is in front, see the store's `token` and its shop's settings"
    )]
    InFront(Front),
    /// 404 in the API's own words, under a path that is not the documented one and has never returned a page.
    #[error(
        "the marketplace answers that nothing is there (404) under `api.paths.new_orders`, which is not the documented \
         path and has brought no page yet: check it. If it is right, the first page of orders will show it"
    )]
    NotFound,
    /// Any other status from 400 to 499.
    #[error("the marketplace refused the request with status {0}: check the store's `base_url` and `api.paths`")]
    Status(u16),
}

/// Who answered, as far as the headers tell. The body is left out: it may quote the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Front {
    pub status: u16,
    pub content_type: Option<String>,
    pub server: Option<String>,
}

impl Front {
    pub(super) fn of(response: &Response) -> Self {
        let shown = |name: HeaderName| {
            let text = response.headers().get(name)?.to_str().ok()?;
            Some(text.chars().filter(|c| !c.is_control()).take(SHOWN).collect())
        };
        Self { status: response.status().as_u16(), content_type: shown(CONTENT_TYPE), server: shown(SERVER) }
    }
}

impl fmt::Display for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        if let Some(content_type) = &self.content_type {
            write!(f, ", {content_type}")?;
        }
        if let Some(server) = &self.server {
            write!(f, ", server {server}")?;
        }
        Ok(())
    }
}

/// The refusal for a status that guarantees that nothing was read. 408 does not: the server may have timed out after it
/// marked orders.
pub(super) fn refusal(status: StatusCode) -> Option<Refusal> {
    match status {
        StatusCode::UNAUTHORIZED => Some(Refusal::Token),
        StatusCode::FORBIDDEN => Some(Refusal::StartDate),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => None,
        status if status.is_client_error() => Some(Refusal::Status(status.as_u16())),
        _ => None,
    }
}

/// Corrects the refusal by the body, which tells who answered: the API answers in JSON, or with an empty body.
pub(super) fn said_by(front: Front, refusal: Refusal, body: &[u8]) -> Refusal {
    let by_the_api = body.trim_ascii().is_empty() || is_json(body);
    let in_front = match front.status {
        407 => true,
        401 | 403 | 406 | 451 => !by_the_api,
        _ => false,
    };
    if in_front { Refusal::InFront(front) } else { refusal }
}

fn is_json(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(body).trim_ascii();
    body.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by(status: u16, body: &str) -> Option<Refusal> {
        let refusal = refusal(StatusCode::from_u16(status).unwrap())?;
        Some(said_by(front(status), refusal, body.as_bytes()))
    }

    fn front(status: u16) -> Front {
        Front { status, content_type: Some("text/html".to_owned()), server: Some("cloudflare".to_owned()) }
    }

    #[test]
    fn who_refuses_is_told_by_the_body() {
        let html = "<!DOCTYPE html><title>Attention Required!</title>";
        let json = "\u{feff} {\"status\":\"error\",\"message\":\"Fecha de inicio no configurada\"}\n";
        for (status, body, expected) in [
            (403, json, Some(Refusal::StartDate)),
            (403, "", Some(Refusal::StartDate)),
            (403, html, Some(Refusal::InFront(front(403)))),
            (403, "Forbidden", Some(Refusal::InFront(front(403)))),
            (401, json, Some(Refusal::Token)),
            (401, html, Some(Refusal::InFront(front(401)))),
            (407, json, Some(Refusal::InFront(front(407)))),
            (406, html, Some(Refusal::InFront(front(406)))),
            (404, html, Some(Refusal::Status(404))),
            (400, html, Some(Refusal::Status(400))),
            (408, html, None),
            (429, html, None),
            (503, html, None),
        ] {
            assert_eq!(by(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_is_in_front_is_told_by_its_head() {
        let text = Refusal::InFront(front(403)).to_string();
        assert!(text.contains("(status 403, text/html, server cloudflare)"), "{text}");
    }
}

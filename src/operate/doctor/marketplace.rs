//! Checks of each store's token and clock. They request the list of IDs or a single order, and never new orders.

use std::sync::Arc;
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use reqwest::header::DATE;
use reqwest::{Client, redirect};
use tokio::time::timeout;

use super::each_store::each_store;
use super::{CHECK_TIMEOUT, Check};
use crate::app;
use crate::config::{CaFile, Config, SecretError, Store};
use crate::marketplace::client::{ApiError, Connections, Hosts, Pace, Refusal};
use crate::order::ids::{OrderId, StoreName};
use crate::pipeline::reconcile::{AskError, Asker};
use crate::platform::text::natural_order;
use crate::platform::tls;

/// Seconds of difference up to which a page that waited is judged right. Beyond, it may be taken for newer or older
/// than it is.
pub(super) const TOO_FAR: u64 = 60;
/// Seconds from which on somebody should set the clock. The `Date` header has no fractions, and the request takes time.
pub(super) const FAR: u64 = 5;

pub(super) async fn check(config: &Config) -> Vec<Check> {
    if config.stores.is_empty() && config.refused.is_empty() {
        let cure = "set one up: `[stores.NAME]` with `country` and `token_file`";
        return vec![Check::bad("stores", "no store is set up", cure)];
    }
    let mut stores: Vec<_> = config.stores.iter().collect();
    stores.sort_by(|(one, _), (other, _)| natural_order(one.as_str(), other.as_str()));
    let token_and_clock = async |name: StoreName, store: Arc<Store>| {
        let (token, clock) = tokio::join!(check_token(&name, &store), clock(&name, &store));
        [token, clock].map(|check| check.of_store(&name)).into()
    };
    each_store(stores.into_iter(), token_and_clock).await
}

/// Asks the marketplace for the list of IDs, which tells whether it accepts the store's token.
pub async fn check_token(name: &StoreName, store: &Store) -> Check {
    let what = format!("token {name}");
    let late = "see whether the marketplace can be reached from this machine: `curl -I` its base URL";
    match timeout(CHECK_TIMEOUT, ask(name, &what, store)).await {
        Ok(check) => check,
        Err(_) => Check::bad(what, format!("no answer within {} s", CHECK_TIMEOUT.as_secs()), late),
    }
}

async fn ask(name: &StoreName, what: &str, store: &Store) -> Check {
    let token = match store.token.read() {
        Ok(token) => token,
        Err(error) => return no_token(what, &error),
    };
    let client = match app::client(store, &Connections::default()) {
        Ok(client) => client,
        Err(error) => {
            return Check::bad(
                what,
                error.to_string(),
                "correct `api.ca_file`; without one, look at this machine's TLS certificates",
            );
        }
    };
    // Asks once, without a pass's retries: the check is to tell how it is now.
    let pace = Pace::new(name.clone(), &Hosts::new(store.api.host_limits()), &store.base_url);
    let error = match Asker::new(store, Arc::new(client.clone()), pace).order_ids_at_once().await {
        Ok(ids) => return Check::good(what, format!("accepted; {} orders are listed for the last 8 days", ids.len())),
        Err(AskError::Api(error)) => error,
        Err(AskError::NotWhole(why)) => {
            let cure = "set `api.list_page_parameter` to the parameter that asks for a page, such as `page`: without the \
                        whole list nothing that a cut read lost can be found again";
            return Check::bad(what, format!("accepted; but the list of order IDs is not whole: {why}"), cure);
        }
        Err(AskError::Token(error)) => return no_token(what, &error),
    };
    match error {
        // The path may be wrong. Another path tells whether the token is good.
        ApiError::NotFound | ApiError::Refused(Refusal::Status(_)) | ApiError::Shape(_) => {
            let path = &store.api.paths.order_ids;
            let found = format!("the list of IDs is not to be had under `{path}` ({error})");
            let cure = "set `api.paths.order_ids` to the path in your shop's documentation: without the list nothing that a \
                        cut read lost can be found again";
            let nobody: OrderId = "0".parse().expect("a digit is an ID");
            match client.order(&nobody, &token).await {
                Err(ApiError::Refused(refusal @ (Refusal::Token | Refusal::StartDate | Refusal::InFront(_)))) => {
                    refused(what, refusal)
                }
                _ => Check::bad(what, found.replace(" this order", ""), cure),
            }
        }
        ApiError::Refused(refusal) => refused(what, refusal),
        ApiError::Busy(_) => Check::doubtful(what, error.to_string(), "wait a minute and ask again"),
        ApiError::Failed(why) => {
            let cure = "see that the marketplace can be reached from this machine, and that `base_url` is right";
            Check::bad(what, why, cure)
        }
    }
}

pub(super) fn no_token(what: &str, error: &SecretError) -> Check {
    Check::bad(what, error.to_string(), "correct the store's `token_file` or `token`")
}

fn refused(what: &str, refusal: Refusal) -> Check {
    let (found, cure) = match refusal {
        Refusal::Token => (
            "401: the marketplace does not accept the token".to_owned(),
            "generate a new one in the shop's settings, which voids the older ones at once, and write it into the store's \
             `token_file`",
        ),
        Refusal::StartDate => (
            "403: the shop has no start date".to_owned(),
            "set \"synchronise orders from\" in the shop's settings, at most 30 days back",
        ),
        Refusal::InFront(front) => (
            format!("{}: not the marketplace refuses, but something in front of it ({front})", front.status),
            "let this machine's address and its requests through the firewall or the proxy; ask the marketplace if it is \
             theirs. If nothing is in front, see the store's token",
        ),
        Refusal::NotFound | Refusal::Status(_) => {
            ("the marketplace refuses the request".to_owned(), "check `base_url` and `api.paths`")
        }
    };
    Check::bad(what, found, cure)
}

/// Reads the time from the `Date` header of the home page, without sending the token.
async fn clock(name: &StoreName, store: &Store) -> Check {
    let what = format!("clock {name}");
    let Some(client) = bare_client(store) else {
        return Check::skipped(what, "the HTTP client could not be made");
    };
    let Ok(answer) = client.head(store.base_url.clone()).send().await else {
        return Check::skipped(what, "the marketplace can't be reached");
    };
    let now = crate::platform::clock::now();
    let told = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    match told.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok()) {
        Some(theirs) => judged(what, now.duration_since(theirs).as_secs()),
        None => Check::skipped(what, "the marketplace does not tell the time"),
    }
}

/// Trusts whom the store's own client trusts.
fn bare_client(store: &Store) -> Option<Client> {
    let authorities = store.api.ca_file.as_ref().map(CaFile::read).transpose().ok()?;
    let tls = tls::connector(authorities.as_ref()).ok()?;
    let client = Client::builder().tls_backend_preconfigured(tls).redirect(redirect::Policy::none());
    client.timeout(Duration::from_secs(8)).build().ok()
}

fn judged(what: String, ahead: i64) -> Check {
    let (apart, direction) = (ahead.unsigned_abs(), if ahead < 0 { "behind" } else { "ahead of" });
    let found = format!("{apart} s {direction} the marketplace's");
    let cure =
        "let the clock be set over the network: `timedatectl set-ntp true`, or the host's if this is a container";
    if apart <= FAR {
        Check::good(what, format!("at most {} s off the marketplace's", apart.max(1)))
    } else if apart <= TOO_FAR {
        Check::doubtful(what, found, cure)
    } else {
        Check::bad(what, found, cure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::Health;

    #[test]
    fn a_clock_is_judged_by_how_far_it_is_off_in_either_direction() {
        for (ahead, health) in [
            (0, Health::Good),
            (-5, Health::Good),
            (6, Health::Doubtful),
            (-60, Health::Doubtful),
            (61, Health::Bad),
            (-86_400, Health::Bad),
        ] {
            let check = judged("clock".into(), ahead);
            assert_eq!(check.health, health, "{ahead}: {check:?}");
            assert_eq!(check.cure.is_some(), health != Health::Good, "{ahead}");
        }
        assert!(judged("clock".into(), -90).found.contains("90 s behind"));
    }
}

//! `sandbox`: serves a fake of the marketplace.

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::out;
use crate::platform::shutdown::cancel_on_signals;
use crate::sandbox::{Sandbox, SandboxArgs};

/// Serves until it is stopped, or until it can't write its state any more.
///
/// # Errors
/// The address can't be bound, or the state file can't be used.
pub async fn run(args: SandboxArgs, json: bool) -> Result<()> {
    let stop = CancellationToken::new();
    cancel_on_signals(stop.clone()).context("can't listen to signals")?;
    let sandbox = Sandbox::start(args).await?;
    report(&sandbox, json);
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        failure = sandbox.failed() => Some(failure),
    };
    sandbox.stop().await;
    failed.map_or(Ok(()), |failure| Err(failure.into()))
}

fn report(sandbox: &Sandbox, json: bool) {
    let (base_url, market) = (sandbox.base_url(), sandbox.market());
    let (shops, orders, token) = (market.shops().len(), market.summary().orders, sandbox.shop().token());
    if json {
        out::report(json!({ "base_url": base_url, "token": token, "orders": orders, "shops": shops }));
    } else if shops == 1 {
        out::report(format_args!(
            "sandbox with {orders} orders on {base_url}, token {token}; what was marked: {base_url}/_sandbox/state"
        ));
    } else {
        out::report(format_args!(
            "sandbox with {shops} shops and {orders} orders on {base_url}, tokens shop-1 to shop-{shops}; what was \
             marked: {base_url}/_sandbox/shops"
        ));
    }
}

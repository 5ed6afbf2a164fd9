//! `sandbox`.

use anyhow::{Context as _, Result};

use super::out;
use crate::platform::shutdown::stopper;
use crate::sandbox::{Sandbox, SandboxArgs};

/// Serves until it is stopped, or can't keep its state any more.
///
/// # Errors
/// An address on which it can't listen, or a state file that it can't use.
pub async fn run(args: SandboxArgs, json: bool) -> Result<()> {
    let (stopper, stop) = stopper();
    stopper.stop_on_signals().context("can't listen to signals")?;
    let sandbox = Sandbox::start(args).await?;
    let (base_url, shop) = (sandbox.base_url(), sandbox.shop());
    let (orders, token) = (shop.summary().orders, shop.token());
    if json {
        out::report(serde_json::json!({ "base_url": base_url, "token": token, "orders": orders }));
    } else {
        out::report(format_args!(
            "sandbox with {orders} orders on {base_url}, token {token}; what was marked: {base_url}/_sandbox/state"
        ));
    }
    let failed = tokio::select! {
        () = stop.requested() => None,
        failure = sandbox.failed() => Some(failure),
    };
    sandbox.stop().await;
    failed.map_or(Ok(()), |failure| Err(failure.into()))
}

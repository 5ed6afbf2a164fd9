//! `sandbox`.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use thiserror::Error;

use super::out;
use crate::sandbox::{Sandbox, SandboxArgs};
use crate::shutdown::stopper;

/// The sandbox can't have its address.
#[derive(Debug, Error)]
#[error("the sandbox can't listen on {listen}: {cause}. Choose another address with --listen")]
pub struct AddressTaken {
    listen: SocketAddr,
    cause: io::Error,
}

/// Serves until it is stopped.
///
/// # Errors
/// An address on which it can't listen.
pub async fn run(args: SandboxArgs, json: bool) -> Result<()> {
    let (stopper, stop) = stopper();
    stopper.stop_on_signals().context("can't listen to signals")?;
    let (listen, token, orders) = (args.listen, args.token.clone(), args.orders);
    let sandbox = Sandbox::start(args).await.map_err(|cause| AddressTaken { listen, cause })?;
    let base_url = sandbox.base_url();
    if json {
        out::report(serde_json::json!({ "base_url": base_url, "token": token, "orders": orders }));
    } else {
        out::report(format_args!(
            "sandbox with {orders} orders on {base_url}, token {token}; what was marked: {base_url}/_sandbox/state"
        ));
    }
    stop.requested().await;
    sandbox.stop().await;
    Ok(())
}

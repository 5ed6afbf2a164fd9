//! A fake of the marketplace: a real HTTP server that marks what it returns, as the real one does, and that fails in
//! every way that has to be survived.
//!
//! - `orders`: made-up orders, the same for the same seed.
//! - `shop`: which orders there are, which are marked, and by which request.
//! - `faults`: what goes wrong, by rate or by script.
//! - `answer`: how it looks. `wire`: how it travels, or doesn't. `server`: the marketplace's calls.
//! - `control`: `/_sandbox`, for tests in other processes and languages.
//!
//! It is a guess wherever the documentation of the marketplace leaves something open, above all in the names of the
//! fields, in the two paths beside `newOrders` and in the shape of the list of IDs. Passing against it proves that the
//! handling of orders is right, not that the guess is.

#![expect(clippy::disallowed_methods, reason = "another machine's clock is its own")]

mod answer;
mod control;
mod faults;
mod orders;
mod server;
mod shop;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::faults::{Call, Fault, FaultError, Rates, parse_duration, parse_step};
pub use self::server::{NEW_ORDERS, ORDER, ORDER_IDS};
pub use self::shop::{Change, OrderState, RequestState, Shop, ShopError, Summary};
use self::wire::{Exchange, Line};
use crate::country::Country;

/// What a sandbox is like: the command line of `sandbox`.
#[derive(clap::Args, Debug, Clone)]
pub struct SandboxArgs {
    /// Address on which the marketplace answers; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// How many orders there are at first, none of them synchronised
    #[arg(long, value_name = "N", default_value_t = 3000)]
    pub orders: usize,

    /// How many of them are older than 8 days, and so missing from the list of IDs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub older: usize,

    /// Same seed, same orders but for their dates, and same faults
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Country of the shop: CO, MX, EC or CR
    #[arg(long, value_name = "CODE", default_value = "CO")]
    pub country: Country,

    /// Token that calls must carry, bare, in the `Authorization` header; it is no secret
    #[arg(long, value_name = "TOKEN", default_value = "sandbox-token")]
    pub token: String,

    /// How long every answer is held back after its orders were marked, for instance 20ms
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    pub delay: Duration,

    /// What goes wrong and how often, for instance truncate=0.02,drop-after=0.01,late:5s=0.01,order/error-before=0.1
    ///
    /// A share from 0 to 1 of the calls of `newOrders`, or of another call named before a slash: order-ids, order.
    /// Faults: drop-before, drop-after, truncate, error-before, error-after, late[:DURATION], wrong-counts, html,
    /// huge[:SIZE], trickle[:DURATION], throttle[:DURATION], object-data, empty-as-list, bom, text-html, redirect,
    /// overfull, duplicates, empty-pending, notice, notice-behind, invalid-utf8, latin1, no-content, not-found, message,
    /// complaint, waf, waf-after. "Before" and "after" mean the marking of the orders as synchronised.
    #[expect(
        rustdoc::broken_intra_doc_links,
        reason = "the text is the command line's help, where brackets are brackets"
    )]
    #[arg(long, value_name = "FAULT=SHARE,…", default_value = "")]
    pub faults: Rates,

    /// How many orders one read returns at most
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub page_size: usize,
}

impl SandboxArgs {
    /// So many orders, no delay and no faults, on any free port of the loopback address: what a test starts from.
    #[must_use]
    pub fn with_orders(orders: usize) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            orders,
            older: 0,
            seed: 1,
            country: Country::Co,
            token: "sandbox-token".to_owned(),
            delay: Duration::ZERO,
            faults: Rates::default(),
            page_size: 30,
        }
    }
}

/// A running sandbox. Dropped, it stops in the background; [`Sandbox::stop`] waits for it.
#[derive(Debug)]
pub struct Sandbox {
    addr: SocketAddr,
    shop: Shop,
    stop: watch::Sender<bool>,
    server: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// How long connections in use get to end once the sandbox stops.
    const GRACE: Duration = Duration::from_secs(2);

    /// Makes up the orders and serves them.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn start(args: SandboxArgs) -> io::Result<Self> {
        let shop = Shop::new(&args);
        Self::serve(shop, args.listen, args.delay).await
    }

    /// Serves a shop that is there already: the marketplace is back after an outage.
    ///
    /// # Errors
    /// When the address can't be bound.
    pub async fn serve(shop: Shop, listen: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let counter = server::Counter { shop: shop.clone(), delay, stop: stopped.clone() };
        let app = server::routes(counter).merge(control::routes(shop.clone()));
        let exchange = Exchange { listener, stop: stopped.clone() };
        let server = axum::serve(exchange, app.into_make_service_with_connect_info::<Line>());
        let server = tokio::spawn(server.with_graceful_shutdown(until(stopped)).into_future());
        Ok(Self { addr, shop, stop, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What a client puts before the paths, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// The marketplace's state, to look at and to change.
    #[must_use]
    pub fn shop(&self) -> Shop {
        self.shop.clone()
    }

    /// Closes the port and the connections; answers that are held back are cut.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(Self::GRACE, &mut self.server).await.is_err() {
            self.server.abort();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

/// Ready once the sandbox stops. An error means that its handle is gone, and that handle stops it when it goes.
async fn until(mut stopped: watch::Receiver<bool>) {
    stopped.wait_for(|stopped| *stopped).await.ok();
}

/// Serves a sandbox until `shutdown` is ready; `started` is told where it answers.
///
/// # Errors
/// When the address can't be bound.
pub async fn serve(
    args: SandboxArgs,
    started: impl FnOnce(&Sandbox),
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let sandbox = Sandbox::start(args).await?;
    started(&sandbox);
    shutdown.await;
    sandbox.stop().await;
    Ok(())
}

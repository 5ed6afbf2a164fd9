//! A fake of the marketplace: an HTTP server that marks the orders it returns, as the real one does, and that can fail
//! in every way that the program has to survive.
//!
//! - `orders`: made-up orders, the same for the same seed.
//! - `shop`: which orders there are, which are marked, and by which request. `market`: all shops, found by their tokens.
//! - `journal`: the file that keeps this state. `host`: what the shops share, this file among it.
//! - `faults`: what goes wrong, by rate or by script.
//! - `answer`: the body of an answer. `wire`: its bytes on the connection. `server`: the marketplace's calls.
//! - `control`: `/_sandbox`, for tests in other processes and languages.
//!
//! Wherever the marketplace's documentation leaves something open, the sandbox guesses: above all the names of fields,
//! the two paths beside `newOrders`, and the shape of the list of IDs. A test that passes against it proves that orders
//! are handled right, and not that the guess is right.

#![expect(clippy::disallowed_methods, reason = "another machine's clock is its own")]

mod answer;
mod control;
mod faults;
mod host;
mod journal;
mod market;
mod orders;
mod server;
mod shop;
#[cfg(test)]
mod tests;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ArgPredicate;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Instant, sleep_until};

pub use self::faults::{Call, Fault, FaultError, Rates, parse_duration, parse_step};
pub use self::journal::StateError;
pub use self::market::Market;
use self::market::Popularity;
pub use self::server::{NEW_ORDERS, ORDER, ORDER_IDS};
pub use self::shop::{Change, OrderState, RequestState, Shop, ShopError, Summary};
use self::wire::{Exchange, Line};
use crate::order::country::Country;

/// What a sandbox is like: the command line of `sandbox`.
#[derive(clap::Args, Debug, Clone)]
pub struct SandboxArgs {
    /// Address on which the marketplace answers; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,

    /// How many shops there are, each with orders, calls and faults of its own and a token by its name: shop-1 and so on
    ///
    /// Without it there is one shop, whose token is that of --token.
    #[arg(long, value_name = "N", conflicts_with = "token")]
    pub shops: Option<NonZeroUsize>,

    /// How many orders each shop has at first, none of them synchronised; with --shops 30 unless it is given
    #[arg(long, value_name = "N", default_value_t = 3000, default_value_if("shops", ArgPredicate::IsPresent, "30"))]
    pub orders: usize,

    /// How many of them are older than 8 days, and so missing from the list of IDs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub older: usize,

    /// Same seed, same orders but for their dates, same faults, and same shops of arriving orders
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Country of the shops: CO, MX, EC or CR
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

    /// How many calls a second are answered, of all kinds together; the others get a 429 with `Retry-After: 1`
    #[arg(long, value_name = "N")]
    pub rate_limit: Option<usize>,

    /// Give the list of IDs in pages of so many, asked for with `?page=2`; by default it comes whole
    #[arg(long, value_name = "N")]
    pub list_page_size: Option<usize>,

    /// How many orders one read returns at most
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub page_size: usize,

    /// How many more orders are placed each minute, at even distances, for as long as it runs
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub orders_per_minute: u32,

    /// The same for each second, for instance 0.5 or 200; of several shops the first gets twice as many as the second,
    /// three times as many as the third and so on
    #[arg(long, value_name = "RATE", conflicts_with = "orders_per_minute", value_parser = parse_rate)]
    pub arrivals: Option<f64>,

    /// File in which it keeps its orders and what was read of them, so that it goes on there when it is started again
    ///
    /// `--orders` and `--older` then count for a new file alone, and `--token` until the token is changed. Without a file
    /// each start begins with the same IDs anew: to whoever has read them, all orders are handed over once more.
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
}

impl SandboxArgs {
    /// The arguments that tests start from: so many orders, no delay, no faults, and any free port of the loopback
    /// address.
    #[must_use]
    pub fn with_orders(orders: usize) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            shops: None,
            orders,
            older: 0,
            seed: 1,
            country: Country::Co,
            token: "sandbox-token".to_owned(),
            delay: Duration::ZERO,
            faults: Rates::default(),
            rate_limit: None,
            list_page_size: None,
            page_size: 30,
            orders_per_minute: 0,
            arrivals: None,
            state: None,
        }
    }

    /// How many orders arrive in a second.
    fn arrivals(&self) -> f64 {
        self.arrivals.unwrap_or(f64::from(self.orders_per_minute) / 60.0)
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok().filter(|rate| (0.001..=10_000.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is no rate: write a number from 0.001 to 10000"))
}

/// Why a sandbox can't be started.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// Its address is in use, or does not belong to this machine.
    #[error("the sandbox can't listen on {listen}: {cause}. Choose another address with --listen")]
    Listen { listen: SocketAddr, cause: io::Error },
    #[error(transparent)]
    State(#[from] StateError),
}

/// A running sandbox. Dropping it stops it in the background; [`Sandbox::stop`] also waits for the end.
#[derive(Debug)]
pub struct Sandbox {
    addr: SocketAddr,
    market: Market,
    stop: watch::Sender<bool>,
    /// Places orders as they arrive.
    arrivals: Option<AbortHandle>,
    server: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// How long open connections may take to end once the sandbox stops.
    const GRACE: Duration = Duration::from_secs(2);

    /// Makes up the orders or loads them from the state file, and serves them.
    ///
    /// # Errors
    /// The address can't be bound, or the state file can't be used.
    pub async fn start(args: SandboxArgs) -> Result<Self, SandboxError> {
        let (market, listen) = (Market::resume(&args)?, args.listen);
        let sandbox = Self::serve(market, listen, args.delay).await;
        let mut sandbox = sandbox.map_err(|cause| SandboxError::Listen { listen, cause })?;
        if args.arrivals() > 0.0 {
            let arrivals = arrivals(sandbox.market(), args.arrivals(), args.seed, sandbox.stop.subscribe());
            sandbox.arrivals = Some(tokio::spawn(arrivals).abort_handle());
        }
        Ok(sandbox)
    }

    /// Serves an existing marketplace, as when it is back after an outage.
    ///
    /// # Errors
    /// The address can't be bound.
    pub async fn serve(market: Market, listen: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let addr = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let counter = server::Counter { market: market.clone(), delay, stop: stopped.clone() };
        let app = server::routes(counter).merge(control::routes(market.clone()));
        let exchange = Exchange { listener, stop: stopped.clone() };
        let server = axum::serve(exchange, app.into_make_service_with_connect_info::<Line>());
        let server = tokio::spawn(server.with_graceful_shutdown(until(stopped)).into_future());
        Ok(Self { addr, market, stop, arrivals: None, server })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The base URL of all paths, without a slash at the end.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// A handle to the marketplace's state, to read and change it.
    #[must_use]
    pub fn market(&self) -> Market {
        self.market.clone()
    }

    /// A handle to its first shop, which is the only one unless several were asked for.
    #[must_use]
    pub fn shop(&self) -> Shop {
        self.market.shops()[0].clone()
    }

    /// Returns once the state can't be written any more; from then on no order is handed over. Never returns without a
    /// state file.
    pub async fn failed(&self) -> StateError {
        if let Some(mut failure) = self.market.failure()
            && let Ok(failure) = failure.wait_for(Option::is_some).await
            && let Some(failure) = failure.clone()
        {
            return failure;
        }
        std::future::pending().await
    }

    /// No more orders arrive. Those that are there stay.
    pub fn stop_arrivals(&self) {
        if let Some(arrivals) = &self.arrivals {
            arrivals.abort();
        }
    }

    /// Closes the port and the connections. Answers that are held back are cut.
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

/// Returns once the sandbox stops. An error means that its handle was dropped, which stops it too.
async fn until(mut stopped: watch::Receiver<bool>) {
    stopped.wait_for(|stopped| *stopped).await.ok();
}

/// Places orders at even distances, `rate` in a second. What a busy machine was late for it makes up for.
async fn arrivals(market: Market, rate: f64, seed: u64, stopped: watch::Receiver<bool>) {
    let mut popularity = Popularity::new(market.shops().len(), seed);
    let start = Instant::now();
    let stop = until(stopped);
    tokio::pin!(stop);
    for number in 1_u32.. {
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = sleep_until(start + Duration::from_secs_f64(f64::from(number) / rate)) => {}
        }
        market.shops()[popularity.draw()].add(1, 0);
    }
}

/// Serves a sandbox until `shutdown` returns. Sends the base URL to `started`.
///
/// # Errors
/// The address can't be bound, or the state file can't be used.
pub async fn serve(
    args: SandboxArgs,
    started: impl FnOnce(&Sandbox),
    shutdown: impl Future<Output = ()>,
) -> Result<(), SandboxError> {
    let sandbox = Sandbox::start(args).await?;
    started(&sandbox);
    shutdown.await;
    sandbox.stop().await;
    Ok(())
}

//! Waits for Kafka at the start, until the topics are there and fit.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::error::AppError;
use crate::kafka::topics::{self, Layout, TopicPlan};
use crate::kafka::{Connection, KafkaFault};
use crate::platform::backoff::Backoff;
use crate::platform::shutdown::cancelled_within;

/// How long a one-shot command waits at its start for a broker or schema registry that is not reachable.
pub(super) const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) async fn ensure_topics(
    connection: &Connection,
    plan: &TopicPlan,
    once: bool,
    stop: &CancellationToken,
) -> Result<Layout, AppError> {
    let start = Instant::now();
    let mut pauses = Backoff::new(Duration::from_millis(200), Duration::from_millis(2500));
    loop {
        // guard: whether topics can be written to is known before a read
        match topics::ensure_writable(connection, plan).await {
            Ok(layout) => return Ok(layout),
            Err(fault) if fault.needs_a_person() || stop.is_cancelled() => return Err(fault.into()),
            Err(fault) if once && (fault.ends_a_command() || start.elapsed() > STARTUP_TIMEOUT / 2) => {
                return Err(unreachable(connection, fault).into());
            }
            Err(fault) => {
                tracing::warn!(%fault, servers = connection.bootstrap_servers, "Kafka is not ready; trying again")
            }
        }
        if cancelled_within(stop, pauses.pause()).await {
            return Err(KafkaFault::Passing { what: "reaching Kafka", why: "stopped before it answered".into() }.into());
        }
    }
}

fn unreachable(connection: &Connection, fault: KafkaFault) -> KafkaFault {
    let nothing = "Nothing was read from the marketplace";
    match fault {
        KafkaFault::NoConnection { what, why } => KafkaFault::NoConnection { what, why: format!("{why}. {nothing}") },
        fault => KafkaFault::Passing {
            what: "reaching Kafka",
            why: format!("{fault}. {} {nothing}", connection.is_it_running()),
        },
    }
}

//! Membership of the group of instances. Kafka's group protocol shares the partitions of the tracking topic out: to be
//! assigned a partition is to own the lane.
//!
//! The member reads nothing: its partitions are paused. A thread of its own polls it, and does nothing else, so that
//! nothing that holds up a lane makes the broker take this instance for dead. A revoked partition is let go only when the
//! lane says so; librdkafka goes on sending heartbeats until then. An instance with an ID is a static member: it does not
//! leave the group when it stops, and gets its lanes back if it returns within the session's time-out.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::broker::{Group, GroupEvent, Membership};
use super::reasons::Reasons;
use super::settings::GroupOptions;
use super::{Connection, KafkaFault};
use crate::platform::backoff::Backoff;

/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// How often the coordinator is asked again while it moves lanes.
const ATTEMPTS: usize = 10;

/// A member of the group.
struct Member {
    consumer: Arc<BaseConsumer<Context>>,
    thread: Option<JoinHandle<()>>,
}

struct Context {
    topic: String,
    options: GroupOptions,
    connection: Connection,
    events: UnboundedSender<GroupEvent>,
    owned: Mutex<BTreeSet<i32>>,
    is_leaving: AtomicBool,
    reasons: Reasons,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(code = ?error.rdkafka_error_code(), "the group's connection");
        self.reasons.error(&error, reason);
    }

    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        // The text can contain values of settings, so only the facility is logged.
        tracing::trace!(facility, "librdkafka");
        self.reasons.log(facility, message);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, kind: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let lanes: Vec<i32> = partitions.elements().iter().map(|partition| partition.partition()).collect();
        let done = match kind {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                self.owned().extend(&lanes);
                self.tell(GroupEvent::Assigned(lanes));
                // Nothing is read by way of the group.
                partitions
                    .set_all_offsets(Offset::End)
                    .and_then(|()| consumer.incremental_assign(partitions))
                    .and_then(|()| consumer.pause(partitions))
            }
            _ => {
                self.owned().retain(|lane| !lanes.contains(lane));
                let is_lost = consumer.assignment_lost();
                if !is_lost && !self.is_leaving.load(Ordering::Relaxed) {
                    self.tell(GroupEvent::Revoked(lanes));
                    return;
                }
                self.tell(GroupEvent::Lost(lanes));
                consumer.incremental_unassign(partitions)
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the group's change of lanes was not taken over");
        }
    }
}

impl Context {
    fn tell(&self, event: GroupEvent) {
        if self.events.send(event).is_err() {
            tracing::debug!("nobody asks for the lanes any more");
        }
    }

    fn failure(&self, error: &KafkaError) -> KafkaFault {
        let GroupOptions { group_id, instance_id, .. } = &self.options;
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId) {
            return KafkaFault::Topic(format!(
                "another process has joined the group `{group_id}` as `{}`: give each instance a `cluster.instance_id` of its \
                 own",
                instance_id.as_deref().unwrap_or_default()
            ));
        }
        let fault = KafkaFault::of("sharing the lanes with other instances", -1, error);
        fault.lacking(|| self.connection.acl_on_group(group_id))
    }

    fn owned(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins the group.
///
/// # Errors
/// [`KafkaFault::Settings`].
pub fn join(connection: &Connection, topic: &str, options: &GroupOptions) -> Result<Membership, KafkaFault> {
    let (events, happened) = unbounded_channel();
    let context = Context {
        topic: topic.to_owned(),
        options: options.clone(),
        connection: connection.clone(),
        events,
        owned: Mutex::default(),
        is_leaving: AtomicBool::new(false),
        reasons: Reasons::default(),
    };
    let fault = |error: KafkaError| KafkaFault::of("joining the group of instances", -1, &error);
    let consumer = BaseConsumer::from_config_and_context(&connection.member(options)?, context).map_err(fault)?;
    consumer.subscribe(&[topic]).map_err(fault)?;
    let consumer = Arc::new(consumer);
    let polled = consumer.clone();
    let thread = thread::Builder::new()
        .name("group".to_owned())
        .spawn(move || poll(&polled))
        .map_err(|error| KafkaFault::Passing { what: "starting the group's thread", why: error.to_string() })?;
    Ok((Arc::new(Member { consumer, thread: Some(thread) }), happened))
}

/// Polls until the member leaves. Nothing here may wait for anybody else.
fn poll(consumer: &BaseConsumer<Context>) {
    let context = consumer.context();
    while !context.is_leaving.load(Ordering::Relaxed) {
        let Some(Err(error)) = consumer.poll(POLL) else { continue };
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::GroupAuthorizationFailed | RDKafkaErrorCode::FencedInstanceId) => {
                context.tell(GroupEvent::Failed(context.failure(&error)));
                return;
            }
            _ => tracing::debug!(%error, "the group's member"),
        }
    }
}

impl Group for Member {
    fn owns(&self, lane: i32) -> Result<bool, KafkaFault> {
        use RDKafkaErrorCode as Code;
        let context = self.consumer.context();
        let mut pauses = Backoff::new(Duration::from_millis(50), Duration::from_millis(500));
        let mut partition = TopicPartitionList::new();
        let what = "asking the group whose a lane is";
        partition
            .add_partition_offset(&context.topic, lane, Offset::Offset(0))
            .map_err(|error| KafkaFault::of(what, lane, &error))?;
        for _ in 0..ATTEMPTS {
            if !context.owned().contains(&lane) {
                return Ok(false);
            }
            // The coordinator takes an offset from a member of the present generation only.
            let Err(error) = self.consumer.commit(&partition, CommitMode::Sync) else { return Ok(true) };
            match error.rdkafka_error_code() {
                Some(Code::UnknownMemberId | Code::FencedInstanceId) => return Ok(false),
                // A new generation may have begun of which this client learns in a moment: then it keeps the lane, or
                // does not own it any more.
                Some(Code::RebalanceInProgress | Code::IllegalGeneration) => thread::sleep(pauses.pause()),
                _ => return Err(context.reasons.explain(KafkaFault::of(what, lane, &error))),
            }
        }
        Err(KafkaFault::Passing { what, why: "the group is moving lanes".to_owned() })
    }

    fn let_go(&self, lanes: &[i32]) {
        let mut partitions = TopicPartitionList::new();
        for lane in lanes {
            partitions.add_partition(&self.consumer.context().topic, *lane);
        }
        if let Err(error) = self.consumer.incremental_unassign(&partitions) {
            tracing::warn!(%error, ?lanes, "the group's lanes were not let go");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.consumer.context().is_leaving.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the group's thread has panicked: please report this");
        }
    }
}

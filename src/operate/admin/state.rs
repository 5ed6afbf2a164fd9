//! The admin server's view of the pipeline: the phase of the program, the running lanes, and the counters.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::timeout;

use super::group::GroupLook;
use super::history::History;
use super::problem::Reading;
use super::series::OwnSeries;
use crate::app::{App, LaneStates};
use crate::avro::schemas::SchemaResolver;
use crate::config::{Admin, Config};
use crate::operate::instances::GroupQuery;
use crate::pipeline::account::Account;
use crate::pipeline::counters::Counters;
use crate::platform::clock;

/// How long an answer of the registry holds. Readiness probes, however many, ask the registry no more often than this.
const LOOK_FRESH: Duration = Duration::from_secs(5);
/// The longest that a probe waits for the registry.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// A store that has not been read for this long is late, unless it is polled less often.
const LATE: Duration = Duration::from_secs(15 * 60);
/// The number of polls after which a store is late.
const LATE_POLLS: u32 = 3;

/// What the program is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits for Kafka, in order to check the topics.
    Starting,
    Running,
    /// It stops, in order to start again with other settings.
    Reloading,
    Stopping,
}

/// Written by the code that runs the pipeline, read by the admin server.
#[derive(Debug)]
pub struct AdminState {
    pub(super) counters: Arc<Counters>,
    pub(super) started_at: Timestamp,
    pub(super) history: History,
    pub(super) series: Mutex<OwnSeries>,
    hosts: RwLock<Vec<String>>,
    program: RwLock<ProgramState>,
}

#[derive(Debug, Clone)]
pub(super) struct ProgramState {
    pub(super) phase: Phase,
    /// The latest pipeline that began to work.
    pub(super) pipeline: Option<RunningPipeline>,
}

/// The handles of a pipeline that is at work.
#[derive(Debug, Clone)]
pub(super) struct RunningPipeline {
    pub(super) since: Timestamp,
    pub(super) lanes: LaneStates,
    pub(super) lane_count: i32,
    /// None if this instance is the only one.
    pub(super) group: Option<Arc<GroupLook>>,
    pub(super) account: Account,
    pub(super) schemas: SchemaResolver,
    pub(super) spool: PathBuf,
    pub(super) page_space: u64,
    /// How long a store may go without a good read.
    pub(super) late_after: Duration,
}

impl AdminState {
    /// Begins without a pipeline.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        let program = RwLock::new(ProgramState { phase: Phase::Starting, pipeline: None });
        let (history, series, hosts) = <(History, Mutex<OwnSeries>, RwLock<Vec<String>>)>::default();
        Self { counters, started_at: clock::now(), history, series, hosts, program }
    }

    /// Puts settings into force that need no new start: `[admin]` but for the address, and the stores' intervals.
    pub fn configure(&self, config: &Config) {
        self.configure_server(&config.admin);
        if let Some(pipeline) = &mut self.program.write().unwrap_or_else(PoisonError::into_inner).pipeline {
            pipeline.late_after = late_after(config);
        }
    }

    /// Puts `[admin]` into force, but for the address.
    pub(super) fn configure_server(&self, admin: &Admin) {
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = admin.hosts.clone();
        self.series.lock().unwrap_or_else(PoisonError::into_inner).name(admin.metrics_stores.iter().cloned());
    }

    pub(super) fn hosts(&self) -> Vec<String> {
        self.hosts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a pipeline that has begun to work.
    pub fn at_work(&self, config: &Config, app: &App) {
        self.configure_server(&config.admin);
        let pipeline = RunningPipeline {
            since: clock::now(),
            lanes: app.lanes(),
            lane_count: app.lane_count(),
            group: GroupQuery::of(config).map(|query| Arc::new(GroupLook::new(query, app.lane_count()))),
            account: app.account(),
            schemas: app.schemas(),
            spool: config.spool.dir.clone(),
            page_space: config.spool.page_space,
            late_after: late_after(config),
        };
        let mut state = self.program.write().unwrap_or_else(PoisonError::into_inner);
        // A stop that was requested during the build stays in force.
        let phase = if state.phase == Phase::Stopping { Phase::Stopping } else { Phase::Running };
        *state = ProgramState { phase, pipeline: Some(pipeline) };
    }

    pub fn set_phase(&self, phase: Phase) {
        self.program.write().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    /// Asks the registry whether it still knows the schemas, unless it answered a moment ago. If it does not answer in
    /// time, its last answer holds.
    pub(super) async fn look_at_registry(&self) {
        let Some(pipeline) = self.program().pipeline else { return };
        // The request goes on after the probe has left, so that even a slow answer is noted.
        let look = tokio::spawn(async move { pipeline.schemas.look_again(LOOK_FRESH).await });
        if timeout(LOOK_TIMEOUT, look).await.is_err() {
            tracing::debug!("the schema registry takes long to answer");
        }
    }

    pub(super) fn program(&self) -> ProgramState {
        self.program.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ProgramState {
    /// Since when stores are read, while they are.
    pub(super) fn reading(&self) -> Option<Reading> {
        let pipeline = self.pipeline.as_ref().filter(|_| self.phase == Phase::Running)?;
        Some(Reading { since: pipeline.since, late_after: pipeline.late_after })
    }
}

fn late_after(config: &Config) -> Duration {
    let slowest = config.stores.values().map(|store| store.api.poll_interval).max().unwrap_or_default();
    LATE.max(slowest * LATE_POLLS)
}

//! What the server knows of the pipeline: who is at work, and where its numbers are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::app::App;
use crate::avro::schemas::SchemaResolver;
use crate::config::Config;
use crate::pipeline::account::Account;
use crate::pipeline::counters::Counters;
use crate::pipeline::publish::LaneState;
use crate::platform::clock;

/// Whoever asks for readiness, and be it a thousand at once, makes the registry be asked no more often than this.
const LOOK_FRESH: Duration = Duration::from_secs(5);
/// Longer than this no probe waits for the registry.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// What the program is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It waits for Kafka, to look at the topics.
    Starting,
    /// It reads and publishes.
    Running,
    /// It ends its work, to begin anew with other settings.
    Reloading,
    /// It ends its work.
    Stopping,
}

/// Written by whoever runs the pipeline, read by the server.
#[derive(Debug)]
pub struct AdminState {
    pub(super) counters: Arc<Counters>,
    pub(super) started_at: Timestamp,
    program: RwLock<ProgramState>,
}

#[derive(Debug, Clone)]
pub(super) struct ProgramState {
    pub(super) phase: Phase,
    /// The last that came to work.
    pub(super) pipeline: Option<RunningPipeline>,
}

/// A pipeline at work.
#[derive(Debug, Clone)]
pub(super) struct RunningPipeline {
    pub(super) since: Timestamp,
    pub(super) lanes: BTreeMap<i32, watch::Receiver<LaneState>>,
    pub(super) account: Account,
    pub(super) schemas: SchemaResolver,
    pub(super) spool: PathBuf,
    pub(super) page_space: u64,
}

impl AdminState {
    /// Nothing is at work yet.
    #[must_use]
    pub fn new(counters: Arc<Counters>) -> Self {
        let program = RwLock::new(ProgramState { phase: Phase::Starting, pipeline: None });
        Self { counters, started_at: clock::now(), program }
    }

    /// From now on this is at work.
    pub fn at_work(&self, config: &Config, app: &App) {
        let pipeline = RunningPipeline {
            since: clock::now(),
            lanes: app.lanes(),
            account: app.account(),
            schemas: app.schemas(),
            spool: config.spool.dir.clone(),
            page_space: config.spool.page_space,
        };
        let mut state = self.program.write().unwrap_or_else(PoisonError::into_inner);
        // A stop that was asked for while it was built is not taken back.
        let phase = if state.phase == Phase::Stopping { Phase::Stopping } else { Phase::Running };
        *state = ProgramState { phase, pipeline: Some(pipeline) };
    }

    /// What it is at.
    pub fn set_phase(&self, phase: Phase) {
        self.program.write().unwrap_or_else(PoisonError::into_inner).phase = phase;
    }

    /// Whether the registry still knows the schemas, no later than a moment ago. One that does not answer is not waited
    /// for: what it said before holds.
    pub(super) async fn look_at_registry(&self) {
        let Some(pipeline) = self.program().pipeline else { return };
        // The look goes on when the probe goes: a slow registry is heard all the same.
        let look = tokio::spawn(async move { pipeline.schemas.look_again(LOOK_FRESH).await });
        if timeout(LOOK_TIMEOUT, look).await.is_err() {
            tracing::debug!("the schema registry takes long to answer");
        }
    }

    pub(super) fn program(&self) -> ProgramState {
        self.program.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

//! Readiness: whether the program can do its work, and if not, why.

use serde::Serialize;

use super::state::{AdminState, Phase, ProgramState};
use crate::pipeline::publish::LaneState;
use crate::spool::Survey;

/// What the program depends on. The marketplace is not among it: what it refuses one instance, it refuses every
/// instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The program itself: it starts, reloads or stops.
    Program,
    Broker,
    Registry,
    Spool,
}

/// A part that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    pub what: Part,
    pub why: String,
}

impl NotReady {
    fn new(what: Part, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

/// Lists every part that is not ready.
pub(super) fn not_ready(state: &ProgramState, spool: Option<&Result<Survey, String>>) -> Vec<NotReady> {
    let mut found = Vec::new();
    match state.phase {
        Phase::Running => {}
        Phase::Starting => found.push(NotReady::new(Part::Broker, "Kafka has not yet answered what topics there are")),
        Phase::Reloading => found.push(NotReady::new(Part::Program, "reloading: it starts anew with other settings")),
        Phase::Stopping => found.push(NotReady::new(Part::Program, "stopping")),
    }
    let Some(pipeline) = &state.pipeline else { return found };
    if state.phase == Phase::Running {
        let forgotten = pipeline.schemas.forgotten().map(|why| NotReady::new(Part::Registry, why));
        if pipeline.lanes.is_unassigned() {
            let why = "the group of instances has not yet said which lanes are this one's";
            found.push(NotReady::new(Part::Broker, why));
        }
        let lanes = pipeline.lanes.now();
        let lanes = lanes.iter().filter_map(|(lane, state)| lane_not_ready(*lane, state));
        // A forgotten schema is reported once, and not by each lane again.
        found.extend(lanes.filter(|lane| forgotten.is_none() || lane.what != Part::Registry));
        found.extend(forgotten);
    }
    match spool {
        Some(Err(why)) => found.push(NotReady::new(Part::Spool, why)),
        Some(Ok(survey)) if survey.free_bytes < pipeline.page_space => {
            let why = format!("{} bytes are free, and a page is given {}", survey.free_bytes, pipeline.page_space);
            found.push(NotReady::new(Part::Spool, why));
        }
        _ => {}
    }
    found
}

fn lane_not_ready(lane: i32, state: &LaneState) -> Option<NotReady> {
    match state {
        LaneState::Ready => None,
        LaneState::Opening { why: None } => {
            let why = format!("lane {lane} is taking over its partition and reading it");
            Some(NotReady::new(Part::Broker, why))
        }
        LaneState::Opening { why: Some(reason) } => {
            let part = if reason.registry { Part::Registry } else { Part::Broker };
            Some(NotReady::new(part, format!("lane {lane}: {}", reason.why)))
        }
        LaneState::Stalled => {
            Some(NotReady::new(Part::Broker, format!("lane {lane}: a transaction has been open for too long")))
        }
        LaneState::Ended => Some(NotReady::new(Part::Program, format!("lane {lane} has ended"))),
    }
}

impl AdminState {
    /// Whether every lane's thread still lives.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let ProgramState { phase, pipeline } = self.program();
        phase != Phase::Running
            || !pipeline.iter().any(|pipeline| pipeline.lanes.now().values().any(|lane| *lane == LaneState::Ended))
    }
}

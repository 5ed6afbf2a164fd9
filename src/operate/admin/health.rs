//! Whether it can do its work, and what stands in the way.

use serde::Serialize;

use super::state::{Phase, ProgramState};
use crate::pipeline::publish::LaneState;
use crate::spool::Survey;

/// What the program needs. Not the marketplace: what it refuses, no other instance would get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Itself: it starts, reloads or stops.
    Program,
    /// Kafka.
    Broker,
    /// The schema registry.
    Registry,
    /// The spool and its disk.
    Spool,
}

/// A part that is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotReady {
    /// Which.
    pub what: Part,
    /// Why.
    pub why: String,
}

impl NotReady {
    fn new(what: Part, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }
}

/// All that is not ready.
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
        let lanes = pipeline.lanes.iter().filter_map(|(lane, state)| lane_not_ready(*lane, &state.borrow()));
        // The lanes would say the same once more, each for itself.
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

/// Whether no thread that should live has died.
pub(super) fn is_alive(state: &ProgramState) -> bool {
    state.phase != Phase::Running
        || state.pipeline.iter().all(|pipeline| pipeline.lanes.values().all(|lane| *lane.borrow() != LaneState::Ended))
}

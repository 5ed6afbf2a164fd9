//! A model of the group of instances: who owns which lane, in the coordinator's view and in that of each member.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use imotriz_kafka::kafka::KafkaFault;
use imotriz_kafka::kafka::broker::{Group, GroupEvent};
use tokio::sync::mpsc::UnboundedSender;

use crate::broker::ModelBroker;
use crate::random::Random;
use crate::world::instance_of;

/// Without a sign of life for this long an instance loses its lanes.
const SESSION: Duration = Duration::from_secs(10);

/// An instance, which is a static member.
struct Member {
    process: u64,
    events: UnboundedSender<GroupEvent>,
    /// The group has given it up, and it does not know until then.
    given_up_until: Option<Duration>,
    /// It is silent since then: it has ended, or its machine has no power.
    silent_since: Option<Duration>,
}

/// A lane, as the coordinator sees it.
#[derive(Default, Clone, Copy)]
struct Assignment {
    owner: Option<usize>,
    /// Who gets it when the owner lets it go.
    next: Option<usize>,
}

#[derive(Default)]
pub struct GroupState {
    members: BTreeMap<usize, Member>,
    lanes: Vec<Assignment>,
    is_unbalanced: bool,
    /// Processes and lanes that they have read since they last asked whose they are.
    pub has_read: BTreeSet<(u64, i32)>,
    /// How often lanes were revoked, lost, and assigned.
    pub moves: [u64; 3],
}

impl GroupState {
    pub fn new(lanes: i32) -> Self {
        Self { lanes: vec![Assignment::default(); lanes as usize], ..Self::default() }
    }

    /// A process joins. A static member that is back in time has its lanes still.
    pub fn join(&mut self, process: u64, events: UnboundedSender<GroupEvent>) {
        let instance = instance_of(process);
        self.members.insert(instance, Member { process, events, given_up_until: None, silent_since: None });
        for lane in 0..self.lanes.len() {
            // It has nothing of it at work that would have to end.
            if let Assignment { owner: Some(owner), next: Some(next) } = self.lanes[lane]
                && owner == instance
            {
                self.assign(lane, next);
            }
        }
        let owned = (0..self.lanes.len()).filter(|lane| self.lanes[*lane].owner == Some(instance));
        let owned = owned.map(|lane| lane as i32).collect();
        self.tell(instance, GroupEvent::Assigned(owned));
        self.is_unbalanced = true;
    }

    pub fn rebalance(&mut self) {
        self.is_unbalanced = true;
    }

    pub fn give_up(&mut self, instance: usize, until: Duration) {
        let Some(member) = self.members.get_mut(&instance).filter(|member| member.silent_since.is_none()) else {
            return;
        };
        member.given_up_until = Some(until);
        self.free(instance);
        self.is_unbalanced = true;
    }

    /// What the coordinator does by itself. `is_alive`: whether a process has power.
    pub fn tick(&mut self, now: Duration, random: &mut Random, is_alive: impl Fn(u64) -> bool) {
        for member in self.members.values_mut() {
            if !is_alive(member.process) && member.silent_since.is_none() {
                member.silent_since = Some(now);
            }
            if member.given_up_until.is_some_and(|until| now >= until) {
                member.given_up_until = None;
                self.moves[1] += 1;
                let all = (0..self.lanes.len() as i32).collect();
                // It joins anew, and owns nothing until then.
                drop(member.events.send(GroupEvent::Lost(all)));
                self.is_unbalanced = true;
            }
        }
        let dead: Vec<usize> =
            self.members.iter().filter(|(_, member)| member.is_dead(now)).map(|(it, _)| *it).collect();
        for instance in dead {
            self.members.remove(&instance);
            self.free(instance);
            self.is_unbalanced = true;
        }
        if std::mem::take(&mut self.is_unbalanced) {
            self.hand_out(random);
        }
    }

    fn hand_out(&mut self, random: &mut Random) {
        let able: Vec<usize> =
            self.members.iter().filter(|(_, it)| it.given_up_until.is_none()).map(|(it, _)| *it).collect();
        if able.is_empty() {
            return;
        }
        for lane in 0..self.lanes.len() {
            let to = able[random.below(able.len() as u64) as usize];
            let number = lane as i32;
            match self.lanes[lane] {
                Assignment { owner: None, .. } => self.assign(lane, to),
                Assignment { owner: Some(owner), next: None } if owner != to => {
                    self.lanes[lane].next = Some(to);
                    self.moves[0] += 1;
                    self.tell(owner, GroupEvent::Revoked(vec![number]));
                }
                _ => {}
            }
        }
    }

    fn assign(&mut self, lane: usize, to: usize) {
        self.lanes[lane] = Assignment { owner: Some(to), next: None };
        self.moves[2] += 1;
        self.tell(to, GroupEvent::Assigned(vec![lane as i32]));
    }

    fn let_go(&mut self, process: u64, lanes: &[i32]) {
        for lane in lanes {
            let Assignment { owner, next } = self.lanes[*lane as usize];
            if owner != Some(instance_of(process)) {
                continue;
            }
            self.lanes[*lane as usize] = Assignment::default();
            if let Some(next) = next.filter(|next| self.members.contains_key(next)) {
                self.assign(*lane as usize, next);
            } else {
                self.is_unbalanced = true;
            }
        }
    }

    fn free(&mut self, instance: usize) {
        for lane in &mut self.lanes {
            if lane.owner == Some(instance) {
                *lane = Assignment::default();
            }
            if lane.next == Some(instance) {
                lane.next = None;
            }
        }
    }

    /// Whether a process that is about to take the lane neither has it nor borrows it: who borrows reads the lane first, so
    /// that its owner is fenced for a short time.
    pub fn is_mistaken(&self, process: u64, lane: i32) -> bool {
        let instance = instance_of(process);
        let is_member = self.members.contains_key(&instance);
        let is_owner = self.lanes[lane as usize].owner == Some(instance);
        is_member && !is_owner && !self.has_read.contains(&(process, lane))
    }

    fn tell(&self, instance: usize, event: GroupEvent) {
        if let Some(member) = self.members.get(&instance) {
            drop(member.events.send(event));
        }
    }
}

impl Member {
    fn is_dead(&self, now: Duration) -> bool {
        self.silent_since.is_some_and(|since| now >= since + SESSION)
    }
}

/// The group, as one process sees it.
pub struct ModelGroup(pub ModelBroker);

impl Group for ModelGroup {
    fn owns(&self, lane: i32) -> Result<bool, KafkaFault> {
        let ModelGroup(ModelBroker { shared, process }) = self;
        if !shared.io(*process, "group: whose is the lane") {
            return Err(KafkaFault::Passing { what: "group", why: "no power".to_owned() });
        }
        let mut world = shared.lock();
        world.broker.group.has_read.remove(&(*process, lane));
        if shared.clock.elapsed() < world.broker.away_until {
            return Err(KafkaFault::Passing { what: "group", why: "the broker is away".to_owned() });
        }
        let Assignment { owner, next } = world.broker.group.lanes[lane as usize];
        Ok(owner == Some(instance_of(*process)) && next.is_none())
    }

    fn let_go(&self, lanes: &[i32]) {
        let ModelGroup(ModelBroker { shared, process }) = self;
        if shared.io(*process, "group: lets lanes go") {
            shared.lock().broker.group.let_go(*process, lanes);
        }
    }
}

//! Tests of instances that share the lanes on a cluster of three brokers, of which one dies for good.

use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;

use super::admin::address;
use super::shared::{Instances, LANES, lanes, many};
use crate::support::cluster::Cluster;
use crate::support::consume;
use crate::support::coordinator::GROUPS;
use crate::support::scene::RUN_DEADLINE;
use crate::support::wait;

const INSTANCES: usize = 3;

/// Instances that share the lanes, with orders that keep arriving.
struct Sharing {
    instances: Instances,
    urls: Vec<String>,
}

impl Sharing {
    fn on(cluster: &Cluster, test: &str) -> Self {
        let args = SandboxArgs { arrivals: Some(30.0), delay: Duration::from_millis(50), ..many(24, 10) };
        let mut instances = Instances::on(Some(cluster.kafka()), test, INSTANCES, args);
        let urls: Vec<_> = (0..INSTANCES).map(|instance| address(instances.start(instance))).collect();
        let mut sharing = Self { instances, urls };
        wait::until("each has its share", RUN_DEADLINE, || {
            sharing.expect_none_has_ended();
            sharing.urls.iter().all(|url| lanes(url).len() == LANES / INSTANCES)
        });
        sharing
    }

    fn expect_none_has_ended(&mut self) {
        for program in self.instances.running.values_mut() {
            assert!(program.ended().is_none(), "{}", program.output());
        }
    }

    fn leader(&self, topic: &str, partition: i32) -> i32 {
        consume::leader(self.instances.kafka(), topic, partition)
    }

    fn pending(&self) -> usize {
        self.instances.sandbox.market().shops().iter().map(|shop| shop.summary().pending).sum()
    }

    /// Kills the leader of a partition in the middle of the work.
    fn kill_leader(&self, cluster: &mut Cluster, topic: &str, partition: i32) {
        self.instances.place(40);
        let read = self.instances.marked().len();
        wait::until("they are at work", RUN_DEADLINE, || self.instances.marked().len() > read);
        let leader = self.leader(topic, partition);
        cluster.kill(leader.try_into().unwrap());
        assert!(self.pending() > 0, "the broker was killed too late");
        wait::until("another broker leads", RUN_DEADLINE, || {
            let now = self.leader(topic, partition);
            now >= 0 && now != leader
        });
    }

    /// Waits until all that was placed is published, by instances none of which has ended.
    fn expect_all_published(&mut self) {
        self.instances.sandbox.stop_arrivals();
        self.instances.expect_all_published();
        self.expect_none_has_ended();
    }
}

#[test]
fn instances_go_on_when_the_broker_that_coordinates_their_group_dies_for_good() {
    let mut cluster = Cluster::start();
    let mut sharing = Sharing::on(&cluster, "group-coordinator");
    // The topic of the groups has one partition.
    sharing.kill_leader(&mut cluster, GROUPS, 0);
    sharing.expect_all_published();

    // The coordinator in its place shares the lanes out as well.
    sharing.instances.running.remove(&0).unwrap().kill9();
    let left = &sharing.urls[1..];
    wait::until("the others have its lanes", RUN_DEADLINE, || {
        left.iter().map(|url| lanes(url).len()).sum::<usize>() == LANES
    });
    sharing.instances.place(5);
    sharing.expect_all_published();
}

#[test]
fn instances_go_on_when_the_broker_that_leads_a_lane_dies_for_good() {
    let mut cluster = Cluster::start();
    let mut sharing = Sharing::on(&cluster, "lane-leader");
    let coordinator = sharing.leader(GROUPS, 0);
    let tracking = sharing.instances.topics.tracking.clone();
    let led_by_another = |lane: &i32| sharing.leader(&tracking, *lane) != coordinator;
    let lane = (0..LANES as i32).find(led_by_another).expect("brokers share the partitions");
    sharing.kill_leader(&mut cluster, &tracking, lane);
    sharing.expect_all_published();
}

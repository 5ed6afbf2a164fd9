//! Checks of the group in which several instances share the stores.

use std::time::Duration;

use tokio::task::spawn_blocking;

use super::Check;
use super::broker::{forbidden, unseen};
use super::marketplace::{FAR, TOO_FAR};
use crate::config::{Cluster, Config};
use crate::kafka::admin::Settings;
use crate::kafka::settings::Isolation;
use crate::kafka::topic_scan::{Start, TopicScan};
use crate::kafka::{Admin, Connection, GroupView, KafkaFault, access};
use crate::platform::clock;
use crate::platform::text::plural;

const CALL: Duration = Duration::from_secs(5);
/// Offsets at the end of each partition among which its last record is looked for.
const LAST: i64 = 16;

pub(super) async fn check(config: &Config) -> Vec<Check> {
    if !config.cluster.enabled {
        return Vec::new();
    }
    let (cluster, topic) = (config.cluster.clone(), config.kafka.topics.tracking.clone());
    let connection = Connection::from(&config.kafka);
    let (membership, session, clock) = tokio::join!(
        membership(&connection, &cluster, &topic),
        session(&connection, &cluster),
        clock_of_records(&connection, &topic)
    );
    vec![membership, instance(&cluster), session, clock]
}

/// Whether this user may be a member, and who is one.
async fn membership(connection: &Connection, cluster: &Cluster, topic: &str) -> Check {
    let name = format!("group {}", cluster.group_id);
    let (connection, group, topic) = (connection.clone(), cluster.group_id.clone(), topic.to_owned());
    let asked = spawn_blocking(move || {
        access::check_group(&connection, &group, &topic)?;
        GroupView::ask(&connection, &group, &topic, CALL)
    });
    let panicked = |_| Err(KafkaFault::Passing { what: "asking for the group", why: "it panicked".to_owned() });
    match asked.await.unwrap_or_else(panicked) {
        Ok(GroupView { members, .. }) if members.is_empty() => Check::good(name, "no instance is at work"),
        Ok(GroupView { members, state }) => {
            let instances = plural(members.len() as u64, "instance");
            Check::good(name, format!("{instances} at work, {}", state.to_lowercase()))
        }
        Err(fault) => forbidden(&name, "can't be joined", &fault),
    }
}

fn instance(cluster: &Cluster) -> Check {
    let name = "instance ID";
    match &cluster.instance_id {
        Some(id) => Check::good(name, format!("`{id}`: a restart within {} s moves no lane", seconds(cluster))),
        None => Check::doubtful(
            name,
            "none: each restart moves this instance's lanes to the others and back, and `status` can't tell instances apart",
            "set `cluster.instance_id` to a name that only this instance has, the same at each start",
        ),
    }
}

async fn session(connection: &Connection, cluster: &Cluster) -> Check {
    let asked = async {
        let admin = Admin::open(connection, CALL)?;
        let metadata = admin.cluster()?;
        let broker = metadata.brokers().first().map(|broker| broker.id());
        drop(metadata);
        // Any broker will do: these settings are the same in the whole cluster.
        match broker {
            Some(broker) => admin.settings_of_broker(broker).await,
            None => Ok(Settings::new()),
        }
    };
    match asked.await {
        Ok(settings) => judged_session(cluster, &settings),
        Err(fault) => unseen(SESSION, "the broker's limits can't be seen", &fault),
    }
}

const SESSION: &str = "session time-out";

fn judged_session(cluster: &Cluster, broker: &Settings) -> Check {
    let limit = |key: &str| broker.get(key).and_then(|millis| millis.parse::<u128>().ok());
    let (least, most) = (limit("group.min.session.timeout.ms"), limit("group.max.session.timeout.ms"));
    let (Some(least), Some(most)) = (least, most) else {
        return Check::skipped(SESSION, "the broker does not tell its limits");
    };
    let found = format!("{} s; the broker allows {} to {} s", seconds(cluster), least / 1000, most / 1000);
    if (least..=most).contains(&cluster.session_timeout.as_millis()) {
        return Check::good(SESSION, found);
    }
    let cure = "set `cluster.session_timeout` within these limits, or group.min.session.timeout.ms and \
                group.max.session.timeout.ms on the brokers: until then no instance is let into the group";
    Check::bad(SESSION, found, cure)
}

fn seconds(cluster: &Cluster) -> u64 {
    cluster.session_timeout.as_secs()
}

/// Compares this machine's clock with the times of the last tracking records. Nothing else tells the time of the broker or
/// of other instances without a write, so a clock that is ahead is not found in this way.
async fn clock_of_records(connection: &Connection, topic: &str) -> Check {
    let name = "clock instances";
    let records = match TopicScan::open(connection, topic, Isolation::Committed, Start::Last(LAST)) {
        Ok(scan) => scan.all().await,
        Err(fault) => Err(fault),
    };
    let latest = match records {
        Ok(records) => records.iter().filter_map(|record| record.at).max(),
        Err(fault) => return Check::skipped(name, format!("the tracking topic can't be read: {fault}")),
    };
    match latest {
        Some(latest) => judged_clock(latest.duration_since(clock::now()).as_secs()),
        None => Check::skipped(name, "the tracking topic has no record whose time could be compared"),
    }
}

fn judged_clock(ahead: i64) -> Check {
    let name = "clock instances";
    if ahead <= FAR.cast_signed() {
        return Check::good(name, "no tracking record is later than this machine's clock");
    }
    let found = format!(
        "the tracking topic has a record from {ahead} s ahead: this machine's clock is behind, or that of another instance \
         or of the broker is ahead"
    );
    let cure = "let the clocks of all instances be set over the network (`timedatectl set-ntp true`). No order is lost or \
                doubled by it: offsets decide what is newer. But events get wrong times, and `reconcile.retention` and the \
                search for changes count with them";
    if ahead <= TOO_FAR.cast_signed() { Check::doubtful(name, found, cure) } else { Check::bad(name, found, cure) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::Health;

    #[test]
    fn a_session_time_out_must_be_one_that_the_broker_takes() {
        let limits: Settings = [("group.min.session.timeout.ms", "6000"), ("group.max.session.timeout.ms", "30000")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let judged = |seconds, limits| {
            let session_timeout = Duration::from_secs(seconds);
            judged_session(&Cluster { session_timeout, ..Cluster::default() }, limits).health
        };
        assert_eq!(judged(6, &limits), Health::Good);
        assert_eq!(judged(30, &limits), Health::Good);
        assert_eq!(judged(31, &limits), Health::Bad);
        assert_eq!(judged(5, &limits), Health::Bad);
        assert_eq!(judged(31, &Settings::new()), Health::Skipped);
    }

    #[test]
    fn a_record_from_the_future_makes_the_clocks_doubtful() {
        for (ahead, health) in [(-86_400, Health::Good), (5, Health::Good), (6, Health::Doubtful), (61, Health::Bad)] {
            assert_eq!(judged_clock(ahead).health, health, "{ahead}");
        }
    }
}

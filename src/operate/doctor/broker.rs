//! Checks of the broker: whether it can be reached, whether transactions work, and whether the topics are set up as the
//! guarantees need.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::{Check, Health};
use crate::config::Config;
use crate::kafka::admin::Settings;
use crate::kafka::topics::{TRACKED, TopicPlan, WRITTEN};
use crate::kafka::{Admin, Connection, KafkaFault, Transactions, access};
use crate::platform::text::plural;

const CALL: Duration = Duration::from_secs(5);
/// Timeout for opening a producer. A cluster creates its transaction log at the first transaction, which takes a second
/// or two.
const TRY_OUT: Duration = Duration::from_secs(6);
/// The suffix of the doctor's transactional ID. A lane has its number there, so this ID fences no lane.
const DOCTOR: &str = "doctor";
/// Kafka's internal topic of transactions. The first transaction creates it.
const TRANSACTIONS: &str = "__transaction_state";
/// How far back the marketplace's list of IDs goes. Consumers should have at least as long to read an event.
const EIGHT_DAYS_MS: i64 = 8 * 86_400_000;

/// What the broker's metadata say of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Topic {
    partitions: usize,
    /// The replicas of the partition that has the fewest.
    replicas: usize,
    in_sync: usize,
}

struct Cluster {
    brokers: Vec<i32>,
    topics: BTreeMap<String, Topic>,
}

pub(super) async fn check(config: &Config) -> Vec<Check> {
    let (connection, plan) = (Connection::from(&config.kafka), TopicPlan::from(&config.kafka));
    let start = Instant::now();
    let (admin, cluster) = match ask(&connection) {
        Ok(answer) => answer,
        Err(fault) => return unreachable(&connection, &fault, &plan),
    };
    let found = format!("{} in {} ms", plural(cluster.brokers.len() as u64, "broker"), start.elapsed().as_millis());
    let (log, tried) = tokio::join!(transaction_log(&admin, &cluster), try_out(&connection));
    let tried = transactions(&connection, &log, tried);
    let mut checks = vec![Check::good("broker", found), log, tried];
    let refused = refused_writes(&connection, &cluster, &plan).await;
    for role in roles(&plan) {
        checks.push(topic(&admin, &cluster, &role, &plan, &refused).await);
    }
    checks
}

/// A topic, and what the program does with it.
struct Role<'a> {
    name: &'a str,
    judge: Judge,
    /// The operations that the program's ACLs must allow.
    needs: &'static [&'static str],
    /// The commands that read the topic for an operator.
    readers: &'static str,
}

fn roles(plan: &TopicPlan) -> Vec<Role<'_>> {
    let names = &plan.names;
    let masked = |name| Role { name, judge: orders, needs: WRITTEN, readers: "" };
    let roles = [
        Role { name: &names.orders, judge: orders, needs: WRITTEN, readers: "`tail` and `explain`" },
        Role { name: &names.tracking, judge: tracking, needs: TRACKED, readers: "" },
        Role { name: &names.dead_letter, judge: dead, needs: WRITTEN, readers: "`dlq` and `explain`" },
    ];
    roles.into_iter().chain(names.orders_masked.as_deref().map(masked)).collect()
}

async fn refused_writes(connection: &Connection, cluster: &Cluster, plan: &TopicPlan) -> Vec<String> {
    let names = &plan.names;
    if !cluster.topics.contains_key(&names.tracking) {
        return Vec::new();
    }
    let others = names.written().map(String::as_str);
    let others: Vec<_> = others.filter(|name| cluster.topics.contains_key(*name)).collect();
    // An earlier check has reported a client that can't be made.
    access::refused_writes(connection, &names.tracking, &others).await.unwrap_or_default()
}

fn ask(connection: &Connection) -> Result<(Admin, Cluster), KafkaFault> {
    let admin = Admin::open(connection, CALL)?;
    let metadata = admin.cluster()?;
    let topics = metadata.topics().iter().filter(|topic| !topic.partitions().is_empty()).map(|topic| {
        let least = |count: fn(&rdkafka::metadata::MetadataPartition) -> usize| {
            topic.partitions().iter().map(count).min().unwrap_or(0)
        };
        let known = Topic {
            partitions: topic.partitions().len(),
            replicas: least(|partition| partition.replicas().len()),
            in_sync: least(|partition| partition.isr().len()),
        };
        (topic.name().to_owned(), known)
    });
    let cluster =
        Cluster { topics: topics.collect(), brokers: metadata.brokers().iter().map(|broker| broker.id()).collect() };
    drop(metadata);
    Ok((admin, cluster))
}

fn unreachable(connection: &Connection, fault: &KafkaFault, plan: &TopicPlan) -> Vec<Check> {
    let cure = match fault {
        KafkaFault::NotAllowed { missing: Some(acl), .. } => acl.command(),
        KafkaFault::NotAllowed { .. } => "check the credentials in `kafka.properties` and the user's ACLs".to_owned(),
        KafkaFault::Settings(_) => "correct `kafka.properties`".to_owned(),
        KafkaFault::NoConnection { .. } => "correct what is said there: waiting does not help".to_owned(),
        _ => format!(
            "see that a broker runs at `{}` (`kafka.bootstrap_servers`), that its `advertised.listeners` can be reached from \
             here, and that `security.protocol` in `kafka.properties` is the listener's",
            connection.bootstrap_servers
        ),
    };
    let mut checks = vec![Check::bad("broker", fault.to_string(), cure)];
    let names = &plan.names;
    let later = [&names.orders, &names.tracking, &names.dead_letter].into_iter().chain(&names.orders_masked);
    let later = later.map(|name| format!("topic {name}"));
    let later = ["transaction log".to_owned(), "transactions".to_owned()].into_iter().chain(later);
    checks.extend(later.into_iter().map(|name| Check::skipped(name, "no broker to ask")));
    checks
}

async fn transaction_log(admin: &Admin, cluster: &Cluster) -> Check {
    let name = "transaction log";
    // Any broker will do: these settings are the same in the whole cluster.
    let Some(broker) = cluster.brokers.first() else { return Check::skipped(name, "no broker tells its ID") };
    let of_broker = match admin.settings_of_broker(*broker).await {
        Ok(settings) => settings,
        Err(fault) => return unseen(name, "its settings can't be seen, so nothing is said of them", &fault),
    };
    let number = |key: &str| of_broker.get(key).and_then(|value| value.parse().ok());
    let (wanted, least) = (number("transaction.state.log.replication.factor"), number("transaction.state.log.min.isr"));
    let (Some(wanted), Some(least)) = (wanted, least) else {
        return Check::skipped(name, "the broker does not tell the settings of its transaction log");
    };
    judged_log(cluster.brokers.len(), cluster.topics.get(TRANSACTIONS), wanted, least)
}

/// Opens a transactional producer as each lane does, which tests credentials and ACLs.
async fn try_out(connection: &Connection) -> Result<(), KafkaFault> {
    let connection = connection.clone();
    let tried = spawn_blocking(move || Transactions::try_out(&connection, DOCTOR, TRY_OUT)).await;
    tried.unwrap_or_else(|_| Err(KafkaFault::Passing { what: "opening a producer", why: "it panicked".to_owned() }))
}

fn transactions(connection: &Connection, log: &Check, tried: Result<(), KafkaFault>) -> Check {
    let name = "transactions";
    let id = format!("{}-{DOCTOR}", connection.transactional_id_prefix);
    match tried {
        // Fenced by another doctor, which has the same ID. So a producer can be opened.
        Ok(()) | Err(KafkaFault::Fenced { .. }) => {
            Check::good(name, format!("a producer was opened as a drain opens its own, as `{id}`"))
        }
        Err(KafkaFault::Passing { .. }) if log.health == Health::Bad => {
            Check::skipped(name, "not without a transaction log")
        }
        Err(fault) => forbidden(name, &format!("no producer can be opened as `{id}`"), &fault),
    }
}

/// A finding for what works but can't be inspected.
pub(super) fn unseen(name: &str, found: &str, fault: &KafkaFault) -> Check {
    match fault.missing() {
        Some(acl) => Check::doubtful(name, format!("{found}: {acl}"), acl.command()),
        None => Check::doubtful(name, format!("{found}: {fault}"), "see `broker` above"),
    }
}

/// A finding for what does not work until an ACL allows it.
pub(super) fn forbidden(name: &str, found: &str, fault: &KafkaFault) -> Check {
    match fault {
        KafkaFault::NotAllowed { code, missing: Some(acl), .. } => {
            Check::bad(name, format!("{found} ({code}): {acl}"), acl.command())
        }
        _ => Check::bad(name, format!("{found}: {fault}"), "see `broker` above, and that all brokers run"),
    }
}

/// Judges the transaction log. If it can't be written, `init_transactions` times out after 20 s without naming the
/// reason.
fn judged_log(brokers: usize, log: Option<&Topic>, wanted: usize, least: usize) -> Check {
    let name = "transaction log";
    let set = format!(
        "set transaction.state.log.replication.factor={0} and transaction.state.log.min.isr={1} on the broker and restart it",
        brokers.min(3),
        if brokers >= 3 { 2 } else { 1 },
    );
    let bad = format!("{set}: until then every start of a transaction times out after 20 s, without a reason");
    match log {
        None if wanted > brokers => {
            let found = format!("it wants {wanted} replicas and there is {}", plural(brokers as u64, "broker"));
            Check::bad(name, found, bad)
        }
        None if least > wanted => Check::doubtful(name, more_than_there_are("min.isr", least, wanted), set),
        None => Check::good(name, format!("made at the first transaction, with {}", plural(wanted as u64, "replica"))),
        Some(log) if log.in_sync < least.min(log.replicas) => {
            let found = format!("{} in sync, min.isr is {least}", plural(log.in_sync as u64, "replica"));
            let cure = format!("bring the other brokers back; or, if there are no others: {bad}");
            Check::bad(name, found, cure)
        }
        Some(log) if log.replicas < least => {
            Check::doubtful(name, more_than_there_are("min.isr", least, log.replicas), set)
        }
        Some(log) if log.replicas < 2 && brokers > 1 => {
            let cure = "give it three replicas with kafka-reassign-partitions: with one, the loss of a broker loses open \
                        transactions";
            Check::doubtful(name, format!("one replica on {brokers} brokers"), cure)
        }
        Some(log) => Check::good(name, format!("{}, min.isr {least}", plural(log.replicas as u64, "replica"))),
    }
}

/// Since 3.7.0 Kafka takes the smaller of the two numbers, whatever its metadata version. No answer tells a client the
/// broker's version, so the text covers both cases.
fn more_than_there_are(setting: &str, least: usize, replicas: usize) -> String {
    format!(
        "{setting} is {least}, with {}: Kafka from 3.7 on is content with as many as there are, an older one takes no record",
        plural(replicas as u64, "replica")
    )
}

/// Judges a topic's settings. Returns the first finding, with its remedy.
type Judge = fn(&str, &Topic, &Settings) -> Option<Check>;

async fn topic(admin: &Admin, cluster: &Cluster, role: &Role<'_>, plan: &TopicPlan, refused: &[String]) -> Check {
    let name = role.name;
    let what = format!("topic {name}");
    let Some(topic) = cluster.topics.get(name) else { return absent(admin, role, plan).await };
    if refused.iter().any(|refused| refused == name) {
        let acl = admin.connection().acl_on_topics(&["Write"], [name]);
        return Check::bad(what, format!("can't be written to: {acl}"), acl.command());
    }
    let unread = access::check_read(admin.connection(), name).err();
    if let Some(fault) = unread.as_ref().filter(|_| role.needs.contains(&"Read")) {
        return forbidden(&what, "can't be read", fault);
    }
    let settings = match admin.settings_of_topic(name).await {
        Ok(settings) => settings,
        Err(fault) if role.needs.contains(&"DescribeConfigs") => {
            return forbidden(&what, "nobody can see that it is compacted, and the program does not start", &fault);
        }
        Err(fault) => return unseen(&what, "its settings can't be seen, so nothing is said of them", &fault),
    };
    (role.judge)(&what, topic, &settings).or_else(|| replicated(&what, topic, &settings)).unwrap_or_else(|| {
        let get = |key: &str| settings.get(key).map_or("unknown", String::as_str);
        let (partitions, replicas) =
            (plural(topic.partitions as u64, "partition"), plural(topic.replicas as u64, "replica"));
        let kept = match get("cleanup.policy") {
            "compact" => "compact".to_owned(),
            policy => format!("{policy} after {}", retention(get("retention.ms"))),
        };
        // Only operators' commands read this topic. The program does not, so a missing ACL is no failure.
        let readers = unread.as_ref().and_then(KafkaFault::missing);
        let readers = readers.map(|acl| format!("; for {}, {acl}: {}", role.readers, acl.command()));
        Check::good(what, format!("{partitions}, {replicas}, {kept}{}", readers.unwrap_or_default()))
    })
}

/// Judges a topic that the metadata don't list: it is absent, or hidden from this user.
async fn absent(admin: &Admin, role: &Role<'_>, plan: &TopicPlan) -> Check {
    let what = format!("topic {}", role.name);
    if let Err(fault) = admin.partitions(role.name, role.needs) {
        return forbidden(&what, "missing, or hidden from this user", &fault);
    }
    if !plan.create {
        return Check::bad(what, "missing", "run `imotriz-kafka topics ensure`, or set `kafka.create_topics`");
    }
    let all = plan.new_topics();
    let this: Vec<_> = all.iter().filter(|topic| topic.name == role.name).collect();
    match admin.create(&this, true).await {
        Ok(_) => Check::good(what, "not there yet; created at the start"),
        Err(fault) => forbidden(&what, "not there yet, and can't be created", &fault),
    }
}

fn retention(millis: &str) -> String {
    match millis.parse::<i64>() {
        Ok(millis) if millis >= 0 => format!("{} days", millis / 86_400_000),
        Ok(_) => "no time at all".to_owned(),
        Err(_) => "an unknown time".to_owned(),
    }
}

fn tracking(what: &str, _: &Topic, settings: &Settings) -> Option<Check> {
    let name = what.trim_start_matches("topic ");
    let Some(policy) = settings.get("cleanup.policy") else {
        let cure =
            "see with kafka-configs.sh --describe that it is compact: the program does not start without seeing it";
        return Some(Check::bad(what, "the broker does not tell its cleanup.policy", cure));
    };
    (policy != "compact").then(|| {
        Check::bad(
            what,
            format!("cleanup.policy is {policy}, so Kafka forgets what was published, and orders would be published twice"),
            format!(
                "kafka-configs.sh --alter --topic {name} --add-config cleanup.policy=compact, if nothing was deleted from it \
                 yet; else name another topic in `kafka.topics.tracking`"
            ),
        )
    })
}

fn orders(what: &str, _: &Topic, settings: &Settings) -> Option<Check> {
    let name = what.trim_start_matches("topic ");
    let alter = |setting: &str| format!("kafka-configs.sh --alter --topic {name} --add-config {setting}");
    if settings.get("cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
        let found = "compacted: consumers that come late miss revisions of an order";
        return Some(Check::doubtful(what, found, alter("cleanup.policy=delete")));
    }
    short(what, settings, &alter("retention.ms=7776000000"))
}

fn dead(what: &str, _: &Topic, settings: &Settings) -> Option<Check> {
    let name = what.trim_start_matches("topic ");
    let alter = format!("kafka-configs.sh --alter --topic {name} --add-config retention.ms=7776000000");
    short(what, settings, &alter)
}

fn short(what: &str, settings: &Settings, cure: &str) -> Option<Check> {
    let millis: i64 = settings.get("retention.ms")?.parse().ok()?;
    (0..EIGHT_DAYS_MS).contains(&millis).then(|| {
        let found =
            format!("keeps records for {} h: a consumer that was away for longer misses them", millis / 3_600_000);
        Check::doubtful(what, found, cure)
    })
}

fn replicated(what: &str, topic: &Topic, settings: &Settings) -> Option<Check> {
    let least: usize = settings.get("min.insync.replicas")?.parse().ok()?;
    let name = what.trim_start_matches("topic ");
    let found = format!("{} in sync, min.insync.replicas is {least}", plural(topic.in_sync as u64, "replica"));
    // guard: no more replicas have to be in sync than there are
    if topic.in_sync < least.min(topic.replicas) {
        let cure = "bring the other brokers back, or lower min.insync.replicas: until then nothing can be written";
        return Some(Check::bad(what, found, cure));
    }
    if topic.replicas < least {
        let cure = format!(
            "give it more replicas with kafka-reassign-partitions.sh, or kafka-configs.sh --alter --topic {name} --add-config \
             min.insync.replicas={}",
            topic.replicas
        );
        return Some(Check::doubtful(what, more_than_there_are("min.insync.replicas", least, topic.replicas), cure));
    }
    (topic.replicas > 1 && least < 2).then(|| {
        let cure = "set min.insync.replicas=2: with one, what was acknowledged can be lost with one broker";
        Check::doubtful(what, found, cure)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operate::doctor::Health;

    fn log(replicas: usize, in_sync: usize) -> Topic {
        Topic { partitions: 50, replicas, in_sync }
    }

    #[test]
    fn a_transaction_log_that_can_not_be_written_names_the_two_settings() {
        for check in [judged_log(1, None, 3, 2), judged_log(1, Some(&log(3, 1)), 3, 2)] {
            assert_eq!(check.health, Health::Bad, "{check:?}");
            let cure = check.cure.unwrap();
            assert!(cure.contains("transaction.state.log.replication.factor=1"), "{cure}");
            assert!(cure.contains("transaction.state.log.min.isr=1") && cure.contains("20 s"), "{cure}");
        }
        assert_eq!(judged_log(1, None, 1, 1).health, Health::Good);
        assert_eq!(judged_log(1, Some(&log(1, 1)), 1, 1).health, Health::Good);
        assert_eq!(judged_log(3, Some(&log(3, 3)), 3, 2).health, Health::Good);
        assert_eq!(judged_log(3, Some(&log(1, 1)), 1, 1).health, Health::Doubtful);
        assert!(judged_log(5, Some(&log(3, 1)), 3, 2).cure.unwrap().contains("factor=3"));
    }

    #[test]
    fn a_topic_is_judged_by_what_the_promise_needs_of_it() {
        let settings = |pairs: &[(&str, &str)]| -> Settings {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let topic = log(3, 3);
        let health = |check: Option<Check>| check.map(|check| check.health);
        assert_eq!(health(tracking("topic t", &topic, &settings(&[("cleanup.policy", "compact")]))), None);
        for policy in ["delete", "compact,delete"] {
            let check = tracking("topic t", &topic, &settings(&[("cleanup.policy", policy)])).unwrap();
            assert_eq!(check.health, Health::Bad);
            assert!(check.cure.unwrap().contains("--topic t --add-config cleanup.policy=compact"));
        }
        let compacted = settings(&[("cleanup.policy", "compact")]);
        assert_eq!(health(orders("topic o", &topic, &compacted)), Some(Health::Doubtful));
        let brief = settings(&[("cleanup.policy", "delete"), ("retention.ms", "86400000")]);
        assert_eq!(health(orders("topic o", &topic, &brief)), Some(Health::Doubtful));
        let endless = settings(&[("cleanup.policy", "delete"), ("retention.ms", "-1")]);
        assert_eq!(health(orders("topic o", &topic, &endless)), None);
        assert_eq!(health(replicated("t", &log(3, 1), &settings(&[("min.insync.replicas", "2")]))), Some(Health::Bad));
        assert_eq!(
            health(replicated("t", &log(3, 3), &settings(&[("min.insync.replicas", "1")]))),
            Some(Health::Doubtful)
        );
        assert_eq!(health(replicated("t", &log(1, 1), &settings(&[("min.insync.replicas", "1")]))), None);
    }

    #[test]
    fn more_replicas_in_sync_than_there_are_is_what_brokers_differ_about() {
        let two: Settings = [("min.insync.replicas".to_owned(), "2".to_owned())].into();
        let checks = [judged_log(1, None, 1, 2), judged_log(1, Some(&log(1, 1)), 3, 2)];
        for check in checks.into_iter().chain(replicated("topic t", &log(1, 1), &two)) {
            assert_eq!(check.health, Health::Doubtful, "{check:?}");
            assert!(check.found.contains("from 3.7 on") && check.found.contains("an older one"), "{check:?}");
            assert!(!format!("{check:?}").contains("nothing can be written"), "{check:?}");
        }
        // One of two replicas is away: brokers of every version refuse records.
        assert_eq!(replicated("topic t", &log(2, 1), &two).unwrap().health, Health::Bad);
        let three: Settings = [("min.insync.replicas".to_owned(), "3".to_owned())].into();
        assert_eq!(replicated("topic t", &log(2, 1), &three).unwrap().health, Health::Bad);
        assert_eq!(judged_log(2, Some(&log(2, 1)), 2, 3).health, Health::Bad);
    }
}

//! The broker: reachable, able to do transactions, and the topics as the promise needs them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig as _;
use rdkafka::util::Timeout;
use tokio::task::{block_in_place, spawn_blocking};

use super::{Check, Health, plural};
use crate::app;
use crate::config::Config;
use crate::kafka::settings::Isolation;
use crate::kafka::topics::TopicPlan;
use crate::kafka::{Connection, Contact, KafkaFault, Transactions};

const CALL: Duration = Duration::from_secs(5);
/// A cluster makes its transaction log at the first transaction, which takes it a second or two.
const TRY_OUT: Duration = Duration::from_secs(6);
/// What stands behind the prefix where a lane has its number: an ID that fences nobody.
const DOCTOR: &str = "doctor";
/// Kafka's own topic of transactions. It comes to be with the first one.
const TRANSACTIONS: &str = "__transaction_state";
/// The marketplace's list of IDs goes back as far: consumers should not have less time.
const EIGHT_DAYS_MS: i64 = 8 * 86_400_000;

type Admin = AdminClient<DefaultClientContext>;
type Settings = BTreeMap<String, String>;

/// A topic as the broker tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Topic {
    partitions: usize,
    /// Of the partition that has the fewest.
    replicas: usize,
    in_sync: usize,
}

struct Cluster {
    brokers: Vec<i32>,
    topics: BTreeMap<String, Topic>,
}

pub(super) async fn check(config: &Config) -> Vec<Check> {
    let (connection, plan) = (app::connection(&config.kafka), app::topic_plan(&config.kafka));
    let start = Instant::now();
    let (admin, cluster) = match block_in_place(|| ask(&connection)) {
        Ok(answer) => answer,
        Err(fault) => return unreachable(&connection, &fault, &plan),
    };
    let found = format!("{} in {} ms", plural(cluster.brokers.len(), "broker"), start.elapsed().as_millis());
    let (log, tried) = tokio::join!(transaction_log(&admin, &cluster), try_out(&connection));
    let tried = transactions(&connection, &log, tried);
    let mut checks = vec![Check::good("broker", found), log, tried];
    let names = &plan.names;
    for (name, judge) in
        [(&names.orders, orders as Judge), (&names.tracking, tracking as Judge), (&names.dead_letter, dead as Judge)]
    {
        checks.push(topic(&admin, &cluster, name, &plan, judge).await);
    }
    checks
}

fn ask(connection: &Connection) -> Result<(Admin, Cluster), KafkaFault> {
    let contact = Contact::open(connection, Isolation::Committed, "asking the broker for its topics", CALL)?;
    let metadata = contact.metadata()?;
    contact.check_advertised(connection, &metadata)?;
    let admin: Admin = AdminClient::from_config(&connection.client()?)
        .map_err(|error| KafkaFault::of("making the admin client", 0, &error))?;
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
    let later = [&names.orders, &names.tracking, &names.dead_letter].map(|name| format!("topic {name}"));
    let later = [vec!["transaction log".to_owned(), "transactions".to_owned()], later.to_vec()].concat();
    checks.extend(later.into_iter().map(|name| Check::skipped(name, "no broker to ask")));
    checks
}

async fn settings(admin: &Admin, what: ResourceSpecifier<'_>) -> Result<Settings, KafkaFault> {
    let options = AdminOptions::new().request_timeout(Some(Timeout::After(CALL)));
    let asking = "reading settings of the broker or a topic";
    let answers = admin.describe_configs(&[what], &options).await.map_err(|error| KafkaFault::of(asking, 0, &error))?;
    let mut settings = Settings::new();
    for answer in answers {
        let resource: ConfigResource =
            answer.map_err(|code| KafkaFault::of_code(asking, 0, Some(code), &code.to_string()))?;
        settings.extend(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
    }
    Ok(settings)
}

async fn transaction_log(admin: &Admin, cluster: &Cluster) -> Check {
    let name = "transaction log";
    // Any broker's will do: the settings are the cluster's.
    let Some(broker) = cluster.brokers.first() else { return Check::skipped(name, "no broker tells its ID") };
    let of_broker = match settings(admin, ResourceSpecifier::Broker(*broker)).await {
        Ok(settings) => settings,
        Err(fault) => {
            let cure = "allow DescribeConfigs on the cluster to this user, or look at the broker's settings yourself";
            return Check::doubtful(name, format!("can't be looked at: {fault}"), cure);
        }
    };
    let number = |key: &str, default| of_broker.get(key).and_then(|value| value.parse().ok()).unwrap_or(default);
    let wanted = number("transaction.state.log.replication.factor", 3);
    let least = number("transaction.state.log.min.isr", 2);
    judged_log(cluster.brokers.len(), cluster.topics.get(TRANSACTIONS), wanted, least)
}

/// Opens a transactional producer as each lane of a drain does, with all that this asks of credentials and ACLs.
async fn try_out(connection: &Connection) -> Result<(), KafkaFault> {
    let connection = connection.clone();
    let tried = spawn_blocking(move || Transactions::try_out(&connection, DOCTOR, TRY_OUT)).await;
    tried.unwrap_or_else(|_| Err(KafkaFault::Passing { what: "opening a producer", why: "it panicked".to_owned() }))
}

fn transactions(connection: &Connection, log: &Check, tried: Result<(), KafkaFault>) -> Check {
    let name = "transactions";
    let id = format!("{}-{DOCTOR}", connection.transactional_id_prefix);
    match tried {
        // Another doctor came in between, and may do it as well.
        Ok(()) | Err(KafkaFault::Fenced { .. }) => {
            Check::good(name, format!("a producer was opened as a drain opens its own, as `{id}`"))
        }
        Err(KafkaFault::Passing { .. }) if log.health == Health::Bad => {
            Check::skipped(name, "not without a transaction log")
        }
        Err(fault) => {
            let cure = format!(
                "allow Write and Describe on the transactional IDs that begin with `{}` to this user, and see that all \
                 brokers run",
                connection.transactional_id_prefix
            );
            Check::bad(name, format!("no producer can be opened as `{id}`: {fault}"), cure)
        }
    }
}

/// Without a log that can be written, `init_transactions` times out after 20 s and says nothing of the reason.
fn judged_log(brokers: usize, log: Option<&Topic>, wanted: usize, least: usize) -> Check {
    let name = "transaction log";
    let cure = format!(
        "set transaction.state.log.replication.factor={0} and transaction.state.log.min.isr={1} on the broker and restart \
         it: until then every start of a transaction times out after 20 s, without a reason",
        brokers.min(3),
        if brokers >= 3 { 2 } else { 1 },
    );
    match log {
        None if wanted > brokers => {
            let found = format!("it wants {wanted} replicas and there is {}", plural(brokers, "broker"));
            Check::bad(name, found, cure)
        }
        None if least > wanted => Check::bad(name, format!("min.isr {least} is more than {wanted} replicas"), cure),
        None => Check::good(name, format!("made at the first transaction, with {}", plural(wanted, "replica"))),
        Some(log) if log.in_sync < least => {
            let found = format!("{} in sync, min.isr is {least}", plural(log.in_sync, "replica"));
            let cure = format!("bring the other brokers back; or, if there are no others: {cure}");
            Check::bad(name, found, cure)
        }
        Some(log) if log.replicas < 2 && brokers > 1 => {
            let cure = "give it three replicas with kafka-reassign-partitions: with one, the loss of a broker loses open \
                        transactions";
            Check::doubtful(name, format!("one replica on {brokers} brokers"), cure)
        }
        Some(log) => Check::good(name, format!("{}, min.isr {least}", plural(log.replicas, "replica"))),
    }
}

/// What is wrong with a topic's settings, and what to do: the first finding counts.
type Judge = fn(&str, &Topic, &Settings) -> Option<Check>;

async fn topic(admin: &Admin, cluster: &Cluster, name: &str, plan: &TopicPlan, judge: Judge) -> Check {
    let what = format!("topic {name}");
    let Some(topic) = cluster.topics.get(name) else {
        return match plan.create {
            true => Check::good(what, "not there yet; created at the start"),
            false => Check::bad(what, "missing", "run `imotriz-kafka topics ensure`, or set `kafka.create_topics`"),
        };
    };
    let settings = match settings(admin, ResourceSpecifier::Topic(name)).await {
        Ok(settings) => settings,
        Err(fault) => {
            let cure = "allow DescribeConfigs on the topic to this user";
            return Check::doubtful(what, format!("its settings can't be read: {fault}"), cure);
        }
    };
    judge(&what, topic, &settings).or_else(|| replicated(&what, topic, &settings)).unwrap_or_else(|| {
        let get = |key: &str| settings.get(key).map_or("unknown", String::as_str);
        let (partitions, replicas) = (plural(topic.partitions, "partition"), plural(topic.replicas, "replica"));
        let kept = match get("cleanup.policy") {
            "compact" => "compact".to_owned(),
            policy => format!("{policy} after {}", retention(get("retention.ms"))),
        };
        Check::good(what, format!("{partitions}, {replicas}, {kept}"))
    })
}

fn retention(millis: &str) -> String {
    match millis.parse::<i64>() {
        Ok(millis) if millis >= 0 => format!("{} days", millis / 86_400_000),
        Ok(_) => "no time at all".to_owned(),
        Err(_) => "an unknown time".to_owned(),
    }
}

fn tracking(what: &str, _: &Topic, settings: &Settings) -> Option<Check> {
    let policy = settings.get("cleanup.policy").map_or("unknown", String::as_str);
    let name = what.trim_start_matches("topic ");
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
    let found = format!("{} in sync, min.insync.replicas is {least}", plural(topic.in_sync, "replica"));
    if topic.in_sync < least {
        let cure = "bring the other brokers back, or lower min.insync.replicas: until then nothing can be written";
        return Some(Check::bad(what, found, cure));
    }
    (topic.replicas > 1 && least < 2).then(|| {
        let cure = "set min.insync.replicas=2: with one, what was acknowledged can be lost with one broker";
        Check::doubtful(what, found, cure)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Health;

    fn log(replicas: usize, in_sync: usize) -> Topic {
        Topic { partitions: 50, replicas, in_sync }
    }

    #[test]
    fn a_transaction_log_that_can_not_be_written_names_the_two_settings() {
        for check in [judged_log(1, None, 3, 2), judged_log(1, None, 1, 2), judged_log(1, Some(&log(1, 1)), 3, 2)] {
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
}

//! The list of all settings. Unknown keys are detected by it, and the reference is generated from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Config;
use super::key::Key;

/// One setting. A segment of its name in capitals is a placeholder.
pub(super) struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    /// The default to print if the code has none of its own.
    default: Option<&'static str>,
    meaning: &'static str,
}

/// The type of a setting.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    Secret,
    File,
    Flag,
    Number,
    Duration,
    Size,
    Url,
    Address,
    List,
    OneOf(&'static str),
    Any,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Secret => "secret",
            Self::File => "path",
            Self::Flag => "true or false",
            Self::Number => "number",
            Self::Duration => "duration",
            Self::Size => "size",
            Self::Url => "URL",
            Self::Address => "address",
            Self::List => "list",
            Self::OneOf(values) => values,
            Self::Any => "see Mapping",
        }
    }

    /// What to write instead of a value of the wrong type.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Text | Self::Secret | Self::File => "takes a text in quotes".to_owned(),
            Self::Flag => "takes true or false".to_owned(),
            Self::Number => "takes a whole number within its range".to_owned(),
            Self::Duration => r#"takes a duration in quotes, such as "250ms", "30s", "10m" or "90d""#.to_owned(),
            Self::Size => r#"takes a size in quotes, such as "256KiB" or "8MiB""#.to_owned(),
            Self::Url => r#"takes a URL in quotes, such as "https://www.imotriz.com""#.to_owned(),
            Self::Address => r#"takes an address and a port in quotes, such as "127.0.0.1:9464""#.to_owned(),
            Self::List => r#"takes a list such as ["one", "two"], or a text in quotes with commas"#.to_owned(),
            Self::OneOf(values) => format!("takes one of {values}, in quotes"),
            Self::Any => "has the wrong type".to_owned(),
        }
    }
}

const fn set(name: &'static str, kind: Kind, meaning: &'static str) -> Setting {
    Setting { name, kind, default: None, meaning }
}

const fn set_or(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Setting {
    Setting { name, kind, default: Some(default), meaning }
}

use Kind::{Address, Any, Duration, File, Flag, List, Number, OneOf, Secret, Size, Text, Url};

const AS_API: Option<&str> = Some("as in `[api]`");

/// All settings, in the order of the reference.
#[rustfmt::skip]
pub(super) static SETTINGS: &[Setting] = &[
    set("kafka.bootstrap_servers", Text, "Brokers to begin with, `host:port`, several with commas."),
    set("kafka.transactional_id_prefix", Text, "What transactional IDs begin with. Two installations on one cluster need two."),
    set("kafka.create_topics", Flag, "Whether absent topics are created. Existing ones are never altered."),
    set("kafka.replication_factor", Number, "Replicas of a topic that is created; `-1` leaves it to the broker."),
    set("kafka.orders_partitions", Number, "Partitions of the orders topic when it is created."),
    set("kafka.lanes", Number, "Partitions of the tracking topic when it is created: the number of lanes that stores are spread over."),
    set("kafka.transaction_timeout", Duration, "How long the broker keeps a transaction open for a process that fell silent; readers wait for it. 1s to 15m."),
    set_or("kafka.properties.PROPERTY", Text, "none", "Any librdkafka property, its name in quotes in the file. In the environment `_` stands for each dot. With `_file` behind the name the value is a file that holds it: `\"sasl.password_file\"`, `IMOTRIZ_KAFKA__PROPERTIES__SASL_PASSWORD_FILE`. Those on which the promise rests are refused."),
    set("kafka.topics.orders", Text, "Topic of the orders."),
    set("kafka.topics.tracking", Text, "Compacted topic of what was published."),
    set_or("kafka.topics.orders_masked", Text, "none", "Second topic of the orders, without personal data: the same events, in the same transactions. ACLs then decide who sees what."),
    set("kafka.topics.dead_letter", Text, "Topic of what could not be mapped, as it came."),
    set_or("schema_registry.url", Url, "none", "A registry with Confluent's API. Without it events travel in Avro's single-object encoding."),
    set_or("schema_registry.username", Text, "none", "User of a protected registry."),
    set_or("schema_registry.password", Secret, "none", "That user's password. Either this or `password_file`."),
    set_or("schema_registry.password_file", File, "none", "File that holds the password."),
    set_or("schema_registry.auto_register", Flag, "`true`", "Whether schemas that the registry lacks are registered."),
    set_or("schema_registry.ca_file", File, "none", "File of certificates in PEM: further authorities to trust, where nobody public signed the registry's certificate. A changed file is taken up at a reload."),
    set_or("schema_registry.timeout", Duration, "`10s`", "For a whole request to the registry."),
    set("spool.dir", File, "Directory of the pages that wait to be published. One process uses it at a time."),
    set("spool.max_pages", Number, "How many pages may wait; at this bound nothing more is drained."),
    set("spool.page_space", Size, "Space that is reserved before each destructive read."),
    set("cluster.enabled", Flag, "Whether this process is one of several instances that share the stores. Each needs the same stores, topics and prefix, and a spool of its own."),
    set("cluster.group_id", Text, "Consumer group in which the instances share the lanes."),
    set_or("cluster.instance_id", Text, "none", "Name of this instance, the same at each start, such as the pod's. With it a restart within `session_timeout` moves no lane."),
    set("cluster.session_timeout", Duration, "An instance without a sign of life for this long loses its lanes to the others. 6s to 30m."),
    set("admin.listen", Address, "Where `/livez`, `/readyz`, `/metrics` and the status page are; port 0 takes any free one."),
    set("admin.metrics_stores", List, "Stores whose metrics always have series of their own, with the label `store`. The others have them only while they are in trouble."),
    set("admin.hosts", List, "Names with a dot under which the admin server may be asked, such as `producer.shop.svc`. Addresses, `localhost` and names without a dot always may."),
    set("api.poll_interval", Duration, "Between two reads of new orders when nothing is pending."),
    set_or("api.poll_interval_max", Duration, "ten times `poll_interval`", "What `poll_interval` grows to, twice as long after each read that brought nothing. A page of orders and the reconciler's request bring it back."),
    set("api.max_in_flight_per_host", Number, "How many requests to one host are in flight at a time, of all stores together. First come, first served. One that waits for its answer for more than 5 s makes room for another; of such there are three times as many at most."),
    set("api.requests_per_second_per_host", Number, "How many requests one host gets in a second on average, from all stores together; so many may leave at once after a quiet second. One store alone asks as fast as the host answers, and stays far below the default. A 429 slows down its store, and the host if several stores get one."),
    set_or("api.ca_file", File, "none", "File of certificates in PEM: further authorities to trust, where a proxy or a marketplace of one's own has a certificate that nobody public signed. A changed file is taken up at a reload."),
    set("api.connect_timeout", Duration, "For a connection to stand."),
    set("api.idle_timeout", Duration, "Without a byte of the answer. Long on purpose: a late answer is still the only copy."),
    set("api.total_timeout", Duration, "For a whole request."),
    set("api.max_body", Size, "The largest body that is read; of the list of IDs eight times that, since it is not held."),
    set_or("api.list_page_parameter", Text, "none", "Parameter that asks for a page of the list of IDs, such as `page`, where the marketplace gives the list in pages; they are counted from 1. Without it a list that says that it is not whole is refused."),
    set("api.paths.new_orders", Text, "Path of the destructive read."),
    set("api.paths.order_ids", Text, "Path of the list of the last 8 days' IDs."),
    set("api.paths.order", Text, "Path of one order, with `{id}` in it."),
    set("reconcile.interval", Duration, "Between two passes of the reconciler."),
    set("reconcile.detect_changes", Flag, "Whether published orders are fetched again to see whether they changed."),
    set("reconcile.changes_per_second", Number, "How many published orders of a store are fetched again in a second, at most."),
    set("reconcile.concurrency", Number, "How many orders of a store are fetched at a time."),
    set("reconcile.retention", Duration, "How long it is remembered that an order was published. At least 31d: the marketplace lists orders up to 30 days back."),
    set_or("mapping.FIELD", Any, "see Mapping", "Where in a record the fields of an order are."),
    set("resync.policy", OneOf("publish, suppress_unchanged"), "What to do when a seller asks for a published order again: publish it with the next revision always, or only if it changed."),
    set("events.personal", OneOf("full, masked, none"), "How much of the buyer the orders topic shows: see [Personal data](personal-data.md)."),
    set_or("telemetry.otlp_endpoint", Url, "none", "Where traces go: the base URL of a collector that speaks OTLP over HTTP, such as `http://127.0.0.1:4318`. Without it none are made."),
    set("telemetry.log", Text, "What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`, `off`), and others for single parts behind commas. A reload puts it into force without a new start. The variable `RUST_LOG` goes before it."),
    set_or("stores_dir", File, "none", "Folder whose `*.toml` files have further `[stores.NAME]` tables, for one store or for several. What is added, changed or removed there takes effect while the program runs."),
    set_or("stores.NAME.country", OneOf("CO, MX, EC, CR"), "required", "Settles host, currency and time zone."),
    set_or("stores.NAME.token", Secret, "required", "The bare token of the shop's settings. Either this or `token_file`."),
    set_or("stores.NAME.token_file", File, "required", "File that holds the token; read again when it has changed and on 401, so that a rotated token needs no restart."),
    set_or("stores.NAME.base_url", Url, "the country's", "Where the marketplace answers. Plain http only to a loopback address."),
    set_or("stores.NAME.allow_insecure_http", Flag, "`false`", "Lets the token travel in the clear to another machine."),
    Setting { name: "stores.NAME.poll_interval", kind: Duration, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.poll_interval_max", kind: Duration, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.ca_file", kind: File, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.connect_timeout", kind: Duration, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.idle_timeout", kind: Duration, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.total_timeout", kind: Duration, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.max_body", kind: Size, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.list_page_parameter", kind: Text, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.paths.new_orders", kind: Text, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.paths.order_ids", kind: Text, default: AS_API, meaning: "For this store." },
    Setting { name: "stores.NAME.paths.order", kind: Text, default: AS_API, meaning: "For this store." },
];

impl Setting {
    /// The setting as a key, with placeholders in capitals.
    fn key(&self) -> Key {
        Key::dotted(self.name)
    }

    fn begins_with(&self, key: &Key) -> bool {
        let pattern = self.name.split('.');
        let fits = |(segment, key): (&str, &String)| is_any(segment) || segment == key.as_str();
        key.segments().len() <= pattern.clone().count() && pattern.zip(key.segments()).all(fits)
    }
}

fn is_any(segment: &str) -> bool {
    segment.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The result of looking up a key.
pub(super) enum Known {
    Setting(&'static Setting),
    Section,
    Unknown,
}

/// Looks up a key in the list of settings.
pub(super) fn look_up(key: &Key) -> Known {
    let depth = key.segments().len();
    match SETTINGS.iter().find(|setting| setting.begins_with(key)) {
        Some(setting) if setting.name.split('.').count() == depth => Known::Setting(setting),
        Some(_) => Known::Section,
        None => Known::Unknown,
    }
}

/// Whether the key is under `mapping`, which checks its keys itself.
pub(super) fn is_mapping(key: &Key) -> bool {
    key.segments().first().is_some_and(|section| section == "mapping")
}

/// Suggests keys near an unknown one, as a sentence without its full stop.
pub(super) fn hint(unknown: &Key) -> String {
    let mut section = unknown.parent().unwrap_or_default();
    while matches!(look_up(&section), Known::Unknown) {
        section = section.parent().unwrap_or_default();
    }
    inside(&section)
}

/// Lists the keys of a section, as a sentence without its full stop.
pub(super) fn inside(section: &Key) -> String {
    let depth = section.segments().len();
    let mut names: Vec<&str> = SETTINGS
        .iter()
        .filter(|setting| setting.begins_with(section))
        .filter_map(|setting| setting.name.split('.').nth(depth))
        .collect();
    names.dedup();
    let names = names.join(", ");
    match depth {
        0 => format!("There are {names}"),
        _ if names.is_empty() => format!("`{section}` has nothing below it"),
        _ => format!("In `{section}` there are {names}"),
    }
}

/// Suggests the variable that differs only in its underscores, as a sentence.
pub(super) fn did_you_mean(name: &str) -> Option<String> {
    let flat = |name: &str| name.replace("__", "_");
    let meant = SETTINGS.iter().map(|setting| setting.key().variable()).find(|known| flat(known) == flat(name))?;
    Some(format!("Did you mean {meant}?"))
}

/// The reference of all settings as a Markdown table.
#[must_use]
pub fn reference() -> String {
    let defaults = defaults();
    let mut table = "| setting | takes | default | environment | meaning |\n|---|---|---|---|---|\n".to_owned();
    for setting in SETTINGS {
        let default = match (setting.default, defaults.get(&setting.key())) {
            (None, Some(default)) => format!("`{default}`"),
            (text, _) => text.unwrap_or("none").to_owned(),
        };
        let (name, kind, variable) = (setting.name, setting.kind.name(), setting.key().variable());
        // Writing to a String can't fail.
        writeln!(table, "| `{name}` | {kind} | {default} | `{variable}` | {} |", setting.meaning).unwrap_or_default();
    }
    table
}

/// The settings of a configuration in which nothing is set.
fn defaults() -> BTreeMap<Key, String> {
    let mut defaults = BTreeMap::new();
    Config::default().each_value(&mut |key, value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        defaults.insert(key.clone(), text);
    });
    defaults
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        kafka.properties."linger.ms" = 5
        [schema_registry]
        url = "http://localhost:8081"
        username = "u"
        password = "p"
        [stores.bogota]
        country = "CO"
        token = "t"
        [stores.quito]
        country = "EC"
        token_file = "t"
    "#;

    #[test]
    fn every_value_that_the_settings_hold_is_in_the_table() {
        Config::from_toml(FULL).unwrap().each_value(&mut |key, _| {
            assert!(is_mapping(key) || matches!(look_up(key), Known::Setting(_)), "{key} is not in the table");
        });
    }

    #[test]
    fn every_setting_of_the_table_is_held_by_the_settings_or_says_what_its_default_is() {
        let defaults = defaults();
        for setting in SETTINGS {
            assert_ne!(setting.default.is_some(), defaults.contains_key(&setting.key()), "{}", setting.name);
        }
    }

    #[test]
    fn the_defaults_of_optional_sections_are_those_of_the_code() {
        let config = Config::from_toml(FULL).unwrap();
        let stated = |name: &str| SETTINGS.iter().find(|setting| setting.name == name).unwrap().default.unwrap();
        let mut compared = 0;
        config.each_value(&mut |key, value| {
            if ["schema_registry.auto_register", "schema_registry.timeout"].contains(&key.to_string().as_str()) {
                compared += 1;
                assert_eq!(value.to_string().trim_matches('"'), stated(key.to_string().as_str()).trim_matches('`'));
            }
        });
        assert_eq!(compared, 2);
    }

    #[test]
    fn every_setting_of_the_table_can_be_set_by_its_variable() {
        let base = |variable: &str| -> Vec<(String, String)> {
            let mut all = vec![("IMOTRIZ_SCHEMA_REGISTRY__URL".to_owned(), "http://localhost".to_owned())];
            if !variable.contains("TOKEN") {
                all.push(("IMOTRIZ_STORES__NAME__TOKEN".to_owned(), "t".to_owned()));
            }
            if variable.contains("PASSWORD") {
                all.push(("IMOTRIZ_SCHEMA_REGISTRY__USERNAME".to_owned(), "u".to_owned()));
            }
            if variable.contains("USERNAME") {
                all.push(("IMOTRIZ_SCHEMA_REGISTRY__PASSWORD".to_owned(), "p".to_owned()));
            }
            all.push(("IMOTRIZ_STORES__NAME__COUNTRY".to_owned(), "CO".to_owned()));
            all
        };
        for setting in SETTINGS.iter().filter(|setting| !matches!(setting.kind, Any)) {
            let value = match setting.kind {
                Text if setting.name.contains("paths") => "/orders/{id}",
                Text if setting.name == "telemetry.log" => "info",
                Text | Secret | File | List => "text",
                Flag => "true",
                Number => "7",
                Duration => "40d",
                Size => "64KiB",
                Url => "https://localhost",
                Address => "127.0.0.1:0",
                OneOf(values) => values.split(',').next().unwrap(),
                Any => "",
            };
            let (value, variable) = match setting.name {
                "kafka.transaction_timeout" | "cluster.session_timeout" => ("20s", setting.key().variable()),
                name if name.ends_with("new_orders") || name.ends_with("order_ids") => ("/x", setting.key().variable()),
                _ => (value, setting.key().variable()),
            };
            let mut environment = base(&variable);
            environment.push((variable.clone(), value.to_owned()));
            let result = Config::from_environment(environment);
            assert!(result.is_ok(), "{variable}={value}: {}", result.unwrap_err());
        }
    }

    #[test]
    fn the_reference_shows_defaults_and_variables() {
        let reference = reference();
        assert!(reference.contains(
            "| `kafka.lanes` | number | `4` | `IMOTRIZ_KAFKA__LANES` | Partitions of the tracking topic when"
        ));
        assert!(reference.contains("| `reconcile.retention` | duration | `90d` |"));
        assert!(reference.contains("`IMOTRIZ_KAFKA__PROPERTIES__PROPERTY`"));
        assert_eq!(reference.lines().count(), SETTINGS.len() + 2);
    }
}

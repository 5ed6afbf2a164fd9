//! Tests that read docker-compose.yml, .env, the Dockerfile, the dashboard and the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use clap::{CommandFactory as _, Parser as _};
use imotriz_kafka::cli::{Cli, Command};
use imotriz_kafka::config::Config;
use serde_json::Value;

use crate::support::compose::{Compose, Kind, Service, dot_env, parse, read};
use crate::support::metrics;

const DASHBOARD: &str = "examples/stack/grafana/dashboards/imotriz-kafka.json";

/// `.env` as it is once somebody has followed what it says: the block in use into comments, and the other one out.
fn real_marketplace() -> BTreeMap<String, String> {
    let text = read(".env");
    let (sandbox, rest) = text.split_once("\n\n# …and ").expect("two blocks");
    let (real, common) = rest.split_once("\n\n").expect("what both have comes last");
    assert!(dot_env(sandbox).contains_key("COMPOSE_PROFILES"));
    let real: Vec<_> =
        real.lines().filter_map(|line| line.strip_prefix('#').filter(|line| !line.starts_with(' '))).collect();
    dot_env(&format!("{}\n{common}", real.join("\n")))
}

fn both() -> [(&'static str, Compose); 2] {
    [("sandbox", Compose::of_the_project()), ("real", Compose::with(&real_marketplace()))]
}

#[test]
fn every_service_has_a_health_check_and_waits_for_those_it_needs() {
    for (name, service) in Compose::of_the_project().services {
        let check = service.healthcheck.unwrap_or_else(|| panic!("{name} has no health check"));
        // The form with a shell would need one in the image.
        assert_eq!(check.test[0], "CMD", "{name}");
        for (other, dependency) in service.depends_on {
            // Prometheus is there to tell that the producer is not well.
            let expected = if name == "prometheus" { "service_started" } else { "service_healthy" };
            assert_eq!(dependency.condition, expected, "{name} on {other}");
            assert_eq!(dependency.required, other != "sandbox", "{name} on {other}");
        }
    }
}

#[test]
fn only_this_machine_reaches_the_ports_and_every_image_that_is_pulled_has_a_version() {
    for (name, service) in Compose::of_the_project().services {
        assert!(service.ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{name}: {:?}", service.ports);
        let (_, tag) = service.image.rsplit_once(':').unwrap_or_else(|| panic!("{name} has no tag"));
        let here = service.pull_policy.as_deref() == Some("never");
        assert!(
            if here { tag == "local" } else { tag.trim_start_matches('v').split('.').count() == 3 },
            "{name} has the tag {tag}"
        );
    }
}

#[test]
fn one_env_file_switches_from_the_sandbox_to_the_real_marketplace() {
    let [(_, sandbox), (_, real)] = both();
    let (names, real_names) = (dot_env(&read(".env")), real_marketplace());
    assert_eq!((names["COMPOSE_PROFILES"].as_str(), real_names.get("COMPOSE_PROFILES")), ("sandbox", None));
    assert_eq!(sandbox.service("sandbox").profiles, ["sandbox"]);
    assert_ne!(names["COMPOSE_PROJECT_NAME"], real_names["COMPOSE_PROJECT_NAME"], "fake orders get into real topics");

    let store =
        |compose: &Compose| config(compose.service("producer")).stores.values().next().unwrap().base_url.clone();
    assert_eq!(store(&sandbox).as_str(), "http://sandbox:8080/");
    assert_eq!(store(&real).as_str(), "https://www.imotriz.com/");
    assert!(real.secrets() == "./secrets" && read(".gitignore").contains("/secrets\n"));
}

fn config(service: &Service) -> Config {
    let variables = service.environment.iter().map(|(name, value)| (name.clone(), value.clone()));
    Config::from_environment(variables).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn no_secret_stands_in_the_compose_file_or_in_its_variables() {
    for (_, compose) in both() {
        for (name, service) in compose.services {
            let words = ["TOKEN", "PASSWORD", "SECRET", "KEY"];
            let secrets: Vec<_> =
                service.environment.keys().filter(|key| words.iter().any(|word| key.ends_with(word))).collect();
            assert!(secrets.is_empty(), "{name} has {secrets:?} in its environment");
        }
    }
}

#[test]
fn what_the_program_is_told_in_its_containers_is_right() {
    for (variant, compose) in both() {
        for (name, service) in
            compose.services.iter().filter(|(_, service)| service.image.starts_with("imotriz-kafka:"))
        {
            assert!(service.read_only && service.cap_drop == ["ALL"], "{name}");
            assert_parses(&service.command);
            assert_parses(&service.healthcheck.as_ref().unwrap().test[2..]);
        }
        let config = config(compose.service("producer"));
        assert_eq!(config.spool.dir, Path::new("/spool"), "{variant}");
        let spool = compose.service("producer").mount("/spool");
        assert_eq!((spool.kind, spool.source.as_str()), (Kind::Volume, "spool"));
    }
}

#[test]
fn the_producers_of_the_profile_differ_from_the_first_in_their_names_and_spools_alone() {
    let compose = Compose::of_the_project();
    let producers: Vec<_> = compose.services.iter().filter(|(_, service)| service.command == ["run"]).collect();
    assert_eq!(producers.len(), 3);
    let name = "IMOTRIZ_CLUSTER__INSTANCE_ID";
    let shared = |service: &Service| {
        let mut environment = service.environment.clone();
        environment.remove(name);
        (environment, service.mount("/run/secrets").source.clone())
    };
    for (service_name, service) in &producers {
        let cluster = config(service).cluster;
        assert_eq!((cluster.enabled, cluster.instance_id.as_ref()), (true, Some(*service_name)));
        assert_eq!(shared(service), shared(compose.service("producer")), "{service_name}");
        assert_eq!(service.profiles.is_empty(), *service_name == "producer", "{service_name}");
    }
    let distinct = |of: fn(&Service) -> &str| producers.iter().map(|(_, service)| of(service)).collect::<BTreeSet<_>>();
    assert_eq!(distinct(|service| &service.mount("/spool").source).len(), 3, "a spool each");
    assert_eq!(distinct(|service| &service.ports[0]).len(), 3, "a port each");
}

fn assert_parses(arguments: &[String]) {
    // Until the command is there.
    if arguments[0] == "doctor" && Cli::command().find_subcommand("doctor").is_none() {
        return;
    }
    let words = ["imotriz-kafka"].into_iter().chain(arguments.iter().map(String::as_str));
    Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{arguments:?}\n{error}"));
}

#[test]
fn no_two_services_build_the_same_image_and_who_uses_one_that_is_built_here_pulls_none() {
    for (variant, compose) in both() {
        let built: Vec<_> =
            compose.services.values().filter(|service| service.build.is_some()).map(|service| &service.image).collect();
        assert_eq!(built.iter().collect::<BTreeSet<_>>().len(), built.len(), "{variant}: {built:?}");
        for (name, service) in &compose.services {
            let here = built.contains(&&service.image);
            assert_eq!(here, service.image.starts_with("imotriz-kafka:"), "{variant}: {name}");
            assert_eq!(here, service.pull_policy.as_deref() == Some("never"), "{variant}: {name}");
        }
        // Without a profile it is always among the services that are started, and so is the image built.
        assert!(compose.service("producer").build.is_some() && compose.service("producer").profiles.is_empty());
    }
}

/// What the images declare as volumes: each container gets a new one without a name wherever nothing is mounted. Taken
/// from their Dockerfiles; those of the registry, kafka-ui and Grafana declare none.
const IMAGE_VOLUMES: [(&str, &[&str]); 3] = [
    ("imotriz-kafka", &["/spool"]),
    ("apache/kafka", &["/etc/kafka/secrets", "/mnt/shared/config", "/var/lib/kafka/data"]),
    ("prom/prometheus", &["/prometheus"]),
];

#[test]
fn no_container_leaves_a_volume_without_a_name() {
    let compose = Compose::of_the_project();
    for (image, targets) in IMAGE_VOLUMES {
        let of_image = |service: &&Service| service.image.split(':').next() == Some(image);
        let services: Vec<_> = compose.services.values().filter(of_image).collect();
        assert!(!services.is_empty(), "{image}");
        for target in services.iter().flat_map(|service| targets.iter().map(move |target| service.mount(target))) {
            assert_ne!(target.kind, Kind::Bind, "{image}");
        }
    }
    let dockerfile = read("Dockerfile");
    let declared: Vec<_> = dockerfile.lines().filter_map(|line| line.strip_prefix("VOLUME ")).collect();
    assert_eq!(declared, IMAGE_VOLUMES[0].1);
}

#[test]
fn a_token_that_is_renamed_over_the_old_one_is_seen_in_the_container() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (variant, compose) in both() {
        let producer = compose.service("producer");
        let mount = producer.mount("/run/secrets");
        assert!(mount.kind == Kind::Bind && mount.read_only, "{variant}");
        assert!(!root.join(&mount.source).is_file(), "{variant}: a mounted file stays the one that it was");
        let file = &producer.environment["IMOTRIZ_STORES__SHOP__TOKEN_FILE"];
        assert_eq!(Path::new(file).parent(), Some(Path::new("/run/secrets")), "{variant}");
        if variant == "sandbox" {
            assert!(root.join(&mount.source).join(Path::new(file).file_name().unwrap()).is_file());
        }
    }
}

#[test]
fn the_sandbox_remembers_what_was_read_and_gives_the_dashboard_something_to_show() {
    let compose = Compose::of_the_project();
    let sandbox = compose.service("sandbox");
    let command = ["imotriz-kafka"].into_iter().chain(sandbox.command.iter().map(String::as_str));
    let Ok(Cli { command: Command::Sandbox(args), .. }) = Cli::try_parse_from(command) else { panic!("no sandbox") };
    assert!(args.state.unwrap().starts_with(&sandbox.mount("/spool").target));
    assert_ne!(sandbox.mount("/spool").source, compose.service("producer").mount("/spool").source);
    // Prometheus looks every 15 s: longer than that for the first orders, and always some later.
    let reads = args.orders.div_ceil(args.page_size) as u32;
    assert!(args.delay * reads > Duration::from_secs(15) && args.orders_per_minute > 0);
}

#[test]
fn every_file_and_volume_that_is_mounted_exists() {
    let compose = Compose::of_the_project();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for mount in compose.services.values().flat_map(|service| &service.volumes) {
        let source = &mount.source;
        let exists = match mount.kind {
            Kind::Bind => mount.read_only && root.join(source).exists(),
            Kind::Volume => compose.volumes.contains_key(source),
            Kind::Tmpfs => source.is_empty(),
        };
        assert!(exists, "{source} at {}", mount.target);
    }
    assert!(read("examples/stack/prometheus.yml").contains("targets: [\"producer:9464\"]"));
}

#[test]
fn the_image_has_no_shell_and_no_root_and_is_built_from_what_the_context_holds() {
    let dockerfile = read("Dockerfile");
    let (build, image) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let (arguments, _) = build.split_once("\nFROM ${BUILD_IMAGE} AS build\n").unwrap();
    let default = |name| arguments.lines().find_map(|line| line.strip_prefix("ARG ")?.strip_prefix(name)).unwrap();
    let base = default("BASE_IMAGE=");
    assert!(base.starts_with("gcr.io/distroless/") && base.ends_with(":nonroot"), "{base}");
    assert!(image.starts_with("${BASE_IMAGE}\n"));
    assert!(!image.contains("\nRUN "), "there is nothing to run it");
    assert!(image.contains("\nUSER 65532:65532\n") && image.contains("\nLABEL org.opencontainers.image.title="));
    for instruction in ["ENTRYPOINT [", "CMD [\"run\"]", "CMD [\"imotriz-kafka\", \"doctor\", \"--quick\"]"] {
        assert!(image.contains(instruction), "{instruction}");
    }
    let rust = concat!("rust:", env!("CARGO_PKG_RUST_VERSION"));
    assert!(default("BUILD_IMAGE=").starts_with(rust), "it is built by another Rust than the tests are");
    // All that Cargo reads: manifest, lock, sources, what they include, and each target that the manifest names.
    for needed in
        ["Cargo.toml", "Cargo.lock", "build.rs", "src", "schemas", "benches", "examples/consumers/rust", "LICENSE"]
    {
        assert!(read(".dockerignore").lines().any(|line| line == format!("!{needed}")), "{needed}");
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let known: BTreeSet<_> = metrics::CONTRACT.iter().map(|name| (*name).to_owned()).collect();
    let alerts = metrics::named_in(&read("examples/stack/alerts.yml"));
    let dashboard = metrics::named_in(&read(DASHBOARD));
    assert_eq!(alerts.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(dashboard.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(known.difference(&dashboard).collect::<Vec<_>>(), Vec::<&String>::new(), "the dashboard shows them all");
    assert_eq!(metrics::named_in(&read("examples/stack/README.md")), known);
}

/// The queries of the dashboard, and those of the alerts.
fn queries() -> (Vec<String>, Vec<String>) {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let alerts = parse(&read("examples/stack/alerts.yml"));
    let rules = alerts["groups"][0]["rules"].as_array().unwrap().iter();
    let text = |query: &Value| query["expr"].as_str().unwrap().trim().to_owned();
    (targets.map(text).collect(), rules.map(text).collect())
}

#[test]
fn no_query_overlooks_what_happened_before_prometheus_first_looked() {
    let (dashboard, alerts) = queries();
    let mut increases = 0;
    for query in dashboard.iter().chain(&alerts) {
        assert!(!query.contains("rate("), "it does not count the first value of a series: {query}");
        for increase in query.split("increase(").skip(1) {
            let (series, window) = increase.split_once(")").unwrap().0.rsplit_once('[').unwrap();
            let window = window.trim_end_matches(']');
            let new = format!("unless last_over_time({series}[1d] offset {window})");
            assert!(query.contains(&new), "`{new}` is missing: {query}");
            increases += 1;
        }
    }
    assert!(increases >= 17, "only {increases} found");
}

#[test]
fn the_queries_that_are_tested_are_those_of_the_dashboard() {
    let own = |query: &String| {
        [("$store", ".*"), ("$__rate_interval_ms", "60000"), ("$__rate_interval", "1m"), ("$__range", "1h")]
            .iter()
            .fold(query.clone(), |query, (variable, value)| query.replace(variable, value))
    };
    let dashboard: Vec<_> = queries().0.iter().map(own).collect();
    let tests = parse(&read("examples/stack/dashboard.test.yml"));
    for test in tests["tests"].as_array().unwrap().iter().flat_map(|test| test["promql_expr_test"].as_array().unwrap())
    {
        let tested = test["expr"].as_str().unwrap();
        assert!(dashboard.iter().any(|query| tested.contains(query.as_str())), "{tested}");
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_leads_to_a_heading_of_the_runbook_that_names_it() {
    let runbook = read("docs/runbook.md");
    let sections: BTreeMap<_, _> =
        runbook.split("\n#").map(|section| (anchor(section.lines().next().unwrap()), section)).collect();
    let alerts = parse(&read("examples/stack/alerts.yml"));
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string(), "{name}");
        let link = rule["annotations"]["runbook"].as_str().unwrap_or_else(|| panic!("{name} has no runbook"));
        let heading = link.strip_prefix("docs/runbook.md#").unwrap();
        let section =
            sections.get(heading).unwrap_or_else(|| panic!("{name}: the runbook has no heading for {heading}"));
        assert!(section.contains(&format!("`{name}`")), "{name} is not named under {heading}");
    }
    let named = runbook.matches("`Imotriz").count();
    assert!(rules.len() >= 10 && named == rules.len(), "the runbook names {named} alerts, there are {}", rules.len());
}

/// A heading's address in the page, as GitHub and GitLab make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_dashboard_is_found_and_asks_the_data_source_that_is_provisioned() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let sources = parse(&read("examples/stack/grafana/provisioning/datasources/prometheus.yml"));
    let variable = &dashboard["templating"]["list"][0];
    assert_eq!(variable["current"]["value"], sources["datasources"][0]["uid"]);
    let folders = parse(&read("examples/stack/grafana/provisioning/dashboards/imotriz-kafka.yml"));
    let folder = folders["providers"][0]["options"]["path"].as_str().unwrap();
    let grafana = Compose::of_the_project();
    let grafana = grafana.service("grafana");
    assert_eq!(grafana.mount(folder).source, "./examples/stack/grafana/dashboards");
    assert!(grafana.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].starts_with(folder));
}

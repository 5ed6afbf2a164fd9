//! What can be told from docker-compose.yml, .env, Dockerfile, dashboard and alerts by reading them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clap::{CommandFactory as _, Parser as _};
use imotriz_kafka::cli::Cli;
use imotriz_kafka::config::Config;
use serde_json::Value;

use crate::support::compose::{Compose, Service, dot_env, parse, read};
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
fn only_this_machine_reaches_the_ports_and_every_image_has_a_version() {
    for (name, service) in Compose::of_the_project().services {
        assert!(service.ports.iter().all(|port| port.starts_with("127.0.0.1:")), "{name}: {:?}", service.ports);
        let (_, tag) = service.image.rsplit_once(':').unwrap_or_else(|| panic!("{name} has no tag"));
        assert!(tag.trim_start_matches('v').split('.').count() == 3, "{name} has the tag {tag}");
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
    assert!(real.secrets["shop_token"].file.starts_with("./secrets/") && read(".gitignore").contains("/secrets\n"));
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
            assert!(service.build.is_some() && service.read_only && service.cap_drop == ["ALL"], "{name}");
            assert_parses(&service.command);
            assert_parses(&service.healthcheck.as_ref().unwrap().test[2..]);
        }
        let config = config(compose.service("producer"));
        assert_eq!(config.spool.dir, Path::new("/spool"), "{variant}");
        assert!(compose.service("producer").volumes.contains(&"spool:/spool".to_owned()));
    }
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
fn every_file_and_volume_that_is_mounted_exists() {
    let compose = Compose::of_the_project();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for mount in compose.services.values().flat_map(|service| &service.volumes) {
        let (source, _) = mount.split_once(':').unwrap();
        let exists =
            if source.starts_with('.') { root.join(source).exists() } else { compose.volumes.contains_key(source) };
        assert!(exists, "{mount}");
    }
    assert!(root.join(&compose.secrets["shop_token"].file).exists());
    assert!(read("examples/stack/prometheus.yml").contains("targets: [\"producer:9464\"]"));
}

#[test]
fn the_image_has_no_shell_and_no_root_and_is_built_from_what_the_context_holds() {
    let dockerfile = read("Dockerfile");
    let (build, image) = dockerfile.rsplit_once("\nFROM ").unwrap();
    let (base, image) = image.split_once('\n').unwrap();
    assert!(base.starts_with("gcr.io/distroless/") && base.ends_with(":nonroot"), "{base}");
    assert!(!image.contains("\nRUN "), "there is nothing to run it");
    assert!(image.contains("\nUSER 65532:65532\n") && image.starts_with("LABEL org.opencontainers.image.title="));
    for instruction in ["ENTRYPOINT [", "CMD [\"run\"]", "CMD [\"imotriz-kafka\", \"doctor\", \"--quick\"]"] {
        assert!(image.contains(instruction), "{instruction}");
    }
    let (_, rust) = build.split_once("FROM rust:").unwrap();
    assert!(rust.starts_with(env!("CARGO_PKG_RUST_VERSION")), "it is built by another Rust than the tests are");
    // All that Cargo reads: manifest, lock, sources, what they include, and each target that the manifest names.
    for needed in ["Cargo.toml", "Cargo.lock", "src", "schemas", "benches", "examples/consumers/rust", "LICENSE"] {
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

#[test]
fn every_alert_says_how_bad_it_is_and_leads_to_a_heading_of_the_readme() {
    let headings: BTreeSet<_> = read("README.md").lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let alerts = parse(&read("examples/stack/alerts.yml"));
    let rules = alerts["groups"][0]["rules"].as_array().unwrap();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(rule["annotations"]["summary"].is_string() && rule["annotations"]["description"].is_string(), "{name}");
        let runbook = rule["annotations"]["runbook"].as_str().unwrap_or_else(|| panic!("{name} has no runbook"));
        let heading = runbook.strip_prefix("README.md#").unwrap();
        assert!(headings.contains(heading), "{name}: the README has no heading for {heading}");
    }
    assert!(rules.len() >= 10);
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
    assert!(grafana.volumes.contains(&format!("./examples/stack/grafana/dashboards:{folder}:ro")));
    assert!(grafana.environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"].starts_with(folder));
}

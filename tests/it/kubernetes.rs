//! Tests of the manifests under `examples/kubernetes` without a cluster: the API server's own code validates them, and
//! they fit each other and the program.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use clap::Parser as _;
use imotriz_kafka::cli::Cli;
use imotriz_kafka::config::Config;
use serde_json::{Value, json};

use crate::support::compose::read;
use crate::support::program::Program;
use crate::support::{child, example};

const LINT_DEADLINE: Duration = Duration::from_secs(60);
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/kubernetes");

fn lint(folder: &Path) -> Program {
    let mut command = child::command(example::kubernetes());
    command.arg(folder);
    Program::spawn(command)
}

/// The manifests as the API server would keep them, with its defaults.
struct Manifests(Vec<Value>);

impl Manifests {
    fn valid() -> Self {
        let mut lint = lint(Path::new(FOLDER));
        lint.expect_exit(0, LINT_DEADLINE);
        Self(lint.stdout().lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    }

    fn all(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    fn one(&self, kind: &str) -> &Value {
        let [object] = self.all(kind)[..] else { panic!("one {kind}") };
        object
    }

    fn pod(&self) -> &Value {
        &self.one("StatefulSet")["spec"]["template"]["spec"]
    }

    fn container(&self) -> &Value {
        &self.pod()["containers"][0]
    }
}

#[test]
fn the_manifests_are_valid_and_fit_each_other() {
    let manifests = Manifests::valid();
    let set = manifests.one("StatefulSet");
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    let name = labels["app.kubernetes.io/name"].clone();
    let selector = json!({"app.kubernetes.io/name": name});
    for selected in [
        &set["spec"]["selector"]["matchLabels"],
        &manifests.one("Service")["spec"]["selector"],
        &manifests.one("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &manifests.one("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        &manifests.pod()["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        &manifests.pod()["topologySpreadConstraints"][1]["labelSelector"]["matchLabels"],
    ] {
        assert_eq!(*selected, selector);
    }
    let scraper = &manifests.one("NetworkPolicy")["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"];
    assert_eq!(*scraper, json!({"app.kubernetes.io/name": "prometheus"}));

    let name = |object: &Value| object["metadata"]["name"].clone();
    assert_eq!(set["spec"]["serviceName"], name(manifests.one("Service")));
    assert_eq!(manifests.pod()["serviceAccountName"], name(manifests.one("ServiceAccount")));
    let maps: Vec<_> = manifests.all("ConfigMap").into_iter().map(name).collect();
    let stores = &manifests.pod()["volumes"][0]["configMap"]["name"];
    assert!(maps.contains(&manifests.container()["envFrom"][0]["configMapRef"]["name"]) && maps.contains(stores));
    let image = format!("registry.example.com/imotriz-kafka:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(manifests.container()["image"], image.as_str());
    let enforced = &manifests.one("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"];
    assert_eq!(enforced, "restricted");
}

#[test]
fn what_is_wrong_with_a_manifest_is_found() {
    for (file, right, wrong, told) in [
        ("stateful-set.yaml", "podManagementPolicy:", "podManagement:", "unknown field \"spec.podManagement\""),
        ("stateful-set.yaml", "{drop: [ALL]}", "{add: [NET_ADMIN]}", "unrestricted capabilities"),
        ("stateful-set.yaml", "{path: /livez, port: admin}", "{path: /livez}", "livenessProbe.httpGet.port"),
        ("stateful-set.yaml", "[ReadWriteOncePod]", "[ReadWriteOncePods]", "accessModes"),
        ("service.yaml", "port: 9464", "port: 94640", "spec.ports[0].port"),
        ("pod-disruption-budget.yaml", "AlwaysAllow", "Always", "unhealthyPodEvictionPolicy"),
        ("network-policy.yaml", "cidr: 0.0.0.0/0", "cidr: 0.0.0.0/64", "ipBlock.cidr"),
    ] {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("stores")).unwrap();
        for entry in fs::read_dir(FOLDER).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        }
        fs::copy(Path::new(FOLDER).join("stores/bogota.toml"), copy.path().join("stores/bogota.toml")).unwrap();
        let path = copy.path().join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(right), "{file} has no {right}");
        fs::write(&path, text.replacen(right, wrong, 1)).unwrap();
        let mut lint = lint(copy.path());
        lint.expect_exit(1, LINT_DEADLINE);
        assert!(lint.stderr().contains(told), "{wrong}: {}", lint.stderr());
    }
}

#[test]
fn what_the_program_is_told_in_its_pods_is_right() {
    let manifests = Manifests::valid();
    let (pod, container) = (manifests.pod(), manifests.container());
    let arguments = container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap());
    Cli::try_parse_from(["imotriz-kafka"].into_iter().chain(arguments)).unwrap();

    let stores = read("examples/kubernetes/stores/bogota.toml");
    Config::from_toml(&stores).unwrap().stores_or_error().unwrap();
    let settings = container["envFrom"][0]["configMapRef"]["name"].as_str().unwrap();
    let maps = manifests.all("ConfigMap");
    let settings = maps.iter().find(|map| map["metadata"]["name"] == settings).unwrap()["data"].as_object().unwrap();
    let mut variables: BTreeMap<_, _> =
        settings.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect();
    let folder = variables.remove("IMOTRIZ_STORES_DIR");
    assert_eq!(folder.as_deref(), Some("/etc/imotriz-kafka/stores"));
    let name = &container["env"][0];
    assert_eq!(name["valueFrom"]["fieldRef"]["fieldPath"], "metadata.name");
    variables.insert(name["name"].as_str().unwrap().to_owned(), "imotriz-kafka-0".to_owned());
    let config = Config::from_environment(variables).unwrap();
    assert_eq!((config.cluster.enabled, config.cluster.instance_id.as_deref()), (true, Some("imotriz-kafka-0")));
    assert_eq!(config.spool.dir, Path::new("/spool/pages"));
    assert_eq!(container["ports"][0]["containerPort"], config.admin.listen.port());
    let replicas = manifests.one("StatefulSet")["spec"]["replicas"].as_i64().unwrap();
    assert!(i64::from(config.kafka.lanes) >= replicas, "a pod without a lane");
    let mounts: BTreeMap<_, _> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|mount| {
            assert!(mount["subPath"].is_null(), "what is mounted by itself stays as it was: {mount}");
            (mount["mountPath"].as_str().unwrap(), mount["readOnly"] == true)
        })
        .collect();
    let expected = [("/etc/imotriz-kafka/stores", true), ("/run/secrets", true), ("/spool", false)];
    assert_eq!(mounts, BTreeMap::from(expected));
    assert!(stores.contains("token_file = \"/run/secrets/"));

    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "admin", "scheme": "HTTP"}));
    }
    let grace = Duration::from_secs(pod["terminationGracePeriodSeconds"].as_u64().unwrap());
    assert!(grace >= config.api.total_timeout + config.kafka.transaction_timeout, "a read in flight is killed");
    assert_eq!((&pod["automountServiceAccountToken"], &pod["enableServiceLinks"]), (&json!(false), &json!(false)));
}

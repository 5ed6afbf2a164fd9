//! Tests of HTTPS to the marketplace and to the registry: whom the program trusts, and whom it does not.

use std::fs;
use std::path::{Path, PathBuf};

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::doctor::check;
use crate::support::scene::{RUN_DEADLINE, Scene, keys};
use crate::support::tls_front::TlsFront;
use crate::support::{consume, python, registry, wait};

const HERE: &str = "IP:127.0.0.1";
const FOR_ALL: &str = "IMOTRIZ_API__CA_FILE";
const FOR_THE_STORE: &str = "IMOTRIZ_STORES__BOGOTA__CA_FILE";

/// A scene whose marketplace has a certificate that a private authority signed.
struct Marketplace {
    scene: Scene,
    front: TlsFront,
}

impl Marketplace {
    fn of_host(host: &str) -> Self {
        let scene = Scene::new("tls", SandboxArgs::with_orders(90));
        let front = TlsFront::before(&scene.base_url(), host, None);
        let scene = scene.with("IMOTRIZ_STORES__BOGOTA__BASE_URL", &front.url(""));
        Self { scene, front }
    }

    fn with(mut self, variable: &str, file: impl Fn(&TlsFront) -> &PathBuf) -> Self {
        let file = file(&self.front).display().to_string();
        self.scene = self.scene.with(variable, &file);
        self
    }

    fn is_drained(&self) {
        self.scene.drain();
        self.scene.verdict().assert_clean();
        assert_eq!(self.scene.delivered().len(), 90);
        assert!(self.front.handshakes() > 0);
    }

    fn is_refused(&self) {
        let program = self.scene.run(&["drain"], 3);
        let said = program.stderr();
        assert!(said.contains("authorities that signed it in `api.ca_file`"), "{said}");
        assert!(said.contains("nothing was read"), "{said}");
        assert_eq!(self.front.handshakes(), 0, "a handshake came to its end");
        assert_eq!(self.scene.reads().len() + self.scene.spool().len(), 0);
    }
}

#[test]
fn a_marketplace_whose_certificate_the_machine_trusts_is_drained_over_tls() {
    // OpenSSL reads this file in place of the machine's own.
    Marketplace::of_host(HERE).with("SSL_CERT_FILE", |front| &front.authority).is_drained();
}

#[test]
fn a_marketplace_whose_authority_is_in_a_file_of_the_settings_is_drained_over_tls() {
    Marketplace::of_host(HERE).with(FOR_ALL, |front| &front.authority).is_drained();
}

#[test]
fn the_machines_own_authorities_count_beside_those_of_the_settings() {
    let marketplace = Marketplace::of_host(HERE).with("SSL_CERT_FILE", |front| &front.authority);
    marketplace.with(FOR_ALL, |front| &front.stranger).is_drained();
}

#[test]
fn a_stores_own_file_of_authorities_counts_before_the_general_one() {
    let marketplace = Marketplace::of_host(HERE).with(FOR_ALL, |front| &front.stranger);
    marketplace.with(FOR_THE_STORE, |front| &front.authority).is_drained();
    let marketplace = Marketplace::of_host(HERE).with(FOR_ALL, |front| &front.authority);
    marketplace.with(FOR_THE_STORE, |front| &front.stranger).is_refused();
}

#[test]
fn stores_of_one_host_that_trust_different_authorities_share_no_connection() {
    let Marketplace { scene, front } = Marketplace::of_host(HERE).with(FOR_THE_STORE, |front| &front.authority);
    let token = SandboxArgs::with_orders(0).token;
    let stranger = front.stranger.display().to_string();
    let of_cali = ["BASE_URL", "TOKEN", "COUNTRY", "CA_FILE"].map(|name| format!("IMOTRIZ_STORES__CALI__{name}"));
    let values = [front.url(""), token, "CO".to_owned(), stranger];
    let of_cali: Vec<_> = of_cali.iter().map(String::as_str).zip(values.iter().map(String::as_str)).collect();
    let mut program = scene.settings.start_with(&["drain"], &of_cali);
    program.expect_exit(3, RUN_DEADLINE);
    let said = program.stderr();
    assert!(said.contains("cali") && said.contains("its certificate is not trusted"), "{said}");
    assert_eq!(scene.delivered().len(), 90, "{said}");
    let tracked = keys(&consume::committed(scene.kafka(), &scene.topics.tracking));
    assert!(tracked.len() == 90 && tracked.iter().all(|key| key.starts_with("bogota/")), "{tracked:?}");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused_before_anything_is_read() {
    Marketplace::of_host(HERE).is_refused();
    Marketplace::of_host(HERE).with(FOR_ALL, |front| &front.stranger).is_refused();
}

#[test]
fn a_certificate_of_another_host_is_refused_before_anything_is_read() {
    Marketplace::of_host("DNS:marketplace.example").with(FOR_ALL, |front| &front.authority).is_refused();
}

#[test]
fn a_doctor_trusts_whom_the_program_trusts() {
    let marketplace = Marketplace::of_host(HERE).with(FOR_ALL, |front| &front.authority);
    let report = marketplace.scene.run(&["doctor"], 0).stdout();
    assert!(report.contains("token accepted") && !report.contains("can't be reached"), "{report}");
    let marketplace = Marketplace::of_host(HERE);
    let token = check(&marketplace.scene, "token bogota", 7);
    assert!(token.to_string().contains("`api.ca_file`"), "{token}");
}

/// Each command says which file it is and what belongs there, and nothing is read.
fn is_told(scene: &Scene, commands: &[&[&str]], told: &[&str]) {
    for command in commands {
        let said = scene.run(command, 2).stderr();
        assert!(told.iter().all(|part| said.contains(part)), "{command:?} says none of {told:?}: {said}");
    }
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn a_file_of_authorities_that_can_not_be_used_is_named_with_what_belongs_there() {
    for variable in [FOR_ALL, FOR_THE_STORE, "IMOTRIZ_SCHEMA_REGISTRY__CA_FILE"] {
        let scene = Scene::new("no-authorities", SandboxArgs::with_orders(3));
        let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
        let file = scene.settings.directory().join("authorities.pem");
        let name = file.display().to_string();
        let scene = scene.with(variable, &name);
        let commands: [&[&str]; 2] = [&["config", "check"], &["drain"]];
        is_told(&scene, &commands, &[&name, "`ca_file`", "No such file", "certificates in PEM"]);
        for text in ["", "no certificate\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, text).unwrap();
            is_told(&scene, &commands, &[&name, "`ca_file`", "no certificates in PEM", "BEGIN CERTIFICATE"]);
        }
    }
}

#[test]
fn a_file_of_authorities_that_has_changed_is_taken_up_at_a_reload() {
    let marketplace = Marketplace::of_host(HERE);
    let file = marketplace.scene.settings.directory().join("authorities.pem");
    let put = |from: &Path| fs::copy(from, &file).unwrap();
    put(&marketplace.front.stranger);
    let Marketplace { scene, front } = marketplace;
    let scene = scene.with(FOR_ALL, file.to_str().unwrap());
    let mut program = scene.settings.start(&["run"]);
    program.wait_for_line("its certificate is not trusted", RUN_DEADLINE);
    assert_eq!(front.handshakes(), 0);

    fs::write(&file, "").unwrap();
    program.signal(Signal::HUP);
    let refused = program.wait_for_line("the new settings are refused", RUN_DEADLINE);
    assert!(refused.contains(file.to_str().unwrap()), "{refused}");

    put(&front.authority);
    program.signal(Signal::HUP);
    program.wait_for_line("the store was changed", RUN_DEADLINE);
    wait::until("all is read", RUN_DEADLINE, || scene.delivered().len() == 90);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
}

const PASSWORD: &str = "canary-5dE1-registry";

/// A scene whose registry lets nobody in but `imotriz`, at an address that a private authority vouches for.
fn behind_a_login() -> (Scene, TlsFront) {
    let front = TlsFront::before(registry().url(), HERE, Some(&format!("imotriz:{PASSWORD}")));
    let scene = Scene::new("registry-tls", SandboxArgs::with_orders(30))
        .with("IMOTRIZ_SCHEMA_REGISTRY__URL", &front.url("/apis/ccompat/v7"))
        .with("IMOTRIZ_SCHEMA_REGISTRY__USERNAME", "imotriz")
        .with("IMOTRIZ_SCHEMA_REGISTRY__PASSWORD", PASSWORD)
        .with("IMOTRIZ_SCHEMA_REGISTRY__CA_FILE", front.authority.to_str().unwrap());
    (scene, front)
}

#[test]
fn every_command_works_with_a_registry_behind_a_login_and_a_private_authority() {
    let (scene, front) = behind_a_login();
    let mut said = String::new();
    for command in [
        ["config", "check"].as_slice(),
        &["config", "show"],
        &["schemas", "register"],
        &["schemas", "check"],
        &["drain"],
        &["doctor"],
        &["tail"],
    ] {
        said += &scene.run(command, 0).output();
    }
    assert!(front.handshakes() > 0 && !said.contains(PASSWORD), "a secret was shown");
    scene.verdict().assert_clean();
    assert_eq!(python::read_orders(scene.kafka(), registry(), &scene.topics.orders).len(), 30);
}

#[test]
fn a_registry_that_is_not_trusted_or_does_not_know_the_password_is_told_with_the_setting_to_correct() {
    let (scene, front) = behind_a_login();
    let untrusted = scene.with("IMOTRIZ_SCHEMA_REGISTRY__CA_FILE", front.stranger.to_str().unwrap());
    for command in [["drain"].as_slice(), &["schemas", "check"]] {
        let said = untrusted.run(command, 5).stderr();
        assert!(said.contains("certificate is not trusted") && said.contains("`schema_registry.ca_file`"), "{said}");
        assert!(!said.contains(PASSWORD), "a secret was shown");
    }
    assert_eq!(front.handshakes(), 0, "the password was sent to a stranger");
    assert!(check(&untrusted, "registry", 7).to_string().contains("`schema_registry.ca_file`"));

    let (scene, _front) = behind_a_login();
    let wrong = scene.with("IMOTRIZ_SCHEMA_REGISTRY__PASSWORD", "canary-wrong");
    let said = wrong.run(&["drain"], 5).stderr();
    assert!(said.contains("401") && said.contains("`schema_registry.username`"), "{said}");
    assert!(!said.contains("canary"), "a secret was shown");
    assert_eq!(untrusted.reads().len() + wrong.reads().len(), 0);
}

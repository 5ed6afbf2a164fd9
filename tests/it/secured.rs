//! Tests of a secured Kafka: passwords, certificates and encryption, as companies use them.

use std::fs;
use std::time::Duration;

use imotriz_kafka::sandbox::SandboxArgs;
use rustix::process::Signal;

use crate::doctor::check;
use crate::support::scene::{NOT_READY, RUN_DEADLINE, Scene};
use crate::support::secure::{Door, KEY_PASSWORD, PASSWORD, Secured, UNRESOLVED, guarded, property, secured};
use crate::support::{topics, wait};

const PAGE: usize = 10;

fn shop(pages: usize) -> SandboxArgs {
    SandboxArgs { page_size: PAGE, delay: Duration::from_millis(20), ..SandboxArgs::with_orders(pages * PAGE) }
}

fn every_command_works(door: Door, test: &str) {
    let scene = Scene::secured(door, test, shop(2));
    let mut said = String::new();
    let mut run = |arguments: &[&str]| {
        let program = scene.run(arguments, 0);
        said += &program.output();
        program.stdout()
    };
    run(&["config", "check"]);
    run(&["config", "show"]);
    run(&["doctor"]);
    run(&["topics", "ensure"]);
    run(&["topics", "check"]);
    run(&["drain"]);
    let id = &scene.delivered()[0];
    assert!(run(&["--json", "tail", "--from", "2020-01-01T00:00:00Z"]).contains(id.as_str()));
    assert!(run(&["explain", id]).contains("published"));
    run(&["dlq", "list"]);
    run(&["reconcile"]);
    run(&["doctor"]);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 2 * PAGE);
    assert!(!said.contains(PASSWORD) && !said.contains(KEY_PASSWORD), "a secret was shown");
}

#[test]
fn every_command_works_on_a_cluster_with_sasl_plain() {
    every_command_works(Door::Plain, "sasl-plain");
}

#[test]
fn every_command_works_on_a_cluster_with_scram_over_tls() {
    every_command_works(Door::Scram, "scram-tls");
}

#[test]
fn every_command_works_on_a_cluster_that_wants_the_clients_certificate() {
    every_command_works(Door::MutualTls, "mutual-tls");
}

#[test]
fn every_command_works_on_a_cluster_with_oauthbearer() {
    every_command_works(Door::OAuth, "oauthbearer");
}

#[test]
fn oauthbearer_with_a_token_from_a_provider_is_refused_with_the_reason() {
    let scene = misled(
        Door::OAuth,
        "oidc",
        &[
            ("SASL_OAUTHBEARER_METHOD", "oidc"),
            ("SASL_OAUTHBEARER_CLIENT_SECRET", "canary-client"),
            ("SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "https://127.0.0.1:1/"),
        ],
    );
    let program = scene.run(&["drain"], 4);
    let said = program.stderr();
    assert!(said.contains("sasl.oauthbearer") && said.contains("libcurl"), "{said}");
    assert!(!program.output().contains("canary"), "a secret was shown");
    assert_eq!(scene.reads().len(), 0);
}

/// For what ended after 31 to 93 seconds, when nobody looked at the reason.
const AT_ONCE: Duration = Duration::from_secs(25);

/// A shop at this door, with these properties in place of the right ones.
fn misled(door: Door, test: &str, properties: &[(&str, &str)]) -> Scene {
    let scene = Scene::secured(door, test, shop(1));
    properties.iter().fold(scene, |scene, (name, value)| scene.with(&property(name), value))
}

/// No command waits for what can't pass, and each says what it is.
fn is_told_at_once(scene: &Scene, told: &[&str]) {
    let commands = [
        ["drain"].as_slice(),
        &["reconcile"],
        &["topics", "ensure"],
        &["topics", "check"],
        &["tail"],
        &["explain", "7"],
        &["dlq", "list"],
    ];
    // Side by side: each of them waits for a few seconds.
    let mut programs =
        commands.map(|command| (command, scene.settings.start_with(command, &[("IMOTRIZ_SPOOL__DIR", command[0])])));
    for (command, program) in &mut programs {
        program.expect_exit(4, AT_ONCE);
        let said = program.stderr();
        assert!(told.iter().all(|part| said.contains(part)), "{command:?} says none of {told:?}: {}", program.output());
        assert!(!program.output().contains(PASSWORD) && !program.output().contains(KEY_PASSWORD), "a secret was shown");
    }
    let report = scene.run(&["doctor"], 7).stdout();
    let flat = report.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(told.iter().all(|part| flat.contains(part)), "the doctor says none of {told:?}: {report}");
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn a_wrong_password_is_told_at_once() {
    let address = secured().address(Door::Plain);
    let wrong = misled(Door::Plain, "wrong-plain", &[("SASL_PASSWORD", "wrong")]);
    is_told_at_once(&wrong, &[&address, "does not accept the credentials", "`sasl.password`"]);
    let wrong = misled(Door::Scram, "wrong-scram", &[("SASL_PASSWORD", "wrong")]);
    is_told_at_once(&wrong, &["does not accept the credentials", "`sasl.password`"]);
}

#[test]
fn a_mechanism_that_the_broker_does_not_have_is_told_at_once() {
    let wrong = misled(Door::Plain, "wrong-mechanism", &[("SASL_MECHANISM", "SCRAM-SHA-256")]);
    is_told_at_once(&wrong, &["does not accept the credentials", "`sasl.mechanism`", "supported mechanisms: PLAIN"]);
}

#[test]
fn a_listener_that_speaks_another_protocol_is_told_at_once() {
    let told = ["another protocol", "`security.protocol`"];
    is_told_at_once(&misled(Door::Open, "tls-to-plain", &[("SECURITY_PROTOCOL", "SSL")]), &told);
    is_told_at_once(&misled(Door::Expired, "plain-to-tls", &[("SECURITY_PROTOCOL", "PLAINTEXT")]), &told);
    is_told_at_once(&misled(Door::Plain, "plain-to-sasl", &[("SECURITY_PROTOCOL", "PLAINTEXT")]), &told);
    let sasl = [("SECURITY_PROTOCOL", "SASL_PLAINTEXT"), ("SASL_MECHANISM", "PLAIN"), ("SASL_USERNAME", "a")];
    let sasl = [&sasl[..], &[("SASL_PASSWORD", "b")]].concat();
    is_told_at_once(&misled(Door::Open, "sasl-to-plain", &sasl), &told);
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_at_once() {
    let stranger = secured().certificates.stranger.display().to_string();
    let told = ["its certificate is not trusted", "`ssl.ca.location`"];
    is_told_at_once(&misled(Door::Scram, "stranger", &[("SSL_CA_LOCATION", &stranger)]), &told);
    is_told_at_once(&misled(Door::Expired, "expired", &[]), &told);
    let address = secured().address(Door::Scram).replace("127.0.0.1", "localhost");
    let other_name = misled(Door::Scram, "other-name", &[("BROKER_ADDRESS_FAMILY", "v4")]);
    is_told_at_once(&other_name.with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", &address), &told);
}

#[test]
fn a_client_certificate_that_is_missing_is_told_at_once() {
    let nobody = misled(Door::MutualTls, "no-certificate", &[])
        .without(&property("SSL_CERTIFICATE_LOCATION"))
        .without(&property("SSL_KEY_LOCATION"))
        .without(&property("SSL_KEY_PASSWORD"));
    is_told_at_once(&nobody, &["does not accept this client's certificate", "`ssl.certificate.location`"]);
}

#[test]
fn a_host_that_the_cluster_advertises_and_nobody_knows_is_named() {
    let scene = Scene::secured(Door::Unresolved, "unresolved", shop(1));
    let told = [UNRESOLVED, "`advertised.listeners`"];
    for command in [["topics", "ensure"].as_slice(), &["doctor"]] {
        let code = if command[0] == "doctor" { 7 } else { 4 };
        let program = scene.run(command, code);
        let flat = program.output().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(told.iter().all(|part| flat.contains(part)), "{}", program.output());
    }
    // The topics can be looked at through the broker that answered; a producer can't be had.
    let open = secured().address(Door::Open);
    scene
        .settings
        .start_with(&["topics", "ensure"], &[("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", &open)])
        .expect_exit(0, RUN_DEADLINE);
    let mut program = scene.settings.start(&["drain"]);
    program.expect_exit(4, Duration::from_secs(150));
    let said = program.stderr();
    assert!(told.iter().all(|part| said.contains(part)), "{said}");
    assert!(!said.contains("transaction.state.log"), "{said}");
    assert_eq!(scene.reads().len(), 0);
}

#[test]
fn a_service_says_why_it_can_t_connect_at_each_try_and_goes_on_once_it_can() {
    let name = topics::unique("late");
    let scene = misled(Door::Scram, "late", &[("SASL_USERNAME", &name)]);
    let mut program = scene.settings.start(&["run"]);
    wait::until("it says so twice", RUN_DEADLINE, || {
        program.stderr().matches("does not accept the credentials").count() >= 2
    });
    assert!(program.ended().is_none());
    assert_eq!(scene.reads().len(), 0);

    secured().kafka.add_scram_user(&name, PASSWORD);
    wait::until("the orders are read", RUN_DEADLINE, || scene.delivered().len() == PAGE);
    program.signal(Signal::TERM);
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert!(!program.output().contains(PASSWORD), "a secret was shown");
}

#[test]
fn one_broker_with_a_bad_certificate_does_not_keep_a_drain_from_the_others() {
    let scene = Scene::secured(Door::Scram, "one-of-two", shop(3));
    let both = format!("{},{}", secured().address(Door::Expired), secured().address(Door::Scram));
    let scene = scene.with("IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS", &both);
    scene.drain();
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), 3 * PAGE);
}

#[test]
fn a_secured_broker_that_restarts_in_mid_drain_is_waited_for() {
    // A busy machine may take its time until the broker is killed.
    const PAGES: usize = 200;
    let secured = Secured::start(&[]);
    let variables = secured.variables(Door::Scram);
    let scene = Scene::on_own(secured.kafka, "secured-restart", shop(PAGES));
    let mut scene = variables.iter().fold(scene, |scene, (name, value)| scene.with(name, value));
    let mut program = scene.settings.start(&["drain"]);
    wait::until("the drain is under way", RUN_DEADLINE, || scene.reads().len() >= 5);
    scene.own_kafka().kill();
    assert!(scene.reads().len() < PAGES, "the broker was killed too late");
    program.wait_for_line(NOT_READY, RUN_DEADLINE);
    scene.own_kafka().restart();
    program.expect_exit(0, RUN_DEADLINE);
    scene.verdict().assert_clean();
    assert_eq!(scene.delivered().len(), PAGES * PAGE);
}

#[test]
fn secrets_that_are_in_files_are_read_there_and_a_missing_file_is_named() {
    let scene = Scene::secured(Door::Scram, "secret-file", shop(1)).without(&property("SASL_PASSWORD"));
    let file = scene.settings.directory().join("password");
    let scene = scene.with(&property("SASL_PASSWORD_FILE"), file.to_str().unwrap());
    for command in [["config", "check"].as_slice(), &["drain"], &["topics", "ensure"], &["tail"], &["explain", "7"]] {
        let refused = scene.run(command, 2);
        assert!(refused.stderr().contains(file.to_str().unwrap()), "{}", refused.output());
    }
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    scene.run(&["config", "check"], 0);
    let shown = scene.run(&["config", "show"], 0).stdout();
    assert!(shown.contains(file.to_str().unwrap()) && !shown.contains(PASSWORD), "{shown}");
    scene.drain();
    scene.verdict().assert_clean();
}

#[test]
fn a_key_that_its_password_does_not_open_is_named_without_the_password() {
    let scene = misled(Door::MutualTls, "wrong-key-password", &[("SSL_KEY_PASSWORD", "canary-wrong-key")]);
    let program = scene.run(&["drain"], 4);
    assert!(program.stderr().contains("can't be made from the settings"), "{}", program.output());
    assert!(!program.output().contains("canary"), "a secret was shown");
}

#[test]
fn a_doctor_opens_a_producer_as_a_drain_does_and_says_when_that_is_not_allowed() {
    let scene = Scene::behind(guarded(), Door::Plain, "no-producer", shop(1));
    let refused = check(&scene, "transactions", 7);
    assert_eq!(refused["health"], "bad", "{refused}");
    let id = format!("{}-doctor", scene.topics.orders);
    assert!(refused["found"].as_str().unwrap().contains(&id), "{refused}");
    assert!(refused["found"].as_str().unwrap().contains("TransactionalIdAuthorizationFailed"), "{refused}");
    assert!(refused["cure"].as_str().unwrap().contains(&scene.topics.orders), "{refused}");
}

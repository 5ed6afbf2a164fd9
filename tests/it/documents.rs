//! Runs the documents' command blocks line by line, as a reader would.
//!
//! Placeholders for a reader's own addresses and secret files are replaced. A line fails if it is neither a command of
//! the program nor in [`NOT_RUN`], and so does a block in an unknown language.

use std::fs;
use std::path::Path;
use std::time::Duration;

use imotriz_kafka::sandbox::{Fault, SandboxArgs};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::admin;
use crate::support::compose::read;
use crate::support::program::{Program, Settings};
use crate::support::scene::{RUN_DEADLINE, Scene, keys};
use crate::support::topics::Topics;
use crate::support::{child, example, http, kafka, port, registry, wait};

/// Lines that are not run, and why.
const NOT_RUN: [(&str, &str); 2] = [
    ("cargo test", "it is what runs this"),
    ("docker compose up --build", "wants images: tests/it/stack.rs starts what it starts, as processes"),
];

/// Lines that find something in the installation of [`Reader::new`], and what the table of exit codes promises.
const FINDINGS: [(&str, i32); 2] = [("imotriz-kafka reconcile --dry-run", 12), ("imotriz-kafka reconcile", 10)];

/// `demo` plays with thousands of orders.
const DEADLINE: Duration = Duration::from_secs(180);

/// A block of commands, and the title of its section.
struct Block {
    section: String,
    lines: Vec<String>,
}

/// The documents, in the order in which a reader comes to them: the installation is the same one to the end.
const DOCUMENTS: [&str; 14] = [
    "README.md",
    "docs/guarantees.md",
    "docs/event-contract.md",
    "docs/consumers.md",
    "docs/operations.md",
    "docs/kubernetes.md",
    "docs/capacity.md",
    "docs/runbook.md",
    "docs/settings.md",
    "docs/mapping.md",
    "docs/personal-data.md",
    "docs/performance.md",
    "docs/architecture.md",
    "docs/testing.md",
];

/// The documents' blocks of commands; tests/documents.rs holds those of the translations to be the same. Those in `toml`
/// are loaded there as well, the one in `python` is run by
/// [`whoever_copies_the_consumer_of_the_first_page_sees_the_orders`].
fn blocks() -> Vec<Block> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap().map(Result::unwrap);
    let pages = entries.filter(|entry| entry.file_type().unwrap().is_file());
    for page in pages.map(|page| format!("docs/{}", page.file_name().display())) {
        assert!(DOCUMENTS.contains(&page.as_str()), "nobody types the commands of {page}");
    }
    let python: usize = DOCUMENTS.iter().map(|path| read(path).matches("\n```python\n").count()).sum();
    assert_eq!(python, 1, "nobody runs more than the consumer of the first page");
    DOCUMENTS.into_iter().flat_map(|path| blocks_of(&read(path))).collect()
}

fn blocks_of(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut section = String::new();
    let mut language = None;
    for line in document.lines() {
        match (language, line.strip_prefix("```")) {
            (None, Some(opened)) => {
                assert!(["", "sh", "toml", "python"].contains(&opened), "nobody runs blocks in `{opened}`");
                language = Some(opened);
                blocks.extend((opened == "sh").then(|| Block { section: section.clone(), lines: Vec::new() }));
            }
            (Some(_), Some(_)) => language = None,
            (Some("sh"), None) => blocks.last_mut().unwrap().lines.push(line.to_owned()),
            (Some(_), None) => {
                assert!(!line.contains("imotriz-kafka "), "a command in a block that is not `sh`: {line}")
            }
            (None, None) if line.starts_with('#') => section = line.trim_start_matches(['#', ' ']).to_owned(),
            (None, None) => {}
        }
    }
    blocks
}

/// Somebody who types what the documents say.
struct Reader {
    /// What stands in the documents, and what this reader has in its place.
    places: Vec<(&'static str, String)>,
    /// Where new installations get their orders.
    shop: Scene,
    /// The fake shop that a line of the documents has started last: it stays until the next one.
    sandbox: Option<Program>,
    _secrets: TempDir,
}

impl Reader {
    fn new() -> Self {
        let secrets = tempfile::tempdir().unwrap();
        for name in ["bogota", "cdmx", "registry"] {
            fs::write(secrets.path().join(name), "sandbox-token").unwrap();
        }
        let shop = Scene::new("readme-shop", SandboxArgs::with_orders(40));
        let stores = secrets.path().join("stores");
        fs::create_dir(&stores).unwrap();
        let store =
            format!("[stores.cali]\ncountry = \"CO\"\ntoken = \"sandbox-token\"\nbase_url = \"{}\"\n", shop.base_url());
        fs::write(stores.join("cali.toml"), store).unwrap();
        let broker = kafka().bootstrap_servers().to_owned();
        let places = vec![
            ("localhost:9092", broker.clone()),
            ("broker-1:9093,broker-2:9093", broker),
            ("PROTOCOL=SSL", "PROTOCOL=PLAINTEXT".to_owned()),
            ("https://registry.example.com", registry().url().to_owned()),
            ("127.0.0.1:8080", format!("127.0.0.1:{}", port::free())),
            ("/etc/imotriz-kafka/stores", stores.display().to_string()),
            ("/run/secrets", secrets.path().display().to_string()),
            ("/var/lib/imotriz-kafka", secrets.path().join("spool").display().to_string()),
        ];
        Self { places, shop, sandbox: None, _secrets: secrets }
    }

    fn own(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (there, here)| text.replace(there, here))
    }

    /// A new installation, with what the block exports.
    fn installation(&self, block: &Block) -> Settings {
        let exports = block.lines.iter().filter_map(|line| line.strip_prefix("export "));
        exports.fold(Settings::new(kafka(), &Topics::unique("readme")), |settings, export| {
            let export = self.own(export);
            let (name, value) = export.split_once('=').unwrap();
            // A store without an address is the real marketplace's.
            let store = name.strip_suffix("__TOKEN_FILE");
            let settings = settings.with(name, value);
            store
                .into_iter()
                .fold(settings, |settings, store| settings.with(&format!("{store}__BASE_URL"), &self.shop.base_url()))
        })
    }

    /// Types a line. `settings` are those of the terminal.
    fn types(&mut self, line: &str, settings: &Settings) {
        let own = self.own(line);
        let words: Vec<_> = own.split_whitespace().collect();
        let arguments = match words.as_slice() {
            ["imotriz-kafka", arguments @ ..] | ["cargo", "run", "--", arguments @ ..] => arguments,
            _ => return assert!(NOT_RUN.iter().any(|(known, _)| *known == line), "nobody runs `{line}`"),
        };
        if arguments[0] == "sandbox" {
            // The address may be the same one.
            self.sandbox = None;
        }
        let mut program = settings.start(arguments);
        match arguments {
            ["sandbox", ..] => {
                program.wait_for_line("sandbox with", RUN_DEADLINE);
                self.sandbox = Some(program);
            }
            ["run"] => {
                admin::ready(&admin::address(&mut program));
                program.signal(Signal::TERM);
                program.expect_exit(0, RUN_DEADLINE);
            }
            ["tail", "-f"] => {
                program.wait_for_line("bogota", RUN_DEADLINE);
                program.signal(Signal::INT);
                program.expect_exit(0, RUN_DEADLINE);
            }
            _ => {
                let found = FINDINGS.iter().find(|(known, _)| *known == line);
                program.expect_exit(found.map_or(0, |(_, code)| *code), DEADLINE);
            }
        }
    }
}

/// An installation that has seen better days: dead letters, at `0:17` among others, that can be read with the mapping as
/// it is now, `4810007` being one of them; events; and a page of orders that was lost on the wire.
fn installation_in_need() -> Scene {
    let scene = Scene::new("readme", SandboxArgs::with_orders(20));
    let scene = scene.with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    let drain_with = |name, value| {
        scene.settings.start_with(&["drain"], &[(name, value)]).expect_exit(0, RUN_DEADLINE);
    };
    drain_with("IMOTRIZ_MAPPING__ORDER__TOTAL", "/buyer/name");
    scene.shop().add(10, 0);
    scene.drain();
    scene.shop().add(30, 0);
    scene.script(&[Some(Fault::DropAfter)]);
    drain_with("IMOTRIZ_API__PATHS__ORDER_IDS", "/nowhere");
    scene
}

#[test]
fn every_command_block_does_what_it_promises() {
    let mut reader = Reader::new();
    let in_need = installation_in_need();
    for block in blocks() {
        let fresh = reader.installation(&block);
        let is_fresh = block.lines.iter().any(|line| line.starts_with("export "));
        for line in block.lines.iter().filter(|line| !line.starts_with("export ")) {
            eprintln!("{}: {line}", block.section);
            reader.types(line, if is_fresh { &fresh } else { &in_need.settings });
        }
    }
    assert_eq!(keys(&in_need.events()).len(), 60, "the runbook has brought every order");
}

#[test]
fn whoever_kills_it_and_looks_sees_what_the_guarantees_say() {
    let [shop, terminal] = blocks()
        .into_iter()
        .filter(|block| block.section == "Kill it, and look")
        .collect::<Vec<_>>()
        .try_into()
        .unwrap_or_else(|_| panic!("a block for each of the two terminals"));
    let mut reader = Reader::new();
    let settings = reader.installation(&terminal);
    shop.lines.iter().for_each(|line| reader.types(line, &settings));
    let state = reader.own("http://127.0.0.1:8080/_sandbox/state");
    let pending = || serde_json::from_str::<Value>(&http::get(&state).1).unwrap()["pending"].as_u64().unwrap();
    for left in [2400, 1200] {
        let mut drain = settings.start(&["drain"]);
        wait::until("some pages are read", RUN_DEADLINE, || pending() <= left);
        drain.kill9();
    }
    for line in terminal.lines.iter().filter(|line| !line.starts_with("export ")) {
        reader.types(line, &settings);
    }
    settings.start(&["reconcile"]).expect_exit(0, RUN_DEADLINE);
    let mut status = settings.start(&["status"]);
    status.expect_exit(0, RUN_DEADLINE);
    assert!(status.stdout().contains(" 3,000 "), "{}", status.output());
}

#[test]
fn whoever_copies_the_consumer_of_the_first_page_sees_the_orders() {
    let readme = read("README.md");
    let (_, code) = readme.split_once("```python\n").expect("a consumer on the first page");
    let (code, _) = code.split_once("\n```").unwrap();
    let scene = Scene::new("readme-consumer", SandboxArgs::with_orders(3))
        .with("IMOTRIZ_SCHEMA_REGISTRY__URL", registry().url());
    scene.drain();
    let code = code
        .replace("localhost:9092", kafka().bootstrap_servers())
        .replace("http://localhost:8081", registry().url())
        .replace("imotriz.orders.v1", &scene.topics.orders)
        .replace("\"erp\"", &format!("\"{}\"", scene.topics.orders));
    let mut command = child::command(example::interpreter());
    command.args(["-u", "-c", &code]);
    let mut consumer = Program::spawn(command);
    for event in scene.events() {
        consumer.wait_for_line(event.key.as_deref().unwrap(), RUN_DEADLINE);
    }
}

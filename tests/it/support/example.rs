//! Builds the consumers under `examples/consumers`, each from a copy of its folder, as a reader would begin with it;
//! and, in the same way, a checker of AsyncAPI documents, one of the status page, and one of manifests for Kubernetes.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xxhash_rust::xxh3::Xxh3;

use super::child;
use super::services;

const CONSUMERS: &str = "examples/consumers";
const QUIETLY: &[&str] = &["--ignore-scripts", "--no-audit", "--no-fund"];
const GO: &str = "Go 1.26 or newer (https://go.dev/dl)";
const NODE: &str = "Node.js 20.19 or newer and npm (Debian: nodejs npm)";

/// The command that runs the consumer in `language`, without its arguments: built and started as its README says, with
/// nothing but what makes it quiet or small beside that.
///
/// # Panics
/// When it can't be built; the message says why.
pub fn consumer(language: &str) -> Command {
    let (build, start) = said(language);
    let folder = |needs, options: &[&str]| {
        let [build] = &build[..] else { panic!("{language}: one command builds it") };
        let build: Vec<_> = build.iter().map(String::as_str).chain(options.iter().copied()).collect();
        built(&format!("{CONSUMERS}/{language}"), needs, &build)
    };
    match language {
        "rust" => {
            assert_eq!((build.len(), start.join(" ").as_str()), (0, "cargo run --example consumer --"));
            child::command(rust())
        }
        "python" | "erp" => {
            assert_eq!((build, start[0].as_str()), (said("erp").0, "venv/bin/python"));
            let mut python = child::command(interpreter());
            python.args(&start[1..]).current_dir(root().join(CONSUMERS).join(language));
            python
        }
        "java" => {
            let needs = "a JDK 17 or newer and Maven (Debian: default-jdk-headless maven)";
            let folder = folder(needs, &["--quiet", "--batch-mode", "--strict-checksums"]);
            started(&folder, &start, &["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        }
        "node" => started(&folder(NODE, QUIETLY), &start, &[]),
        "go" => started(&folder(GO, &[]), &start, &[]),
        other => panic!("there is no consumer in {other}"),
    }
}

/// The words of the commands in a consumer's README: those that build it, and the one that starts it.
fn said(language: &str) -> (Vec<Vec<String>>, Vec<String>) {
    let readme = fs::read_to_string(root().join(CONSUMERS).join(language).join("README.md")).unwrap();
    let (_, block) = readme.split_once("```sh\n").expect("a block of commands");
    let (block, _) = block.split_once("\n```").expect("its end");
    let words = |line: &str| line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect();
    let mut lines: Vec<Vec<String>> = block.lines().map(words).collect();
    let mut start = lines.pop().expect("a command");
    let arguments = start.iter().position(|word| word == "localhost:9092").expect("the broker comes first");
    let given = start.split_off(arguments);
    assert_eq!(given[1..3], ["http://localhost:8081", "imotriz.orders.v1"], "{language}: then registry, topic, group");
    (lines, start)
}

/// What starts a consumer in its folder. Options come before its own arguments.
fn started(folder: &Path, start: &[String], options: &[&str]) -> Command {
    let program = if start[0].contains('/') { folder.join(&start[0]) } else { PathBuf::from(&start[0]) };
    let mut command = child::command(program);
    command.args(options).args(&start[1..]).current_dir(folder);
    command
}

/// The folder of the program that checks AsyncAPI documents, ready to run.
pub fn asyncapi() -> PathBuf {
    built("tests/it/asyncapi", NODE, &[&["npm", "ci"], QUIETLY].concat())
}

/// The folder of the program that looks at the status page in a browser, ready to run.
pub fn browser() -> PathBuf {
    built("tests/it/browser", NODE, &[&["npm", "ci"], QUIETLY].concat())
}

/// The program that validates manifests as the API server does.
pub fn kubernetes() -> PathBuf {
    built("tests/it/kubernetes", GO, &["go", "build", "-ldflags=-s", "-o", "lint"]).join("lint")
}

/// Python with the packages of all examples in Python, in an environment of its own, which is made once: as the README of
/// the one that needs them all says.
pub fn interpreter() -> PathBuf {
    let (build, _) = said("erp");
    let mut build: Vec<Vec<&str>> = build.iter().map(|line| line.iter().map(String::as_str).collect()).collect();
    let pip = build.last_mut().expect("the packages are installed last");
    pip.extend(["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
    let needs = "Python 3.10 or newer with venv and pip (Debian: python3-venv)";
    let files = ["python/requirements.txt", "erp/requirements.txt"].map(|file| Path::new(CONSUMERS).join(file));
    let commands: Vec<_> = build.iter().map(Vec::as_slice).collect();
    prepared("python-venv", &files, needs, &format!("{CONSUMERS}/erp"), &commands).join("venv/bin/python")
}

/// Cargo builds it with all tests, but not when only some are asked for.
fn rust() -> PathBuf {
    let cargo = env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = child::command(cargo);
    command.args(["build", "--quiet", "--locked", "--example", "consumer"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    let log = services::run_dir("consumer-rust").join("build.log");
    services::run(command, &log, "building the consumer in Rust");
    let test = env::current_exe().unwrap();
    test.ancestors().nth(2).expect("tests are in target/PROFILE/deps").join("examples/consumer")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of a folder, in which the command was run once.
fn built(folder: &str, needs: &str, command: &[&str]) -> PathBuf {
    let mut files = Vec::new();
    list(Path::new(folder), &mut files);
    prepared(&folder.replace('/', "-"), &files, needs, folder, &[command])
}

/// The `folder` in a copy of these files, in which the commands were run once. The copy is made anew when a file changes.
fn prepared(name: &str, files: &[PathBuf], needs: &str, folder: &str, commands: &[&[&str]]) -> PathBuf {
    let mut hash = Xxh3::new();
    for file in files {
        hash.update(file.as_os_str().as_encoded_bytes());
        hash.update(&fs::read(root().join(file)).unwrap());
    }
    let copy = services::prepared(&format!("{name}-{:016x}", hash.digest()), |directory| {
        for file in files {
            let copy = directory.join(file);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(root().join(file), copy).unwrap();
        }
        let folder = directory.join(folder);
        for words in commands {
            let program = if words[0].contains('/') { folder.join(words[0]) } else { words[0].into() };
            let mut command = child::command(program);
            command.args(&words[1..]).current_dir(&folder);
            services::run(command, &directory.join("build.log"), &format!("`{}`: it takes {needs}", words.join(" ")));
        }
    });
    copy.join(folder)
}

/// The files below a folder, in an order that is always the same, without what builds leave behind.
fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap()).collect();
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true if ["target", "node_modules"].iter().any(|left| entry.file_name() == *left) => {}
            true => list(&path, files),
            false => files.push(path),
        }
    }
}

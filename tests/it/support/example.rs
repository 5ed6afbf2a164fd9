//! The consumers under `examples/consumers`, each built from a copy of its folder, as a person would begin with it; and a
//! checker of AsyncAPI documents, built in the same way.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xxhash_rust::xxh3::Xxh3;

use super::child;
use super::services;

const CONSUMERS: &str = "examples/consumers";
const NPM: &[&str] = &["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"];
const NODE: &str = "Node.js 20.19 or newer and npm (Debian: nodejs npm)";

/// The command that runs the consumer in `language`, without its arguments.
///
/// # Panics
/// When it can't be built; the message says why.
pub fn consumer(language: &str) -> Command {
    match language {
        "rust" => child::command(rust()),
        "python" => python("python/consumer.py"),
        "erp" => python("erp/erp.py"),
        "java" => {
            let needs = "a JDK 17 or newer and Maven (Debian: default-jdk-headless maven)";
            let compile = ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "compile"];
            let folder = built("examples/consumers/java", needs, &compile).display().to_string();
            let mut java = child::command("java");
            java.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
            java.arg(format!("{folder}/target/classes:{folder}/target/dependency/*")).arg("OrdersConsumer");
            java
        }
        "node" => {
            let mut node = child::command("node");
            node.arg(built("examples/consumers/node", NODE, NPM).join("consumer.js"));
            node
        }
        "go" => {
            let build = ["go", "build", "-o", "orders-consumer", "."];
            let folder = built("examples/consumers/go", "Go 1.26 or newer (https://go.dev/dl)", &build);
            child::command(folder.join("orders-consumer"))
        }
        other => panic!("there is no consumer in {other}"),
    }
}

/// The folder of the program that checks AsyncAPI documents, ready to run.
pub fn asyncapi() -> PathBuf {
    built("tests/it/asyncapi", NODE, NPM)
}

/// Python with the packages of all examples in Python, in an environment of its own, which is made once.
pub fn interpreter() -> PathBuf {
    let pip = ["venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let pip = [&pip[..], &["--only-binary", ":all:", "-r", "erp/requirements.txt"]].concat();
    let needs = "Python 3.10 or newer with venv and pip (Debian: python3-venv)";
    let files = ["python/requirements.txt", "erp/requirements.txt"].map(|file| Path::new(CONSUMERS).join(file));
    let commands = [["python3", "-m", "venv", "venv"].as_slice(), &pip];
    prepared("python-packages", &files, needs, CONSUMERS, &commands).join("venv/bin/python")
}

fn python(script: &str) -> Command {
    let mut python = child::command(interpreter());
    python.arg(root().join(CONSUMERS).join(script));
    python
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

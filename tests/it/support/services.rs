//! Downloads the services of the tests to `target/tmp/services`, which `cargo clean` removes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::sync::LazyLock;
use std::time::Duration;

use uuid::Uuid;

use super::child::{self, Child};

/// For a slow line: the registry alone is a hundred megabytes.
const DOWNLOAD_DEADLINE: Duration = Duration::from_secs(20 * 60);

/// An old one, on purpose: the newer ones insist on the parent project of the registry, which is not on Maven Central.
const PLUGIN: &str = "org.apache.maven.plugins:maven-dependency-plugin:2.8";

fn root() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("services")
}

/// Holds the lock until it is dropped, or this process ends.
fn lock(path: &Path) -> File {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let file = File::create(path).unwrap();
    file.lock().unwrap();
    file
}

/// The directory `name`, which `fill` has filled once for all runs. Half-filled ones are filled afresh, and
/// concurrent runs wait for each other. A version belongs into the name.
pub fn prepared(name: &str, fill: impl FnOnce(&Path)) -> PathBuf {
    let directory = root().join(name);
    let _lock = lock(&root().join(format!("{name}.lock")));
    let complete = directory.join("complete");
    if !complete.exists() {
        fs::remove_dir_all(&directory).ok();
        fs::create_dir_all(&directory).unwrap();
        fill(&directory);
        File::create(complete).unwrap();
    }
    directory
}

/// A new directory for the data and logs of one service. It is kept after the run, for whoever wants to know why a test
/// failed, and removed by the next one.
pub fn run_dir(name: &str) -> PathBuf {
    static RUN: LazyLock<(PathBuf, File)> = LazyLock::new(|| {
        let runs = root().join("runs");
        let _lock = lock(&root().join("runs.lock"));
        for old in fs::read_dir(&runs).into_iter().flatten().flatten() {
            // The lock of a run is free exactly when its process is gone.
            if File::open(old.path().join("lock")).is_ok_and(|lock| lock.try_lock().is_ok()) {
                fs::remove_dir_all(old.path()).ok();
            }
        }
        let run = runs.join(format!("{}-{}", process::id(), Uuid::now_v7().simple()));
        let held = lock(&run.join("lock"));
        (run, held)
    });
    let directory = RUN.0.join(format!("{name}-{}", Uuid::now_v7().simple()));
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// Runs `goal` of Maven's dependency plugin on Maven Central (or the mirror that the user's settings name); the result
/// is in `directory/jars`. `dependencies` are XML elements of a project file.
///
/// # Panics
/// When Java or Maven are missing or the download fails; the message says what to do, with `variable` as the way out.
pub fn maven(directory: &Path, dependencies: &str, goal: &[&str], variable: &str) {
    let instead = format!("or set {variable} to the address of a running one");
    for program in ["java", "mvn"] {
        assert!(
            child::is_installed(program),
            "`{program}` is not installed. The integration tests start a real Apache Kafka and schema registry: install \
             a JDK 17 or newer and Maven (Debian: apt-get install default-jdk-headless maven), {instead}."
        );
    }
    let pom = format!(
        "<project><modelVersion>4.0.0</modelVersion><groupId>test</groupId><artifactId>services</artifactId>\
         <version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    );
    fs::write(directory.join("pom.xml"), pom).unwrap();
    let (goal, options) = goal.split_first().expect("there is a goal");
    let mut command = child::command("mvn");
    command.args(["--quiet", "--batch-mode", "--strict-checksums"]).current_dir(directory);
    command.arg(format!("{PLUGIN}:{goal}")).args(options).arg("-DoutputDirectory=jars");
    run(command, &directory.join("maven.log"), &format!("Maven's download (try again, {instead})"));
}

/// Runs a command of the preparation to its end.
///
/// # Panics
/// When it fails or takes for ever, with the end of its log.
pub fn run(mut command: Command, log: &Path, what: &str) {
    child::log_to(&mut command, log);
    let status = Child::spawn(command).wait(DOWNLOAD_DEADLINE);
    if !status.is_some_and(|status| status.success()) {
        panic!("{what} failed ({status:?})\n{}", child::tail(log));
    }
}

//! Checks what the whole suite needs of the machine before the first process is started. A run of all tests then lists
//! at once everything that is missing. A run of some tests needs only what those tests need.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use rustix::process::geteuid;

use super::child::is_installed;

/// A program, what it is for, and Debian's package of it.
const PROGRAMS: [(&str, &str, &str); 8] = [
    ("java", "the broker, the registry and the consumer in Java (a JDK, 17 or newer)", "default-jdk-headless"),
    ("mvn", "fetching broker and registry", "maven"),
    ("python3", "the consumers in Python (3.10 or newer, with venv)", "python3-venv"),
    ("node", "the consumer in Node.js and the check of the AsyncAPI document (20.19 or newer)", "nodejs"),
    ("npm", "the packages of both", "npm"),
    ("go", "the consumer in Go and the check of the manifests for Kubernetes (1.26 or newer)", "golang-go"),
    ("openssl", "certificates", "openssl"),
    ("mkfs.ext4", "the disk that fails in the middle of the work", "e2fsprogs"),
];

/// Fails while anything is missing that the whole suite needs, and the whole suite is what runs.
///
/// # Panics
/// With the list of what is missing.
pub fn check() {
    static MISSING: LazyLock<Vec<String>> = LazyLock::new(missing);
    if runs_all_tests(env::args().skip(1)) {
        assert!(
            MISSING.is_empty(),
            "the whole suite needs what is missing here:\n{}\nWithout them: `cargo test --lib --test sim`, or any test by \
             its name",
            MISSING.join("\n")
        );
    }
}

/// Whether no test was picked: by a name, `--skip`, or as a benchmark.
pub fn runs_all_tests(mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.all(|argument| argument.starts_with('-') && argument != "--bench" && argument != "--skip")
}

fn missing() -> Vec<String> {
    let programs = PROGRAMS.iter().filter(|(program, ..)| !is_installed(program));
    let mut missing: Vec<String> = programs
        .map(|(program, what_for, package)| format!("- `{program}`, for {what_for}; Debian: {package}"))
        .collect();
    if postgres().is_none() {
        missing.push("- PostgreSQL's server, for the ERP's example; Debian: postgresql".to_owned());
    }
    if !geteuid().is_root() {
        missing.push("- the rights of root, for mounting disks that are full or fail".to_owned());
    }
    missing
}

/// Where PostgreSQL's programs are: on the search path, or where Debian puts them, the newest first.
pub fn postgres() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut debian: Vec<_> = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().collect();
    debian.sort_by_key(|entry| entry.file_name().to_str().and_then(|version| version.parse::<u32>().ok()));
    let debian = debian.iter().rev().map(|entry| entry.path().join("bin"));
    debian.chain(env::split_paths(&path)).find(|bin| bin.join("postgres").is_file())
}

//! What `--version` tells: a report of an error needs the commit, and librdkafka's version as well.

use std::sync::LazyLock;

use rdkafka::util::get_rdkafka_version;

/// The program's version, its commit if that is known, and the version of librdkafka that it is linked with.
pub static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("IMOTRIZ_KAFKA_COMMIT").map(|commit| format!("commit {commit}, ")).unwrap_or_default();
    let (_, librdkafka) = get_rdkafka_version();
    format!("{} ({commit}librdkafka {librdkafka})", env!("CARGO_PKG_VERSION"))
});

//! An Apicurio schema registry, used through its Confluent-compatible API.

use std::collections::BTreeMap;
use std::env;
use std::sync::LazyLock;
use std::time::Duration;

use super::child::{self, Child};
use super::{http, port, services, wait};

/// Of the registry that is started.
pub const VERSION: &str = "3.0.9";
/// The URL of a running registry's Confluent-compatible API, instead of one of our own.
const VARIABLE: &str = "IMOTRIZ_TEST_REGISTRY";
const START_DEADLINE: Duration = Duration::from_secs(120);

/// The registry that all tests share, started by the first that asks. It keeps its schemas in memory.
///
/// # Panics
/// When there can't be one; the first message says why.
pub fn registry() -> &'static Registry {
    static SHARED: LazyLock<Registry> = LazyLock::new(|| match env::var(VARIABLE) {
        Ok(url) => Registry::running(url.trim_end_matches('/').to_owned()),
        Err(_) => Registry::start(),
    });
    &SHARED
}

/// A schema registry.
pub struct Registry {
    url: String,
    /// Held for its `Drop`. Absent for one that somebody else runs.
    _process: Option<Child>,
}

impl Registry {
    /// The root of the Confluent-compatible API, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn running(url: String) -> Self {
        let registry = Self { url, _process: None };
        assert!(wait::poll(START_DEADLINE, || registry.answers()).is_some(), "no registry answers at {VARIABLE}");
        registry
    }

    fn start() -> Self {
        Self::start_with(&BTreeMap::new(), port::free())
    }

    /// Starts one of the test's own on `port`, set up by these variables.
    pub fn start_with(variables: &BTreeMap<String, String>, port: u16) -> Self {
        let home = services::prepared(&format!("apicurio-{VERSION}"), |directory| {
            let artifact = format!("-Dartifact=io.apicurio:apicurio-registry-app:{VERSION}:tar.gz:all");
            services::maven(directory, "", &["unpack", &artifact], VARIABLE);
        });
        let log = services::run_dir("registry").join("registry.log");
        let mut command = child::command("java");
        command.args(["-Xmx400m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar"]);
        command.arg(home.join(format!("jars/apicurio-registry-app-{VERSION}-runner.jar")));
        command.envs(variables);
        command.env("QUARKUS_HTTP_HOST", "127.0.0.1").env("QUARKUS_HTTP_PORT", port.to_string());
        command.env("QUARKUS_MANAGEMENT_HOST", "127.0.0.1").env("QUARKUS_MANAGEMENT_PORT", port::free().to_string());
        child::log_to(&mut command, &log);

        let mut process = Child::spawn(command);
        let registry = Self { url: format!("http://127.0.0.1:{port}/apis/ccompat/v7"), _process: None };
        let ready = wait::poll(START_DEADLINE, || match process.ended() {
            Some(_) => Some(false),
            None => registry.answers().map(|()| true),
        });
        assert!(ready == Some(true), "the registry did not come up\n{}", child::tail(&log));
        Self { _process: Some(process), ..registry }
    }

    fn answers(&self) -> Option<()> {
        let (status, _) = http::try_get(&format!("{}/subjects", self.url))?;
        (status == 200).then_some(())
    }
}

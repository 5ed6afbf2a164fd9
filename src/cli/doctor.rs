//! `doctor`: prints each check of [`doctor::examine`], with its remedy.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use reqwest::{Client, redirect};
use serde_json::json;
use url::Url;

use super::exit;
use super::style::TerminalStyle;
use super::{out, wrap};
use crate::config::Config;
use crate::operate::admin;
use crate::operate::doctor::{self, Check, Health};

/// Timeout of `--quick`. A container health check runs it every few seconds.
const QUICK: Duration = Duration::from_secs(3);
/// How to look.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Only ask the running instance whether it lives; exit code 0 or 1
    #[arg(long)]
    pub quick: bool,
    /// With --quick: the address to ask in place of `/livez` at `admin.listen`
    #[arg(long, requires = "quick", value_name = "URL")]
    pub url: Option<Url>,
}

/// Runs all checks and returns the exit code: 7 if one of them is bad.
///
/// # Errors
/// None: a check reports its own failure.
pub async fn run(config: &Config, json: bool) -> Result<u8> {
    let checks = doctor::examine(config).await;
    let count = |health| checks.iter().filter(|check| check.health == health).count();
    let (bad, doubtful) = (count(Health::Bad), count(Health::Doubtful));
    if json {
        out::report(format_args!(
            "{:#}",
            json!({ "ok": bad == 0, "bad": bad, "doubtful": doubtful, "checks": checks })
        ));
    } else {
        print(&checks);
        let verdict = match (bad, doubtful) {
            (0, 0) => "all is well".to_owned(),
            (0, doubtful) => format!("it can run; {doubtful} to look at"),
            (bad, 0) => format!("{bad} to mend"),
            (bad, doubtful) => format!("{bad} to mend, {doubtful} to look at"),
        };
        let style = TerminalStyle::of_stdout();
        out::report(format_args!("\n{}", if bad == 0 { style.good(verdict) } else { style.bad(verdict) }));
    }
    Ok(if bad == 0 { 0 } else { exit::FINDING })
}

/// Prints a line per check if the terminal is wide enough. Findings that wrap stay in their own column.
pub(super) fn print(checks: &[Check]) {
    let style = TerminalStyle::of_stdout();
    let names = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0).min(wrap::columns() / 2);
    let margin = names + 3;
    for check in checks {
        let name = format!("{:<names$}", check.name);
        let (sign, name) = match check.health {
            Health::Good => (style.good("✓"), name),
            Health::Doubtful => (style.bold("!"), style.bold(name)),
            Health::Bad => (style.bad("✗"), style.bad(name)),
            Health::Skipped => (style.dim("-"), style.dim(name)),
        };
        let found = wrap::hanging(&check.found, margin);
        out::report(format_args!(
            "{sign} {name} {}",
            if check.health == Health::Skipped { style.dim(found) } else { found }
        ));
        if let Some(cure) = &check.cure {
            out::report(format_args!("{:margin$}→ {}", "", wrap::hanging(cure, margin + 2)));
        }
    }
}

/// Asks the running instance, and nothing else, whether it is alive. Returns the exit code, 0 or 1.
///
/// # Errors
/// Nothing answers, or not in time.
pub async fn quick(url: Option<&Url>, config: impl FnOnce() -> Result<Config>) -> Result<u8> {
    let (status, asked) = match url {
        Some(url) => (status_of(url).await?, url.to_string()),
        None => {
            let listen = config()?.admin.listen;
            (admin::client::get(listen, "/livez").await?.status, format!("http://{listen}/livez"))
        }
    };
    let lives = (200..300).contains(&status);
    out::report(format_args!("{asked} answered {status}: {}", if lives { "it lives" } else { "it does not live" }));
    Ok(if lives { 0 } else { exit::UNEXPECTED })
}

async fn status_of(url: &Url) -> Result<u16> {
    let client = Client::builder().no_proxy().redirect(redirect::Policy::none()).timeout(QUICK).build()?;
    let answer = client.get(url.clone()).send().await.map_err(reqwest::Error::without_url);
    Ok(answer.with_context(|| format!("nobody answers at {url}"))?.status().as_u16())
}

//! `doctor`: prints each check of [`doctor::examine`], with its remedy.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use url::Url;

use super::exit;
use super::style::TerminalStyle;
use super::{out, wrap};
use crate::config::Config;
use crate::operate::admin;
use crate::operate::doctor::{self, Check, Health};
use crate::platform::text::plural;

/// How to look.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Only ask the running instance whether it lives; exit code 0 or 1
    #[arg(long)]
    pub quick: bool,
    /// With --quick: the address (http://) to ask in place of `/livez` at `admin.listen`
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

/// What is told of a check, or of those of several stores that found the same.
struct Finding<'a> {
    check: &'a Check,
    stores: u64,
}

impl Finding<'_> {
    fn name(&self) -> String {
        match self.stores {
            0 | 1 => self.check.name.clone(),
            several => format!("{} and {}", self.check.name, plural(several - 1, "other")),
        }
    }
}

/// What is not well comes first, the worst before the rest. Stores of which the same was found share a line, and those
/// that are well are a number.
fn findings(checks: &[Check]) -> (Vec<Finding<'_>>, u64) {
    let (mut findings, mut well) = (Vec::<Finding<'_>>::new(), BTreeSet::new());
    well.extend(checks.iter().filter_map(|check| check.store.as_ref()));
    for check in checks {
        let kind = |check: &'_ Check| check.name.split(' ').next().map(str::to_owned);
        let same = findings.iter_mut().find(|Finding { check: it, .. }| {
            it.store.is_some()
                && check.store.is_some()
                && (it.health, &it.found, &it.cure, kind(it)) == (check.health, &check.found, &check.cure, kind(check))
        });
        if check.health != Health::Good {
            well.retain(|store| Some(*store) != check.store.as_ref());
        }
        match same {
            _ if check.store.is_some() && check.health == Health::Good => {}
            Some(finding) => finding.stores += 1,
            None => findings.push(Finding { check, stores: u64::from(check.store.is_some()) }),
        }
    }
    findings.sort_by_key(|finding| match finding.check.health {
        Health::Bad => 0,
        Health::Doubtful => 1,
        Health::Skipped => 2,
        Health::Good => 3,
    });
    (findings, well.len() as u64)
}

/// Prints a line per finding if the terminal is wide enough. Findings that wrap stay in their own column.
pub(super) fn print(checks: &[Check]) {
    let style = TerminalStyle::of_stdout();
    let (findings, well) = findings(checks);
    let lengths = findings.iter().map(|finding| finding.name().chars().count());
    let names = lengths.max().unwrap_or(0).min(wrap::columns() / 2);
    let margin = names + 3;
    for finding in &findings {
        let check = finding.check;
        let name = format!("{:<names$}", finding.name());
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
    if well > 0 {
        let found = format!("{} well: token accepted, list of orders whole, clock right", plural(well, "store"));
        out::report(format_args!("{} {:<names$} {found}", style.good("✓"), "stores"));
    }
}

/// Asks the running instance, and nothing else, whether it is alive. Returns the exit code, 0 or 1.
///
/// # Errors
/// Nothing answers, or not in time.
pub async fn quick(url: Option<&Url>, config: impl FnOnce() -> Result<Config>) -> Result<u8> {
    let (status, asked) = match url {
        Some(url) => (admin::client::get_url(url).await?.status, url.to_string()),
        None => {
            let listen = config()?.admin.listen;
            (admin::client::get(listen, "/livez").await?.status, format!("http://{listen}/livez"))
        }
    };
    let lives = (200..300).contains(&status);
    out::report(format_args!("{asked} answered {status}: {}", if lives { "it lives" } else { "it does not live" }));
    Ok(if lives { 0 } else { exit::UNEXPECTED })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, store: Option<&str>, health: Health, found: &str) -> Check {
        let store = store.map(|name| name.parse().unwrap());
        Check { name: name.to_owned(), store, health, found: found.to_owned(), cure: None }
    }

    #[test]
    fn what_is_not_well_comes_first_and_stores_of_which_the_same_was_found_share_a_line() {
        let checks = [
            check("broker", None, Health::Good, "3 brokers"),
            check("token s1", Some("s1"), Health::Good, "accepted; 7 orders"),
            check("clock s1", Some("s1"), Health::Good, "right"),
            check("token s2", Some("s2"), Health::Bad, "401"),
            check("clock s2", Some("s2"), Health::Good, "right"),
            check("token s3", Some("s3"), Health::Bad, "401"),
            check("clock s3", Some("s3"), Health::Doubtful, "7 s"),
            check("token s10", Some("s10"), Health::Bad, "401"),
        ];
        let (findings, well) = findings(&checks);
        let told: Vec<_> = findings.iter().map(Finding::name).collect();
        assert_eq!((told, well), (["token s2 and 2 others", "clock s3", "broker"].map(str::to_owned).to_vec(), 1));
    }
}

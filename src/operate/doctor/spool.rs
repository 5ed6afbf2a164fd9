//! Checks of the spool: whether it can be written and synced, whether it has room, and who holds its lock.

use tokio::task::spawn_blocking;

use super::Check;
use crate::config;
use crate::platform::text::plural;
use crate::spool::{FileState, Fitness, Holder, Spool};

/// Slower syncs bound the rate of reads more than the marketplace does.
const SLOW_MS: f64 = 50.0;

pub(super) async fn check(settings: &config::Spool) -> Vec<Check> {
    let settings = settings.clone();
    let checked = spawn_blocking(move || look(&settings)).await;
    checked.unwrap_or_else(|_| vec![Check::bad("spool", "the check broke off", "please report it")])
}

fn look(settings: &config::Spool) -> Vec<Check> {
    let dir = settings.dir.display();
    let fitness = match Spool::fitness(&settings.dir) {
        Ok(fitness) => fitness,
        Err(error) => {
            let cure = format!(
                "make `{dir}` a folder that this user can write, on a disk of its own that is not full, or set `spool.dir`"
            );
            return vec![Check::bad("spool", error.to_string(), cure)];
        }
    };
    let mut checks =
        vec![sync(&fitness, &dir.to_string()), space(&fitness, settings), holder(&fitness), contents(settings)];
    checks.extend(exposure(settings));
    checks
}

fn sync(fitness: &Fitness, dir: &str) -> Check {
    let took = fitness.sync.as_secs_f64() * 1000.0;
    let there = if fitness.exists { "can be written" } else { "is created at the start" };
    let found = format!("`{dir}` {there}, fdatasync takes {took:.1} ms");
    if took <= SLOW_MS {
        return Check::good("spool", found);
    }
    Check::doubtful("spool", found, "put `spool.dir` on a local SSD: there is one sync between two reads")
}

fn space(fitness: &Fitness, settings: &config::Spool) -> Check {
    let needed = settings.page_space.saturating_mul(settings.max_pages.into());
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let found = format!("{} MiB free, {} MiB needed for {} pages", mib(fitness.free), mib(needed), settings.max_pages);
    if fitness.free >= needed {
        return Check::good("space", found);
    }
    let cure = "free some, or lower `spool.max_pages`: the program stops before a read when it can't reserve space";
    Check::bad("space", found, cure)
}

fn holder(fitness: &Fitness) -> Check {
    Check::good(
        "lock",
        match fitness.holder {
            Holder::Nobody => "free: no program is at work with this spool".to_owned(),
            Holder::Process(Some(pid)) => format!("held by process {pid}, which is at work"),
            Holder::Process(None) => "held by a program that is at work".to_owned(),
        },
    )
}

/// `None` if there is nothing to be said.
fn exposure(settings: &config::Spool) -> Option<Check> {
    match Spool::exposure(&settings.dir) {
        Ok(exposure) => exposure.map(|found| Check::doubtful("permissions", found.found(), found.cure())),
        Err(error) => Some(Check::bad("permissions", error.to_string(), "let this program's user enter the folder")),
    }
}

fn contents(settings: &config::Spool) -> Check {
    let entries = match Spool::inspect(&settings.dir) {
        Ok(entries) => entries,
        Err(error) => return Check::bad("pages", error.to_string(), "see `imotriz-kafka spool verify`"),
    };
    let count = |which: fn(&FileState) -> bool| entries.iter().filter(|entry| which(&entry.state)).count();
    let pages = count(|state| matches!(state, FileState::Page { .. }));
    let unknown = count(|state| matches!(state, FileState::Unknown { .. }));
    let corrupt = count(|state| matches!(state, FileState::Corrupt { .. }));
    let found = format!(
        "{pages} wait to be published, {} of unknown outcome, {corrupt} damaged",
        plural(unknown as u64, "read")
    );
    match (unknown, corrupt) {
        (0, 0) => Check::good("pages", found),
        (_, 0) => Check::doubtful("pages", found, "run `imotriz-kafka reconcile`, or let `run` do it"),
        _ => Check::bad(
            "pages",
            found,
            "see `imotriz-kafka spool verify`; reconcile, and only then remove the damaged files",
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::operate::doctor::Health;

    fn fitness(free: u64, sync: Duration) -> Fitness {
        Fitness { exists: true, sync, free, holder: Holder::Nobody }
    }

    #[test]
    fn space_is_compared_with_what_all_pages_take() {
        let settings = config::Spool::default();
        let needed = 64 * (256 << 10);
        assert_eq!(space(&fitness(needed, Duration::ZERO), &settings).health, Health::Good);
        let short = space(&fitness(needed - 1, Duration::ZERO), &settings);
        assert_eq!(short.health, Health::Bad);
        assert!(short.cure.unwrap().contains("spool.max_pages"));
    }

    #[test]
    fn a_disk_that_syncs_slowly_is_doubtful() {
        assert_eq!(sync(&fitness(0, Duration::from_millis(49)), "spool").health, Health::Good);
        assert_eq!(sync(&fitness(0, Duration::from_millis(51)), "spool").health, Health::Doubtful);
    }
}

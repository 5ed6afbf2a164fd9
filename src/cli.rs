//! The command line: its arguments, and one file for each family of commands.

pub mod config;
pub mod demo;
pub mod dlq;
pub mod doctor;
pub mod drain;
pub mod error_code;
pub mod event_json;
pub mod exit;
pub mod explain;
pub mod log;
pub mod order_row;
pub mod out;
mod progress;
pub mod reconcile;
pub mod republish;
pub mod run;
pub mod sandbox;
pub mod schemas;
pub mod spool;
pub mod status;
pub mod stores;
mod stores_watch;
pub mod style;
pub mod table;
pub mod tail;
pub mod time_argument;
pub mod topics;
pub mod version;
pub mod wrap;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::sandbox::SandboxArgs;

/// Publish the orders of iMotriz stores to Kafka: nothing lost, nothing doubled
#[derive(Debug, Parser)]
#[command(
    name = "imotriz-kafka",
    version = version::VERSION.as_str(),
    after_help = "Settings come from a file (--config, IMOTRIZ_CONFIG, or ./imotriz-kafka.toml) and from environment \
                  variables such as IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS.\n\n\
                  Exit codes: 0 done · 1 unexpected · 2 wrong command line or settings · 3 the marketplace refused, was \
                  out of reach or made no sense · 4 Kafka · 5 schema registry · 6 spool or disk · 7 a check found \
                  something · 10 to 12 see reconcile · 130 and 143 a signal before the work was done",
    after_long_help = "Settings come from a file (--config, IMOTRIZ_CONFIG, or ./imotriz-kafka.toml) and from environment \
                  variables such as IMOTRIZ_KAFKA__BOOTSTRAP_SERVERS.\n\n\
                  Exit codes:\n  \
                  0  done\n  \
                  1  something unexpected, please report it\n  \
                  2  wrong command line or settings\n  \
                  3  the marketplace refused, was out of reach or made no sense\n  \
                  4  Kafka\n  \
                  5  the schema registry\n  \
                  6  the spool or its disk\n  \
                  7  a check found something\n  \
                  10, 11, 12  orders were missing: see `help reconcile`\n  \
                  130, 143  left at a SIGINT or SIGTERM before the work was done"
)]
pub struct Cli {
    /// File with settings, in TOML
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Print results and log lines as JSON
    #[arg(long, global = true)]
    pub json: bool,

    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish new orders as they come, until it is stopped
    ///
    /// The first SIGINT or SIGTERM finishes the read in flight, commits it and leaves; a second one leaves at once.
    /// Nothing is lost either way. SIGHUP reads the settings again. How it fares is shown at `admin.listen`.
    #[command(
        after_help = "Examples:\n  imotriz-kafka run\n  imotriz-kafka --config /etc/imotriz-kafka.toml --json run"
    )]
    Run,
    /// Publish all pending orders, then leave
    ///
    /// If a read was cut off, the orders that it may have lost are looked for and published as well.
    #[command(after_help = "Examples:\n  imotriz-kafka drain\n  imotriz-kafka --json drain")]
    Drain,
    /// Find orders that were handed over and never arrived, and publish them
    ///
    /// Takes the marketplace's list of IDs, publishes what is pending, and fetches one by one what is listed and yet not
    /// published.
    #[command(after_help = "Examples:\n  imotriz-kafka reconcile --dry-run\n  imotriz-kafka --json reconcile\n\n\
                            Exit codes: 0 nothing is missing · 10 orders were missing and are published now · \
                            11 some of them could not be published, or the account of losses is open: see \
                            help spool account · 12 with --dry-run: orders are missing")]
    Reconcile(reconcile::ReconcileArgs),
    /// Publish orders anew, as the marketplace has them now
    ///
    /// Each is fetched by its ID and published with the next revision and the reason REPUBLISHED, whatever is known of it.
    /// Where `run` is at work with the spool, it does so.
    #[command(after_help = "Examples:\n  imotriz-kafka republish 4810007\n  \
                            imotriz-kafka republish --store bogota 4810007 4810013\n\n\
                            Exit codes: 0 all are published anew · 11 some are not, and it says which")]
    Republish(republish::RepublishArgs),
    /// Watch it work: made-up orders, a marketplace that misbehaves, and a broker inside this process
    ///
    /// Needs nothing else and touches nothing of yours. Exit code 7 if an order was lost or doubled.
    #[command(
        after_help = "Examples:\n  imotriz-kafka demo\n  imotriz-kafka demo --orders 300 --keep-running\n  imotriz-kafka demo --bootstrap-servers localhost:9092"
    )]
    Demo(demo::DemoArgs),
    /// Run a fake of the marketplace to try things out
    #[command(
        after_help = "Examples:\n  imotriz-kafka sandbox\n  imotriz-kafka sandbox --listen 127.0.0.1:8080 --orders 500 --faults truncate=0.02"
    )]
    Sandbox(SandboxArgs),
    /// Check everything that it needs, and say what to do about what is not well
    ///
    /// Looks at each store's token and clock, the broker, its transaction log, the topics, the schema registry, and the
    /// spool's disk and lock. Safe at any time: it changes nothing and never reads new orders. A cross is to be mended; an
    /// exclamation mark works, and wants a look; each says how.
    #[command(after_help = "Examples:\n  imotriz-kafka doctor\n  \
                            imotriz-kafka --json doctor\n  \
                            imotriz-kafka doctor --quick\n  \
                            imotriz-kafka doctor --quick --url http://127.0.0.1:9464/readyz\n\n\
                            Exit codes: 0 nothing to mend · 7 something is to be mended · with --quick: 0 it lives · \
                            1 it does not, or nobody answers")]
    Doctor(doctor::DoctorArgs),
    /// Show the events of the orders topic, decoded: the last ones, those since a time, or as they come
    ///
    /// Shows what is committed, as your consumers see it, and leaves no trace: no consumer group, no offset. Without -f it
    /// ends where the topic ends. Amounts have every digit; personal values are masked unless you ask with --show-pii. On a
    /// terminal the columns that don't fit are left out; elsewhere each event is a line of fields that are parted by tabs, or
    /// with --json a JSON object.
    #[command(after_help = "Examples:\n  imotriz-kafka tail\n  \
                            imotriz-kafka tail -f --store bogota\n  \
                            imotriz-kafka tail --from beginning --reason reconciled\n  \
                            imotriz-kafka tail --since 2h --min-total 1000000.00\n  \
                            imotriz-kafka --json tail -n 1 --order 4810007 --show-pii\n\n\
                            Times: how long ago (90s, 15m, 2h, 7d), a date in UTC (2026-11-24), or a time \
                            (2026-11-24T10:00:00-05:00); they are those of publication")]
    Tail(tail::TailArgs),
    /// Tell everything that is known of an order: spool, events, tracking, dead letters, and where it is now
    ///
    /// Reads the topics from their beginning, and leaves no trace. Shows no personal data. Safe while the program runs.
    #[command(after_help = "Examples:\n  imotriz-kafka explain 4810007\n  \
                            imotriz-kafka --json explain --store bogota 4810007\n\n\
                            Exit codes: 0 something is known of it · 7 nothing is, and it says what that means")]
    Explain(explain::ExplainArgs),
    /// Say how it stands: asks the running instance, or, where none answers, the topics and the spool
    ///
    /// Safe at any time; changes nothing.
    #[command(after_help = "Examples:\n  imotriz-kafka status\n  imotriz-kafka --json status\n  \
                            imotriz-kafka status --store bogota\n  imotriz-kafka status --state parked")]
    Status(status::StatusArgs),
    /// List, show or retry dead letters: what came and could not be mapped
    #[command(
        subcommand,
        after_help = "Examples:\n  imotriz-kafka dlq list\n  imotriz-kafka dlq show 0:17\n  imotriz-kafka dlq retry --all"
    )]
    Dlq(dlq::DlqCommand),
    /// Create or check the Kafka topics, or give the tracking topic more lanes
    #[command(
        subcommand,
        after_help = "Examples:\n  imotriz-kafka topics ensure\n  imotriz-kafka topics check\n  imotriz-kafka topics relane 16"
    )]
    Topics(topics::TopicsCommand),
    /// Register, check or show the Avro schemas
    #[command(
        subcommand,
        after_help = "Examples:\n  imotriz-kafka schemas check\n  imotriz-kafka schemas register\n  imotriz-kafka schemas show"
    )]
    Schemas(schemas::SchemasCommand),
    /// Look into the spool; safe while the program runs
    #[command(
        subcommand,
        after_help = "Examples:\n  imotriz-kafka spool list\n  imotriz-kafka spool verify\n  imotriz-kafka spool account"
    )]
    Spool(spool::SpoolCommand),
    /// List, check, add or remove stores
    #[command(
        subcommand,
        after_help = "Examples:\n  imotriz-kafka stores list\n  imotriz-kafka stores check --online\n  \
                      imotriz-kafka stores add bogota\n  \
                      imotriz-kafka stores add cali --country CO --token-file /run/secrets/cali\n  \
                      imotriz-kafka stores remove bogota"
    )]
    Stores(stores::StoresCommand),
    /// Show or check the settings
    #[command(subcommand, after_help = "Examples:\n  imotriz-kafka config show\n  imotriz-kafka config check")]
    Config(config::ConfigCommand),
    /// Print a script that completes commands and options in a shell
    #[command(after_help = "Examples:\n  imotriz-kafka completions bash > /etc/bash_completion.d/imotriz-kafka\n  \
                            imotriz-kafka completions zsh > ~/.zfunc/_imotriz-kafka\n  \
                            imotriz-kafka completions fish > ~/.config/fish/completions/imotriz-kafka.fish")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// The command and all its subcommands, at every level.
    fn all(command: &clap::Command) -> Vec<clap::Command> {
        let below = command.get_subcommands().flat_map(all);
        std::iter::once(command.clone()).chain(below).collect()
    }

    fn examples(command: &clap::Command) -> Vec<String> {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let lines = help.lines().map(str::trim).filter(|line| line.starts_with("imotriz-kafka "));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn every_command_has_examples_and_every_example_parses() {
        let cli = Cli::command();
        for command in cli.get_subcommands() {
            assert!(!examples(command).is_empty(), "`{}` has no example", command.get_name());
        }
        for command in all(&cli) {
            for example in examples(&command) {
                let (words, _) = example.split_once(" > ").unwrap_or((&example, ""));
                Cli::try_parse_from(words.split_whitespace()).unwrap_or_else(|error| panic!("{example}: {error}"));
                assert!(words.contains(command.get_name()), "{example} is not of `{}`", command.get_name());
            }
        }
    }

    #[test]
    fn the_version_tells_that_of_librdkafka() {
        let version = Cli::command().render_version();
        assert!(version.starts_with(concat!("imotriz-kafka ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
        assert!(version.trim_end().ends_with(')') && version.contains("librdkafka 2."), "{version}");
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}

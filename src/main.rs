//! The program `imotriz-kafka`: parse, dispatch, exit.

use std::num::NonZero;
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context as _, Result};
use clap::{CommandFactory as _, Parser as _};
use imotriz_kafka::cli::log::Log;
use imotriz_kafka::cli::{self, Cli, Command, error_code};
use imotriz_kafka::config::{self, Config, Sources, Telemetry};
use imotriz_kafka::platform::core_dumps;
use tracing_subscriber::filter::Targets;

/// Threads for what waits: for a sync, for a name to be looked up, for a topic that is scanned.
const WAITING_THREADS: usize = 4;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            report(&error, cli.json);
            ExitCode::from(error_code::of(&error))
        }
    }
}

fn run(cli: &Cli) -> Result<u8> {
    if let Command::Completions { shell } = cli.command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "imotriz-kafka", &mut script);
        cli::out::bytes(&script);
        return Ok(0);
    }
    // The demo shows its progress in its own way.
    let is_quiet = matches!(cli.command, Command::Demo(_));
    let log = Log::init(cli.json, if is_quiet { Targets::new() } else { Telemetry::default().log });
    // guard: no core dumps
    if let Err(error) = core_dumps::forbid() {
        tracing::warn!(%error, "core dumps can't be forbidden: one would hold secrets and buyers' data");
    }
    let cores = available_parallelism().map_or(1, NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // Besides the workers, for jobs that block. Thousands of stores begin at once, and must not get a thread each for
        // that: more jobs than cores that compute gain nothing, and what exceeds this waits for its turn.
        .max_blocking_threads(cores + WAITING_THREADS)
        .build()
        .context("can't start the runtime: the operating system refuses threads")?;
    if let Command::Sandbox(args) = &cli.command {
        runtime.block_on(cli::sandbox::run(args.clone(), cli.json))?;
        return Ok(0);
    }
    if let Command::Demo(args) = &cli.command {
        return runtime.block_on(cli::demo::run(args.clone(), cli.json, &log.bars));
    }
    if let Command::Doctor(args) = &cli.command
        && args.quick
    {
        let config = || Ok(Config::load(cli.config.as_deref(), config::environment(), &[])?);
        return runtime.block_on(cli::doctor::quick(args.url.as_ref(), config));
    }
    let sources = Sources::read(cli.config.as_deref(), config::environment(), &[])?;
    let config = sources.load()?;
    log.set_filter(&config.telemetry.log);
    match &cli.command {
        Command::Run => runtime.block_on(cli::run::run(cli.config.as_deref(), sources, config, log, cli.json))?,
        Command::Drain => runtime.block_on(cli::drain::run(&config, cli.json, &log.bars))?,
        Command::Reconcile(args) => return runtime.block_on(cli::reconcile::run(*args, &config, cli.json, &log.bars)),
        Command::Republish(args) => return runtime.block_on(cli::republish::run(args.clone(), &config, cli.json)),
        Command::Doctor(_) => return runtime.block_on(cli::doctor::run(&config, cli.json)),
        Command::Tail(args) => runtime.block_on(cli::tail::run(args.clone(), &config, cli.json))?,
        Command::Dlq(command) => return runtime.block_on(cli::dlq::run(command, &config, cli.json)),
        Command::Explain(args) => return runtime.block_on(cli::explain::run(args.clone(), &config, cli.json)),
        Command::Status(wished) => runtime.block_on(cli::status::run(&config, wished, cli.json))?,
        Command::Topics(command) => runtime.block_on(cli::topics::run(command.clone(), &config, cli.json))?,
        Command::Schemas(command) => runtime.block_on(cli::schemas::run(*command, &config, cli.json))?,
        Command::Spool(command) => return cli::spool::run(command, &config, cli.json),
        Command::Stores(command) => return runtime.block_on(cli::stores::run(command.clone(), &config, cli.json)),
        Command::Config(command) => cli::config::run(*command, &config, cli.json)?,
        Command::Sandbox(_) | Command::Demo(_) | Command::Completions { .. } => {
            unreachable!("needs no settings and has returned")
        }
    }
    Ok(0)
}

/// Prints the error and its causes in one line. Leaves out a cause whose text the line already contains.
fn report(error: &anyhow::Error, json: bool) {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    if json {
        eprintln!("{}", serde_json::json!({ "error": text, "exit_code": error_code::of(error) }));
    } else {
        eprintln!("imotriz-kafka: {text}");
    }
}

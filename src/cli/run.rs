//! `run`: the pipeline, until it is stopped; with other settings, when they are reloaded.
//!
//! A reload is an orderly stop and a new start in the same process: the reads in flight are awaited and committed, the
//! spool is given back and taken again. So there is no state in between, in which a part of the program goes by the old
//! settings and another by the new ones. What is counted, and the server that shows it, outlive it.

use std::mem;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use super::drain::summarize;
use crate::app::{self, App, AppError};
use crate::config::{self, Config};
use crate::kafka::KafkaFault;
use crate::operate::admin::{AdminState, Phase, Server};
use crate::pipeline::counters::Counters;
use crate::pipeline::publish::LaneError;
use crate::platform::shutdown::{ProcessSignal, Signals};

/// Runs until it is stopped; then says what was done. `file` is where the settings are read from again.
///
/// # Errors
/// See [`AppError`], and an address at which nobody can listen.
pub async fn run(file: Option<&Path>, config: Config, json: bool) -> Result<()> {
    let counters = Arc::<Counters>::default();
    let admin = Arc::new(AdminState::new(counters.clone()));
    let server = Server::start(config.admin.listen, admin.clone()).await?;
    let signals = Signals::listen().context("can't listen to signals")?;
    let mut runner = Runner { file, counters: counters.clone(), admin, server, signals, stopping: false };
    let result = runner.run(config).await;
    summarize(&counters, json);
    Ok(result?)
}

/// What outlives a reload.
struct Runner<'a> {
    file: Option<&'a Path>,
    counters: Arc<Counters>,
    admin: Arc<AdminState>,
    server: Server,
    signals: Signals,
    stopping: bool,
}

/// How one start of the pipeline ended.
enum End {
    /// It was stopped.
    Stopped,
    /// It was stopped for these settings.
    Reload(Box<Config>),
    /// It ended by itself.
    Failed {
        error: AppError,
        /// Whether it had come to work at all.
        had_started: bool,
    },
}

impl Runner<'_> {
    async fn run(&mut self, mut config: Config) -> Result<(), AppError> {
        let mut former = None;
        loop {
            match self.work_with(&config).await {
                End::Stopped => return Ok(()),
                End::Reload(new) => former = Some(mem::replace(&mut config, *new)),
                End::Failed { error, had_started } => {
                    let Some(old) = former.take().filter(|_| !had_started && !self.stopping) else { return Err(error) };
                    tracing::error!(%error, "can't start with the new settings: going on with the old ones");
                    let failed = mem::replace(&mut config, old);
                    self.listen_again(&failed, &config).await;
                }
            }
        }
    }

    async fn work_with(&mut self, config: &Config) -> End {
        let stop = CancellationToken::new();
        let (counters, admin, stopped) = (self.counters.clone(), self.admin.clone(), stop.clone());
        let mut next = None;
        let mut had_started = false;
        let work = async {
            let app = App::build_counting(counters, config, stopped).await?;
            admin.at_work(config, &app);
            had_started = true;
            app.run().await
        };
        let result = {
            tokio::pin!(work);
            loop {
                tokio::select! {
                    result = &mut work => break result,
                    signal = self.signals.next() => match signal {
                        ProcessSignal::Stop { code } if self.stopping => std::process::exit(code),
                        ProcessSignal::Stop { .. } => {
                            tracing::info!("stopping once the read in flight is committed; a second signal leaves at once");
                            (self.stopping, next) = (true, None);
                            self.admin.set_phase(Phase::Stopping);
                            stop.cancel();
                        }
                        ProcessSignal::Reload if self.stopping => {}
                        ProcessSignal::Reload => if let Some(new) = self.reload(next.as_deref().unwrap_or(config)).await {
                            next = Some(new);
                            self.admin.set_phase(Phase::Reloading);
                            stop.cancel();
                        },
                    },
                }
            }
        };
        match (result, next) {
            (Ok(()), None) => End::Stopped,
            (Ok(()), Some(new)) => End::Reload(new),
            (Err(error), Some(new)) if is_cut_short(&error) => {
                tracing::warn!(%error, "stopped for the new settings");
                End::Reload(new)
            }
            (Err(error), _) => End::Failed { error, had_started },
        }
    }

    /// The settings as they are now, if they can be used.
    async fn reload(&mut self, now: &Config) -> Option<Box<Config>> {
        match self.load(now).await {
            Ok(new) => {
                tracing::info!("the settings were read again: starting anew once the reads in flight are committed");
                Some(Box::new(new))
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the new settings are refused: going on with the old ones"
                );
                None
            }
        }
    }

    async fn load(&mut self, now: &Config) -> Result<Config> {
        let new = Config::load(self.file, config::environment(), &[])?;
        app::check(&new)?;
        if new.admin.listen != now.admin.listen {
            self.server = Server::start(new.admin.listen, self.admin.clone()).await?;
        }
        Ok(new)
    }

    /// The old settings are back, and perhaps with them the old address.
    async fn listen_again(&mut self, failed: &Config, now: &Config) {
        if failed.admin.listen != now.admin.listen {
            match Server::start(now.admin.listen, self.admin.clone()).await {
                Ok(server) => self.server = server,
                Err(error) => tracing::error!(%error, "still listening at the new address"),
            }
        }
    }
}

/// Whether it ended this way because it was stopped while Kafka or the registry was away: what was read is in the spool,
/// and the next start goes on with it.
fn is_cut_short(error: &AppError) -> bool {
    matches!(
        error,
        AppError::Kafka(KafkaFault::Passing { .. } | KafkaFault::NoConnection { .. })
            | AppError::Lane(LaneError::StoppedWaiting { .. })
    )
}

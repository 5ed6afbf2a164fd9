//! `run`: runs the pipeline until it is stopped, and restarts it when the settings are reloaded.
//!
//! If only stores differ, only those are started, restarted or stopped; the admin server and the log are changed in
//! place. Any other reload is an orderly stop and a new start in the same process: reads in flight are awaited and
//! committed, and the spool is released and locked again. So at no time does one part of the program use the old settings
//! and another part the new ones. The counters and the admin server outlive a reload.
//!
//! SIGHUP reads the settings file again. A change in the folder of stores does not: what somebody is editing there
//! meanwhile waits for the signal.

use std::cell::OnceCell;
use std::mem;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::task::spawn_blocking;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::drain::summarize;
use super::log::Log;
use super::stores_watch::StoresWatch;
use crate::app::{self, App, AppError};
use crate::config::{self, Config, Sources, StoreChange};
use crate::kafka::KafkaFault;
use crate::operate::admin::{AdminState, Phase, Server};
use crate::pipeline::counters::Counters;
use crate::pipeline::publish::LaneError;
use crate::platform::sd_notify::{ServiceManager, ServiceState};
use crate::platform::shutdown::{ProcessSignal, Signals};

/// Runs until it is stopped, then prints a summary. `file` is where a reload reads the settings.
///
/// # Errors
/// See [`AppError`], and an `admin.listen` address that can't be bound.
pub async fn run(file: Option<&Path>, sources: Sources, config: Config, log: Log, json: bool) -> Result<()> {
    let counters = Arc::<Counters>::default();
    let admin = Arc::new(AdminState::new(counters.clone()));
    let server = Server::start(&config.admin, admin.clone()).await?;
    let signals = Signals::listen().context("can't listen to signals")?;
    warn_of_refused(&config);
    let stores = StoresWatch::of(&config);
    let sources = Arc::new(sources);
    let manager = Arc::new(ServiceManager::from_environment());
    if let Some(interval) = manager.watchdog_interval() {
        tokio::spawn(feed_watchdog(interval, manager.clone(), admin.clone()));
    }
    let counted = counters.clone();
    let mut runner =
        Runner { file, sources, stores, counters: counted, admin, server, signals, manager, log, stopping: false };
    let result = runner.run(config).await;
    summarize(&counters, json);
    Ok(result?)
}

/// Goes on for as long as the lanes' threads live and the runtime has the time for it.
async fn feed_watchdog(interval: Duration, manager: Arc<ServiceManager>, admin: Arc<AdminState>) {
    let mut interval = tokio::time::interval(interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        if admin.is_alive() {
            manager.notify(ServiceState::Watchdog);
        }
    }
}

/// The parts that outlive a reload.
struct Runner<'a> {
    file: Option<&'a Path>,
    /// The settings file in force, as it was read.
    sources: Arc<Sources>,
    /// Sees changes in the folder of stores.
    stores: StoresWatch,
    counters: Arc<Counters>,
    admin: Arc<AdminState>,
    server: Server,
    signals: Signals,
    manager: Arc<ServiceManager>,
    log: Log,
    stopping: bool,
}

/// How one run of the pipeline ended.
enum End {
    /// A signal stopped it.
    Stopped,
    /// It was stopped in order to start again with these settings.
    Reload(Box<Config>),
    /// It ended with an error.
    Failed {
        error: AppError,
        /// Whether it got as far as reading and publishing.
        had_started: bool,
    },
}

impl Runner<'_> {
    async fn run(&mut self, mut config: Config) -> Result<(), AppError> {
        let mut former = None;
        loop {
            match self.work_with(&mut config).await {
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

    async fn work_with(&mut self, config: &mut Config) -> End {
        self.log.set_filter(&config.telemetry.log);
        let stop = CancellationToken::new();
        let (counters, admin, stopped) = (self.counters.clone(), self.admin.clone(), stop.clone());
        let (manager, initial) = (self.manager.clone(), config.clone());
        let (mut next, control) = (None, OnceCell::new());
        let work = async {
            if initial.stores.is_empty() {
                tracing::info!("no store can be used yet: waiting for a file in `stores_dir`");
            }
            let app = App::build_counting(counters, &initial, stopped).await?;
            admin.at_work(&initial, &app);
            manager.notify(ServiceState::Ready);
            control.set(app.stores_control()).ok();
            app.run().await
        };
        let result = {
            tokio::pin!(work);
            loop {
                let (new, was_signalled) = tokio::select! {
                    result = &mut work => break result,
                    signal = self.signals.next() => match signal {
                        ProcessSignal::Stop { code } if self.stopping => std::process::exit(code),
                        ProcessSignal::Stop { .. } => {
                            tracing::info!("stopping once the read in flight is committed; a second signal leaves at once");
                            (self.stopping, next) = (true, None);
                            self.admin.set_phase(Phase::Stopping);
                            self.manager.notify(ServiceState::Stopping);
                            stop.cancel();
                            continue;
                        }
                        ProcessSignal::Reload if self.stopping => continue,
                        ProcessSignal::Reload => (self.reload(next.as_ref().unwrap_or(config)).await, true),
                    },
                    () = self.stores.changed() => (self.look_at_stores(next.as_ref().unwrap_or(config)).await, false),
                };
                let Some(new) = new.filter(|_| !self.stopping) else { continue };
                match control.get().filter(|_| next.is_none() && !new.differs_beyond_stores(config)) {
                    Some(control) => {
                        if was_signalled {
                            // Whoever sent the signal waits for both.
                            self.manager.notify(ServiceState::Reloading);
                            self.manager.notify(ServiceState::Ready);
                        }
                        control.set(new.stores.clone());
                        self.admin.configure(&new);
                        self.log.set_filter(&new.telemetry.log);
                        *config = new;
                    }
                    None => {
                        tracing::info!("starting anew with the new settings once the reads in flight are committed");
                        next = Some(new);
                        self.admin.set_phase(Phase::Reloading);
                        self.manager.notify(ServiceState::Reloading);
                        stop.cancel();
                    }
                }
            }
        };
        let had_started = control.get().is_some();
        match (result, next) {
            (Ok(()), None) => End::Stopped,
            (Ok(()), Some(new)) => End::Reload(Box::new(new)),
            (Err(error), Some(new)) if is_cut_short(&error) => {
                tracing::warn!(%error, "stopped for the new settings");
                End::Reload(Box::new(new))
            }
            (Err(error), _) => End::Failed { error, had_started },
        }
    }

    /// Reads the settings again. Returns none if they can't be used.
    async fn reload(&mut self, now: &Config) -> Option<Config> {
        let loaded = match Sources::read(self.file, config::environment(), &[]) {
            Ok(sources) => self.load(Arc::new(sources), now).await,
            Err(error) => Err(error.into()),
        };
        match loaded {
            Ok(new) => {
                tracing::info!("the settings were read again");
                Some(new)
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

    /// Reads the folder of stores again. Returns none if no store has changed.
    async fn look_at_stores(&mut self, now: &Config) -> Option<Config> {
        match self.load(self.sources.clone(), now).await {
            Ok(new) => Some(new).filter(|new| !config::changes(&now.stores, &new.stores).is_empty()),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, "the folder of stores can't be used: going on with the stores as they were");
                None
            }
        }
    }

    async fn load(&mut self, sources: Arc<Sources>, now: &Config) -> Result<Config> {
        let source = sources.clone();
        let mut new = spawn_blocking(move || source.load()).await??;
        new.keep_refused(now);
        check_stores(&mut new, now)?;
        new.keep_refused(now);
        app::check(&new)?;
        if new.admin.listen != now.admin.listen {
            self.server = Server::start(&new.admin, self.admin.clone()).await?;
        }
        warn_of_refused(&new);
        for (store, change) in config::changes(&now.stores, &new.stores) {
            tracing::info!(%store, "the store was {}", told(change));
        }
        self.sources = sources;
        self.stores = StoresWatch::of(&new);
        Ok(new)
    }

    /// Listens at the address of the old settings again, if the new settings had another one.
    async fn listen_again(&mut self, failed: &Config, now: &Config) {
        if failed.admin.listen != now.admin.listen {
            match Server::start(&now.admin, self.admin.clone()).await {
                Ok(server) => self.server = server,
                Err(error) => tracing::error!(%error, "still listening at the new address"),
            }
        }
    }
}

/// Checks the stores that are new or changed. One of the folder is refused alone.
fn check_stores(new: &mut Config, now: &Config) -> Result<(), AppError> {
    for (name, change) in config::changes(&now.stores, &new.stores) {
        if change == StoreChange::Removed {
            continue;
        }
        match app::check_store(&new.stores[&name]) {
            Err(error) if new.is_in_folder(&name) => new.refuse(&name, format!("store `{name}`: {error}")),
            checked => checked?,
        }
    }
    Ok(())
}

fn warn_of_refused(config: &Config) {
    for refused in &config.refused {
        let store = refused.store.as_ref().map(ToString::to_string);
        tracing::error!(store, reason = refused.reason, "settings of a store are refused; former ones stay in force");
    }
}

fn told(change: StoreChange) -> &'static str {
    match change {
        StoreChange::Added => "added",
        StoreChange::Changed => "changed",
        StoreChange::Removed => "removed",
    }
}

/// Whether the error only says that the stop came while Kafka or the registry was away. The pages read are in the
/// spool, and the next start publishes them.
fn is_cut_short(error: &AppError) -> bool {
    matches!(
        error,
        AppError::Kafka(KafkaFault::Passing { .. } | KafkaFault::NoConnection { .. })
            | AppError::Lane(LaneError::StoppedWaiting { .. })
    )
}

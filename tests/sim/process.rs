//! Runs the program itself, as `app` builds it, in the models' environment.

use std::io;
use std::sync::{Arc, Mutex};

use imotriz_kafka::app::{App, AppError, Environment, StoresControl};
use imotriz_kafka::config::Config;
use imotriz_kafka::marketplace::client::Marketplace;
use imotriz_kafka::order::ids::{OrderId, StoreName};
use imotriz_kafka::pipeline::account::Account;
use imotriz_kafka::pipeline::counters::Counters;
use imotriz_kafka::platform::jobs::{Jobs, RuntimeOf, Task};
use tokio::task::{AbortHandle, JoinHandle, spawn_local};
use tokio_util::sync::CancellationToken;

use crate::broker::ModelBroker;
use crate::disk::ModelDisk;
use crate::market::ModelMarket;
use crate::ops::Command;
use crate::world::{Actor, Shared};

/// A process, from its start to its end.
pub struct Process {
    /// Says why it ended.
    pub task: JoinHandle<Result<String, AppError>>,
    pub counters: Arc<Counters>,
    pub account: Arc<Mutex<Option<Account>>>,
    control: Arc<Mutex<Option<StoresControl>>>,
    stop: CancellationToken,
    threads: Arc<InTurn>,
}

impl Process {
    /// Without a command, the service.
    pub fn start(config: Arc<Config>, shared: Shared, instance: usize, command: Option<Command>) -> Self {
        let stop = CancellationToken::new();
        let process = shared.lock().process_of(instance);
        let threads = Arc::new(InTurn { shared: shared.clone(), process, dedicated: Mutex::default() });
        let (counters, account) = (Arc::<Counters>::default(), Arc::<Mutex<Option<Account>>>::default());
        let environment = environment(shared.clone(), process, threads.clone());
        let control = Arc::<Mutex<Option<StoresControl>>>::default();
        let (stop_of_app, counted, accounted) = (stop.clone(), counters.clone(), account.clone());
        let controlled = control.clone();
        let task = spawn_local(async move {
            let (layout, once) = (Some(shared.lock().broker.layout()), command.is_some());
            let app = App::build_in(environment, layout, &config, once, counted, stop_of_app).await?;
            *accounted.lock().unwrap() = Some(app.account());
            *controlled.lock().unwrap() = (!once).then(|| app.stores_control());
            match command {
                None | Some(Command::Drain) => app.run().await?,
                Some(Command::Reconcile) => app.reconcile().await.1?,
                Some(Command::Republish(which)) => republish(app, &shared, which).await?,
            }
            Ok("it came to its end".to_owned())
        });
        Self { task, counters, account, control, stop, threads }
    }

    /// As by a change in the folder of stores. A command does not look there.
    pub fn set_stores(&self, config: &Config) {
        if let Some(control) = &*self.control.lock().unwrap() {
            control.set(config.stores.clone());
        }
    }

    /// As by SIGTERM.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// As by SIGKILL. Jobs that were started find no disk any more.
    pub async fn kill(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
        self.kill_threads();
    }

    pub fn kill_threads(&self) {
        self.threads.dedicated.lock().unwrap().iter().for_each(AbortHandle::abort);
    }
}

fn environment(shared: Shared, process: u64, jobs: Arc<dyn Jobs>) -> Environment {
    let (disk, broker) =
        (ModelDisk { shared: shared.clone(), process }, ModelBroker { shared: shared.clone(), process });
    let marketplace = move |name: &_, _: &_| {
        let shop = shared.lock().market.shop(StoreName::as_str(name));
        Ok(Arc::new(ModelMarket { shared: shared.clone(), process, shop }) as Arc<dyn Marketplace>)
    };
    Environment { disk: Arc::new(disk), jobs, broker: Arc::new(broker), marketplace: Arc::new(marketplace) }
}

async fn republish(app: App, shared: &Shared, which: u64) -> Result<(), AppError> {
    let wanted = shared.lock().market.republish(which, shared.clock.true_time());
    let (store, orders) = match wanted {
        Some((store, id)) => (store, vec![id.to_string().parse::<OrderId>().unwrap().into()]),
        None => ("bogota", Vec::new()),
    };
    app.republish(&store.parse().unwrap(), orders).await.map(drop)
}

/// Jobs come to their turn after a while of the model's time, and threads are tasks.
#[derive(Debug)]
struct InTurn {
    shared: Shared,
    process: u64,
    dedicated: Mutex<Vec<AbortHandle>>,
}

impl InTurn {
    fn actor(&self, name: &str) -> Actor {
        let actor = match name.split_once('-').unwrap() {
            ("lane", lane) => Actor::lane(lane.parse().unwrap()),
            (_, store) => Actor::drain(self.shared.lock().market.shop(store)),
        };
        actor.of(self.process)
    }
}

impl Jobs for InTurn {
    fn start(&self, whose: &str, job: Box<dyn FnOnce() + Send>) {
        let actor = self.actor(whose);
        let pause = self.shared.lock().pause(actor, &[0, 0, 1, 10, 70]);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            job();
        });
    }

    fn dedicate(&self, name: String, _runtime: RuntimeOf, task: Task) -> io::Result<()> {
        let actor = self.actor(&name);
        let pause = self.shared.lock().pause(actor, &[0, 1]);
        let thread = async move {
            // It takes a moment to start.
            tokio::time::sleep(pause).await;
            task().await;
        };
        self.dedicated.lock().unwrap().push(spawn_local(thread).abort_handle());
        Ok(())
    }
}

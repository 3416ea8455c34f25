//! The server as a whole: it starts workers and acceptors, and answers commands until it is shut down.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use arc_swap::ArcSwap;
use lb_core::{
    config::{self, Valid},
    exchange::PoolHandle,
    ip_set::IpSet,
    pool::EndpointStatus,
    prng::Prng,
    reload::Diff,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use crate::{
    accept::{self, Bound, Listening},
    access_log::AccessLog,
    net::Net,
    observer::{Observer, Observers},
    pool_tasks,
    session_cookies::{SessionKeys, StartKey},
    snapshot::Snapshot,
    worker::{STOP_WAIT, Shared, Task, Worker, WorkerHandle},
};

/// How a server is started, beyond its configuration.
#[derive(Clone, Default)]
pub struct Options {
    /// Is told of every request and every health change.
    pub observer: Option<Arc<dyn Observer>>,
    /// The seed of every random choice; drawn from the system without one.
    pub seed: Option<u64>,
    /// The HTTP library serves all requests, those too that otherwise do without it. For tests of that way.
    pub library_only: bool,
}

/// A running server. Dropping it lets it run on; end it with [`Server::shutdown`].
pub struct Server {
    commands: mpsc::UnboundedSender<Command>,
    shared: Arc<Shared>,
}

/// A pool at one moment.
#[derive(Clone, Debug)]
pub struct PoolStatus {
    /// The pool's name.
    pub name: Arc<str>,
    /// Requests that backends are busy with.
    pub in_flight: u64,
    /// Requests that have no response head yet.
    pub pending: u32,
    /// Those of them that wait for a backend with a free slot.
    pub waiting: usize,
    /// Requests that may be in flight by the adaptive limit, if there is one.
    pub adaptive_limit: Option<u32>,
    /// Its backends, in the order of the configuration.
    pub endpoints: Vec<EndpointStatus>,
}

/// A worker at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Client connections.
    pub connections: usize,
    /// Those of them that wait for a request, and have given back the memory that serving one takes.
    pub parked: usize,
    /// Requests so far that it served without the HTTP library.
    pub direct: u64,
}

/// How a shutdown ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Everything in flight was finished.
    Clean,
    /// So many connections were cut off when the time was up.
    Forced(usize),
}

/// Why a server did not start, or did not take a new configuration.
#[derive(Debug)]
pub enum StartError {
    /// A listener's address cannot be bound.
    Bind(SocketAddr, io::Error),
    /// The access log cannot be opened.
    AccessLog(String, io::Error),
    /// The key of a pool's sticky sessions cannot be had.
    SessionKey(String, String),
    /// A thread or its runtime cannot be started.
    Thread(io::Error),
    /// The server is not running any more.
    Stopped,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) => write!(f, "cannot listen on {address}: {error}"),
            Self::AccessLog(path, error) => write!(f, "cannot open the access log {path}: {error}"),
            Self::SessionKey(pool, why) => {
                write!(f, "cannot read the key of the sticky sessions of pool {pool}: {why}")
            }
            Self::Thread(error) => write!(f, "cannot start a worker: {error}"),
            Self::Stopped => f.write_str("the server has stopped"),
        }
    }
}

impl std::error::Error for StartError {}

enum Command {
    Reload(Box<Valid>, oneshot::Sender<Result<(), StartError>>),
    ReopenLog,
    Shutdown(oneshot::Sender<Shutdown>),
    /// Cut off a shutdown that is under way.
    Force,
}

/// A listener's configuration and what is shared by its connections.
pub(crate) struct ListenerState {
    pub(crate) config: config::Listener,
    /// `trusted_proxies` of the configuration.
    pub(crate) trusted: IpSet,
    /// The configured address, for logs.
    pub(crate) name: Box<str>,
    /// Connections at this moment.
    pub(crate) connections: Arc<AtomicUsize>,
}

impl ListenerState {
    pub(crate) fn new(config: &config::Listener, previous: Option<&Self>) -> Arc<Self> {
        let connections = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.connections));
        Arc::new(Self {
            config: config.clone(),
            trusted: IpSet::new(&config.trusted_proxies),
            name: config.bind.to_string().into(),
            connections,
        })
    }
}

impl Server {
    /// Binds every listener, starts the threads, and returns once connections are accepted.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound, the access log cannot be opened, a key cannot be read or a thread
    /// cannot be started; nothing runs on then.
    pub fn start(config: &Valid, options: Options) -> Result<Self, StartError> {
        let (server, started) = Self::launch(Net::System, config, options)?;
        server.begun(started.recv().unwrap_or(Err(StartError::Stopped)))
    }

    /// [`Server::start`] on a host of a simulated network: all threads are tasks of this one.
    ///
    /// # Errors
    ///
    /// As there.
    #[cfg(feature = "sim")]
    pub async fn start_on(
        host: lb_testkit::sim_net::Host,
        config: &Valid,
        options: Options,
    ) -> Result<Self, StartError> {
        use std::sync::mpsc::TryRecvError;
        let (server, started) = Self::launch(Net::Sim(host), config, options)?;
        loop {
            match started.try_recv() {
                Ok(outcome) => return server.begun(outcome),
                Err(TryRecvError::Empty) => tokio::task::yield_now().await,
                Err(TryRecvError::Disconnected) => return server.begun(Err(StartError::Stopped)),
            }
        }
    }

    fn begun(self, outcome: Result<(), StartError>) -> Result<Self, StartError> {
        match outcome {
            Ok(()) => Ok(self),
            Err(error) => {
                self.shared.tell_workers(|| Task::Stop);
                Err(error)
            }
        }
    }

    /// Binds and starts; what comes of it is told when connections are accepted.
    fn launch(net: Net, config: &Valid, options: Options) -> Result<(Self, Started), StartError> {
        let count = config.workers.map_or_else(cpus, |workers| workers as usize);
        let bind = |listener| accept::bind(&net, listener, count, false);
        let bound = config.listeners.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        let access_log = AccessLog::open(&config.access_log)
            .map_err(|error| StartError::AccessLog(config.access_log.path.clone(), error))?;
        let start_key = StartKey::draw(&net).map_err(StartError::Thread)?;
        let keys = session_keys(config, &start_key)?;
        let observers = Observers(options.observer);
        let clock = net.clock();
        let mut prng = Prng::new(options.seed.unwrap_or_else(|| net.seed()));
        let snapshot = Snapshot::new(config, None, clock, &mut prng, &observers, &keys);
        let (workers, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| WorkerHandle::new()).unzip();
        let shared = Arc::new(Shared {
            workers: workers.into(),
            snapshot: ArcSwap::from_pointee(snapshot),
            addresses: ArcSwap::default(),
            net,
            clock,
            access_log,
            observers,
            library_only: options.library_only,
        });
        let begun = begin(config, &shared, inboxes, bound, prng, start_key);
        let (commands, started) = begun.inspect_err(|_| shared.tell_workers(|| Task::Stop))?;
        Ok((Self { commands, shared }, started))
    }

    /// The addresses that are listened on, in the order of the configuration, with the ports that were
    /// taken for port 0.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.shared.addresses.load().to_vec()
    }

    /// How many clients each worker has now.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerStatus> {
        let status = |worker: &WorkerHandle| WorkerStatus {
            connections: worker.load.load(Ordering::Relaxed),
            parked: worker.parked.load(Ordering::Relaxed),
            direct: worker.direct.load(Ordering::Relaxed),
        };
        self.shared.workers.iter().map(status).collect()
    }

    /// How the pools stand now.
    #[must_use]
    pub fn pools(&self) -> Vec<PoolStatus> {
        let snapshot = self.shared.snapshot.load();
        let status = |pool: &crate::snapshot::SharedPool| {
            pool.with(|state| PoolStatus {
                name: Arc::clone(state.name()),
                in_flight: state.in_flight(),
                pending: state.pending(),
                waiting: state.waiting(),
                adaptive_limit: state.adaptive_limit(),
                endpoints: state.endpoints().collect(),
            })
        };
        snapshot.pools().iter().map(status).collect()
    }

    /// Puts a new configuration in place. Requests in flight finish with the old one; pools whose names
    /// stay keep their health, their counts and their ejections.
    ///
    /// # Errors
    ///
    /// When a new listener cannot be bound or a key cannot be read; the old configuration stays in force, whole.
    pub async fn reload(&self, config: Valid) -> Result<(), StartError> {
        let (done, answer) = oneshot::channel();
        self.commands.send(Command::Reload(Box::new(config), done)).map_err(|_| StartError::Stopped)?;
        answer.await.unwrap_or(Err(StartError::Stopped))
    }

    /// Opens the access log's file anew, for log rotation.
    pub fn reopen_log(&self) {
        // A server that has stopped has no log to open.
        let _ = self.commands.send(Command::ReopenLog);
    }

    /// Stops accepting, finishes what is in flight for as long as the configuration's
    /// `shutdown_timeout` lets it, and ends.
    pub async fn shutdown(&self) -> Shutdown {
        let (done, answer) = oneshot::channel();
        match self.commands.send(Command::Shutdown(done)) {
            Ok(()) => answer.await.unwrap_or(Shutdown::Clean),
            Err(_) => Shutdown::Clean,
        }
    }

    /// Ends a shutdown that is under way at once.
    pub fn force(&self) {
        // Nothing to cut off when it is over.
        let _ = self.commands.send(Command::Force);
    }
}

/// Tells once whether connections are accepted.
type Started = std::sync::mpsc::Receiver<Result<(), StartError>>;

/// Starts the threads; gives the way to tell the control thread.
fn begin(
    config: &Valid,
    shared: &Arc<Shared>,
    inboxes: Vec<mpsc::UnboundedReceiver<Task>>,
    bound: Vec<Bound>,
    mut prng: Prng,
    start_key: StartKey,
) -> Result<(mpsc::UnboundedSender<Command>, Started), StartError> {
    for (index, inbox) in inboxes.into_iter().enumerate() {
        Worker::spawn(index, inbox, Arc::clone(shared), prng.fork(index as u64))
            .map_err(StartError::Thread)?;
    }
    let (commands, inbox) = mpsc::unbounded_channel();
    let (started, start) = std::sync::mpsc::channel();
    let mut control = Control {
        pool_tasks: Vec::new(),
        listening: Vec::new(),
        shared: Arc::clone(shared),
        prng,
        config: config.clone(),
        start_key,
    };
    let run = async move {
        let outcome = control.listen(bound).await;
        let accepts = outcome.is_ok();
        let _ = started.send(outcome); // the starter waits for it, or has gone
        if accepts {
            control.run(inbox).await;
        }
    };
    shared.net.spawn("lb-control".into(), move || run).map_err(StartError::Thread)?;
    Ok((commands, start))
}

fn session_keys(config: &Valid, start: &StartKey) -> Result<SessionKeys, StartError> {
    SessionKeys::load(config, start).map_err(|(pool, why)| StartError::SessionKey(pool, why))
}

fn cpus() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

struct Control {
    shared: Arc<Shared>,
    /// In the order of the configuration.
    listening: Vec<Listening>,
    pool_tasks: Vec<JoinHandle<()>>,
    prng: Prng,
    /// What the server runs by.
    config: Valid,
    start_key: StartKey,
}

impl Control {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        self.start_pool_tasks();
        while let Some(command) = inbox.recv().await {
            match command {
                Command::Reload(config, done) => {
                    let result = self.reload(&config).await;
                    match &result {
                        Ok(()) => self.took_over(*config),
                        Err(error) => {
                            tracing::error!(%error, "configuration not reloaded; the old one stays")
                        }
                    }
                    let _ = done.send(result); // whoever asked may have gone
                }
                Command::ReopenLog => self.shared.access_log.reopen(),
                Command::Force => {}
                Command::Shutdown(done) => {
                    let outcome = self.shutdown(&mut inbox).await;
                    self.shared.access_log.close();
                    let _ = done.send(outcome);
                    return;
                }
            }
        }
        // Every handle is gone: nobody can end the server, so it serves until the process ends.
        std::future::pending::<()>().await;
    }

    /// Says what a reload has changed, and what it cannot.
    fn took_over(&mut self, config: Valid) {
        let old = std::mem::replace(&mut self.config, config);
        tracing::info!(changes = %Diff::between(&old, &self.config), "configuration reloaded");
        if old.workers != self.config.workers || old.access_log != self.config.access_log {
            tracing::warn!("changes of workers and access_log take a restart");
        }
    }

    /// Has the first listeners accept.
    async fn listen(&mut self, bound: Vec<Bound>) -> Result<(), StartError> {
        for bound in bound {
            let begun = Listening::start(bound, &self.shared.workers).await;
            self.listening.push(begun.map_err(StartError::Thread)?);
        }
        self.tell_addresses();
        Ok(())
    }

    fn start_pool_tasks(&mut self) {
        for task in self.pool_tasks.drain(..) {
            task.abort();
        }
        let snapshot = self.shared.snapshot.load_full();
        for pool in snapshot.pools() {
            self.pool_tasks.extend(pool_tasks::start(pool, &self.shared.net, self.shared.clock));
        }
    }

    async fn reload(&mut self, config: &Valid) -> Result<(), StartError> {
        // What can fail comes first, so that a failure leaves everything as it was.
        let keys = session_keys(config, &self.start_key)?;
        let mut old = std::mem::take(&mut self.listening);
        let mut next = Vec::new();
        for listener in &config.listeners {
            if let Some(at) = old.iter().position(|listening| listening.is_for(listener)) {
                next.push((old.remove(at), true));
                continue;
            }
            let beside_own = old.iter().any(|listening| listening.overlaps(listener));
            match self.begin(listener, beside_own).await {
                Ok(listening) => next.push((listening, false)),
                Err(error) => {
                    for (listening, kept) in next {
                        if kept {
                            old.push(listening);
                        } else {
                            listening.stop(&self.shared.workers).await;
                        }
                    }
                    self.listening = old;
                    return Err(error);
                }
            }
        }
        for ((listening, kept), listener) in next.into_iter().zip(&config.listeners) {
            if kept {
                listening.reconfigure(listener);
            }
            self.listening.push(listening);
        }
        self.tell_addresses();
        let previous = self.shared.snapshot.load_full();
        let next = Snapshot::new(
            config,
            Some(&previous),
            self.shared.clock,
            &mut self.prng,
            &self.shared.observers,
            &keys,
        );
        self.shared.snapshot.store(Arc::new(next));
        self.start_pool_tasks();
        for listening in old {
            listening.stop(&self.shared.workers).await;
        }
        Ok(())
    }

    /// Binds a listener and has it accept.
    async fn begin(&self, listener: &config::Listener, beside_own: bool) -> Result<Listening, StartError> {
        let bound = accept::bind(&self.shared.net, listener, self.shared.workers.len(), beside_own)?;
        Listening::start(bound, &self.shared.workers).await.map_err(StartError::Thread)
    }

    fn tell_addresses(&self) {
        let addresses = self.listening.iter().map(Listening::address).collect();
        self.shared.addresses.store(Arc::new(addresses));
    }

    async fn shutdown(&mut self, inbox: &mut mpsc::UnboundedReceiver<Command>) -> Shutdown {
        let listening = std::mem::take(&mut self.listening);
        let ended = async {
            // Only then: a worker that drains may end, and nothing may be handed over to it any more.
            for listening in listening {
                listening.stop(&self.shared.workers).await;
            }
            self.shared.tell_workers(|| Task::Drain);
            self.ended().await;
        };
        let forced = async {
            while let Some(command) = inbox.recv().await {
                if matches!(command, Command::Force) {
                    return;
                }
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = ended => return Shutdown::Clean,
            () = tokio::time::sleep(self.config.shutdown_timeout.0) => {}
            () = forced => {}
        }
        let left = self.shared.workers.iter().map(|worker| worker.load.load(Ordering::Relaxed)).sum();
        tracing::warn!(connections = left, "shutdown: time is up, connections are cut off");
        self.shared.tell_workers(|| Task::Stop);
        // A worker that does not end is left behind: the process is about to.
        let _ = tokio::time::timeout(STOP_WAIT, self.ended()).await;
        Shutdown::Forced(left)
    }

    async fn ended(&self) {
        for worker in &self.shared.workers {
            worker.tasks.closed().await;
        }
    }
}

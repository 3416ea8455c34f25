//! A worker: a thread with its own runtime, its own connections on both sides, and its share of the
//! clients.

use std::{
    cell::{Cell, RefCell},
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use lb_core::{prng::Prng, time::Instant};
use slab::Slab;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    accept::Acceptor,
    access_log::{AccessLog, Record},
    clock::Clock,
    date::{DATE_BYTES, HttpDate},
    forwarded::RequestId,
    front::{self, Front, READ_BYTES},
    net::{Accepted, Net, Socket},
    observer::Observers,
    request_head::FieldPlace,
    server::ListenerState,
    snapshot::Snapshot,
    spare::Spare,
    timer::Wheel,
    upstream::{IdleConnections, SWEEP_INTERVAL},
};

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) workers: Box<[WorkerHandle]>,
    pub(crate) snapshot: ArcSwap<Snapshot>,
    /// Where connections are accepted.
    pub(crate) addresses: ArcSwap<Vec<SocketAddr>>,
    pub(crate) net: Net,
    pub(crate) clock: Clock,
    pub(crate) access_log: AccessLog,
    pub(crate) observers: Observers,
    /// hyper serves all requests.
    pub(crate) library_only: bool,
}

impl Shared {
    pub(crate) fn tell_workers(&self, task: impl Fn() -> Task) {
        for worker in &self.workers {
            // One whose thread has ended has nothing to do.
            let _ = worker.tasks.send(task());
        }
    }

    /// Tells the access log and the observer.
    pub(crate) fn log(&self, record: &Record<'_>) {
        self.access_log.write(record);
        if let Some(observer) = &self.observers.0 {
            observer.request(record);
        }
    }
}

/// What a worker is told by the control thread and by other workers.
pub(crate) enum Task {
    /// Accept connections.
    Listen { socket: Socket, state: Arc<ArcSwap<ListenerState>>, begun: oneshot::Sender<io::Result<()>> },
    /// Take what the system has accepted for this listener, and close its socket.
    Unlisten { state: Arc<ArcSwap<ListenerState>>, closed: oneshot::Sender<()> },
    /// A connection that another worker has accepted.
    Serve { stream: Accepted, peer: SocketAddr, listener: Arc<ListenerState>, slot: Slot },
    /// Finish what is in flight, take nothing more.
    Drain,
    /// End now.
    Stop,
}

/// A connection's place among those that its listener and its worker may have; given back when dropped.
pub(crate) struct Slot {
    listener: Arc<ListenerState>,
    worker_load: Arc<AtomicUsize>,
}

impl Slot {
    /// A place, if the listener may have one more connection. Exact over all workers.
    pub(crate) fn take(listener: &Arc<ListenerState>, worker_load: &Arc<AtomicUsize>) -> Option<Self> {
        let slot = Self { listener: Arc::clone(listener), worker_load: Arc::clone(worker_load) };
        let connections = listener.connections.fetch_add(1, Ordering::Relaxed) + 1;
        worker_load.fetch_add(1, Ordering::Relaxed);
        Some(slot).filter(|_| connections <= listener.config.limits.connections as usize)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.listener.connections.fetch_sub(1, Ordering::Relaxed);
        self.worker_load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The worker as other threads see it.
pub(crate) struct WorkerHandle {
    pub(crate) tasks: mpsc::UnboundedSender<Task>,
    /// Connections that it serves.
    pub(crate) load: Arc<AtomicUsize>,
    /// Those of them that are parked.
    pub(crate) parked: AtomicUsize,
    /// Requests that it served without hyper.
    pub(crate) direct: AtomicU64,
}

/// A parked connection among those of its worker, until this is dropped.
pub(crate) struct ParkedPlace(Rc<Worker>);

impl ParkedPlace {
    /// Counts one more.
    pub(crate) fn take(worker: &Rc<Worker>) -> Self {
        let parked = &worker.handle().parked;
        // Only the worker itself changes it.
        parked.store(parked.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        Self(Rc::clone(worker))
    }
}

impl Drop for ParkedPlace {
    fn drop(&mut self) {
        let parked = &self.0.handle().parked;
        parked.store(parked.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
    }
}

impl WorkerHandle {
    /// A worker that has not begun, and what it is to be told.
    pub(crate) fn new() -> (Self, mpsc::UnboundedReceiver<Task>) {
        let (tasks, inbox) = mpsc::unbounded_channel();
        (Self { tasks, load: Arc::default(), parked: AtomicUsize::new(0), direct: AtomicU64::new(0) }, inbox)
    }

    /// Counts one more request that is served without hyper. Only the worker itself does.
    pub(crate) fn count_direct(&self) {
        self.direct.store(self.direct.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
}

/// The worker as its own tasks see it.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    index: usize,
    pub(crate) clock: Clock,
    now: Cell<Instant>,
    pub(crate) wheel: Rc<Wheel>,
    pub(crate) idle: IdleConnections,
    /// What connections without a hyper are read into.
    pub(crate) read_buffer: RefCell<Box<[u8]>>,
    /// Memory of heads that is free.
    pub(crate) spare_bytes: Spare<u8>,
    /// Memory that is free for where the fields of a request stand.
    pub(crate) spare_places: Spare<FieldPlace>,
    prng: RefCell<Prng>,
    date: HttpDate,
    fronts: RefCell<Slab<Rc<Front>>>,
    /// Connections that it was given and that have not ended: those that are not among `fronts` yet too.
    serving: Cell<usize>,
    draining: Cell<bool>,
    /// Told when the last connection has ended.
    empty: Notify,
}

impl Worker {
    /// Starts the thread of the worker with this index among [`Shared::workers`].
    pub(crate) fn spawn(
        index: usize,
        inbox: mpsc::UnboundedReceiver<Task>,
        shared: Arc<Shared>,
        prng: Prng,
    ) -> io::Result<()> {
        let net = shared.net.clone();
        net.spawn(format!("lb-worker-{index}"), move || {
            let worker = Rc::new(Self {
                clock: shared.clock,
                now: Cell::new(shared.clock.now()),
                wheel: Wheel::new(shared.clock),
                idle: IdleConnections::default(),
                read_buffer: RefCell::new(vec![0; READ_BYTES].into()),
                spare_bytes: Spare::default(),
                spare_places: Spare::default(),
                prng: RefCell::new(prng),
                date: HttpDate::default(),
                fronts: RefCell::default(),
                serving: Cell::new(0),
                draining: Cell::new(false),
                empty: Notify::new(),
                index,
                shared,
            });
            worker.run(inbox)
        })
    }

    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Task>) {
        tokio::task::spawn_local(Rc::clone(&self.wheel).run());
        let sweeper = Rc::clone(&self);
        tokio::task::spawn_local(async move {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                sweeper.idle.sweep(sweeper.clock.now());
                sweeper.spare_bytes.clear();
                sweeper.spare_places.clear();
            }
        });
        let mut acceptors: Vec<Acceptor> = Vec::new();
        loop {
            let all_done = async {
                while !(self.draining.get() && self.serving.get() == 0) {
                    self.empty.notified().await;
                }
            };
            tokio::select! {
                biased;
                task = inbox.recv() => match task {
                    Some(Task::Listen { socket, state, begun }) => {
                        let started = Acceptor::start(socket, state, &self);
                        // Whoever asked may have gone.
                        let _ = begun.send(started.map(|acceptor| acceptors.push(acceptor)));
                    }
                    Some(Task::Unlisten { state, closed }) => {
                        if let Some(at) = acceptors.iter().position(|acceptor| acceptor.is_for(&state)) {
                            acceptors.swap_remove(at).stop(closed);
                        }
                    }
                    Some(Task::Serve { stream, peer, listener, slot }) => self.serve(stream, peer, listener, slot),
                    Some(Task::Drain) => self.drain(),
                    Some(Task::Stop) | None => return self.cut_off(),
                },
                () = all_done => return,
            }
        }
    }

    /// Serves a connection that was accepted.
    pub(crate) fn serve(
        self: &Rc<Self>,
        stream: Accepted,
        peer: SocketAddr,
        listener: Arc<ListenerState>,
        slot: Slot,
    ) {
        let serving = Serving::begin(self);
        tokio::task::spawn_local(async move {
            let _slot = slot;
            match stream.register() {
                Ok(stream) => front::serve(Rc::clone(&serving.0), listener, stream, peer).await,
                Err(error) => tracing::error!(%error, "cannot serve an accepted connection"),
            }
        });
    }

    fn drain(&self) {
        self.draining.set(true);
        for (_, front) in &*self.fronts.borrow() {
            front.drain();
        }
        self.empty.notify_one();
    }

    fn cut_off(&self) {
        for (_, front) in &*self.fronts.borrow() {
            front.cut_off();
        }
    }

    /// Makes the connection known to `drain`.
    pub(crate) fn register(self: &Rc<Self>, front: &Rc<Front>) -> Registered {
        if self.draining.get() {
            front.drain();
        }
        Registered { key: self.fronts.borrow_mut().insert(Rc::clone(front)), worker: Rc::clone(self) }
    }

    /// This worker as others see it.
    pub(crate) fn handle(&self) -> &WorkerHandle {
        &self.shared.workers[self.index]
    }

    /// All workers, this one among them.
    pub(crate) fn workers(&self) -> &[WorkerHandle] {
        &self.shared.workers
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    pub(crate) fn new_request_id(&self) -> RequestId {
        let mut prng = self.prng.borrow_mut();
        RequestId::new(prng.next_u64(), prng.next_u64())
    }

    pub(crate) fn net(&self) -> &Net {
        &self.shared.net
    }

    /// The time at the last [`Worker::tick`]: the same for all that one poll of a connection does.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Reads the clock, once for each time that a connection's task is polled.
    pub(crate) fn tick(&self) {
        self.now.set(self.clock.now());
    }

    /// The value of a Date.
    pub(crate) fn http_date(&self) -> [u8; DATE_BYTES] {
        self.date.at(self.now())
    }

    /// Whether plain requests may be served without hyper.
    pub(crate) fn serves_directly(&self) -> bool {
        !self.shared.library_only
    }

    /// Whether anyone wants to know of requests.
    pub(crate) fn logs(&self) -> bool {
        self.shared.access_log.is_on() || self.shared.observers.0.is_some()
    }

    pub(crate) fn log(&self, record: &Record<'_>) {
        self.shared.log(record);
    }
}

/// A connection's place among those of its worker.
pub(crate) struct Registered {
    worker: Rc<Worker>,
    key: usize,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.fronts.borrow_mut().remove(self.key);
    }
}

/// A connection that the worker was given, until it has ended.
struct Serving(Rc<Worker>);

impl Serving {
    fn begin(worker: &Rc<Worker>) -> Self {
        worker.serving.set(worker.serving.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let left = self.0.serving.get() - 1;
        self.0.serving.set(left);
        if left == 0 {
            self.0.empty.notify_one();
        }
    }
}

/// How long a worker that was told to stop may take before its thread is left behind.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(1);

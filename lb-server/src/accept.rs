//! Accepting connections and dealing them out: one acceptor for each listener, on the control thread,
//! gives each connection to the worker that has the fewest.

use std::{
    cell::{Cell, RefCell},
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use lb_core::{config, reason::Reason};
use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::unix::AsyncFd,
    task::{JoinHandle, spawn_local},
};

use crate::{
    access_log::Record,
    reply::{self, Manner},
    server::{ListenerState, StartError},
    worker::{Shared, Slot, Task, WorkerHandle},
};

/// Connections that wait for being accepted; the system may keep fewer.
const BACKLOG: i32 = 4096;
/// How long accepting rests when the system has no more file descriptors.
const REST: Duration = Duration::from_millis(100);
/// Refused connections that are given time to read why, at once.
const REFUSALS_MAX: usize = 64;
const REFUSAL_LINGER: Duration = Duration::from_secs(1);

/// A bound listener.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) address: SocketAddr,
    state: Arc<ListenerState>,
}

/// Binds a listener's address.
pub(crate) fn bind(config: &config::Listener) -> Result<Bound, StartError> {
    let try_bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(config.bind), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        // Small answers must not wait for an acknowledgement. Accepted sockets take it over.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&config.bind.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let failed = |error| StartError::Bind(config.bind, error);
    let listener = try_bind().map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Bound { listener, address, state: ListenerState::new(config, None) })
}

/// A listener that accepts.
pub(crate) struct Acceptor {
    dealer: Rc<Dealer>,
    task: JoinHandle<()>,
}

impl Acceptor {
    /// Begins to accept; on the control thread.
    pub(crate) fn start(
        bound: Bound,
        workers: &Rc<Vec<WorkerHandle>>,
        shared: &Arc<Shared>,
    ) -> io::Result<Self> {
        // SAFETY: a TcpListener owns its descriptor, gives out always the same one, and closes it only
        // when it is dropped, which `AsyncFd` does after it has deregistered it.
        #[allow(unsafe_code)]
        let listener = unsafe { AsyncFd::register(bound.listener)? };
        let dealer = Rc::new(Dealer {
            listener,
            address: bound.address,
            state: RefCell::new(bound.state),
            workers: Rc::clone(workers),
            shared: Arc::clone(shared),
            turn: Cell::new(0),
            refusing: Rc::default(),
        });
        let task = spawn_local(Rc::clone(&dealer).run());
        Ok(Self { dealer, task })
    }

    /// Whether this acceptor's socket serves that listener.
    pub(crate) fn is_for(&self, config: &config::Listener) -> bool {
        self.dealer.state.borrow().config.bind == config.bind
    }

    /// Where it accepts, with the port that was taken for port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.dealer.address
    }

    /// New connections get this configuration.
    pub(crate) fn reconfigure(&self, config: &config::Listener) {
        let next = ListenerState::new(config, Some(&self.dealer.state.borrow()));
        *self.dealer.state.borrow_mut() = next;
    }

    /// Takes what the system has already accepted, then closes the listener; it is closed when the task
    /// has ended.
    pub(crate) fn stop(self) -> JoinHandle<()> {
        while let Some(Ok((stream, peer))) = self.dealer.accept_now() {
            self.dealer.deal(stream, peer);
        }
        self.task.abort();
        self.task
    }
}

struct Dealer {
    listener: AsyncFd<TcpListener>,
    address: SocketAddr,
    state: RefCell<Arc<ListenerState>>,
    workers: Rc<Vec<WorkerHandle>>,
    shared: Arc<Shared>,
    turn: Cell<usize>,
    refusing: Rc<Cell<usize>>,
}

impl Dealer {
    async fn run(self: Rc<Self>) {
        loop {
            let mut ready = match self.listener.readable().await {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "accepting has ended");
                    return;
                }
            };
            match self.accept_now() {
                None => ready.clear_ready(),
                Some(Ok((stream, peer))) => self.deal(stream, peer),
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    drop(ready);
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }

    /// The next connection that the system has accepted, ready for a runtime: with one system call, where
    /// the standard library's way takes two.
    fn accept_now(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            return match acceptfrom_with(self.listener.get_ref(), flags) {
                Err(Errno::AGAIN) => None,
                // The client has left again before it was accepted; or a signal came.
                Err(Errno::CONNABORTED | Errno::INTR) => continue,
                Err(error) => Some(Err(error.into())),
                Ok((socket, peer)) => match peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                    Some(peer) => Some(Ok((TcpStream::from(socket), peer))),
                    None => continue, // gone already
                },
            };
        }
    }

    fn deal(&self, stream: TcpStream, peer: SocketAddr) {
        let listener = Arc::clone(&self.state.borrow());
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let count = self.workers.len();
        let least = (0..count)
            .map(|step| &self.workers[(turn + step) % count])
            .filter(|worker| !worker.tasks.is_closed()) // one that has ended would be the idlest of all
            .min_by_key(|worker| worker.load.load(Ordering::Relaxed));
        let Some(worker) = least else { return };
        let connections = listener.connections.fetch_add(1, Ordering::Relaxed) + 1;
        worker.load.fetch_add(1, Ordering::Relaxed);
        let slot = Slot { listener: Arc::clone(&listener), worker_load: Arc::clone(&worker.load) };
        if connections > listener.config.limits.connections as usize {
            drop(slot);
            self.refuse(stream, peer, &listener);
            return;
        }
        if worker.tasks.send(Task::Serve { stream, peer, listener, slot }).is_err() {
            tracing::error!("a worker has ended; its connection is lost");
        }
    }

    /// Answers 503, without a worker, and gives the client a moment to read it.
    fn refuse(&self, stream: TcpStream, peer: SocketAddr, listener: &ListenerState) {
        let reason = Reason::TooManyConnections;
        self.shared.log(&Record::of_connection(&listener.name, peer, reason, "", Duration::ZERO));
        let reason_header = listener.config.reason_header;
        let answer = reply::raw_reply(
            reason,
            &Manner { reason_header, close: true, ..Manner::default() },
            SystemTime::now(),
        );
        // A client that does not even take this much is not waited for.
        let _ = io::Write::write(&mut &stream, &answer);
        if self.refusing.get() >= REFUSALS_MAX {
            return;
        }
        self.refusing.set(self.refusing.get() + 1);
        let refusing = Rc::clone(&self.refusing);
        spawn_local(async move {
            let _ = tokio::time::timeout(REFUSAL_LINGER, linger(stream)).await;
            refusing.set(refusing.get() - 1);
        });
    }
}

/// Reads to the end, so that closing does not reset the connection before the answer was read.
async fn linger(stream: TcpStream) -> io::Result<()> {
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

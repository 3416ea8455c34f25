//! Accepting connections, on the threads that serve them.
//!
//! A listener is one listening socket for each worker, all on the same address (`SO_REUSEPORT`): the system
//! deals connections out by a hash, and most are served where they were accepted, without waking another
//! thread. A hash is even over many connections and anything but over few, so a worker that has more
//! connections than it should beside the idlest one hands over what it accepts.

use std::{
    cell::Cell,
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use lb_core::{config, reason::Reason};
use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::unix::AsyncFd,
    sync::{mpsc::error::SendError, oneshot},
    task::{JoinHandle, spawn_local},
};

use crate::{
    access_log::Record,
    reply::{self, Manner},
    server::{ListenerState, StartError},
    worker::{Slot, Task, Worker, WorkerHandle},
};

/// Connections that wait for being accepted by one worker; the system may keep fewer.
const BACKLOG: i32 = 4096;
/// Connections that are accepted before others of the worker's tasks have their turn.
const ACCEPTS_MAX: usize = 32;
/// How long accepting rests when the system has no more file descriptors.
const REST: Duration = Duration::from_millis(100);
/// Refused connections of a worker that are given time to read why, at once.
const REFUSALS_MAX: usize = 64;
const REFUSAL_LINGER: Duration = Duration::from_secs(1);
/// A worker may have this share of the idlest one's connections more than that one.
const SLACK_SHARE: usize = 16;

/// A bound listener, not yet accepting: a socket for each worker.
pub(crate) struct Bound {
    sockets: Vec<TcpListener>,
    address: SocketAddr,
    state: Arc<ArcSwap<ListenerState>>,
}

/// Binds a listener's address for this many workers. `beside_own`: the address may overlap that of another
/// listener of this process, which a reload is about to close.
pub(crate) fn bind(config: &config::Listener, workers: usize, beside_own: bool) -> Result<Bound, StartError> {
    let try_bind = || -> io::Result<(Vec<TcpListener>, SocketAddr)> {
        // The first one takes the address only where nobody else has it, another process of ours included.
        // The others share it then.
        let first = listen(config.bind, beside_own)?;
        SockRef::from(&first).set_reuse_port(true)?;
        let address = first.local_addr()?;
        let others = (1..workers).map(|_| listen(address, true));
        Ok((std::iter::once(Ok(first)).chain(others).collect::<io::Result<_>>()?, address))
    };
    let (sockets, address) = try_bind().map_err(|error| StartError::Bind(config.bind, error))?;
    Ok(Bound { sockets, address, state: Arc::new(ArcSwap::new(ListenerState::new(config, None))) })
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Small answers must not wait for an acknowledgement. Accepted sockets take it over.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A listener that accepts, as the control thread sees it.
pub(crate) struct Listening {
    address: SocketAddr,
    state: Arc<ArcSwap<ListenerState>>,
}

impl Listening {
    /// Gives each worker its socket; all of them accept when this returns.
    pub(crate) async fn start(bound: Bound, workers: &[WorkerHandle]) -> io::Result<Self> {
        let Bound { sockets, address, state } = bound;
        let begin = |(socket, worker): (TcpListener, &WorkerHandle)| {
            let (begun, answer) = oneshot::channel();
            // A worker that has ended drops the socket, and takes no share of the connections so.
            let _ = worker.tasks.send(Task::Listen { socket, state: Arc::clone(&state), begun });
            answer
        };
        let answers: Vec<_> = sockets.into_iter().zip(workers).map(begin).collect();
        let mut outcome = Ok(());
        for answer in answers {
            outcome = outcome.and(answer.await.unwrap_or(Ok(())));
        }
        let listening = Self { address, state };
        match outcome {
            Ok(()) => Ok(listening),
            Err(error) => {
                listening.stop(workers).await;
                Err(error)
            }
        }
    }

    /// Whether this is that listener's address.
    pub(crate) fn is_for(&self, config: &config::Listener) -> bool {
        self.state.load().config.bind == config.bind
    }

    /// Whether connections to that listener could come here as well.
    pub(crate) fn overlaps(&self, config: &config::Listener) -> bool {
        self.state.load().config.overlaps(config)
    }

    /// Where it accepts, with the port that was taken for port 0.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// New connections get this configuration.
    pub(crate) fn reconfigure(&self, config: &config::Listener) {
        let next = ListenerState::new(config, Some(&self.state.load()));
        self.state.store(next);
    }

    /// Has every worker take what the system has already accepted and close its socket; all have when this
    /// returns, and none hands over a connection of this listener any more.
    pub(crate) async fn stop(&self, workers: &[WorkerHandle]) {
        let end = |worker: &WorkerHandle| {
            let (closed, answer) = oneshot::channel();
            // One that has ended has closed its socket.
            let _ = worker.tasks.send(Task::Unlisten { state: Arc::clone(&self.state), closed });
            answer
        };
        let answers: Vec<_> = workers.iter().map(end).collect();
        for answer in answers {
            let _ = answer.await; // as above
        }
    }
}

/// A worker's part of a listener.
pub(crate) struct Acceptor {
    accepting: Rc<Accepting>,
    task: JoinHandle<()>,
}

impl Acceptor {
    /// Begins to accept; on the worker's thread.
    pub(crate) fn start(
        socket: TcpListener,
        state: Arc<ArcSwap<ListenerState>>,
        worker: &Rc<Worker>,
    ) -> io::Result<Self> {
        // SAFETY: a TcpListener owns its descriptor, gives out always the same one, and closes it only
        // when it is dropped, which `AsyncFd` does after it has deregistered it.
        #[allow(unsafe_code)]
        let socket = unsafe { AsyncFd::register(socket)? };
        let accepting =
            Rc::new(Accepting { socket, state, worker: Rc::clone(worker), refusing: Rc::default() });
        let task = spawn_local(Rc::clone(&accepting).run());
        Ok(Self { accepting, task })
    }

    pub(crate) fn is_for(&self, state: &Arc<ArcSwap<ListenerState>>) -> bool {
        Arc::ptr_eq(&self.accepting.state, state)
    }

    /// Takes what the system has already accepted, closes the socket, and tells `closed`.
    pub(crate) fn stop(self, closed: oneshot::Sender<()>) {
        let Self { accepting, task } = self;
        while let Some(accepted) = accepting.accept_now() {
            match accepted {
                Ok((stream, peer)) => accepting.take(stream, peer, Place::Here),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    break;
                }
            }
        }
        drop(accepting);
        task.abort();
        spawn_local(async move {
            let _ = task.await; // which was aborted, and had the socket
            let _ = closed.send(()); // whoever asked may have gone
        });
    }
}

struct Accepting {
    socket: AsyncFd<TcpListener>,
    state: Arc<ArcSwap<ListenerState>>,
    worker: Rc<Worker>,
    refusing: Rc<Cell<usize>>,
}

/// Where a connection is served.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By the worker that has accepted it.
    Here,
    /// By the idlest one, if that has clearly fewer connections.
    Anywhere,
}

impl Accepting {
    async fn run(self: Rc<Self>) {
        let mut accepted = 0usize;
        loop {
            let mut ready = match self.socket.readable().await {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "accepting has ended");
                    return;
                }
            };
            match self.accept_now() {
                None => ready.clear_ready(),
                Some(Ok((stream, peer))) => self.take(stream, peer, Place::Anywhere),
                Some(Err(error)) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(REST).await;
                }
            }
            accepted += 1;
            if accepted.is_multiple_of(ACCEPTS_MAX) {
                tokio::task::yield_now().await;
            }
        }
    }

    /// The next connection that the system has accepted, ready for a runtime: with one system call, where
    /// the standard library's way takes two.
    fn accept_now(&self) -> Option<io::Result<(TcpStream, SocketAddr)>> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            return match acceptfrom_with(self.socket.get_ref(), flags) {
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

    fn take(&self, stream: TcpStream, peer: SocketAddr, place: Place) {
        let listener = self.state.load_full();
        let handle = match place {
            Place::Here => self.worker.handle(),
            Place::Anywhere => self.server(),
        };
        let Some(slot) = Slot::take(&listener, &handle.load) else {
            self.refuse(stream, peer, &listener);
            return;
        };
        if std::ptr::eq(handle, self.worker.handle()) {
            self.worker.serve(stream, peer, listener, slot);
        } else if let Err(SendError(Task::Serve { stream, peer, listener, slot })) =
            handle.tasks.send(Task::Serve { stream, peer, listener, slot })
        {
            // It has ended just now. That it counts there does not matter any more.
            self.worker.serve(stream, peer, listener, slot);
        }
    }

    /// Who is to serve the next connection.
    fn server(&self) -> &WorkerHandle {
        let own = self.worker.handle();
        // One that has ended would be the idlest of all.
        let living = self.worker.workers().iter().filter(|it| !it.tasks.is_closed());
        let load = |worker: &WorkerHandle| worker.load.load(Ordering::Relaxed);
        match living.map(|it| (load(it), it)).min_by_key(|&(load, _)| load) {
            Some((least, idlest)) if load(own) > least + least / SLACK_SHARE => idlest,
            _ => own,
        }
    }

    /// Answers 503 and gives the client a moment to read it.
    fn refuse(&self, stream: TcpStream, peer: SocketAddr, listener: &ListenerState) {
        let reason = Reason::TooManyConnections;
        self.worker.log(&Record::of_connection(&listener.name, peer, reason, "", Duration::ZERO));
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
    stream.shutdown(Shutdown::Write)?;
    let mut stream = tokio::net::TcpStream::from_std(stream)?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

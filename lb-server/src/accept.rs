//! Accepting connections, on the threads that serve them.
//!
//! A listener is one listening socket for each worker, all on the same address (`SO_REUSEPORT`): the system
//! deals connections out by a hash, and most are served where they were accepted, without waking another
//! thread. A hash is even over many connections and anything but over few, so a worker that has more
//! connections than it should beside the idlest one hands over what it accepts.

use std::{
    cell::Cell,
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use lb_core::{config, reason::Reason};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc::error::SendError, oneshot},
    task::{JoinHandle, spawn_local},
};

use crate::{
    access_log::Record,
    net::{Accepted, Listener, Net, Socket},
    reply::{self, Manner},
    server::{ListenerState, StartError},
    worker::{Slot, Task, Worker, WorkerHandle},
};

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
    sockets: Vec<Socket>,
    address: SocketAddr,
    state: Arc<ArcSwap<ListenerState>>,
}

/// Binds a listener's address for this many workers. `beside_own`: the address may overlap that of another
/// listener of this process, which a reload is about to close.
pub(crate) fn bind(
    net: &Net,
    config: &config::Listener,
    workers: usize,
    beside_own: bool,
) -> Result<Bound, StartError> {
    let bound = net.listen(config.bind, workers, beside_own);
    let (sockets, address) = bound.map_err(|error| StartError::Bind(config.bind, error))?;
    Ok(Bound { sockets, address, state: Arc::new(ArcSwap::new(ListenerState::new(config, None))) })
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
        let begin = |(socket, worker): (Socket, &WorkerHandle)| {
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
        socket: Socket,
        state: Arc<ArcSwap<ListenerState>>,
        worker: &Rc<Worker>,
    ) -> io::Result<Self> {
        let listener = socket.register()?;
        let accepting =
            Rc::new(Accepting { listener, state, worker: Rc::clone(worker), refusing: Rc::default() });
        let task = spawn_local(Rc::clone(&accepting).run());
        Ok(Self { accepting, task })
    }

    pub(crate) fn is_for(&self, state: &Arc<ArcSwap<ListenerState>>) -> bool {
        Arc::ptr_eq(&self.accepting.state, state)
    }

    /// Takes what the system has already accepted, closes the socket, and tells `closed`.
    pub(crate) fn stop(self, closed: oneshot::Sender<()>) {
        let Self { accepting, task } = self;
        while let Some(accepted) = accepting.listener.accept_now() {
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
    listener: Listener,
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
            let mut ready = match self.listener.readable().await {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "accepting has ended");
                    return;
                }
            };
            match self.listener.accept_now() {
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

    fn take(&self, stream: Accepted, peer: SocketAddr, place: Place) {
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
    fn refuse(&self, stream: Accepted, peer: SocketAddr, listener: &ListenerState) {
        let reason = Reason::TooManyConnections;
        self.worker.log(&Record::of_connection(&listener.name, peer, reason, "", Duration::ZERO));
        let reason_header = listener.config.reason_header;
        let answer = reply::raw_reply(
            reason,
            &Manner { reason_header, close: true, ..Manner::default() },
            SystemTime::now(),
        );
        // A client that does not even take this much is not waited for.
        let _ = stream.try_write(&answer);
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
async fn linger(stream: Accepted) -> io::Result<()> {
    let mut stream = stream.register()?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(())
}

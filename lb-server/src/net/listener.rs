//! Listening sockets, and the connections that come out of them.

use std::{
    io::{self, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

#[cfg(feature = "sim")]
use lb_testkit::sim_net;
use rustix::{
    io::Errno,
    net::{SocketFlags, acceptfrom_with},
};
use socket2::{Domain, Protocol, SockRef, Type};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use super::Stream;

/// Connections that wait for being accepted by one worker; the system may keep fewer.
const BACKLOG: i32 = 4096;

/// A socket that listens, not yet known to a runtime.
pub(crate) enum Socket {
    Tcp(TcpListener),
    #[cfg(feature = "sim")]
    Sim(sim_net::Listener),
}

/// A socket that listens, on the thread that accepts from it.
pub(crate) enum Listener {
    Tcp(AsyncFd<TcpListener>),
    #[cfg(feature = "sim")]
    Sim(sim_net::Listener),
}

/// There may be a connection to accept.
pub(crate) enum Ready<'a> {
    Tcp(AsyncFdReadyGuard<'a, TcpListener>),
    #[cfg(feature = "sim")]
    Sim,
}

/// A connection that was accepted, not yet known to the runtime that serves it.
pub(crate) enum Accepted {
    Tcp(TcpStream),
    #[cfg(feature = "sim")]
    Sim(sim_net::Stream),
}

/// Binds an address for this many acceptors.
pub(super) fn listen(
    at: SocketAddr,
    acceptors: usize,
    beside_own: bool,
) -> io::Result<(Vec<Socket>, SocketAddr)> {
    // The first one takes the address only where nobody else has it, another process of ours included.
    // The others share it then.
    let first = listen_once(at, beside_own)?;
    SockRef::from(&first).set_reuse_port(true)?;
    let address = first.local_addr()?;
    let others = (1..acceptors).map(|_| listen_once(address, true));
    let sockets = std::iter::once(Ok(first)).chain(others).map(|socket| socket.map(Socket::Tcp));
    Ok((sockets.collect::<io::Result<_>>()?, address))
}

fn listen_once(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    // Small answers must not wait for an acknowledgement. Accepted sockets take it over.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

impl Socket {
    /// Makes it known to the current thread's runtime.
    pub(crate) fn register(self) -> io::Result<Listener> {
        match self {
            Self::Tcp(socket) => {
                // SAFETY: a TcpListener owns its descriptor, gives out always the same one, and closes it
                // only when it is dropped, which `AsyncFd` does after it has deregistered it.
                #[allow(unsafe_code)]
                let socket = unsafe { AsyncFd::register(socket)? };
                Ok(Listener::Tcp(socket))
            }
            #[cfg(feature = "sim")]
            Self::Sim(listener) => Ok(Listener::Sim(listener)),
        }
    }
}

impl Listener {
    /// Waits until there may be a connection.
    pub(crate) async fn readable(&self) -> io::Result<Ready<'_>> {
        match self {
            Self::Tcp(socket) => socket.readable().await.map(Ready::Tcp),
            #[cfg(feature = "sim")]
            Self::Sim(listener) => {
                std::future::poll_fn(|cx| listener.poll_ready(cx)).await;
                Ok(Ready::Sim)
            }
        }
    }

    /// The next connection that the system has accepted, ready for a runtime: with one system call, where
    /// the standard library's way takes two.
    pub(crate) fn accept_now(&self) -> Option<io::Result<(Accepted, SocketAddr)>> {
        match self {
            Self::Tcp(socket) => accept_tcp(socket.get_ref()),
            #[cfg(feature = "sim")]
            Self::Sim(listener) => {
                listener.try_accept().map(|(stream, peer)| Ok((Accepted::Sim(stream), peer)))
            }
        }
    }
}

fn accept_tcp(socket: &TcpListener) -> Option<io::Result<(Accepted, SocketAddr)>> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    loop {
        return match acceptfrom_with(socket, flags) {
            Err(Errno::AGAIN) => None,
            // The client has left again before it was accepted; or a signal came.
            Err(Errno::CONNABORTED | Errno::INTR) => continue,
            Err(error) => Some(Err(error.into())),
            Ok((socket, peer)) => match peer.and_then(|peer| SocketAddr::try_from(peer).ok()) {
                Some(peer) => Some(Ok((Accepted::Tcp(socket.into()), peer))),
                None => continue, // gone already
            },
        };
    }
}

impl Ready<'_> {
    /// There was none: the next wait is for a new one.
    pub(crate) fn clear_ready(&mut self) {
        match self {
            Self::Tcp(ready) => ready.clear_ready(),
            #[cfg(feature = "sim")]
            Self::Sim => {}
        }
    }
}

impl Accepted {
    /// Writes what fits, without waiting.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write(bytes),
            #[cfg(feature = "sim")]
            Self::Sim(stream) => stream.try_write(bytes),
        }
    }

    /// Makes it known to the current thread's runtime.
    pub(crate) fn register(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => tokio::net::TcpStream::from_std(stream).map(Stream::Tcp),
            #[cfg(feature = "sim")]
            Self::Sim(stream) => Ok(Stream::Sim(stream)),
        }
    }
}

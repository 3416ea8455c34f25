//! What a program on a host can do: listen, connect, look up a name.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr},
    task::{Context, Poll, Waker},
};

use super::{
    Network,
    connection::Side,
    stream::Stream,
    world::{Lookup, World},
};

/// Connections that wait to be accepted by one listener.
const BACKLOG: usize = 1_024;

/// A host's network. Clones are the same host.
#[derive(Clone)]
pub struct Host {
    pub(super) network: Network,
    pub(super) ip: IpAddr,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {}", self.ip)
    }
}

impl Host {
    /// Its address.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// Connects to `to`, however long it takes. Dropped, it gives up.
    ///
    /// # Errors
    /// `ConnectionRefused` when nobody listens there, `ConnectionReset` when it broke meanwhile.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        let number = self.network.with(|world| world.open(self.ip, to));
        let stream = Stream::new(self.network.clone(), number, Side::Client);
        poll_fn(|cx| self.network.with(|world| world.poll_open(self.ip, number, cx))).await?;
        Ok(stream)
    }

    /// Listens on `at`: this host's address or the unspecified one; a port of 0 takes a free one. Several
    /// may listen on one address: each connection comes to one of them, by chance.
    ///
    /// # Errors
    /// `AddrNotAvailable` when the address is another host's.
    pub fn listen(&self, at: SocketAddr) -> io::Result<Listener> {
        let (key, addr) = self.network.with(|world| world.listen(self.ip, at))?;
        Ok(Listener { network: self.network.clone(), key, addr })
    }

    /// The addresses of a name (or of an address written out), with `port`.
    ///
    /// # Errors
    /// `NotFound` when there is no such name.
    pub async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        tokio::time::sleep(self.network.with(World::lookup_takes)).await;
        let known = match self.network.with(|world| world.names.get(name).cloned()) {
            Some(Lookup::Found(ips)) => ips,
            Some(Lookup::Silence) => std::future::pending().await,
            None => Vec::new(),
        };
        let found: Vec<_> =
            known.into_iter().chain(name.parse()).map(|ip| SocketAddr::new(ip, port)).collect();
        if found.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(found) }
    }

    /// A number that nobody can foresee but who knows the seed.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.network.with(World::draw_seed)
    }

    /// Fills `secret` with what nobody can guess but who knows the seed.
    pub fn fill_secret(&self, secret: &mut [u8]) {
        self.network.with(|world| world.fill_secret(secret));
    }

    /// Seconds of the Unix epoch. Every run begins at the same moment of it.
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.network.with(|world| world.unix_seconds())
    }
}

/// Accepts connections. Dropped, it is closed, and who waits to be accepted is reset.
pub struct Listener {
    network: Network,
    key: u64,
    addr: SocketAddr,
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "listener on {}", self.addr)
    }
}

impl Listener {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection, and who opened it.
    pub async fn accept(&self) -> (Stream, SocketAddr) {
        loop {
            poll_fn(|cx| self.poll_ready(cx)).await;
            if let Some(accepted) = self.try_accept() {
                return accepted;
            }
        }
    }

    /// The next connection that waits, and who opened it.
    #[must_use]
    pub fn try_accept(&self) -> Option<(Stream, SocketAddr)> {
        let (number, from) = self.network.with(|world| world.accept(self.key))?;
        Some((Stream::new(self.network.clone(), number, Side::Server), from))
    }

    /// Ready when a connection waits.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.network.with(|world| match world.listeners.get_mut(&self.key) {
            Some(listener) if !listener.queue.is_empty() => Poll::Ready(()),
            Some(listener) => {
                listener.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Pending, // its host is gone
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.network.with(|world| world.stop_listening(self.key));
    }
}

/// A listener's side of the world.
pub(super) struct Accepting {
    pub(super) addr: SocketAddr,
    pub(super) backlog: usize,
    pub(super) queue: VecDeque<u64>,
    pub(super) waker: Option<Waker>,
}

impl Accepting {
    pub(super) fn new(addr: SocketAddr) -> Self {
        Self { addr, backlog: BACKLOG, queue: VecDeque::new(), waker: None }
    }
}

//! The world as the server sees it: listen, connect, resolve, threads, clock, randomness.
//!
//! There are two networks, the system's and (with the feature `sim`) a simulated one, and they are a
//! closed set: [`Net`] and [`Stream`] are enums that without the feature have a single variant, so that
//! the program pays nothing for what only its simulation needs.

mod listener;
mod stream;

use std::{io, net::SocketAddr, thread, time::SystemTime};

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::task::LocalSet;

pub(crate) use self::{
    listener::{Accepted, Listener, Socket},
    stream::{ReadHalf, Stream, WriteHalf},
};
use crate::clock::Clock;

/// A network, and with it the time and the randomness of the world that it belongs to.
#[derive(Clone)]
pub(crate) enum Net {
    System,
    #[cfg(feature = "sim")]
    Sim(lb_testkit::sim_net::Host),
}

impl Net {
    /// Connects to `to`. There is no limit of time but the caller's.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<Stream> {
        match self {
            Self::System => tokio::net::TcpStream::connect(to).await.map(Stream::Tcp),
            #[cfg(feature = "sim")]
            Self::Sim(host) => host.connect(to).await.map(Stream::Sim),
        }
    }

    /// Binds `at` for this many acceptors; gives the address with the port that was taken for port 0.
    /// `beside_own`: the address may overlap that of another listener of this process.
    pub(crate) fn listen(
        &self,
        at: SocketAddr,
        acceptors: usize,
        beside_own: bool,
    ) -> io::Result<(Vec<Socket>, SocketAddr)> {
        match self {
            Self::System => listener::listen(at, acceptors, beside_own),
            #[cfg(feature = "sim")]
            Self::Sim(host) => {
                let first = host.listen(at)?;
                let at = first.addr();
                let others = (1..acceptors).map(|_| host.listen(at));
                let all = std::iter::once(Ok(first)).chain(others).map(|socket| socket.map(Socket::Sim));
                Ok((all.collect::<io::Result<_>>()?, at))
            }
        }
    }

    /// Runs what `make` makes to its end: on a thread of its own with a runtime of its own; in a
    /// simulation beside everything else in the one thread that there is.
    pub(crate) fn spawn<F: Future<Output = ()> + 'static>(
        &self,
        name: String,
        make: impl FnOnce() -> F + Send + 'static,
    ) -> io::Result<()> {
        match self {
            Self::System => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                thread::Builder::new()
                    .name(name)
                    .spawn(move || LocalSet::new().block_on(&runtime, async { make().await }))?;
                Ok(())
            }
            #[cfg(feature = "sim")]
            Self::Sim(_) => {
                // A set of its own: what it has spawned ends with it, as with a thread's runtime.
                tokio::task::spawn_local(async { LocalSet::new().run_until(async { make().await }).await });
                Ok(())
            }
        }
    }

    /// The addresses of a name, in any order.
    pub(crate) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::System => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.resolve(host, port).await,
        }
    }

    /// A clock that starts now. (The runtime's: a simulation pauses it, and nothing else can.)
    pub(crate) fn clock(&self) -> Clock {
        Clock::start()
    }

    /// Seconds of the Unix epoch: what is told to others and comes back, such as when a session ends.
    pub(crate) fn unix_seconds(&self) -> u64 {
        match self {
            Self::System => {
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
            }
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.unix_seconds(),
        }
    }

    /// Fills `secret` with what nobody can guess.
    pub(crate) fn fill_secret(&self, secret: &mut [u8]) -> io::Result<()> {
        match self {
            Self::System => {
                let mut filled = 0;
                while filled < secret.len() {
                    filled += getrandom(&mut secret[filled..], GetRandomFlags::empty())?;
                }
            }
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.fill_secret(secret),
        }
        Ok(())
    }

    /// A seed that nobody chose.
    pub(crate) fn seed(&self) -> u64 {
        match self {
            Self::System => {
                // Entropy of the system, through the standard library's hasher keys.
                use std::hash::{BuildHasher, Hasher};
                std::collections::hash_map::RandomState::new().build_hasher().finish()
            }
            #[cfg(feature = "sim")]
            Self::Sim(sim) => sim.seed(),
        }
    }
}

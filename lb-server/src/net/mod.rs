//! The network as the server sees it: connect, resolve, clock, randomness.
//!
//! There are two networks, the system's and (with the feature `sim`) a simulated one, and they are a
//! closed set: [`Net`] and [`Stream`] are enums that without the feature have a single variant, so that
//! the program pays nothing for what only its simulation needs.

mod stream;

use std::{io, net::SocketAddr};

pub(crate) use self::stream::{ReadHalf, Stream, WriteHalf};
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

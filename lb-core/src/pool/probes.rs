//! Probes: what an algorithm wants to know of endpoints besides what requests tell.

use alloc::string::{String, ToString};
use core::net::SocketAddr;

use super::{EndpointId, Pool};
use crate::time::{Duration, Instant, nanos};

/// A probe to be sent now, to the path that [`Pool::config`] names. Its result goes to
/// [`Pool::on_probe`]; one that was not sent needs none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Whose.
    pub endpoint: EndpointId,
    /// Where to connect.
    pub addr: SocketAddr,
    /// The backend's address as written, for the Host field.
    pub authority: String,
}

/// What an endpoint says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// Requests that it is working on, from wherever they came.
    pub in_flight: u32,
    /// How long requests take at about this load.
    pub latency: Duration,
}

impl Pool {
    /// Whether [`Pool::poll_probe`] has something to give.
    #[must_use]
    pub fn has_probes(&self) -> bool {
        self.tiers.has_probes()
    }

    /// The next probe that is due; call it until it gives none.
    pub fn poll_probe(&mut self) -> Option<Probe> {
        core::iter::from_fn(|| self.tiers.poll_probe()).find_map(|id| {
            let member = self.slab.get(id)?;
            Some(Probe { endpoint: id, addr: member.site.addr, authority: member.written.to_string() })
        })
    }

    /// Takes what came of a probe: none for no answer in time, or none that could be read.
    pub fn on_probe(&mut self, endpoint: EndpointId, answer: Option<ProbeAnswer>, now: Instant) {
        let answer = answer.map(|answer| (answer.in_flight, nanos(answer.latency)));
        self.tiers.on_probe(endpoint, answer, &mut self.prng, now);
    }
}

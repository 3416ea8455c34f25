//! Prequal as it is published, done naively: a pool of probes that a client keeps and chooses by (Wydrowski,
//! Kleinberg, Rumble, Archer, "Load is not what you should balance: Introducing Prequal", NSDI 2024).
//!
//! What the paper leaves open is decided here: the quantile is that of the last 64 answers, the one at the
//! place `floor(63 q)` of them; of equals the faster counts as better and the newer as worse.
//! What a client makes of failures is not part of the rule.

/// What a client is told to do. Counts are for each request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Servers.
    pub servers: usize,
    /// Probes that the pool holds.
    pub pool: usize,
    /// Probes that are sent.
    pub probes: f64,
    /// Probes that are removed, the oldest and the worst in turns.
    pub removals: f64,
    /// The quantile of requests in flight above which a server is hot.
    pub hot_quantile: f64,
    /// How long a probe is good, in nanoseconds.
    pub age: u64,
}

impl Settings {
    /// How often a probe is used: `max(1, (1 + delta) / ((1 - m/n) probes - removals))` with a delta of 1; none
    /// where the pool would lose more than it gains.
    #[must_use]
    pub fn reuse(&self) -> Option<f64> {
        let fresh = 1.0 - self.pool as f64 / self.servers as f64;
        let gain = fresh * self.probes - self.removals;
        (gain > 1e-9).then(|| (2.0 / gain).max(1.0))
    }
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    settings: Settings,
    /// How often each probe may be used.
    uses: u32,
    probes: Vec<Probe>,
    /// Requests in flight of all answers ever, the latest last.
    seen: Vec<u32>,
    requests: u32,
    removed: u32,
}

#[derive(Clone, Debug)]
struct Probe {
    server: usize,
    in_flight: u32,
    latency: u64,
    at: u64,
    uses: u32,
}

impl Client {
    /// A client that uses each probe so often.
    #[must_use]
    pub fn new(settings: Settings, uses: u32) -> Self {
        Self { settings, uses, probes: Vec::new(), seen: Vec::new(), requests: 0, removed: 0 }
    }

    /// A server answered a probe.
    pub fn on_probe(&mut self, server: usize, in_flight: u32, latency: u64, now: u64) {
        self.seen.push(in_flight);
        self.probes.retain(|probe| probe.server != server);
        self.probes.push(Probe { server, in_flight, latency, at: now, uses: self.uses });
        if self.probes.len() > self.settings.pool {
            self.probes.remove(0);
        }
    }

    /// A request comes: the server that takes it, or none if fewer than two probes are good.
    pub fn on_request(&mut self, now: u64) -> Option<usize> {
        self.probes.retain(|probe| now - probe.at < self.settings.age);
        let picked = (self.probes.len() >= 2).then(|| {
            let place = self.best();
            let probe = &mut self.probes[place];
            probe.in_flight += 1;
            probe.uses -= 1;
            let server = probe.server;
            self.probes.retain(|probe| probe.uses > 0);
            server
        });
        self.requests += 1;
        let due = (f64::from(self.requests) * self.settings.removals + 1e-9) as u32;
        while self.removed < due {
            self.removed += 1;
            let place = if self.removed % 2 == 1 { 0 } else { self.worst() };
            if place < self.probes.len() {
                self.probes.remove(place);
            }
        }
        picked
    }

    fn is_hot(&self, probe: &Probe) -> bool {
        let mut latest = self.seen[self.seen.len().saturating_sub(64)..].to_vec();
        latest.sort_unstable();
        probe.in_flight > latest[((latest.len() - 1) as f64 * self.settings.hot_quantile + 1e-9) as usize]
    }

    /// Of the cold the fastest; if all are hot, the one with the fewest in flight.
    fn best(&self) -> usize {
        let rank = |place: &usize| {
            let probe = &self.probes[*place];
            let by = if self.is_hot(probe) {
                (u64::from(probe.in_flight), probe.latency)
            } else {
                (probe.latency, u64::from(probe.in_flight))
            };
            (self.is_hot(probe), by)
        };
        (0..self.probes.len()).min_by_key(rank).unwrap_or(0)
    }

    /// Of the hot the one with the most in flight; if none is hot, the slowest.
    fn worst(&self) -> usize {
        let rank = |place: &usize| {
            let probe = &self.probes[*place];
            if self.is_hot(probe) { (1, u64::from(probe.in_flight)) } else { (0, probe.latency) }
        };
        (0..self.probes.len()).max_by_key(rank).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::close, *};

    fn settings(probes: f64, removals: f64) -> Settings {
        Settings { servers: 100, pool: 16, probes, removals, hot_quantile: 0.84, age: 1_000_000_000 }
    }

    /// The figures of the paper for a hundred servers.
    #[test]
    fn reuse() {
        for (probes, removals, expected) in [(3.0, 1.0, 1.3158), (1.0, 0.25, 3.3898), (0.5, 0.25, 11.7647)] {
            close(settings(probes, removals).reuse().unwrap(), expected, 5e-5);
        }
        assert_eq!(settings(1.0, 1.0).reuse(), None);
    }

    #[test]
    fn the_fastest_of_the_cold_then_the_least_busy() {
        let mut client = Client::new(settings(3.0, 0.0), 9);
        (20..84).for_each(|server| client.on_probe(server, server as u32 % 6, 1, 0));
        let now = 2_000_000_000;
        for (server, in_flight, latency) in [(0, 9, 10), (1, 2, 300), (2, 3, 200)] {
            client.on_probe(server, in_flight, latency, now);
        }
        assert_eq!(client.on_request(now), Some(2), "0 is faster and hot");
        let later = 4_000_000_000;
        client.on_probe(0, 9, 10, later);
        assert_eq!(client.on_request(later), None, "one is not enough");
        client.on_probe(3, 8, 900, later);
        assert_eq!(client.on_request(later), Some(3), "both are hot");
    }
}

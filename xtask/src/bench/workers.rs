//! Two workers beside one: what a request costs then, and how connections are spread over them.

use std::{io, thread, time::Duration};

use super::{
    contender::{Contender, Running, Stage},
    load::{Fleet, Quota},
    measure::{Bench, Series},
    scenario::Scenario,
    sys,
};

const WORKERS: usize = 2;
/// Connections that are looked at for how they are spread.
pub(super) const SPREADS: [usize; 3] = [2, 8, 64];
/// How long a contender may take to close what an earlier count has left.
const CLOSING: Duration = Duration::from_secs(5);

/// One contender.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    /// With one worker, and with two.
    pub(super) one: Series,
    pub(super) two: Series,
    /// Connections of each worker, for each of [`SPREADS`].
    pub(super) spreads: Vec<Vec<usize>>,
}

impl Bench<'_> {
    /// Measures all contenders with one worker and with two, on the same CPUs: all that there are, so that
    /// load and backend are in the way of both.
    pub(super) fn workers(&self) -> Result<Vec<Workers>, String> {
        let scenario = Scenario::Workers2;
        let mut running = Vec::new();
        for contender in self.contenders {
            running.push([self.start(contender, 1)?, self.start(contender, WORKERS)?]);
        }
        let empty = |name: &str| Series { name: name.to_owned(), samples: Vec::new(), peak_kib: 0 };
        let mut found = Vec::new();
        for (contender, proxies) in self.contenders.iter().zip(&running) {
            let spread = |count| {
                let failed = |error| format!("{}: {count} connections: {error}", contender.name);
                self.spread(&proxies[1], count).map_err(failed)
            };
            let spreads = SPREADS.into_iter().map(spread).collect::<Result<_, _>>()?;
            found.push(Workers { one: empty(&contender.name), two: empty(&contender.name), spreads });
            for proxy in proxies {
                self.load(scenario, proxy.address, Duration::from_secs(1))?;
            }
        }
        for round in 0..self.rounds {
            for turn in 0..running.len() {
                let at = (round + turn) % running.len();
                let [one, two] = &running[at];
                found[at].one.samples.push(self.round(scenario, one)?);
                found[at].two.samples.push(self.round(scenario, two)?);
            }
        }
        for (found, [one, two]) in found.iter_mut().zip(&running) {
            (found.one.peak_kib, found.two.peak_kib) = (one.usage().peak_kib, two.usage().peak_kib);
        }
        Ok(found)
    }

    fn start(&self, contender: &Contender, workers: usize) -> Result<Running, String> {
        let stage = self.stage(contender, Scenario::Workers2);
        let dir = stage.dir.with_file_name(format!("{}-{workers}", contender.name));
        Running::start(contender, &Stage { cpus: vec![self.load_cpu, self.proxy_cpu], workers, dir, ..stage })
    }

    /// Opens connections, one after the other, uses each once, and counts where they are.
    fn spread(&self, proxy: &Running, count: usize) -> io::Result<Vec<usize>> {
        let watched = || sys::watched(proxy.pid(), proxy.address.port());
        let until = std::time::Instant::now() + CLOSING;
        while !watched().is_empty() && std::time::Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        let request = Scenario::Workers2.load().request();
        let mut fleet = Fleet::open(proxy.address, count, &request, false)?;
        fleet.run(Quota { in_flight: 1, total: u64::MAX, each: 1, until: None })?;
        let mut counts = watched();
        counts.resize(counts.len().max(WORKERS), 0);
        Ok(counts)
    }
}

//! Memory for each connection that waits.

use std::{io, thread, time::Duration};

use super::{
    contender::{Contender, Running},
    load::{Fleet, Outcome, Quota},
    measure::Bench,
    scenario::Scenario,
    sys,
};

/// How long a contender may take to give memory back.
const SETTLE: Duration = Duration::from_secs(3);
/// Requests on each connection of a burst.
const BURST: u64 = 3;
/// Requests before the first look, so that what is made once is there.
const WARM_UP: u64 = 2000;

/// Resident memory of one contender, in KiB for each connection beyond what it takes without any.
#[derive(Clone, Debug)]
pub(super) struct Idle {
    pub(super) name: String,
    pub(super) connections: usize,
    /// Resident memory without connections, in KiB.
    pub(super) empty_kib: u64,
    pub(super) never_used: f64,
    pub(super) after_one: f64,
    pub(super) after_burst: f64,
    /// Resident memory at its highest, in KiB.
    pub(super) peak_kib: u64,
    pub(super) errors: u64,
}

impl Bench<'_> {
    /// Measures all contenders, one after the other: memory is not disturbed by a noisy machine.
    pub(super) fn idle(&self) -> Result<Vec<Idle>, String> {
        let measure = |contender: &Contender| {
            let proxy = Running::start(contender, &self.stage(contender, Scenario::Idle5000))?;
            self.idle_of(contender, &proxy).map_err(|error| format!("{}: {error}", contender.name))
        };
        self.contenders.iter().map(measure).collect()
    }

    fn idle_of(&self, contender: &Contender, proxy: &Running) -> io::Result<Idle> {
        let count = self.idle_connections;
        let request = Scenario::Idle5000.load().request();
        let open = |connections| Fleet::open(proxy.address, connections, &request, false);
        let settled = || {
            thread::sleep(SETTLE);
            proxy.usage()
        };
        let mut errors = 0;
        let mut run = |fleet: &mut Fleet, in_flight, total, each| -> io::Result<()> {
            let Outcome { errors: failed, .. } = fleet.run(Quota { in_flight, total, each, until: None })?;
            errors += failed;
            Ok(())
        };

        run(&mut open(8)?, 8, WARM_UP, u64::MAX)?;
        let empty = settled().resident_kib;
        let each = |resident: u64| (resident as f64 - empty as f64) / count as f64;
        let mut fleet = open(count)?;
        let never_used = each(settled().resident_kib);
        run(&mut fleet, 8, u64::MAX, 1)?;
        let after_one = each(settled().resident_kib);
        run(&mut fleet, count, u64::MAX, BURST)?;
        let last = settled();
        Ok(Idle {
            name: contender.name.clone(),
            connections: count,
            empty_kib: empty,
            never_used,
            after_one,
            after_burst: each(last.resident_kib),
            peak_kib: last.peak_kib,
            errors,
        })
    }
}

/// Raises the limit on open files to what this scenario takes: its own connections, and those of the
/// backend in the same process.
pub(super) fn files_for(connections: usize) -> Result<(), String> {
    let wanted = 3 * connections as u64 + 1000;
    let limit = sys::raise_files(wanted.max(20_000));
    if limit < wanted {
        return Err(format!("{wanted} open files are needed, but only {limit} are allowed (ulimit -n)"));
    }
    Ok(())
}

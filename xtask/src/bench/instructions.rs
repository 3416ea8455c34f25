//! User instructions for each request, counted by callgrind: the figure that repeats.
//!
//! A run with N requests and one with 2N are subtracted, so that what starting and ending cost drops out.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    contender::{Contender, Running, Stage},
    load::{Fleet, Quota},
    measure::Bench,
    scenario::Scenario,
};

const REQUESTS: u64 = 10_000;
/// In both runs, before anything is subtracted: pools fill, buffers grow.
const WARM_UP: u64 = 1000;
/// How far a count may be over its budget.
pub(super) const TOLERANCE: f64 = 0.05;

/// What is counted, for the budget as well.
pub(super) const COUNTED: [Scenario; 4] =
    [Scenario::Small64, Scenario::Body16k, Scenario::Close, Scenario::Everything];

impl Bench<'_> {
    /// User instructions of `contender` for each request of `scenario`.
    pub(super) fn instructions(&self, contender: &Contender, scenario: Scenario) -> Result<f64, String> {
        let once = self.count(contender, scenario, REQUESTS)?;
        let twice = self.count(contender, scenario, 2 * REQUESTS)?;
        Ok((twice as f64 - once as f64) / REQUESTS as f64)
    }

    /// Where callgrind writes its counts.
    pub(super) fn counts_of(&self, contender: &Contender, scenario: Scenario) -> PathBuf {
        self.dir.with_file_name("callgrind").join(format!("{}-{}", contender.name, scenario.name()))
    }

    /// All user instructions of a run with `requests` requests.
    fn count(&self, contender: &Contender, scenario: Scenario, requests: u64) -> Result<u64, String> {
        let fail = |error| format!("{}, {}: {error}", contender.name, scenario.name());
        let stage = self.stage(contender, scenario);
        // They stay, for callgrind_annotate.
        let counts = self.counts_of(contender, scenario);
        let _ = fs::remove_dir_all(&counts);
        // The workers of nginx write there as another user.
        let everyone = Permissions::from_mode(0o777);
        fs::create_dir_all(&counts)
            .and_then(|()| fs::set_permissions(&counts, everyone))
            .map_err(|error| fail(error.to_string()))?;
        let out = format!("--callgrind-out-file={}/%p.out", counts.display());
        let under = ["valgrind", "--tool=callgrind", "--error-limit=no", "--quiet", &out].map(str::to_owned);
        let mut proxy = Running::start(contender, &Stage { under: &under, ..stage })?;
        let load = scenario.load();
        let send = |total| {
            let mut fleet = Fleet::open(proxy.address, load.connections, &load.request(), load.close)?;
            fleet.run(Quota { in_flight: load.connections, total, each: u64::MAX, until: None })
        };
        for total in [WARM_UP, requests] {
            let outcome = send(total).map_err(|error| fail(error.to_string()))?;
            if outcome.completed != total {
                return Err(fail(format!("{} of {total} requests failed", outcome.errors)));
            }
        }
        proxy.end();
        total(&counts).ok_or_else(|| fail("callgrind wrote no counts".into()))
    }
}

/// The sum over all processes of a run.
fn total(dir: &Path) -> Option<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let text = String::from_utf8_lossy(&fs::read(entry.path()).ok()?).into_owned();
        let totals = text.lines().rev().find_map(|line| line.strip_prefix("totals: "));
        sum += totals.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Some(sum).filter(|&sum| sum > 0)
}

/// Instructions for each request by scenario.
pub(super) type Budget = BTreeMap<String, u64>;

const PREFACE: &str = "\
# User instructions of lb for each request, counted by `cargo xtask bench --instructions`, which writes
# this file. With --check it compares instead, and fails where a count is over by more than 5 %.
";

pub(super) fn write_budget(budget: &Budget) -> String {
    let lines = budget.iter().map(|(name, count)| format!("{name} {count}\n"));
    PREFACE.chars().chain(lines.collect::<String>().chars()).collect()
}

pub(super) fn read_budget(text: &str) -> Result<Budget, String> {
    let lines = text.lines().zip(1..).filter(|(line, _)| !line.starts_with('#') && !line.trim().is_empty());
    lines
        .map(|(line, number)| {
            let (name, count) = line.split_once(' ').unwrap_or((line, ""));
            let count = count.trim().parse();
            count.map(|count| (name.to_owned(), count)).map_err(|_| format!("line {number}: {line:?}"))
        })
        .collect()
}

/// What is wrong with these counts by this budget; empty if nothing is.
pub(super) fn over_budget(counted: &Budget, budget: &Budget) -> Vec<String> {
    let judge = |(name, &count): (&String, &u64)| match budget.get(name) {
        None => Some(format!("{name}: no budget is recorded")),
        Some(&allowed) if count as f64 > allowed as f64 * (1.0 + TOLERANCE) => {
            let percent = (count as f64 / allowed as f64 - 1.0) * 100.0;
            Some(format!("{name}: {count} instructions for each request, {percent:.1} % over {allowed}"))
        }
        Some(_) => None,
    };
    counted.iter().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_written_read_and_held() {
        let budget = Budget::from([("small64".to_owned(), 20_000), ("close".to_owned(), 90_000)]);
        assert_eq!(read_budget(&write_budget(&budget)).unwrap(), budget);
        assert!(read_budget("small64 many\n").is_err());
        let counted = |count| Budget::from([("small64".to_owned(), count)]);
        assert_eq!(over_budget(&counted(20_999), &budget), Vec::<String>::new());
        assert_eq!(over_budget(&counted(21_100), &budget).len(), 1);
        assert_eq!(over_budget(&Budget::from([("new".to_owned(), 1)]), &budget).len(), 1);
    }
}

//! The options of algorithms.

use alloc::format;

use crate::config::{
    Algorithm, HashKey, Pool, bounds, check,
    key::Path,
    report::{Finding, Report},
    validate::{duration, integer, text},
};
use crate::limits;

pub(super) fn options(report: &Report, path: &Path, pool: &Pool) {
    hash(report, &path.name("hash").name("name"), &pool.hash);
    integer(report, &path.name("p2c").name("choices"), pool.p2c.choices, &bounds::CHOICES);
    let (ewma, section) = (&pool.peak_ewma, path.name("peak_ewma"));
    integer(report, &section.name("choices"), ewma.choices, &bounds::CHOICES);
    duration(report, &section.name("decay"), ewma.decay, &bounds::INTERVAL);
    duration(report, &section.name("error_latency"), ewma.error_latency, &bounds::TIMEOUT);
    duration(report, &section.name("reprobe"), ewma.reprobe, &bounds::INTERVAL);
    let section = path.name("ring_hash");
    integer(report, &section.name("points"), pool.ring_hash.points, &bounds::RING_POINTS);
    balance_factor(report, &section, pool.ring_hash.balance_factor);
    let section = path.name("maglev");
    table_size(report, &section.name("table_size"), pool);
    balance_factor(report, &section, pool.maglev.balance_factor);
}

fn hash(report: &Report, path: &Path, key: &HashKey) {
    match key {
        HashKey::Client | HashKey::Path => {}
        HashKey::Header(name) => text(report, path, name, check::header_name),
        HashKey::Cookie(name) => text(report, path, name, check::cookie_name),
        HashKey::Query(name) => text(report, path, name, check::name),
    }
}

fn balance_factor(report: &Report, section: &Path, percent: Option<u32>) {
    if let Some(percent) = percent {
        integer(report, &section.name("balance_factor"), percent, &bounds::BALANCE_PERCENT);
    }
}

/// A table that is not of prime size would leave entries out of some backends' reach.
fn table_size(report: &Report, path: &Path, pool: &Pool) {
    let size = pool.maglev.table_size;
    integer(report, path, size, &bounds::MAGLEV_ENTRIES);
    if !bounds::MAGLEV_ENTRIES.contains(&size) {
        return;
    }
    if !is_prime(size) {
        let next = (size..).find(|&number| is_prime(number)).unwrap_or(limits::MAGLEV_ENTRIES_MAX);
        report.add(Finding::new(path.clone(), format!("{size}"), format!("a prime, such as {next}")));
    } else if pool.algorithm == Algorithm::Maglev && (size as usize) < pool.backends.len() {
        let expected = format!("at least one entry for each of the {} backends", pool.backends.len());
        report.add(Finding::new(path.clone(), format!("{size}"), expected));
    }
}

fn is_prime(number: u32) -> bool {
    number >= 2
        && (2..)
            .take_while(|divisor: &u32| divisor * divisor <= number)
            .all(|divisor| !number.is_multiple_of(divisor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primes() {
        let primes: alloc::vec::Vec<u32> = (0..30).filter(|&number| is_prime(number)).collect();
        assert_eq!(primes, [2, 3, 5, 7, 11, 13, 17, 19, 23, 29]);
        assert!(is_prime(65_537) && is_prime(crate::limits::MAGLEV_ENTRIES_MAX) && !is_prime(65_536));
    }
}

//! Whether the values of a configuration are right by themselves and make sense together.
//!
//! What a file can get wrong only as a file (types, unknown keys) is `parse`'s to say.

mod pool;
mod resilience;
mod route;

use alloc::{collections::BTreeMap, format, vec::Vec};
use core::{fmt::Display, net::IpAddr, time::Duration};

use super::{
    Config, Listener, Problems, Valid,
    bounds::{self, Range},
    key::{Path, quoted},
    report::{Finding, Report},
    values::{Wrong, duration_text, size_text},
};
use crate::limits::{LISTENERS_MAX, POOLS_MAX, ROUTES_MAX};

impl Config {
    /// Checks a configuration that was built in code, and brings it into its normal form: lower case
    /// where case means nothing, networks without bits of the host.
    ///
    /// # Errors
    /// All problems at once, by key path; they have no positions.
    pub fn validate(mut self) -> Result<Valid, Problems> {
        self.normalise();
        let report = Report::default();
        config(&self, &report);
        match report.into_problems([].into(), None) {
            Some(problems) => Err(problems),
            None => Ok(Valid(self)),
        }
    }
}

pub(super) fn config(config: &Config, report: &Report) {
    let root = Path::root();
    if let Some(workers) = config.workers {
        integer(report, &root.name("workers"), workers, &bounds::WORKERS);
    }
    duration(report, &root.name("shutdown_timeout"), config.shutdown_timeout.0, &bounds::DELAY);
    let log = &config.access_log.path;
    if log.is_empty() || log.contains('\0') {
        let expected = r#"the name of a file, or "-" for standard output"#;
        report.add(Finding::new(root.name("access_log").name("path"), quoted(log), expected));
    }
    route::firewall(report, &root.name("firewall"), &config.firewall);
    listeners(report, &root.name("listener"), &config.listeners);
    pool::pools(report, &root.name("pool"), config);
    route::routes(report, &root.name("route"), config);
    at_most(report, &root.name("listener"), config.listeners.len(), LISTENERS_MAX);
    at_most(report, &root.name("pool"), config.pools.len(), POOLS_MAX);
    at_most(report, &root.name("route"), config.routes.len(), ROUTES_MAX);
}

fn listeners(report: &Report, path: &Path, listeners: &[Listener]) {
    if listeners.is_empty() {
        report
            .add(Finding::absent(path.clone(), r#"at least one section [[listener]] with bind = "IP:port""#));
    }
    let mut by_port: BTreeMap<u16, Vec<(IpAddr, Path)>> = BTreeMap::new();
    for (index, listener) in listeners.iter().enumerate().take(LISTENERS_MAX) {
        let path = path.index(index);
        let (address, bind) = (listener.bind, path.name("bind"));
        let earlier = by_port.entry(address.port()).or_default();
        let taken = earlier.iter().find(|(ip, _)| overlap(*ip, address.ip()));
        // Port 0 is a free port, another one each time.
        if let Some((ip, first)) = taken.filter(|_| address.port() != 0) {
            let text = quoted(&format!("{address}"));
            let (found, expected) = match *ip == address.ip() {
                true => (format!("{text} again"), "an address and port of its own"),
                false => (
                    format!("{text}, whose connections another listener takes as well"),
                    "an address and port of its own; 0.0.0.0 stands for all of IPv4, [::] for all addresses",
                ),
            };
            report.add(Finding::new(bind.clone(), found, expected).first_in(first.clone()));
        }
        earlier.push((address.ip(), bind));
        self::listener(report, &path, listener);
    }
}

impl Listener {
    /// Whether there are connections that could go to both of these listeners.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.bind.port() == other.bind.port()
            && self.bind.port() != 0
            && overlap(self.bind.ip(), other.bind.ip())
    }
}

/// Whether connections to one and the same address could go to listeners on both of these. The unspecified
/// address of IPv6 takes IPv4 as well, as Linux has it unless it is told otherwise.
fn overlap(a: IpAddr, b: IpAddr) -> bool {
    let takes = |all: IpAddr, one: IpAddr| match all {
        IpAddr::V4(all) => all.is_unspecified() && one.is_ipv4(),
        IpAddr::V6(all) => all.is_unspecified(),
    };
    let (a, b) = (a.to_canonical(), b.to_canonical());
    a == b || takes(a, b) || takes(b, a)
}

fn listener(report: &Report, path: &Path, listener: &Listener) {
    let timeouts = path.name("timeouts");
    duration(report, &timeouts.name("request_head"), listener.timeouts.request_head, &bounds::TIMEOUT);
    duration(report, &timeouts.name("body_idle"), listener.timeouts.body_idle, &bounds::TIMEOUT);
    duration(report, &timeouts.name("keep_alive"), listener.timeouts.keep_alive, &bounds::TIMEOUT);
    let limits = path.name("limits");
    size(report, &limits.name("request_head"), listener.limits.request_head, &bounds::HEAD_SIZE);
    integer(report, &limits.name("headers"), listener.limits.headers, &bounds::HEADER_FIELDS);
    size(report, &limits.name("uri"), listener.limits.uri, &bounds::URI_SIZE);
    size(report, &limits.name("body"), listener.limits.body, &bounds::BODY_SIZE);
    integer(report, &limits.name("connections"), listener.limits.connections, &bounds::COUNT);
}

fn integer<T: PartialOrd + Display>(report: &Report, path: &Path, value: T, range: &Range<T>) {
    if !range.contains(&value) {
        report.add(Finding::new(path.clone(), format!("{value}"), bounds::integer(range)));
    }
}

fn duration(report: &Report, path: &Path, value: Duration, range: &Range<Duration>) {
    if !range.contains(&value) {
        report.add(Finding::new(path.clone(), duration_text(value), bounds::duration(range)));
    }
}

fn size(report: &Report, path: &Path, value: u64, range: &Range<u64>) {
    if !range.contains(&value) {
        report.add(Finding::new(path.clone(), size_text(value), bounds::size(range)));
    }
}

/// Reports `value` when `check` does not take it.
fn text(report: &Report, path: &Path, value: &str, check: fn(&str) -> Result<(), Wrong>) {
    report.add_all(wrong(path, value, check));
}

/// The same for the last name of `path` itself, which `value` is.
fn key(report: &Report, path: &Path, value: &str, check: fn(&str) -> Result<(), Wrong>) {
    report.add_all(wrong(path, value, check).map(Finding::at_key));
}

fn wrong(path: &Path, value: &str, check: fn(&str) -> Result<(), Wrong>) -> Option<Finding> {
    let wrong = check(value).err()?;
    Some(Finding::new(path.clone(), quoted(value), wrong.expected).nearest(wrong.nearest))
}

fn at_most(report: &Report, path: &Path, count: usize, most: usize) {
    if count > most {
        report.add(Finding::new(path.clone(), format!("{count} entries"), format!("at most {most}")));
    }
}

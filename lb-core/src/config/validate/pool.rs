//! Pools: backends, checks, ejection, retries.

mod algorithm;

use alloc::{collections::BTreeMap, format, string::ToString};

use super::{at_most, duration, integer, key, resilience, text};
use crate::{
    config::{
        Backend, BackendAddress, Config, HealthCheck, Pool, bounds, check,
        key::{Path, quoted},
        report::{Finding, Report},
        values::is_host_name,
    },
    limits::BACKENDS_PER_POOL_MAX,
};

pub(super) fn pools(report: &Report, path: &Path, config: &Config) {
    for (name, pool) in &config.pools {
        let path = path.name(name);
        key(report, &path, name, check::name);
        self::pool(report, &path, pool);
    }
}

fn pool(report: &Report, path: &Path, pool: &Pool) {
    backends(report, &path.name("backends"), &pool.backends);
    algorithm::options(report, path, pool);
    let timeouts = path.name("timeouts");
    duration(report, &timeouts.name("connect"), pool.timeouts.connect, &bounds::TIMEOUT);
    duration(report, &timeouts.name("response_head"), pool.timeouts.response_head, &bounds::TIMEOUT);
    duration(report, &timeouts.name("body_idle"), pool.timeouts.body_idle, &bounds::TIMEOUT);
    duration(report, &timeouts.name("keep_alive"), pool.timeouts.keep_alive, &bounds::TIMEOUT);
    let limits = path.name("limits");
    integer(report, &limits.name("pending"), pool.limits.pending, &bounds::COUNT);
    integer(report, &limits.name("idle_connections"), pool.limits.idle_connections, &bounds::COUNT_OR_NONE);
    duration(report, &path.name("resolve_interval"), pool.resolve_interval, &bounds::INTERVAL);
    if let Some(check) = &pool.health_check {
        health_check(report, &path.name("health_check"), check);
    }
    resilience::pool(report, path, pool);
}

fn backends(report: &Report, path: &Path, backends: &[Backend]) {
    if backends.is_empty() {
        report.add(Finding::new(path.clone(), "no backends", "at least one"));
    }
    at_most(report, path, backends.len(), BACKENDS_PER_POOL_MAX);
    let (mut addresses, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (index, backend) in backends.iter().enumerate() {
        let path = path.index(index);
        let address = address_text(&backend.address);
        if !is_address(&backend.address) {
            let expected = "IP:port or host:port, with a port from 1 to 65535";
            report.add(Finding::new(path.name("address"), quoted(&address), expected));
        }
        if let Some(first) = addresses.insert(address.clone(), path.clone()) {
            let again = format!("{} again", quoted(&address));
            report.add(
                Finding::new(path, again, "each address once; a weight gives it a larger share")
                    .first_in(first),
            );
            continue;
        }
        text(report, &path.name("name"), &backend.name, check::name);
        if let Some(first) = names.insert(&backend.name, path.clone()) {
            let again = format!("{} again", quoted(&backend.name));
            report.add(Finding::new(path.name("name"), again, "a name of its own").first_in(first));
        }
        integer(report, &path.name("weight"), backend.weight, &bounds::WEIGHT);
        integer(report, &path.name("priority"), backend.priority, &bounds::PRIORITY);
        if let Some(max) = backend.max_in_flight {
            integer(report, &path.name("max_in_flight"), max, &bounds::COUNT_OR_NONE);
        }
    }
}

fn address_text(address: &BackendAddress) -> alloc::string::String {
    match address {
        BackendAddress::Ip(address) => address.to_string(),
        BackendAddress::Name { host, port } => format!("{host}:{port}"),
    }
}

fn is_address(address: &BackendAddress) -> bool {
    match address {
        BackendAddress::Ip(address) => address.port() != 0,
        BackendAddress::Name { host, port } => *port != 0 && is_host_name(host),
    }
}

fn health_check(report: &Report, path: &Path, health: &HealthCheck) {
    text(report, &path.name("path"), &health.path, check::target);
    duration(report, &path.name("interval"), health.interval, &bounds::INTERVAL);
    integer(report, &path.name("jitter_percent"), health.jitter_percent, &bounds::PERCENT);
    duration(report, &path.name("timeout"), health.timeout, &bounds::TIMEOUT);
    integer(report, &path.name("rise"), health.rise, &bounds::COUNT);
    integer(report, &path.name("fall"), health.fall, &bounds::COUNT);
    if let Some(host) = &health.host {
        text(report, &path.name("host"), host, check::host_sent);
    }
    let statuses = path.name("expect_status");
    if health.expect_status.is_empty() {
        report.add(Finding::new(statuses.clone(), "no status", "at least one, or no check ever passes"));
    }
    for (index, range) in health.expect_status.iter().enumerate() {
        if range.first > range.last
            || !bounds::STATUS.contains(&range.first)
            || !bounds::STATUS.contains(&range.last)
        {
            let found = format!("{}-{}", range.first, range.last);
            let expected = "a range of statuses from 100 to 599, the lower one first";
            report.add(Finding::new(statuses.index(index), quoted(&found), expected));
        }
    }
}

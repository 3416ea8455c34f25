//! `[pool.NAME]` and what stands in it.

mod algorithm;

use alloc::format;

use super::resilience;
use crate::config::{
    AdminState, Backend, HealthCheck, InitialHealth, Outlier, Pool, PoolLimits, PoolTimeouts, StatusRange,
    bounds,
    read::{Node, Placeholder},
    values,
};

const STATES: [(&str, AdminState); 3] =
    [("ready", AdminState::Ready), ("drain", AdminState::Drain), ("maint", AdminState::Maint)];
const INITIAL: [(&str, InitialHealth); 2] = [("up", InitialHealth::Up), ("down", InitialHealth::Down)];
const BACKENDS: &str = r#"an array of addresses, such as backends = ["10.0.0.1:8080", "10.0.0.2:8080"]"#;

pub(super) fn pool(name: &str, node: &Node<'_>) -> Pool {
    let mut pool = Pool::default();
    let Some(mut table) = node.table(&format!("a section that begins with [pool.{name}]")) else {
        return pool;
    };
    algorithm::read(&mut table, &mut pool);
    if let Some(node) = table.required("backends", BACKENDS) {
        pool.backends = node.list(BACKENDS, backend).unwrap_or_default();
    }
    table.set("timeouts", &mut pool.timeouts, timeouts);
    table.set("limits", &mut pool.limits, limits);
    table.set("health_check", &mut pool.health_check, |node| Some(Some(health_check(node)?)));
    table.set("outlier", &mut pool.outlier, outlier);
    table.set("retry", &mut pool.retry, resilience::retry);
    table.set("slow_start", &mut pool.slow_start, resilience::slow_start);
    table.set("max_in_flight", &mut pool.max_in_flight, |node| node.integer(&bounds::COUNT_OR_NONE));
    table.set("queue", &mut pool.queue, resilience::queue);
    table.set("overprovisioning_percent", &mut pool.overprovisioning_percent, |node| {
        node.integer(&bounds::OVERPROVISIONING)
    });
    table.set("panic_percent", &mut pool.panic_percent, |node| node.integer(&bounds::PERCENT));
    table.set("concurrency", &mut pool.concurrency, |node| Some(Some(resilience::concurrency(node)?)));
    table.set("sticky", &mut pool.sticky, |node| Some(Some(resilience::sticky(node)?)));
    table.set("resolve_interval", &mut pool.resolve_interval, |node| node.duration(&bounds::INTERVAL));
    table.finish();
    pool
}

fn backend(node: &Node<'_>) -> Option<Backend> {
    if node.as_str().is_some() {
        return Some(Backend::at(node.parsed(values::backend)?, node.as_str()?));
    }
    let mut table = node
        .table(r#"an address such as "10.0.0.1:8080", or a table such as { address = "...", weight = 2 }"#)?;
    let address = table.required("address", r#"an address, such as address = "10.0.0.1:8080""#);
    let written = address.as_ref().and_then(Node::as_str).unwrap_or("?");
    let address = address.as_ref().and_then(|node| node.parsed(values::backend));
    let mut backend = address.map_or_else(Backend::placeholder, |address| Backend::at(address, written));
    table.set("name", &mut backend.name, |node| node.string("a name"));
    table.set("weight", &mut backend.weight, |node| node.integer(&bounds::WEIGHT));
    table.set("priority", &mut backend.priority, |node| node.integer(&bounds::PRIORITY));
    table.set("max_in_flight", &mut backend.max_in_flight, |node| {
        node.integer(&bounds::COUNT_OR_NONE).map(Some)
    });
    table.set("state", &mut backend.state, |node| node.word(&STATES));
    table.finish();
    Some(backend)
}

fn timeouts(node: &Node<'_>) -> Option<PoolTimeouts> {
    let mut table = node.table("a table: timeouts = { ... }")?;
    let mut timeouts = PoolTimeouts::default();
    table.set("connect", &mut timeouts.connect, |node| node.duration(&bounds::TIMEOUT));
    table.set("response_head", &mut timeouts.response_head, |node| node.duration(&bounds::TIMEOUT));
    table.set("body_idle", &mut timeouts.body_idle, |node| node.duration(&bounds::TIMEOUT));
    table.set("keep_alive", &mut timeouts.keep_alive, |node| node.duration(&bounds::TIMEOUT));
    table.finish();
    Some(timeouts)
}

fn limits(node: &Node<'_>) -> Option<PoolLimits> {
    let mut table = node.table("a table: limits = { ... }")?;
    let mut limits = PoolLimits::default();
    table.set("pending", &mut limits.pending, |node| node.integer(&bounds::COUNT));
    table.set("idle_connections", &mut limits.idle_connections, |node| node.integer(&bounds::COUNT_OR_NONE));
    table.finish();
    Some(limits)
}

fn health_check(node: &Node<'_>) -> Option<HealthCheck> {
    let mut table = node.table("a table: [pool.NAME.health_check]")?;
    let mut check = HealthCheck::default();
    table.set("path", &mut check.path, |node| node.string(r#"a path, such as "/health""#));
    table.set("interval", &mut check.interval, |node| node.duration(&bounds::INTERVAL));
    table.set("jitter_percent", &mut check.jitter_percent, |node| node.integer(&bounds::PERCENT));
    table.set("timeout", &mut check.timeout, |node| node.duration(&bounds::TIMEOUT));
    table.set("rise", &mut check.rise, |node| node.integer(&bounds::COUNT));
    table.set("fall", &mut check.fall, |node| node.integer(&bounds::COUNT));
    table.set("expect_status", &mut check.expect_status, |node| {
        node.list(r#"an array of statuses, such as [200, "300-399"]"#, statuses)
    });
    table.set("host", &mut check.host, |node| node.string("a host").map(Some));
    table.set("initial", &mut check.initial, |node| node.word(&INITIAL));
    table.finish();
    Some(check)
}

fn statuses(node: &Node<'_>) -> Option<StatusRange> {
    if node.as_str().is_some() {
        return node.parsed(values::statuses);
    }
    node.integer(&bounds::STATUS).map(|status| StatusRange { first: status, last: status })
}

fn outlier(node: &Node<'_>) -> Option<Outlier> {
    let mut table = node.table("a table: [pool.NAME.outlier]")?;
    let mut outlier = Outlier::default();
    table.set("consecutive_failures", &mut outlier.consecutive_failures, |node| {
        node.integer(&bounds::COUNT_OR_NONE)
    });
    table.set("base_ejection", &mut outlier.base_ejection, |node| node.duration(&bounds::TIMEOUT));
    table.set("max_ejection", &mut outlier.max_ejection, |node| node.duration(&bounds::TIMEOUT));
    table.set("max_ejected_percent", &mut outlier.max_ejected_percent, |node| node.integer(&bounds::PERCENT));
    table.set("interval", &mut outlier.interval, |node| node.duration(&bounds::INTERVAL));
    table.set("min_requests", &mut outlier.min_requests, |node| node.integer(&bounds::COUNT));
    table.set("min_backends", &mut outlier.min_backends, |node| node.integer(&bounds::COUNT));
    table.set("success_rate", &mut outlier.success_rate, |node| Some(Some(resilience::success_rate(node)?)));
    table.set("robust", &mut outlier.robust, |node| Some(Some(resilience::robust(node)?)));
    table.finish();
    Some(outlier)
}

//! Of `[pool.NAME]`: retries, queues, slow start, the comparison of success rates, adaptive limits and
//! sticky sessions.

use alloc::format;

use crate::config::{
    Concurrency, FundedBy, KeySource, Queue, Retry, Robust, Secret, SlowStart, Sticky, SuccessRate, bounds,
    read::Node, report::Finding,
};

const FUNDED_BY: [(&str, FundedBy); 2] =
    [("requests", FundedBy::Requests), ("successes", FundedBy::Successes)];

pub(super) fn retry(node: &Node<'_>) -> Option<Retry> {
    let mut table = node.table("a table: [pool.NAME.retry]")?;
    let mut retry = Retry::default();
    table.set("tries", &mut retry.tries, |node| node.integer(&bounds::TRIES));
    table.set("funded_by", &mut retry.funded_by, |node| node.word(&FUNDED_BY));
    table.set("budget_percent", &mut retry.budget_percent, |node| node.integer(&bounds::PERCENT));
    table.set("budget_floor", &mut retry.budget_floor, |node| node.integer(&bounds::COUNT_OR_NONE));
    table.set("on_status", &mut retry.on_status, |node| {
        let status = |item: &Node<'_>| item.integer(&bounds::SERVER_ERROR);
        node.list("an array of statuses, such as [502, 503]", status)
    });
    table.finish();
    Some(retry)
}

pub(super) fn slow_start(node: &Node<'_>) -> Option<SlowStart> {
    let mut start = SlowStart::default();
    if !node.is_table() {
        start.window = node.duration(&bounds::DELAY)?;
        return Some(start);
    }
    let mut table = node.table("a table: slow_start = { ... }")?;
    table.set("window", &mut start.window, |node| node.duration(&bounds::DELAY));
    table.set("aggression_percent", &mut start.aggression_percent, |node| node.integer(&bounds::FACTOR));
    table.set("min_weight_percent", &mut start.min_weight_percent, |node| {
        node.integer(&bounds::PERCENT_NOT_NONE)
    });
    table.finish();
    Some(start)
}

pub(super) fn queue(node: &Node<'_>) -> Option<Queue> {
    let mut table = node.table("a table: queue = { ... }")?;
    let mut queue = Queue::default();
    table.set("length", &mut queue.length, |node| node.integer(&bounds::COUNT_OR_NONE));
    table.set("timeout", &mut queue.timeout, |node| node.duration(&bounds::TIMEOUT));
    table.finish();
    Some(queue)
}

pub(super) fn success_rate(node: &Node<'_>) -> Option<SuccessRate> {
    let mut table = node.table("a table: [pool.NAME.outlier.success_rate]")?;
    let mut rate = SuccessRate::default();
    table.set("factor_percent", &mut rate.factor_percent, |node| node.integer(&bounds::FACTOR));
    table.finish();
    Some(rate)
}

pub(super) fn robust(node: &Node<'_>) -> Option<Robust> {
    let mut table = node.table("a table: [pool.NAME.outlier.robust]")?;
    let mut robust = Robust::default();
    table.set("factor_percent", &mut robust.factor_percent, |node| node.integer(&bounds::FACTOR));
    table.set("floor_percent", &mut robust.floor_percent, |node| node.integer(&bounds::PERCENT_NOT_NONE));
    table.finish();
    Some(robust)
}

pub(super) fn concurrency(node: &Node<'_>) -> Option<Concurrency> {
    let mut table = node.table("a table: [pool.NAME.concurrency]")?;
    let mut limit = Concurrency::default();
    table.set("min", &mut limit.min, |node| node.integer(&bounds::COUNT));
    table.set("max", &mut limit.max, |node| node.integer(&bounds::COUNT));
    table.set("buffer_percent", &mut limit.buffer_percent, |node| node.integer(&bounds::PERCENT));
    table.set("window", &mut limit.window, |node| node.duration(&bounds::INTERVAL));
    table.set("min_latency_interval", &mut limit.min_latency_interval, |node| {
        node.duration(&bounds::INTERVAL)
    });
    table.set("min_latency_requests", &mut limit.min_latency_requests, |node| node.integer(&bounds::COUNT));
    table.set("jitter_percent", &mut limit.jitter_percent, |node| node.integer(&bounds::PERCENT));
    table.finish();
    Some(limit)
}

pub(super) fn sticky(node: &Node<'_>) -> Option<Sticky> {
    let mut table = node.table("a table: [pool.NAME.sticky]")?;
    let mut sticky = Sticky::default();
    table.set("cookie", &mut sticky.cookie, |node| node.string(r#"a name, such as "lb_session""#));
    table.set("ttl", &mut sticky.ttl, |node| node.duration(&bounds::SESSION));
    table.set("secure", &mut sticky.secure, Node::boolean);
    for (name, expected) in [
        ("secret", "a text in quotes"),
        ("secret_file", "a file's name"),
        ("secret_env", "a variable's name"),
    ] {
        let Some(node) = table.get(name) else { continue };
        if sticky.key.is_some() {
            let found = format!("{name} next to another key");
            let expected = "one of secret, secret_file, secret_env";
            node.report(Finding::new(node.path.clone(), found, expected).at_key());
        }
        let key = node.string(expected).map(|text| match name {
            "secret" => KeySource::Text(Secret(text)),
            "secret_file" => KeySource::File(text),
            _ => KeySource::Env(text),
        });
        sticky.key = key.or(sticky.key);
    }
    table.finish();
    Some(sticky)
}

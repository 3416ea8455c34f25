//! Retries, queues, slow start, outliers, adaptive limits and sticky sessions.

use alloc::{format, string::ToString};

use super::{duration, integer, text};
use crate::{
    config::{
        Concurrency, KeySource, Outlier, Pool, Retry, SlowStart, Sticky, bounds, check,
        key::{Path, quoted},
        report::{Finding, Report},
        values::duration_text,
    },
    limits::STICKY_KEY_BYTES_MIN,
};

pub(super) fn pool(report: &Report, path: &Path, pool: &Pool) {
    slow_start(report, &path.name("slow_start"), &pool.slow_start);
    integer(report, &path.name("max_in_flight"), pool.max_in_flight, &bounds::COUNT_OR_NONE);
    queue(report, path, pool);
    let overprovisioning = path.name("overprovisioning_percent");
    integer(report, &overprovisioning, pool.overprovisioning_percent, &bounds::OVERPROVISIONING);
    integer(report, &path.name("panic_percent"), pool.panic_percent, &bounds::PERCENT);
    outlier(report, &path.name("outlier"), &pool.outlier);
    retry(report, &path.name("retry"), &pool.retry);
    if let Some(limit) = &pool.concurrency {
        concurrency(report, &path.name("concurrency"), limit);
    }
    if let Some(session) = &pool.sticky {
        sticky(report, &path.name("sticky"), session);
    }
}

fn slow_start(report: &Report, path: &Path, start: &SlowStart) {
    duration(report, &path.name("window"), start.window, &bounds::DELAY);
    integer(report, &path.name("aggression_percent"), start.aggression_percent, &bounds::FACTOR);
    let min = &path.name("min_weight_percent");
    integer(report, min, start.min_weight_percent, &bounds::PERCENT_NOT_NONE);
}

fn queue(report: &Report, path: &Path, pool: &Pool) {
    let queue = path.name("queue");
    integer(report, &queue.name("length"), pool.queue.length, &bounds::COUNT_OR_NONE);
    duration(report, &queue.name("timeout"), pool.queue.timeout, &bounds::TIMEOUT);
    let is_capped = pool.max_in_flight > 0
        || pool.concurrency.is_some()
        || pool.backends.iter().any(|backend| backend.max_in_flight.is_some_and(|max| max > 0));
    if pool.queue.length > 0 && !is_capped {
        let expected = "max_in_flight or [concurrency] as well: without one of them nobody ever waits";
        report.add(Finding::new(queue.name("length"), pool.queue.length.to_string(), expected));
    }
}

fn outlier(report: &Report, path: &Path, outlier: &Outlier) {
    integer(report, &path.name("consecutive_failures"), outlier.consecutive_failures, &bounds::COUNT_OR_NONE);
    duration(report, &path.name("base_ejection"), outlier.base_ejection, &bounds::TIMEOUT);
    duration(report, &path.name("max_ejection"), outlier.max_ejection, &bounds::TIMEOUT);
    integer(report, &path.name("max_ejected_percent"), outlier.max_ejected_percent, &bounds::PERCENT);
    if outlier.max_ejection < outlier.base_ejection {
        let expected = format!("at least base_ejection, which is {}", duration_text(outlier.base_ejection));
        report.add(Finding::new(path.name("max_ejection"), duration_text(outlier.max_ejection), expected));
    }
    duration(report, &path.name("interval"), outlier.interval, &bounds::INTERVAL);
    integer(report, &path.name("min_requests"), outlier.min_requests, &bounds::COUNT);
    integer(report, &path.name("min_backends"), outlier.min_backends, &bounds::COUNT);
    if let Some(rate) = &outlier.success_rate {
        let factor = path.name("success_rate").name("factor_percent");
        integer(report, &factor, rate.factor_percent, &bounds::FACTOR);
    }
    if let Some(robust) = &outlier.robust {
        let path = path.name("robust");
        integer(report, &path.name("factor_percent"), robust.factor_percent, &bounds::FACTOR);
        integer(report, &path.name("floor_percent"), robust.floor_percent, &bounds::PERCENT_NOT_NONE);
    }
}

fn retry(report: &Report, path: &Path, retry: &Retry) {
    integer(report, &path.name("tries"), retry.tries, &bounds::TRIES);
    integer(report, &path.name("budget_percent"), retry.budget_percent, &bounds::PERCENT);
    integer(report, &path.name("budget_floor"), retry.budget_floor, &bounds::COUNT_OR_NONE);
    for (index, status) in retry.on_status.iter().enumerate() {
        integer(report, &path.name("on_status").index(index), *status, &bounds::SERVER_ERROR);
    }
}

fn concurrency(report: &Report, path: &Path, limit: &Concurrency) {
    integer(report, &path.name("min"), limit.min, &bounds::COUNT);
    integer(report, &path.name("max"), limit.max, &bounds::COUNT);
    if limit.max < limit.min {
        let expected = format!("at least min, which is {}", limit.min);
        report.add(Finding::new(path.name("max"), limit.max.to_string(), expected));
    }
    integer(report, &path.name("buffer_percent"), limit.buffer_percent, &bounds::PERCENT);
    duration(report, &path.name("window"), limit.window, &bounds::INTERVAL);
    let interval = path.name("min_latency_interval");
    duration(report, &interval, limit.min_latency_interval, &bounds::INTERVAL);
    integer(report, &path.name("min_latency_requests"), limit.min_latency_requests, &bounds::COUNT);
    integer(report, &path.name("jitter_percent"), limit.jitter_percent, &bounds::PERCENT);
}

fn sticky(report: &Report, path: &Path, sticky: &Sticky) {
    text(report, &path.name("cookie"), &sticky.cookie, check::session_cookie_name);
    duration(report, &path.name("ttl"), sticky.ttl, &bounds::SESSION);
    match &sticky.key {
        Some(KeySource::Text(secret)) if secret.0.len() < STICKY_KEY_BYTES_MIN => {
            // The text itself does not belong into a log.
            let found = format!("a text of {} bytes", secret.0.len());
            let expected =
                format!("at least {STICKY_KEY_BYTES_MIN} bytes, such as those of: openssl rand -hex 32");
            report.add(Finding::new(path.name("secret"), found, expected));
        }
        Some(KeySource::File(name)) if name.is_empty() || name.contains('\0') => {
            report.add(Finding::new(path.name("secret_file"), quoted(name), "the name of a file"));
        }
        Some(KeySource::Env(name)) if name.is_empty() || name.contains(['\0', '=']) => {
            report.add(Finding::new(path.name("secret_env"), quoted(name), "the name of a variable"));
        }
        _ => {}
    }
}

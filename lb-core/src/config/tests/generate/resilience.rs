//! What a pool does when backends are slow, few, broken or new.

use alloc::{string::ToString, vec::Vec};

use proptest::{option, prelude::*, sample::select};

use super::{text, time, timeout, word};
use crate::config::{
    Concurrency, FundedBy, KeySource, Pool, Queue, Robust, Secret, SlowStart, Sticky, SuccessRate,
};

prop_compose! {
    fn slow_start()(window in timeout(), aggression_percent in 1..=10_000u32, min_weight_percent in 1..=100u32) -> SlowStart {
        SlowStart { window, aggression_percent, min_weight_percent }
    }
}

prop_compose! {
    fn concurrency()(
        min in 1..100u32, more in 0..100u32, buffer_percent in 0..=100u32, window in timeout(),
        min_latency_interval in timeout(), min_latency_requests in 1..100u32, jitter_percent in 0..=100u32,
    ) -> Concurrency {
        let max = min + more;
        Concurrency { min, max, buffer_percent, window, min_latency_interval, min_latency_requests, jitter_percent }
    }
}

prop_compose! {
    fn sticky()(cookie in "[a-z][a-z0-9_]{0,8}", seconds in 1..100_000u64, secure: bool, which in 0..4, value in "[!-~]{16,20}") -> Sticky {
        let key = [
            None,
            Some(KeySource::Text(Secret(value.clone()))),
            Some(KeySource::File(value.clone())),
            Some(KeySource::Env(value.replace('=', "_"))),
        ];
        let key = key.into_iter().nth(which as usize).flatten();
        Sticky { cookie, ttl: core::time::Duration::from_secs(seconds), secure, key }
    }
}

prop_compose! {
    /// A pool of which only what this module is about means anything.
    pub(super) fn resilience()(
        slow_start in slow_start(), max_in_flight in 0..100u32, length in 0..100u32, wait in timeout(),
        overprovisioning_percent in 100..1000u32, panic_percent in 0..=100u32,
        concurrency in option::of(concurrency()), sticky in option::of(sticky()),
        interval in timeout(), min_requests in 1..1000u32, min_backends in 1..9u32,
        success_rate in option::of(1..=10_000u32), robust in option::of((1..=10_000u32, 1..=100u32)),
        funded_by in select(&[FundedBy::Requests, FundedBy::Successes][..]),
    ) -> Pool {
        let mut pool = Pool { slow_start, max_in_flight, overprovisioning_percent, panic_percent, concurrency, sticky, ..Pool::default() };
        let length = if max_in_flight == 0 && concurrency.is_none() { 0 } else { length };
        pool.queue = Queue { length, timeout: wait };
        (pool.outlier.interval, pool.outlier.min_requests, pool.outlier.min_backends) = (interval, min_requests, min_backends);
        pool.outlier.success_rate = success_rate.map(|factor_percent| SuccessRate { factor_percent });
        pool.outlier.robust = robust.map(|(factor_percent, floor_percent)| Robust { factor_percent, floor_percent });
        pool.retry.funded_by = funded_by;
        pool
    }
}

pub(super) fn resilience_keys(pool: &Pool) -> Vec<(&'static str, alloc::string::String)> {
    let (start, outlier) = (&pool.slow_start, &pool.outlier);
    let mut keys = [
        ("slow_start.window", time(start.window)),
        ("slow_start.aggression_percent", start.aggression_percent.to_string()),
        ("slow_start.min_weight_percent", start.min_weight_percent.to_string()),
        ("max_in_flight", pool.max_in_flight.to_string()),
        ("queue.length", pool.queue.length.to_string()),
        ("queue.timeout", time(pool.queue.timeout)),
        ("overprovisioning_percent", pool.overprovisioning_percent.to_string()),
        ("panic_percent", pool.panic_percent.to_string()),
        ("outlier.interval", time(outlier.interval)),
        ("outlier.min_requests", outlier.min_requests.to_string()),
        ("outlier.min_backends", outlier.min_backends.to_string()),
        ("retry.funded_by", word(pool.retry.funded_by)),
    ]
    .to_vec();
    if let Some(rate) = outlier.success_rate {
        keys.push(("outlier.success_rate.factor_percent", rate.factor_percent.to_string()));
    }
    if let Some(robust) = outlier.robust {
        keys.push(("outlier.robust.factor_percent", robust.factor_percent.to_string()));
        keys.push(("outlier.robust.floor_percent", robust.floor_percent.to_string()));
    }
    if let Some(limit) = pool.concurrency {
        keys.extend([
            ("concurrency.min", limit.min.to_string()),
            ("concurrency.max", limit.max.to_string()),
            ("concurrency.buffer_percent", limit.buffer_percent.to_string()),
            ("concurrency.window", time(limit.window)),
            ("concurrency.min_latency_interval", time(limit.min_latency_interval)),
            ("concurrency.min_latency_requests", limit.min_latency_requests.to_string()),
            ("concurrency.jitter_percent", limit.jitter_percent.to_string()),
        ]);
    }
    if let Some(sticky) = &pool.sticky {
        keys.extend([
            ("sticky.cookie", text(&sticky.cookie)),
            ("sticky.ttl", time(sticky.ttl)),
            ("sticky.secure", sticky.secure.to_string()),
        ]);
        keys.extend(sticky.key.iter().map(|key| match key {
            KeySource::Text(secret) => ("sticky.secret", text(&secret.0)),
            KeySource::File(name) => ("sticky.secret_file", text(name)),
            KeySource::Env(name) => ("sticky.secret_env", text(name)),
        }));
    }
    keys
}

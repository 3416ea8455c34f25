//! What a pool does when its backends are slow, few, broken or new: the sections behind
//! `docs/resilience.md`.

use alloc::string::String;
use core::{fmt, time::Duration};

/// `slow_start`: a duration, or a table `{ window, aggression_percent, min_weight_percent }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// How long a backend that came up takes to reach its full weight; default 0: off.
    pub window: Duration,
    /// A hundred times the aggression a of `weight * (elapsed / window)^(1/a)`; default 100: linear. More
    /// lets a newcomer grow faster at first.
    pub aggression_percent: u32,
    /// The least share of its weight that a newcomer has; default 10.
    pub min_weight_percent: u32,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self { window: Duration::ZERO, aggression_percent: 100, min_weight_percent: 10 }
    }
}

/// `queue` of a pool: who waits when all backends are as busy as they may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait; default 0: none, further ones are shed at once.
    pub length: u32,
    /// How long each may wait; default 5 s.
    pub timeout: Duration,
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: 0, timeout: Duration::from_secs(5) }
    }
}

/// `[pool.NAME.outlier.success_rate]`: backends whose success rate is below mean - factor * standard
/// deviation are ejected (Envoy's rule).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRate {
    /// A hundred times the factor; default 190.
    pub factor_percent: u32,
}

impl Default for SuccessRate {
    fn default() -> Self {
        Self { factor_percent: 190 }
    }
}

/// `[pool.NAME.outlier.robust]`: backends whose success rate is below the median by more than a factor
/// times the scaled median absolute deviation, and by more than a floor, are ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Robust {
    /// A hundred times the factor; default 300.
    pub factor_percent: u32,
    /// In points of success rate; default 5. What differs by no more is never an outlier.
    pub floor_percent: u32,
}

impl Default for Robust {
    fn default() -> Self {
        Self { factor_percent: 300, floor_percent: 5 }
    }
}

/// `funded_by` of a retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FundedBy {
    /// `requests`: every request pays in.
    Requests,
    /// `successes`: every successful answer of a backend pays in.
    Successes,
}

/// `[pool.NAME.concurrency]`: a limit on requests in flight that follows the measured latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// The limit never falls below it, and is it while the minimal latency is measured; default 3.
    pub min: u32,
    /// The limit never grows past it; default 1000.
    pub max: u32,
    /// By how much latency may be above the minimal one before the limit falls; default 25.
    pub buffer_percent: u32,
    /// How long latencies are gathered before the limit moves; default 100 ms.
    pub window: Duration,
    /// How long a minimal latency is believed before it is measured again; default 60 s.
    pub min_latency_interval: Duration,
    /// Requests that a measurement of the minimal latency takes; default 50.
    pub min_latency_requests: u32,
    /// By how much the interval is lengthened at random, so that balancers do not measure in step; default
    /// 15.
    pub jitter_percent: u32,
}

impl Default for Concurrency {
    fn default() -> Self {
        Self {
            min: 3,
            max: 1000,
            buffer_percent: 25,
            window: Duration::from_millis(100),
            min_latency_interval: Duration::from_secs(60),
            min_latency_requests: 50,
            jitter_percent: 15,
        }
    }
}

/// `[pool.NAME.sticky]`: a client's requests go to the backend that answered its first one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// The cookie's name; default `lb_session`.
    pub cookie: String,
    /// How long a session lives after its cookie was last written; default 1 h.
    pub ttl: Duration,
    /// Whether the cookie has the attribute `Secure`; default false.
    pub secure: bool,
    /// What cookies are signed with; without one, a random key for each start.
    pub key: Option<KeySource>,
}

impl Default for Sticky {
    fn default() -> Self {
        Self { cookie: "lb_session".into(), ttl: Duration::from_secs(3600), secure: false, key: None }
    }
}

/// Where the key of sticky sessions is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `secret`: in the file itself.
    Text(Secret),
    /// `secret_file`: a file's content, without white space at its ends.
    File(String),
    /// `secret_env`: a variable of the environment.
    Env(String),
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

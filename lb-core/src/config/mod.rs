//! What a person writes, what is wrong with it, and where.
//!
//! Three types, three stages: [`Config`] is the data as written, [`Valid`] is one that was found free
//! of problems, and `plan::Plan` is what the server runs. Defaults are those of the `Default`
//! implementations here and nowhere else; every one is safe in production.

mod algorithm;
mod bounds;
mod check;
mod key;
mod normalise;
mod parse;
mod problem;
mod read;
pub mod reading;
mod report;
mod resilience;
mod source;
mod suggest;
mod syntax;
mod validate;
mod values;

#[cfg(test)]
mod tests;

use alloc::{collections::BTreeMap, format, string::String, vec::Vec};
use core::{
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Deref,
    time::Duration,
};

use ipnet::IpNet;

pub use algorithm::{Algorithm, HashKey, Maglev, P2c, PeakEwma, Prequal, RingHash};
pub use problem::{Position, Problem, Problems};
pub use resilience::{
    Concurrency, FundedBy, KeySource, Queue, Robust, Secret, SlowStart, Sticky, SuccessRate,
};

/// A configuration that was found free of problems, in its normal form. Only [`Config::load`] and
/// [`Config::validate`] give one.
#[derive(Clone, Debug, PartialEq)]
pub struct Valid(Config);

impl Valid {
    /// The configuration, to be changed; it must be validated again then.
    #[must_use]
    pub fn into_inner(self) -> Config {
        self.0
    }
}

impl Deref for Valid {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}

/// A whole configuration: one file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Worker threads; none means one for each CPU.
    pub workers: Option<u32>,
    /// How long requests in flight may go on after TERM before they are cut off.
    pub shutdown_timeout: ShutdownTimeout,
    /// The access log.
    pub access_log: AccessLog,
    /// Rules for every request on every listener, before a route is looked for.
    pub firewall: Firewall,
    /// Where connections are accepted: `[[listener]]`.
    pub listeners: Vec<Listener>,
    /// Groups of interchangeable backends by name: `[pool.NAME]`.
    pub pools: BTreeMap<String, Pool>,
    /// Which requests go to which pool: `[[route]]`, in file order.
    pub routes: Vec<Route>,
}

/// A duration with the default of 30 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownTimeout(pub Duration);

impl Default for ShutdownTimeout {
    fn default() -> Self {
        Self(Duration::from_secs(30))
    }
}

/// `[access_log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Default `json`.
    pub format: LogFormat,
    /// A file, or `-` for standard output (the default).
    pub path: String,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self { format: LogFormat::Json, path: "-".into() }
    }
}

/// `format` of the access log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `json`: one object a line.
    Json,
    /// `combined`: the Apache and nginx format.
    Combined,
    /// `off`
    Off,
}

/// `[[listener]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `bind`, the address and port; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Peers whose `X-Forwarded-*` and `X-Request-ID` are believed; default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether answers of the balancer itself carry `X-LB-Reason`; default false.
    pub reason_header: bool,
    /// `timeouts`
    pub timeouts: ListenerTimeouts,
    /// `limits`
    pub limits: ListenerLimits,
}

impl Listener {
    /// A listener on `bind` with all defaults.
    #[must_use]
    pub fn at(bind: SocketAddr) -> Self {
        Self {
            bind,
            trusted_proxies: Vec::new(),
            reason_header: false,
            timeouts: ListenerTimeouts::default(),
            limits: ListenerLimits::default(),
        }
    }
}

/// `timeouts` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerTimeouts {
    /// From a request's first byte to the end of its head; default 10 s.
    pub request_head: Duration,
    /// Without a byte of the request's body, or without the client taking a byte of the response;
    /// default 30 s.
    pub body_idle: Duration,
    /// Without a next request on a kept-alive connection; default 60 s.
    pub keep_alive: Duration,
}

impl Default for ListenerTimeouts {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(10),
            body_idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(60),
        }
    }
}

/// `limits` of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Bytes of a request's head, the request line included; default 32 KiB.
    pub request_head: u64,
    /// Header fields of a request; default 100.
    pub headers: u32,
    /// Bytes of a request's target; default 8 KiB.
    pub uri: u64,
    /// Bytes of a request's body; default 1 GiB.
    pub body: u64,
    /// Connections at once; default 20,000.
    pub connections: u32,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { request_head: 32 << 10, headers: 100, uri: 8 << 10, body: 1 << 30, connections: 20_000 }
    }
}

/// `[pool.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Default `round_robin`.
    pub algorithm: Algorithm,
    /// `[pool.NAME.hash]`: what an algorithm that hashes places requests by; default the client.
    pub hash: HashKey,
    /// `[pool.NAME.p2c]`
    pub p2c: P2c,
    /// `[pool.NAME.peak_ewma]`
    pub peak_ewma: PeakEwma,
    /// `[pool.NAME.ring_hash]`
    pub ring_hash: RingHash,
    /// `[pool.NAME.maglev]`
    pub maglev: Maglev,
    /// `[pool.NAME.prequal]`
    pub prequal: Prequal,
    /// At least one.
    pub backends: Vec<Backend>,
    /// `timeouts`
    pub timeouts: PoolTimeouts,
    /// `limits`
    pub limits: PoolLimits,
    /// `[pool.NAME.health_check]`; none without the section.
    pub health_check: Option<HealthCheck>,
    /// `[pool.NAME.outlier]`: passive health; on by default.
    pub outlier: Outlier,
    /// `[pool.NAME.retry]`; on by default.
    pub retry: Retry,
    /// `slow_start`: how a backend that came up reaches its full weight; off by default.
    pub slow_start: SlowStart,
    /// Requests that each backend may have in flight, unless it says otherwise; default 0: any number.
    pub max_in_flight: u32,
    /// `queue`
    pub queue: Queue,
    /// A hundred times the factor by which the share of healthy backends in a tier of priority may be too
    /// small before the next tier gets some of the traffic; default 140.
    pub overprovisioning_percent: u32,
    /// When a smaller share of a tier is healthy, and no other tier makes up for it, all of its backends
    /// take traffic, whatever their health; default 0: never.
    pub panic_percent: u32,
    /// `[pool.NAME.concurrency]`; none without the section.
    pub concurrency: Option<Concurrency>,
    /// `[pool.NAME.sticky]`; none without the section.
    pub sticky: Option<Sticky>,
    /// How often backends written by name are resolved again; default 10 s.
    pub resolve_interval: Duration,
}

impl Pool {
    /// Whether `other` has the same algorithm with the same options, so that what it learned stays good.
    pub(crate) fn picks_like(&self, other: &Self) -> bool {
        self.algorithm == other.algorithm
            && match self.algorithm {
                Algorithm::P2c => self.p2c == other.p2c,
                Algorithm::PeakEwma => self.peak_ewma == other.peak_ewma,
                Algorithm::RingHash => self.ring_hash == other.ring_hash,
                Algorithm::Maglev => self.maglev == other.maglev,
                Algorithm::Prequal => self.prequal == other.prequal,
                Algorithm::Random
                | Algorithm::RoundRobin
                | Algorithm::Tijdeman
                | Algorithm::LeastRequest
                | Algorithm::JoinIdleQueue
                | Algorithm::Rendezvous
                | Algorithm::JumpHash => true,
            }
    }
}

/// A pool without backends (which does not validate) and with all defaults.
impl Default for Pool {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::RoundRobin,
            hash: HashKey::Client,
            p2c: P2c::default(),
            peak_ewma: PeakEwma::default(),
            ring_hash: RingHash::default(),
            maglev: Maglev::default(),
            prequal: Prequal::default(),
            backends: Vec::new(),
            timeouts: PoolTimeouts::default(),
            limits: PoolLimits::default(),
            health_check: None,
            outlier: Outlier::default(),
            retry: Retry::default(),
            slow_start: SlowStart::default(),
            max_in_flight: 0,
            queue: Queue::default(),
            overprovisioning_percent: 140,
            panic_percent: 0,
            concurrency: None,
            sticky: None,
            resolve_interval: Duration::from_secs(10),
        }
    }
}

/// One entry of `backends`: a string, or a table `{ address, name, weight, priority, max_in_flight, state }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// `address`: `IP:port` or `host:port`.
    pub address: BackendAddress,
    /// How logs call it; default the address as written.
    pub name: String,
    /// Default 1; 0 takes no new traffic.
    pub weight: u32,
    /// Its tier: 0, the default, is preferred; larger ones stand in when too few of the smaller are
    /// healthy.
    pub priority: u32,
    /// Requests that it may have in flight; default that of the pool; 0: any number.
    pub max_in_flight: Option<u32>,
    /// Default `ready`.
    pub state: AdminState,
}

impl Backend {
    /// A backend with all defaults but its address and name.
    #[must_use]
    pub fn at(address: BackendAddress, name: impl Into<String>) -> Self {
        Self {
            address,
            name: name.into(),
            weight: 1,
            priority: 0,
            max_in_flight: None,
            state: AdminState::Ready,
        }
    }
}

/// Where a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendAddress {
    /// `IP:port`
    Ip(SocketAddr),
    /// `host:port`, resolved by the server and resolved again from time to time.
    Name {
        /// Lower case.
        host: String,
        /// Never 0.
        port: u16,
    },
}

/// As written: `10.0.0.1:80`, `[::1]:80`, `host:80`.
impl fmt::Display for BackendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// What an operator wants of a backend: `state`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AdminState {
    /// `ready`: takes traffic when healthy.
    #[default]
    Ready,
    /// `drain`: finishes what it has, takes nothing new, is still checked.
    Drain,
    /// `maint`: takes nothing and is not checked.
    Maint,
}

/// `timeouts` of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolTimeouts {
    /// For a TCP connection; default 3 s.
    pub connect: Duration,
    /// From the end of sending the request to the head of the response; default 60 s.
    pub response_head: Duration,
    /// Without a byte of the response's body; default 60 s.
    pub body_idle: Duration,
    /// How long an unused connection is kept; default 30 s.
    pub keep_alive: Duration,
}

impl Default for PoolTimeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            response_head: Duration::from_secs(60),
            body_idle: Duration::from_secs(60),
            keep_alive: Duration::from_secs(30),
        }
    }
}

/// `limits` of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Requests at once that have no response head yet; default 10,000.
    pub pending: u32,
    /// Unused connections kept for each worker and backend; default 256.
    pub idle_connections: u32,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { pending: 10_000, idle_connections: 256 }
    }
}

/// `[pool.NAME.health_check]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Default `/health`.
    pub path: String,
    /// Default 10 s.
    pub interval: Duration,
    /// Share of the interval by which each check is moved at random, in percent; default 20. The first
    /// round is spread over a whole `jitter_percent` of the interval as well.
    pub jitter_percent: u32,
    /// Default 2 s.
    pub timeout: Duration,
    /// Consecutive passes to become healthy; default 1.
    pub rise: u32,
    /// Consecutive failures to become unhealthy; default 1.
    pub fall: u32,
    /// `expect_status`: codes and ranges that pass, `[200, "300-399"]`; default `["200-299"]`.
    pub expect_status: Vec<StatusRange>,
    /// The Host that checks send; default the backend's address as written.
    pub host: Option<String>,
    /// What a backend counts as before its first check; default `up`.
    pub initial: InitialHealth,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            path: "/health".into(),
            interval: Duration::from_secs(10),
            jitter_percent: 20,
            timeout: Duration::from_secs(2),
            rise: 1,
            fall: 1,
            expect_status: [StatusRange { first: 200, last: 299 }].into(),
            host: None,
            initial: InitialHealth::Up,
        }
    }
}

/// Statuses from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// 100 to 599.
    pub first: u16,
    /// `first` to 599.
    pub last: u16,
}

/// `initial` of a health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialHealth {
    /// `up`
    Up,
    /// `down`
    Down,
}

/// `[pool.NAME.outlier]`: a backend that fails real traffic is ejected for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Consecutive failures (connect failures, resets, timeouts and 5xx) that eject; default 5; 0
    /// switches this rule off.
    pub consecutive_failures: u32,
    /// Length of a first ejection; each further one is longer by this; default 10 s.
    pub base_ejection: Duration,
    /// Longest ejection; default 300 s.
    pub max_ejection: Duration,
    /// Most of the pool's backends, in percent, that may be out at once; default 50.
    pub max_ejected_percent: u32,
    /// How often success rates are compared; default 10 s.
    pub interval: Duration,
    /// Requests that a backend must have had in the interval for its success rate to count; default 100.
    pub min_requests: u32,
    /// Backends with so many requests that it takes to compare them; default 5.
    pub min_backends: u32,
    /// `[pool.NAME.outlier.success_rate]`; none without the section.
    pub success_rate: Option<SuccessRate>,
    /// `[pool.NAME.outlier.robust]`; none without the section.
    pub robust: Option<Robust>,
}

impl Outlier {
    /// Whether anything is ever ejected.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.consecutive_failures > 0 || self.compares()
    }

    /// Whether success rates are compared.
    #[must_use]
    pub fn compares(&self) -> bool {
        self.success_rate.is_some() || self.robust.is_some()
    }
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection: Duration::from_secs(10),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 50,
            interval: Duration::from_secs(10),
            min_requests: 100,
            min_backends: 5,
            success_rate: None,
            robust: None,
        }
    }
}

/// `[pool.NAME.retry]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Tries for each request, the first included; default 3; 1 switches retries off.
    pub tries: u32,
    /// Who pays for retries; default `requests`.
    pub funded_by: FundedBy,
    /// Retries allowed for each hundred requests (or successes); default 20.
    pub budget_percent: u32,
    /// Retries a second that are allowed whatever the traffic; default 3.
    pub budget_floor: u32,
    /// `on_status`: answers of a backend (500 to 599) that are retried like a reset; default none.
    pub on_status: Vec<u16>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 3,
            funded_by: FundedBy::Requests,
            budget_percent: 20,
            budget_floor: 3,
            on_status: Vec::new(),
        }
    }
}

/// `[[route]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique; default `route-N` with its place in the file, from 1.
    pub name: String,
    /// For the whole request, all tries and both bodies included. Without one, all tries together have
    /// 60 s to bring the head of a response, and bodies may flow for as long as they move.
    pub timeout: Option<Duration>,
    /// `match`; all conditions must hold; none matches everything.
    pub matches: Match,
    /// The name of a pool.
    pub pool: String,
    /// `[route.firewall]`
    pub firewall: Firewall,
    /// `[route.rate_limit]`
    pub rate_limit: Option<RateLimit>,
    /// `[route.request]`
    pub request: RequestEdits,
    /// `[route.response]`
    pub response: HeaderEdits,
}

impl Route {
    /// A route for every request to the pool of this name, with all defaults. It has the pool's name.
    #[must_use]
    pub fn to(pool: impl Into<String>) -> Self {
        let pool = pool.into();
        Self {
            name: pool.clone(),
            timeout: None,
            matches: Match::default(),
            pool,
            firewall: Firewall::default(),
            rate_limit: None,
            request: RequestEdits::default(),
            response: HeaderEdits::default(),
        }
    }

    /// The name of a route without one, by its index in the file from 0.
    fn default_name(index: usize) -> String {
        format!("route-{}", index + 1)
    }
}

/// `match` of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Lower case, without port and trailing dot; `*.x.y` stands for any one or more labels before
    /// `.x.y`.
    pub host: Option<String>,
    /// `path` or `path_prefix`.
    pub path: PathMatch,
    /// `method`: one or several; empty matches all.
    pub methods: Vec<String>,
    /// `header`: field (lower case) and the value it must have.
    pub headers: Vec<(String, String)>,
    /// `query`: parameter and the value it must have, both percent-decoded.
    pub query: Vec<(String, String)>,
}

/// The condition on the path; both forms are compared with the normalised path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PathMatch {
    /// No condition.
    #[default]
    Any,
    /// `path`
    Exact(String),
    /// `path_prefix`: whole segments; `/a` matches `/a`, `/a/` and `/a/b`, never `/ab`.
    Prefix(String),
}

/// `[firewall]` and `[route.firewall]`. A request must pass every list that is not empty: be in each
/// allow list, and in no deny list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Firewall {
    /// `allow_ips`: addresses and CIDRs, v4 and v6; a v4-mapped v6 address is its v4 address.
    pub allow_ips: Vec<IpNet>,
    /// `deny_ips`
    pub deny_ips: Vec<IpNet>,
    /// `allow_paths`: the path itself and all below it.
    pub allow_paths: Vec<String>,
    /// `deny_paths`
    pub deny_paths: Vec<String>,
    /// `allow_methods`
    pub allow_methods: Vec<String>,
    /// `deny_methods`
    pub deny_methods: Vec<String>,
    /// `allow_headers`: each field must be there with one of its values (`*` for any).
    pub allow_headers: Vec<(String, Vec<String>)>,
    /// `deny_headers`: no field may be there with one of its values (`*` for any).
    pub deny_headers: Vec<(String, Vec<String>)>,
}

/// `[route.rate_limit]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// `requests`: how many are allowed in each `per`; at least 1.
    pub requests: u32,
    /// Default 1 s.
    pub per: Duration,
    /// How many may come at once; default `requests`; at least 1.
    pub burst: u32,
    /// `by`: default `client`.
    pub by: RateLimitKey,
}

/// `by` of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateLimitKey {
    /// `client`: each client address (each /64 with IPv6) has its own.
    Client,
    /// `route`: all clients share one.
    Route,
}

/// `[route.request]`: edits of what the backend gets, applied in the order of these fields: first
/// remove, then set, then append.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestEdits {
    /// `set_headers`, `append_headers`, `remove_headers`. Removing `Host` sends the backend its own
    /// address.
    pub headers: HeaderEdits,
    /// `host`: the Host that the backend gets.
    pub host: Option<String>,
    /// `set_query`
    pub set_query: Vec<(String, String)>,
    /// `append_query`
    pub append_query: Vec<(String, String)>,
    /// `remove_query`
    pub remove_query: Vec<String>,
    /// `rewrite_path`: replaces the whole path; excludes the next three.
    pub rewrite_path: Option<String>,
    /// `strip_prefix`: whole segments, where the path begins with them.
    pub strip_prefix: Option<String>,
    /// `replace_path`: whole segments, all of them at once.
    pub replace_path: Vec<(String, String)>,
    /// `add_prefix`, after the others.
    pub add_prefix: Option<String>,
}

/// Edits of header fields, for requests and (`[route.response]`) responses: first remove, then set,
/// then append. Names are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// `remove_headers`
    pub remove: Vec<String>,
    /// `set_headers`
    pub set: Vec<(String, String)>,
    /// `append_headers`
    pub append: Vec<(String, String)>,
}

/// Whether `ip` is in one of `nets`, a v4-mapped v6 address standing for its v4 address.
#[must_use]
pub fn contains(nets: &[IpNet], ip: IpAddr) -> bool {
    let ip = ip.to_canonical();
    nets.iter().any(|net| net.contains(&ip))
}

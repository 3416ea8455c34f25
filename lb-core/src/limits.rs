//! Every bound that the crate keeps, in one place. Units stand last in the names.

/// Most workers that a configuration may ask for.
pub const WORKERS_MAX: u32 = 1024;
/// Largest weight of a backend.
pub const WEIGHT_MAX: u32 = 1_000_000;
/// Largest priority of a backend.
pub const PRIORITY_MAX: u32 = 127;
/// Shortest key of sticky sessions, in bytes.
pub const STICKY_KEY_BYTES_MIN: usize = 16;
/// Latencies that a window of an adaptive limit remembers; of more, a random sample is kept.
pub const LATENCY_SAMPLES_MAX: usize = 512;
/// Most backends in one pool.
pub const BACKENDS_PER_POOL_MAX: usize = 65_536;
/// Most addresses that one backend name may resolve to; further ones are ignored.
pub const ADDRESSES_PER_BACKEND_MAX: usize = 1024;
/// Longest path, in bytes, that is normalised; longer ones are refused as malformed.
pub const PATH_BYTES_MAX: usize = 65_536;
/// Most tries (the first included) that one request may be given.
pub const TRIES_MAX: u32 = 16;
/// Most keys that a rate limiter remembers at once, over all routes.
pub const RATE_LIMIT_KEYS_MAX: usize = 1 << 17;
/// Longest file of configuration, in bytes.
pub const CONFIG_BYTES_MAX: usize = 64 << 20;
/// Problems that are reported of one file; the rest is counted.
pub const PROBLEMS_MAX: usize = 100;
/// Longest name of a pool, a route or a backend, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Most listeners of one configuration.
pub const LISTENERS_MAX: usize = 1024;
/// Most pools of one configuration.
pub const POOLS_MAX: usize = 65_536;
/// Most routes of one configuration.
pub const ROUTES_MAX: usize = 1 << 20;
/// Longest timeout, interval or other duration of a configuration, in seconds: thirty days.
pub const DURATION_SECONDS_MAX: u64 = 30 * 24 * 3600;
/// Largest limit that may be set on a request's head or target, in bytes.
pub const HEAD_BYTES_MAX: u64 = 16 << 20;
/// Largest limit that may be set on a request's body, in bytes.
pub const BODY_BYTES_MAX: u64 = 1 << 60;
/// Largest limit that may be set on a request's header fields: parsers keep a place ready for each, and
/// maps of fields hold some 24,000.
pub const HEADER_FIELDS_MAX: u32 = 10_000;
/// Largest limit that may be set on another count: of connections, requests, health checks.
pub const COUNT_MAX: u32 = 1_000_000_000;
/// Most endpoints in one pool; further addresses of backend names are ignored.
pub const ENDPOINTS_PER_POOL_MAX: usize = 131_072;
/// Transitions of a pool that wait to be told; past it the oldest is dropped, and counted.
pub const TRANSITIONS_MAX: usize = 4096;
/// How long what requests pay into a retry budget, and what its floor saves up, can be used, in seconds.
pub const RETRY_BUDGET_WINDOW_SECONDS: u64 = 10;
/// Longest host, in bytes (RFC 1035, section 2.3.4: 253 as text, with room for a literal's brackets).
pub const HOST_BYTES_MAX: usize = 255;
/// Most endpoints that an algorithm of random choices draws for one pick.
pub const CHOICES_MAX: u32 = 16;
/// Most virtual nodes on a hash ring for each unit of weight.
pub const RING_POINTS_PER_WEIGHT_MAX: u32 = 10_000;
/// Most virtual nodes on a hash ring; beyond it all shares of it are made smaller alike.
pub const RING_POINTS_MAX: usize = 1 << 20;
/// Largest table of Maglev hashing, in entries: the first prime above five million.
pub const MAGLEV_ENTRIES_MAX: u32 = 5_000_011;
/// Largest bound on an endpoint's load, in percent of the mean.
pub const BALANCE_PERCENT_MAX: u32 = 10_000;
/// Longest period of weighted round robin, in picks, that is remembered.
pub const ROUND_PICKS_MAX: u64 = 1 << 14;
/// Largest latency that an average of latencies takes in, in seconds.
pub const LATENCY_SECONDS_MAX: u64 = 3600;

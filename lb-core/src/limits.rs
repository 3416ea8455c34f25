//! Every bound that the crate keeps, in one place. Units stand last in the names.

/// Most workers that a configuration may ask for.
pub const WORKERS_MAX: u32 = 1024;
/// Largest weight of a backend.
pub const WEIGHT_MAX: u32 = 1_000_000;
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
/// Longest host, in bytes (RFC 1035, section 2.3.4: 253 as text, with room for a literal's brackets).
pub const HOST_BYTES_MAX: usize = 255;

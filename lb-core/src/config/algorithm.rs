//! How a pool picks: `algorithm`, and the options of those that have some.

use alloc::string::String;
use core::time::Duration;

/// `algorithm` of a pool. What each does, costs and guarantees stands in `docs/algorithms.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// `random`, by weight.
    Random,
    /// `round_robin`: exact alternation with equal weights, else smooth by weight.
    RoundRobin,
    /// `tijdeman`: weighted round robin whose shares deviate as little as is possible at all.
    Tijdeman,
    /// `least_request`: fewest requests in flight for its weight.
    LeastRequest,
    /// `p2c`: the least loaded of some distinct ones drawn at random.
    P2c,
    /// `peak_ewma`: of some distinct ones drawn at random, the one with the least latency times load.
    PeakEwma,
    /// `join_idle_queue`: an idle one, else the less loaded of two.
    JoinIdleQueue,
    /// `ring_hash`: consistent hashing with virtual nodes.
    RingHash,
    /// `maglev`: consistent hashing by a table of even shares.
    Maglev,
    /// `rendezvous`: highest random weight.
    Rendezvous,
    /// `jump_hash`: consistent hashing over numbered places.
    JumpHash,
    /// `prequal`: the fastest of those that are not too busy, by probes.
    Prequal,
}

impl Algorithm {
    /// All of them, with their names.
    pub const NAMED: [(&str, Self); 12] = [
        ("random", Self::Random),
        ("round_robin", Self::RoundRobin),
        ("tijdeman", Self::Tijdeman),
        ("least_request", Self::LeastRequest),
        ("p2c", Self::P2c),
        ("peak_ewma", Self::PeakEwma),
        ("join_idle_queue", Self::JoinIdleQueue),
        ("ring_hash", Self::RingHash),
        ("maglev", Self::Maglev),
        ("rendezvous", Self::Rendezvous),
        ("jump_hash", Self::JumpHash),
        ("prequal", Self::Prequal),
    ];

    /// Whether it places requests by a key.
    #[must_use]
    pub fn hashes(self) -> bool {
        matches!(self, Self::RingHash | Self::Maglev | Self::Rendezvous | Self::JumpHash)
    }
}

/// `[pool.NAME.p2c]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct P2c {
    /// How many are drawn; default 2, at most 16.
    pub choices: u32,
}

impl Default for P2c {
    fn default() -> Self {
        Self { choices: 2 }
    }
}

/// `[pool.NAME.peak_ewma]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeakEwma {
    /// How many are drawn; default 2, at most 16.
    pub choices: u32,
    /// In this time what is known of a latency loses all but 1/e of its weight; default 10 s.
    pub decay: Duration,
    /// What a failure counts as at least; default 1 s.
    pub error_latency: Duration,
    /// An endpoint that got nothing for so long is taken when it is drawn, whatever it costs; default
    /// 10 s.
    pub reprobe: Duration,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self {
            choices: 2,
            decay: Duration::from_secs(10),
            error_latency: Duration::from_secs(1),
            reprobe: Duration::from_secs(10),
        }
    }
}

/// `[pool.NAME.ring_hash]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingHash {
    /// Virtual nodes for each unit of weight; default 160.
    pub points: u32,
    /// Most load of one endpoint, in percent of the mean (for its weight), before its requests walk on;
    /// 101 to 10,000; default none: no bound.
    pub balance_factor: Option<u32>,
}

impl Default for RingHash {
    fn default() -> Self {
        Self { points: 160, balance_factor: None }
    }
}

/// `[pool.NAME.maglev]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maglev {
    /// Entries of the table, a prime; default 65,537.
    pub table_size: u32,
    /// As with [`RingHash::balance_factor`].
    pub balance_factor: Option<u32>,
}

impl Default for Maglev {
    fn default() -> Self {
        Self { table_size: 65_537, balance_factor: None }
    }
}

/// `[pool.NAME.hash]`: `by`, and the `name` of what is looked at. A request that lacks it, or has it
/// empty, goes where a random key would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    /// `client`: its address.
    #[default]
    Client,
    /// `path`: the normalised one, without the query.
    Path,
    /// `header`: the first value of the field of this name, which is in lower case.
    Header(String),
    /// `cookie`: the value of the first cookie of this name.
    Cookie(String),
    /// `query`: the percent-decoded value of the first parameter of this name.
    Query(String),
}

/// `[pool.NAME.prequal]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prequal {
    /// What probes ask for; default `/load`.
    pub path: String,
    /// How long an answer may take; default 100 ms.
    pub timeout: Duration,
    /// Probes for each hundred requests; default 300, at most 1,000.
    pub probe_percent: u32,
    /// Answers that are removed for each hundred requests, used or not; default 100.
    pub remove_percent: u32,
    /// Answers that are kept, and of no more than a quarter of the endpoints, or four where a half are as many;
    /// default 16, 2 to 64.
    pub answers: u32,
    /// How long an answer is good; default 1 s.
    pub age: Duration,
    /// An endpoint that has more requests in flight than so many percent of those asked lately is hot;
    /// default 60.
    pub hot_percent: u32,
}

impl Default for Prequal {
    fn default() -> Self {
        Self {
            path: "/load".into(),
            timeout: Duration::from_millis(100),
            probe_percent: 300,
            remove_percent: 100,
            answers: 16,
            age: Duration::from_secs(1),
            hot_percent: 60,
        }
    }
}

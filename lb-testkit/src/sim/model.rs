//! What is simulated: clients, balancers, a network, backends and what goes wrong with them.

use std::{sync::Arc, time::Duration};

use lb_core::config;

use super::Law;

/// Everything that a run depends on besides its seed.
///
/// ```
/// use lb_testkit::sim::{Arrivals, Backend, Law, Model};
/// use std::time::Duration;
///
/// // A queue of the kind M/M/1, half loaded: means of 1 ms of service, 2 ms of sojourn.
/// let model = Model {
///     service: Law::exponential(1e6),
///     arrivals: Arrivals::poisson(500.0),
///     duration: Duration::from_secs(100),
///     ..Model::new(vec![Backend::new("one")])
/// };
/// let outcome = model.run(1)?;
/// assert!((outcome.latency.mean() - 2e6).abs() < 2e5);
/// # Ok::<(), lb_testkit::sim::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// How each balancer balances. Its `backends` are not looked at: [`Model::backends`] take their place.
    pub pool: config::Pool,
    /// How long all tries together may take to bring the head of a response; default 60 s, as in the server.
    pub deadline: Duration,
    /// Whether requests may be sent again after bytes of them went out; default true.
    pub idempotent: bool,
    /// Balancers in front of the same backends, each with a pool of its own; requests are spread over them
    /// at random. Default 1.
    pub balancers: u32,
    /// At least one.
    pub backends: Vec<Backend>,
    /// When requests come; default none.
    pub arrivals: Arrivals,
    /// How long a backend works on a request at speed 1; default 20 ms, fixed.
    pub service: Law,
    /// How clients behave.
    pub client: Client,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// When requests stop coming; what is there by then is finished. Default 60 s.
    pub duration: Duration,
    /// Requests that come earlier are not part of the figures; they are of the exact accounts. Default 0.
    pub warmup: Duration,
    /// Within what time a good answer is a good one; default 100 ms.
    pub slo: Duration,
}

impl Model {
    /// These backends behind one balancer with all defaults, and no requests.
    #[must_use]
    pub fn new(backends: Vec<Backend>) -> Self {
        Self {
            pool: config::Pool::default(),
            deadline: Duration::from_secs(60),
            idempotent: true,
            balancers: 1,
            backends,
            arrivals: Arrivals::poisson(0.0),
            service: Law::fixed(20_000_000),
            client: Client::default(),
            faults: Vec::new(),
            duration: Duration::from_secs(60),
            warmup: Duration::ZERO,
            slo: Duration::from_millis(100),
        }
    }

    /// Requests a second that all backends together can serve, by their slots, speeds and laws.
    #[must_use]
    pub fn capacity(&self) -> f64 {
        let of = |backend: &Backend| {
            let mean = backend.service.as_ref().unwrap_or(&self.service).mean();
            f64::from(backend.slots) * backend.speed * 1e9 / mean.max(1.0)
        };
        self.backends.iter().map(of).sum()
    }
}

/// A backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// What logs and tables call it.
    pub name: Arc<str>,
    /// As configured; default 1.
    pub weight: u32,
    /// Requests that it works on at once at full speed; default 1.
    pub slots: u32,
    /// What happens to more requests than slots; default [`Discipline::Fifo`].
    pub discipline: Discipline,
    /// How much faster than [`Model::service`] it is; above 0; default 1.
    pub speed: f64,
    /// The network's delay from the balancers to here, and again back; default 0.
    pub latency: Duration,
    /// Requests that may wait for a slot; further ones are answered with 503 at once. Default: any number.
    pub queue: Option<u32>,
    /// Requests that may be here at once; further ones are refused as connections. Default: any number.
    pub connections: Option<u32>,
    /// A law of its own in place of [`Model::service`].
    pub service: Option<Law>,
}

impl Backend {
    /// A backend of this name with all defaults.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            weight: 1,
            slots: 1,
            discipline: Discipline::Fifo,
            speed: 1.0,
            latency: Duration::ZERO,
            queue: None,
            connections: None,
            service: None,
        }
    }

    /// `count` backends named `b0`, `b1` and so on, with all defaults but `slots`.
    #[must_use]
    pub fn several(count: u32, slots: u32) -> Vec<Self> {
        (0..count).map(|index| Self { slots, ..Self::new(format!("b{index}")) }).collect()
    }
}

/// What a backend does with more requests than it has slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// They wait, first come first served: a bounded pool of threads.
    Fifo,
    /// All share the slots equally: an event loop, or threads without bound, on that many cores.
    Sharing,
}

/// When requests come.
#[derive(Clone, Debug, PartialEq)]
pub enum Arrivals {
    /// At a rate, whatever becomes of them.
    Open {
        /// At random (a Poisson process) or evenly.
        gaps: Gaps,
        /// Requests a second.
        rate: f64,
        /// How the rate changes: a factor by time, linear between the points and constant outside. Two
        /// points of one time make a step. Empty: constant.
        profile: Vec<(Duration, f64)>,
    },
    /// Many at once.
    Bursts {
        /// From one to the next.
        every: Duration,
        /// Requests of each.
        size: u32,
    },
    /// Users that each send a request, wait for its end, think, and send the next. The first thought comes
    /// before the first request.
    Closed {
        /// How many.
        users: u32,
        /// How long they think.
        think: Law,
    },
    /// At these times, in nanoseconds from the start, in rising order.
    Trace(Arc<[u64]>),
}

impl Arrivals {
    /// A Poisson process of this many requests a second.
    #[must_use]
    pub fn poisson(rate: f64) -> Self {
        Self::Open { gaps: Gaps::Poisson, rate, profile: Vec::new() }
    }
}

/// How arrivals of an open process follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Independent and exponential.
    Poisson,
    /// All the same.
    Even,
}

/// How clients behave.
#[derive(Clone, Debug, PartialEq)]
pub struct Client {
    /// How long one waits for an answer before it gives up this attempt; default: for ever.
    pub timeout: Option<Duration>,
    /// How often one tries again by itself, after a timeout or an answer of 500 and more; default 0.
    pub retries: u32,
    /// How long it waits before each of them; default 0.
    pub backoff: Duration,
    /// How long one is ready to wait in all before it leaves for good; default: for ever.
    pub patience: Option<Law>,
    /// Whether backends go on working on what nobody waits for any more; default true.
    pub abandoned_work: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self { timeout: None, retries: 0, backoff: Duration::ZERO, patience: None, abandoned_work: true }
    }
}

/// Something that goes wrong with backends for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Whom it strikes: places in [`Model::backends`].
    pub backends: Vec<u32>,
    /// When it begins at the first of them.
    pub from: Duration,
    /// How long it lasts at each; none: to the end.
    pub length: Option<Duration>,
    /// How much later it begins at each next one.
    pub stagger: Duration,
    /// What it is.
    pub trouble: Trouble,
}

/// What may go wrong with a backend.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// Works slower by this factor.
    Slow {
        /// At least 1.
        factor: f64,
    },
    /// Is slower by this factor at first, and recovers evenly over the fault's length: a cold cache.
    ColdStart {
        /// At least 1.
        factor: f64,
    },
    /// Answers some requests with an error.
    Fail {
        /// The share of requests, 0 to 1.
        share: f64,
        /// 500 to 599.
        status: u16,
        /// After this time and without using a slot; none: after the usual service.
        after: Option<Duration>,
        /// Whether active checks get the error as well.
        seen_by_checks: bool,
    },
    /// Accepts requests and does nothing; what is there when it ends is reset.
    Hang,
    /// Does nothing, and goes on afterwards where it stopped.
    Pause,
    /// Pauses again and again: the collection of garbage.
    Pauses {
        /// The mean of the exponential time between them.
        every: Duration,
        /// Of each.
        length: Duration,
    },
    /// Refuses connections; what is there is reset.
    Down,
    /// Answers nothing, not even connections.
    Unreachable,
    /// Down and up in turn, down first.
    Flap {
        /// How long it is down.
        down: Duration,
        /// How long it is up.
        up: Duration,
    },
    /// Others use the machine: the speed is multiplied by one of these factors after the other, drawn at
    /// random among the others.
    Antagonist {
        /// At least two, above 0; the first is the one at the start.
        factors: Vec<f64>,
        /// The mean of the exponential time in each.
        dwell: Duration,
    },
    /// An operator drains it: balancers send nothing new.
    Drain,
}

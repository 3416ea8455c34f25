//! A run, drawn from its seed: the configuration, what clients ask, and what goes wrong when.

use std::{fmt::Write, net::IpAddr, ops::RangeInclusive};

use lb_core::prng::Prng;
use lb_testkit::sim_net::{Crash, Options, ResetAfter};

/// Where the balancer is.
pub(crate) const LB: [u8; 4] = [10, 0, 0, 1];
pub(crate) const LB_PORT: u16 = 8000;
/// The name that all backends share.
pub(crate) const SHARED_NAME: &str = "mango.test";
/// How long the server waits for the addresses of a name.
const LOOKUP_MS_MAX: u64 = 10_000;
/// How long a connection that is over for its client may still be one for the server.
const LINGER_MS: u64 = 8_000;
/// How long clients go on asking, in milliseconds; faults fall into this time.
const TRAFFIC_MS: u64 = 5_000;

pub(crate) fn backend_ip(backend: usize) -> IpAddr {
    IpAddr::from([10, 0, 1, backend as u8 + 1])
}

pub(crate) fn client_ip(client: usize) -> IpAddr {
    IpAddr::from([10, 0, 2, client as u8 + 1])
}

/// What a run is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    Calm,
    RollingDeploy,
    Reloads,
    PartitionOfOneBackend,
    PartitionOfAllBackends,
    PartitionOfAClient,
    LatencySpikes,
    Resets,
    Crashes,
    ChecksAgainstTraffic,
    SlowReaders,
    ShutdownDuringTraffic,
    Everything,
    Names,
    Crowd,
}

impl Theme {
    pub(crate) const ALL: [Self; 15] = [
        Self::Calm,
        Self::RollingDeploy,
        Self::Reloads,
        Self::PartitionOfOneBackend,
        Self::PartitionOfAllBackends,
        Self::PartitionOfAClient,
        Self::LatencySpikes,
        Self::Resets,
        Self::Crashes,
        Self::ChecksAgainstTraffic,
        Self::SlowReaders,
        Self::ShutdownDuringTraffic,
        Self::Everything,
        Self::Names,
        Self::Crowd,
    ];
    /// Those whose faults may come together.
    const MIXED: [Self; 9] = [
        Self::Reloads,
        Self::PartitionOfOneBackend,
        Self::PartitionOfAllBackends,
        Self::PartitionOfAClient,
        Self::LatencySpikes,
        Self::Resets,
        Self::Crashes,
        Self::ChecksAgainstTraffic,
        Self::Names,
    ];

    /// Nothing happens that a request may suffer from.
    pub(crate) fn is_harmless(self) -> bool {
        matches!(self, Self::Calm | Self::RollingDeploy | Self::Reloads | Self::Names)
    }
}

/// What goes wrong, or is done, at one moment.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    CutBackend {
        backend: usize,
        ways: Ways,
        for_ms: u64,
    },
    CutClient {
        client: usize,
        ways: Ways,
        for_ms: u64,
    },
    SlowBackend {
        backend: usize,
        latency_ms: u64,
        for_ms: u64,
    },
    SlowClient {
        client: usize,
        latency_ms: u64,
        for_ms: u64,
    },
    /// All connections that stand are reset.
    ResetBackend {
        backend: usize,
    },
    ResetClient {
        client: usize,
    },
    /// So many of a hundred new connections break at some byte.
    Resets {
        percent: u64,
        clients_too: bool,
    },
    Crash {
        backend: usize,
        crash: Crash,
        for_ms: u64,
    },
    /// Its checks fail while it serves.
    Sick {
        backend: usize,
        for_ms: u64,
    },
    Reload {
        variant: u64,
    },
    /// One backend after the other is drained, stopped, started again.
    RollingDeploy {
        down_ms: u64,
    },
    /// The name that the backends are found by leads to these only.
    Rename {
        backends: Vec<usize>,
        for_ms: u64,
    },
    /// Who asks for the name is told that there is none, or nothing at all.
    NameFails {
        silent: bool,
        for_ms: u64,
    },
    Shutdown,
}

/// Which direction of a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ways {
    Both,
    FromBalancer,
    ToBalancer,
}

#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub(crate) interval_ms: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) rise: u64,
    pub(crate) fall: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Outlier {
    pub(crate) failures: u64,
    pub(crate) base_ms: u64,
    pub(crate) max_ms: u64,
    pub(crate) percent: u64,
}

/// How many requests a backend gets at once, and who may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) max_in_flight: u64,
    pub(crate) queue_length: u64,
    pub(crate) queue_ms: u64,
}

/// How the configuration says where backends are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Addresses {
    Written,
    /// By a name for each.
    Named,
    /// By one name for all of them.
    Shared,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Sticky {
    pub(crate) ttl_ms: u64,
    /// Whether the configuration has the key; otherwise the server draws one.
    pub(crate) has_secret: bool,
}

/// How a backend says where its answer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Chunked,
    Close,
}

/// A request, and the answer that it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) id: u64,
    pub(crate) method: &'static str,
    /// Bytes of its body, and whether they are chunked.
    pub(crate) upload: Option<(usize, bool)>,
    /// Between two pieces of the upload.
    pub(crate) upload_pause_ms: u64,
    pub(crate) status: u16,
    pub(crate) bytes: usize,
    pub(crate) framing: Framing,
    /// The backend thinks.
    pub(crate) delay_ms: u64,
    /// The client thinks before it asks.
    pub(crate) think_ms: u64,
    /// The client reads so many bytes a millisecond.
    pub(crate) pace_bytes: Option<usize>,
    /// HTTP/1.0: an answer of unknown length ends with the connection.
    pub(crate) is_10: bool,
    /// The backend ends its answer half way, in order.
    pub(crate) cut: bool,
    /// The client waits to be told before it sends the body.
    pub(crate) expects: bool,
    /// The backend answers before it reads the body.
    pub(crate) early: bool,
    /// The client ends its direction behind the request, and waits.
    pub(crate) half_closes: bool,
    /// The client goes after so long.
    pub(crate) leave_ms: Option<u64>,
    /// It does so with a reset.
    pub(crate) leaves_by_reset: bool,
    /// Sent over the same connection before the answer to the request before it is there.
    pub(crate) pipelined: bool,
    /// Where, in thousandths of its bytes, the head is cut, and how long the client waits there.
    pub(crate) head_cuts: Vec<(u64, u64)>,
    /// Head and body leave in one write, and pipelined ones in the same; otherwise in pieces.
    pub(crate) at_once: bool,
    /// Whether the connection may go on is said against the version's default.
    pub(crate) says_connection: bool,
}

impl Ask {
    /// The simplest of requests.
    pub(crate) fn get(id: u64, bytes: usize) -> Self {
        Self {
            id,
            method: "GET",
            upload: None,
            upload_pause_ms: 0,
            status: 200,
            bytes,
            framing: Framing::Length,
            delay_ms: 0,
            think_ms: 0,
            pace_bytes: None,
            is_10: false,
            cut: false,
            expects: false,
            early: false,
            half_closes: false,
            leave_ms: None,
            leaves_by_reset: false,
            pipelined: false,
            head_cuts: Vec::new(),
            at_once: false,
            says_connection: false,
        }
    }

    /// Whether the client means to ask again over the same connection.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.is_10 == self.says_connection && !self.half_closes
    }

    /// RFC 9110, section 9.2.2.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method != "POST"
    }
}

/// What one client asks over one connection, which is made anew when it has ended.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) client: usize,
    pub(crate) start_ms: u64,
    /// It brings back the cookies that it gets.
    pub(crate) keeps_cookies: bool,
    pub(crate) asks: Vec<Ask>,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) theme: Theme,
    pub(crate) network: Options,
    pub(crate) workers: u64,
    pub(crate) backends: usize,
    pub(crate) clients: usize,
    pub(crate) algorithm: &'static str,
    pub(crate) tries: u64,
    pub(crate) budget_percent: u64,
    pub(crate) budget_floor: u64,
    pub(crate) connect_ms: u64,
    pub(crate) head_ms: u64,
    pub(crate) body_idle_ms: u64,
    pub(crate) route_ms: Option<u64>,
    pub(crate) keep_alive_ms: u64,
    pub(crate) backend_keep_alive_ms: u64,
    pub(crate) shutdown_ms: u64,
    pub(crate) health: Option<Health>,
    pub(crate) outlier: Option<Outlier>,
    pub(crate) caps: Option<Caps>,
    pub(crate) addresses: Addresses,
    /// How often names are asked for.
    pub(crate) resolve_ms: u64,
    pub(crate) sticky: Option<Sticky>,
    pub(crate) connections_max: Option<u64>,
    pub(crate) pending_max: Option<u64>,
    pub(crate) sessions: Vec<Session>,
    /// When, in milliseconds, and what.
    pub(crate) faults: Vec<(u64, Fault)>,
    /// The first connection of this kind breaks.
    pub(crate) breaks: Option<(Link, ResetAfter)>,
    /// How many requests must succeed when all has healed.
    pub(crate) probes: u64,
}

/// A kind of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    OfClient,
    OfBackend,
}

/// Draws with names.
struct Draw(Prng);

impl Draw {
    fn of(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.0.below(range.end() - range.start() + 1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.0.below(of.len() as u64) as usize]
    }

    fn fork(&mut self, label: u64) -> Self {
        Self(self.0.fork(label))
    }
}

impl Plan {
    /// The run of this seed. Themes take turns, so that any few seeds in a row show different ones.
    pub(crate) fn of(seed: u64) -> Self {
        Self::drawn(Theme::ALL[(seed % Theme::ALL.len() as u64) as usize], seed, true)
    }

    /// The run of this seed as it was before there were names, caps, sticky sessions and clients with manners
    /// of their own: old regressions are such runs.
    pub(crate) fn plain(theme: Theme, seed: u64) -> Self {
        Self::drawn(theme, seed, false)
    }

    fn drawn(theme: Theme, seed: u64, in_full: bool) -> Self {
        // A part's draws do not disturb those of the others.
        let mut draw = Draw(Prng::new(seed));
        let (mut net, mut config, mut work, mut wrong) =
            (draw.fork(1), draw.fork(2), draw.fork(3), draw.fork(4));
        let (mut further, mut manners) = (draw.fork(5), draw.fork(6));
        let mut plan = Self::configuration(theme, seed, &mut config);
        plan.network = network(seed, &mut net);
        if in_full {
            plan.configure_further(&mut further);
        }
        plan.allow_for_the_journey();
        plan.sessions = plan.workload(&mut work);
        if in_full {
            plan.give_manners(&mut manners);
        }
        plan.faults = plan.what_goes_wrong(&mut wrong);
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    fn configuration(theme: Theme, seed: u64, draw: &mut Draw) -> Self {
        let harmless = theme.is_harmless();
        let several = matches!(theme, Theme::RollingDeploy | Theme::Reloads | Theme::Names);
        let base_ms = draw.of(100..=1_000);
        let health = Health {
            interval_ms: draw.of(100..=1_000),
            timeout_ms: draw.of(50..=800),
            rise: draw.of(1..=3),
            fall: draw.of(1..=3),
        };
        let health = if harmless { Health { timeout_ms: 800, ..health } } else { health };
        let outlier = Outlier {
            failures: draw.of(1..=5),
            base_ms,
            max_ms: base_ms * draw.of(1..=3),
            percent: draw.one(&[34, 50, 100]),
        };
        let checked = draw.chance(60) || matches!(theme, Theme::ChecksAgainstTraffic);
        Self {
            seed,
            theme,
            network: Options::seeded(seed),
            workers: draw.of(1..=3),
            backends: draw.of(if several { 2..=4 } else { 1..=4 }) as usize,
            clients: draw.of(1..=4) as usize,
            algorithm: draw.one(&["round_robin", "random", "least_request", "p2c"]),
            tries: draw.of(1..=4),
            budget_percent: draw.one(&[0, 10, 20, 100]),
            budget_floor: draw.of(0..=3),
            connect_ms: if harmless { 2_000 } else { draw.of(50..=1_000) },
            head_ms: if harmless { 5_000 } else { draw.of(100..=1_500) },
            body_idle_ms: if harmless { 5_000 } else { draw.of(300..=1_500) },
            route_ms: (!harmless && draw.chance(75)).then(|| draw.of(300..=3_000)),
            keep_alive_ms: draw.of(200..=5_000),
            backend_keep_alive_ms: if harmless { 60_000 } else { draw.of(50..=3_000) },
            shutdown_ms: draw.of(200..=3_000),
            health: checked.then_some(health),
            outlier: draw.chance(70).then_some(outlier),
            caps: None,
            addresses: Addresses::Written,
            resolve_ms: 1_000,
            sticky: None,
            connections_max: None,
            pending_max: None,
            sessions: Vec::new(),
            faults: Vec::new(),
            breaks: None,
            probes: 20,
        }
    }

    /// What the configuration has beside pools of written addresses.
    fn configure_further(&mut self, draw: &mut Draw) {
        let (harmless, crowd) = (self.theme.is_harmless(), self.theme == Theme::Crowd);
        let caps = match harmless {
            true => Caps { max_in_flight: draw.of(1..=2), queue_length: 1_000, queue_ms: 60_000 },
            false => Caps {
                max_in_flight: draw.of(1..=if crowd { 1 } else { 3 }),
                queue_length: draw.one(&[0, 1, 3, 10, 1_000, 1_000]),
                queue_ms: draw.of(50..=2_000),
            },
        };
        self.caps = (crowd || draw.chance(30)).then_some(caps);
        self.addresses = match self.theme {
            Theme::Names => Addresses::Shared,
            Theme::RollingDeploy => draw.one(&[Addresses::Written, Addresses::Named]),
            _ => draw.one(&[Addresses::Written, Addresses::Written, Addresses::Named, Addresses::Shared]),
        };
        self.resolve_ms = draw.of(20..=1_500);
        let sticky = Sticky { ttl_ms: draw.one(&[1_000, 2_000, 3_600_000]), has_secret: draw.chance(50) };
        self.sticky = draw.chance(35).then_some(sticky);
        self.connections_max = (!harmless && draw.chance(10)).then(|| draw.of(2..=12));
        self.pending_max = (!harmless && draw.chance(10)).then(|| draw.of(1..=8));
        if crowd {
            (self.backends, self.clients) = (draw.of(1..=2) as usize, draw.of(3..=4) as usize);
        }
    }

    /// How clients put what they ask onto the wire.
    fn give_manners(&mut self, draw: &mut Draw) {
        let (harmless, crowd, capped) =
            (self.theme.is_harmless(), self.theme == Theme::Crowd, self.caps.is_some());
        let pipelines = draw.one(&[0, 20, 60]);
        // Before a name is known nobody can be picked.
        let first_ms = if self.addresses == Addresses::Written { 0 } else { 4 * self.latency_ms_max() };
        for session in &mut self.sessions {
            session.keeps_cookies = draw.chance(75);
            session.start_ms = session.start_ms.max(first_ms);
            if crowd {
                session.start_ms = first_ms + draw.of(0..=300);
            }
            for ask in &mut session.asks {
                ask.head_cuts = match draw.chance(25) {
                    false => Vec::new(),
                    true => (0..draw.of(1..=4)).map(|_| head_cut(draw)).collect(),
                };
                ask.head_cuts.sort_unstable();
                ask.at_once = draw.chance(40);
                ask.says_connection = draw.chance(if ask.is_10 { 50 } else { 8 });
                ask.early |= ask.upload.is_some() && draw.chance(15);
                ask.pipelined = draw.chance(pipelines);
                ask.leaves_by_reset = draw.chance(50);
                if crowd {
                    (ask.think_ms, ask.delay_ms) = (draw.of(0..=30), draw.of(100..=400));
                }
                if harmless && capped {
                    // Who keeps a slot for long keeps others waiting for long.
                    (ask.pace_bytes, ask.upload_pause_ms) = (None, ask.upload_pause_ms.min(2));
                }
            }
            if let Some(first) = session.asks.first_mut() {
                first.pipelined = false;
            }
            for at in 1..session.asks.len() {
                if let [before, ask] = &mut session.asks[at - 1..=at]
                    && ask.pipelined
                {
                    // There is a connection for it, and nobody is waited for.
                    (before.half_closes, before.says_connection) = (false, before.is_10);
                    (before.expects, ask.expects) = (false, false);
                    ask.think_ms = if draw.chance(50) { 0 } else { draw.of(0..=60) };
                }
            }
        }
    }

    /// Time-outs that no exchange could keep, however well all are, would never let success return.
    fn allow_for_the_journey(&mut self) {
        // There and back to connect, there and back to ask, and as much again to spare.
        let journeys_ms = 8 * self.latency_ms_max();
        self.connect_ms = self.connect_ms.max(journeys_ms);
        self.head_ms = self.head_ms.max(journeys_ms);
        if let Some(health) = &mut self.health {
            health.timeout_ms = health.timeout_ms.max(journeys_ms);
        }
        self.route_ms = self.route_ms.map(|route_ms| route_ms.max(2 * journeys_ms));
    }

    fn workload(&self, draw: &mut Draw) -> Vec<Session> {
        let mut id = 0;
        let mut sessions = Vec::new();
        for client in 0..self.clients {
            let fewest = if self.theme == Theme::Crowd { 3 } else { 1 };
            for _ in 0..draw.of(fewest..=4) {
                let asks = (0..draw.of(1..=8)).map(|_| {
                    id += 1;
                    self.ask(id, draw)
                });
                let asks = asks.collect();
                sessions.push(Session {
                    client,
                    start_ms: draw.of(0..=TRAFFIC_MS * 2 / 3),
                    keeps_cookies: false,
                    asks,
                });
            }
        }
        sessions
    }

    fn ask(&self, id: u64, draw: &mut Draw) -> Ask {
        let slow = self.theme == Theme::SlowReaders;
        let method = draw.one(&["GET", "GET", "GET", "POST", "POST", "PUT", "HEAD", "DELETE"]);
        // Large bodies in tiny segments would only take long.
        let tiny = *self.network.segment_bytes.end() < 100;
        let sizes = if draw.chance(20) && !tiny { 0..=100_000 } else { 0..=3_000 };
        let uploads = matches!(method, "POST" | "PUT") && draw.chance(80);
        let status =
            if !self.theme.is_harmless() && draw.chance(10) { draw.one(&[404, 500, 503]) } else { 200 };
        let is_10 = draw.chance(10);
        Ask {
            id,
            method,
            upload: uploads.then(|| (draw.of(sizes.clone()) as usize, draw.chance(50) && !is_10)),
            upload_pause_ms: if draw.chance(20) { draw.of(1..=50) } else { 0 },
            status,
            bytes: draw.of(if slow && !tiny { 0..=200_000 } else { sizes }) as usize,
            framing: draw.one(&[Framing::Length, Framing::Length, Framing::Chunked, Framing::Close]),
            delay_ms: if draw.chance(50) { draw.of(0..=300) } else { 0 },
            think_ms: draw.of(0..=400),
            pace_bytes: (slow && draw.chance(60) || draw.chance(5)).then(|| draw.of(1..=200) as usize),
            is_10,
            cut: !self.theme.is_harmless() && Draw(Prng::new(self.seed ^ id << 32)).chance(6),
            expects: uploads && !is_10 && draw.chance(15),
            early: uploads && draw.chance(10),
            half_closes: draw.chance(10),
            leave_ms: (!self.theme.is_harmless() && draw.chance(6)).then(|| draw.of(0..=400)),
            ..Ask::get(id, 0)
        }
    }

    fn what_goes_wrong(&self, draw: &mut Draw) -> Vec<(u64, Fault)> {
        let mut faults = Vec::new();
        match self.theme {
            Theme::Calm | Theme::SlowReaders | Theme::Crowd => {}
            Theme::RollingDeploy => {
                faults.push((draw.of(100..=1_000), Fault::RollingDeploy { down_ms: draw.of(50..=300) }));
            }
            Theme::Everything => {
                for _ in 0..draw.of(2..=8) {
                    let further = usize::from(self.addresses == Addresses::Shared);
                    let theme = draw.one(&Theme::MIXED[..Theme::MIXED.len() - 1 + further]);
                    faults.push(self.fault(theme, draw));
                }
                if draw.chance(30) {
                    faults.push((draw.of(1_000..=TRAFFIC_MS), Fault::Shutdown));
                }
            }
            Theme::PartitionOfAllBackends => {
                let (at, for_ms) = (draw.of(0..=TRAFFIC_MS / 2), draw.of(100..=3_000));
                let ways = draw.one(&[Ways::Both, Ways::FromBalancer, Ways::ToBalancer]);
                let cut = |backend| (at, Fault::CutBackend { backend, ways, for_ms });
                faults.extend((0..self.backends).map(cut));
            }
            Theme::ShutdownDuringTraffic => {
                faults.push((draw.of(200..=TRAFFIC_MS / 2), Fault::Shutdown));
            }
            theme => {
                for _ in 0..draw.of(1..=5) {
                    faults.push(self.fault(theme, draw));
                }
            }
        }
        faults
    }

    fn fault(&self, theme: Theme, draw: &mut Draw) -> (u64, Fault) {
        let at = draw.of(0..=TRAFFIC_MS * 3 / 4);
        // Seed 643: a server that has never heard of a name's addresses has nobody to send requests to.
        let at = if theme == Theme::Names { at.max(2 * self.latency_ms_max() + 1) } else { at };
        let for_ms = draw.of(50..=2_500);
        let backend = draw.of(0..=self.backends as u64 - 1) as usize;
        let client = draw.of(0..=self.clients as u64 - 1) as usize;
        let ways = draw.one(&[Ways::Both, Ways::Both, Ways::FromBalancer, Ways::ToBalancer]);
        let fault = match theme {
            Theme::Reloads => Fault::Reload { variant: draw.of(1..=1_000) },
            Theme::PartitionOfAClient => Fault::CutClient { client, ways, for_ms },
            Theme::LatencySpikes if draw.chance(30) => {
                Fault::SlowClient { client, latency_ms: draw.of(50..=800), for_ms }
            }
            Theme::LatencySpikes => Fault::SlowBackend { backend, latency_ms: draw.of(50..=1_500), for_ms },
            Theme::Resets => match draw.of(0..=3) {
                0 => Fault::ResetBackend { backend },
                1 => Fault::ResetClient { client },
                _ => Fault::Resets { percent: draw.of(5..=60), clients_too: draw.chance(40) },
            },
            Theme::Crashes => {
                let crash = draw.one(&[Crash::Process, Crash::Machine]);
                Fault::Crash { backend, crash, for_ms }
            }
            Theme::ChecksAgainstTraffic => Fault::Sick { backend, for_ms },
            Theme::Names => match draw.chance(30) {
                true => Fault::NameFails { silent: draw.chance(50), for_ms },
                false => {
                    let mut left: Vec<usize> = (0..self.backends).filter(|_| draw.chance(50)).collect();
                    if left.is_empty() {
                        left.push(backend);
                    }
                    Fault::Rename { backends: left, for_ms }
                }
            },
            _ => Fault::CutBackend { backend, ways, for_ms },
        };
        (at, fault)
    }

    /// What follows a reload: other weights, another algorithm, perhaps without the last backend.
    pub(crate) fn variant(&self, variant: u64) -> String {
        let mut draw = Draw(Prng::new(self.seed ^ variant));
        let weights: Vec<u64> = (0..self.backends).map(|_| draw.of(1..=3)).collect();
        let fewer = self.backends > 1 && draw.chance(40);
        let states = vec!["ready"; self.backends - usize::from(fewer)];
        let plan = Self {
            algorithm: draw.one(&["round_robin", "random", "least_request", "p2c"]),
            tries: self.tries,
            ..self.clone()
        };
        plan.toml(&states, &weights)
    }

    /// The configuration, with these states of the backends.
    pub(crate) fn toml(&self, states: &[&str], weights: &[u64]) -> String {
        let mut toml = String::new();
        let mut line = |text: String| {
            // Writing to memory cannot fail.
            let _ = writeln!(toml, "{text}");
        };
        line(format!("workers = {}\nshutdown_timeout = \"{}ms\"", self.workers, self.shutdown_ms));
        line("access_log = { format = \"off\" }\n[[listener]]".into());
        line(format!("bind = \"{}:{LB_PORT}\"\nreason_header = true", IpAddr::from(LB)));
        line(format!(
            "timeouts = {{ request_head = \"2s\", body_idle = \"{}ms\", keep_alive = \"{}ms\" }}",
            self.body_idle_ms, self.keep_alive_ms
        ));
        if let Some(most) = self.connections_max {
            line(format!("limits = {{ connections = {most} }}"));
        }
        line(format!("[pool.mango]\nalgorithm = \"{}\"\nbackends = [", self.algorithm));
        let written = if self.addresses == Addresses::Shared { 1 } else { states.len() };
        for (backend, (state, weight)) in states.iter().zip(weights).enumerate().take(written) {
            let host = match self.addresses {
                Addresses::Written => backend_ip(backend).to_string(),
                Addresses::Named => name_of(backend),
                Addresses::Shared => SHARED_NAME.into(),
            };
            line(format!(
                "{{ name = \"b{backend}\", address = \"{host}:80\", weight = {weight}, state = \"{state}\" }},",
            ));
        }
        line(format!("]\nresolve_interval = \"{}ms\"", self.resolve_ms));
        if let Some(Caps { max_in_flight, queue_length, queue_ms }) = self.caps {
            line(format!(
                "max_in_flight = {max_in_flight}\nqueue = {{ length = {queue_length}, timeout = \"{queue_ms}ms\" }}"
            ));
        }
        if let Some(most) = self.pending_max {
            line(format!("limits = {{ pending = {most} }}"));
        }
        if let Some(Sticky { ttl_ms, has_secret }) = self.sticky {
            let secret = if has_secret { ", secret = \"0123456789abcdef\"" } else { "" };
            line(format!("sticky = {{ cookie = \"s\", ttl = \"{ttl_ms}ms\"{secret} }}"));
        }
        line(format!(
            "timeouts = {{ connect = \"{}ms\", response_head = \"{}ms\", body_idle = \"{}ms\", keep_alive = \"3s\" }}",
            self.connect_ms, self.head_ms, self.body_idle_ms
        ));
        line(format!(
            "retry = {{ tries = {}, budget_percent = {}, budget_floor = {} }}",
            self.tries, self.budget_percent, self.budget_floor
        ));
        line(match &self.outlier {
            Some(Outlier { failures, base_ms, max_ms, percent }) => format!(
                "outlier = {{ consecutive_failures = {failures}, base_ejection = \"{base_ms}ms\", \
                 max_ejection = \"{max_ms}ms\", max_ejected_percent = {percent} }}"
            ),
            None => "outlier = { consecutive_failures = 0 }".into(),
        });
        if let Some(Health { interval_ms, timeout_ms, rise, fall }) = &self.health {
            line(format!(
                "health_check = {{ path = \"/healthcheck\", interval = \"{interval_ms}ms\", \
                 timeout = \"{timeout_ms}ms\", rise = {rise}, fall = {fall} }}"
            ));
        }
        line("[[route]]\nname = \"mango\"\npool = \"mango\"".into());
        if let Some(route_ms) = self.route_ms {
            line(format!("timeout = \"{route_ms}ms\""));
        }
        toml
    }

    /// The longest that a packet takes when no link is cut.
    pub(crate) fn latency_ms_max(&self) -> u64 {
        let spikes = self.faults.iter().map(|(_, fault)| match fault {
            Fault::SlowBackend { latency_ms, .. } | Fault::SlowClient { latency_ms, .. } => *latency_ms,
            _ => 0,
        });
        spikes.max().unwrap_or(0).max(self.network.latency_us.end() / 1_000 + 1)
    }

    /// When everything that goes wrong by itself is over.
    pub(crate) fn heals_at_ms(&self) -> u64 {
        let ends = self.faults.iter().map(|(at, fault)| match fault {
            Fault::CutBackend { for_ms, .. }
            | Fault::CutClient { for_ms, .. }
            | Fault::SlowBackend { for_ms, .. }
            | Fault::SlowClient { for_ms, .. }
            | Fault::Crash { for_ms, .. }
            | Fault::Sick { for_ms, .. }
            | Fault::Rename { for_ms, .. }
            | Fault::NameFails { for_ms, .. } => at + for_ms,
            _ => *at,
        });
        ends.max().unwrap_or(0).max(TRAFFIC_MS)
    }

    /// By when, after everything has healed, requests must succeed again: requests that are under way end,
    /// ejections end, checks pass `rise` times. See docs/sim-net.md.
    pub(crate) fn recovery_ms(&self) -> u64 {
        let ejection = self.outlier.as_ref().map_or(0, |outlier| outlier.max_ms);
        let checks = self
            .health
            .as_ref()
            .map_or(0, |health| (health.rise + 1) * (health.interval_ms * 12 / 10 + health.timeout_ms));
        let under_way = self.tries * (self.connect_ms + self.head_ms) + self.body_idle_ms;
        under_way.min(self.route_ms.unwrap_or(u64::MAX))
            + ejection.max(checks)
            + self.resolving_ms()
            + if self.connections_max.is_some() { LINGER_MS } else { 0 }
            + 4 * self.latency_ms_max()
            + 500
    }

    /// How long it takes at most until a name's addresses are asked for, and known.
    pub(crate) fn resolving_ms(&self) -> u64 {
        let is_silent = |(_, fault): &(u64, Fault)| matches!(fault, Fault::NameFails { silent: true, .. });
        let silence = if self.faults.iter().any(is_silent) { LOOKUP_MS_MAX } else { 0 };
        if self.addresses == Addresses::Written { 0 } else { self.resolve_ms + silence }
    }
}

/// Somewhere, and often where a head ends.
fn head_cut(draw: &mut Draw) -> (u64, u64) {
    (if draw.chance(40) { draw.of(970..=1_000) } else { draw.of(0..=1_000) }, draw.of(0..=60))
}

/// The name that a backend is found by.
pub(crate) fn name_of(backend: usize) -> String {
    format!("b{backend}.test")
}

fn network(seed: u64, draw: &mut Draw) -> Options {
    let slowest = draw.one(&[100, 1_000, 20_000]);
    let largest = draw.one(&[7, 200, 1_448, 65_536]);
    Options {
        seed,
        latency_us: 10..=slowest,
        segment_bytes: 1..=largest,
        window_bytes: draw.one(&[1 << 10, 16 << 10, 256 << 10]),
    }
}

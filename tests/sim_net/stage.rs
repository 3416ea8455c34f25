//! A run: backends, the balancer and clients on one network, faults at their times, then peace, in which
//! everything must work again, and an end that leaves nothing behind.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    rc::Rc,
    sync::Once,
    time::Duration,
};

use lb_core::{pool::EndpointStatus, prng::Prng};
use lb_server::{Options, PoolStatus, Server, Shutdown};
use lb_testkit::sim_net::{self, Network, ResetAfter, Side, Trace};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    backend::Backend,
    client::Client,
    ledger::{Carrier, Cookie, Ledger, Seen, Sums, Way, With},
    plan::{
        Addresses, Ask, Caps, Fault, LB, Link, Plan, SHARED_NAME, Session, Ways, backend_ip, client_ip,
        name_of,
    },
};

/// How often the books are looked at while a run goes on.
const AUDIT_INTERVAL: Duration = Duration::from_millis(25);
/// What a client grants beyond what the configuration promises: the wheel's tick, the journey there and
/// back, and what else takes a moment.
const DEADLINE_SLACK: Duration = Duration::from_millis(500);
/// Without a route's timeout bodies may take as long as they move.
const DEADLINE_WITHOUT_TIMEOUT: Duration = Duration::from_secs(90);
/// How long the balancer waits for a client to close after its last answer.
const LINGER: Duration = Duration::from_secs(2);
/// Where nothing goes wrong, every request is served in its turn.
const DEADLINE_WITHOUT_FAULTS: Duration = Duration::from_secs(30);
/// Between two requests that look whether the balancer has recovered.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
const PROBE_BYTES: usize = 100;
/// Ids of probes.
const PROBE_IDS: u64 = 1_000_000;
/// After the last answer, counts are zero within this time: a half-closed connection's linger ends.
const SETTLE: Duration = Duration::from_secs(8);
/// No run takes longer, in the time of its clock.
const RUN_TIME_MAX: Duration = Duration::from_secs(600);
/// Drawn resets fall into this many bytes of an exchange, as a power of two.
const RESET_BYTES_BITS_MAX: u64 = 17;

/// How a run went.
pub(crate) struct Outcome {
    pub(crate) plan: Plan,
    pub(crate) violations: Vec<String>,
    pub(crate) trace: Trace,
    pub(crate) sums: Sums,
    /// Connections that the network has broken.
    pub(crate) breaks: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, violations, trace, sums, breaks } = self;
        writeln!(f, "{trace}\n{plan:#?}\n{sums:?}, {breaks} connections broken")?;
        violations.iter().try_for_each(|violation| writeln!(f, "VIOLATED: {violation}"))
    }
}

thread_local! {
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

/// Counts the panics of this thread: those of a task that nobody joins would go unnoticed.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            usual(info);
        }));
    });
}

/// Runs a plan to its end.
pub(crate) fn run(plan: &Plan) -> Outcome {
    count_panics();
    let panics = PANICS.get();
    let mut outcome = play(plan);
    let panics = PANICS.get() - panics;
    if panics > 0 {
        outcome.violations.push(format!("{panics} panics"));
    }
    outcome
}

fn play(plan: &Plan) -> Outcome {
    sim_net::run(|| async {
        let stage = Rc::new(Stage::set(plan.clone()).await);
        if timeout(RUN_TIME_MAX, stage.play()).await.is_err() {
            stage.ledger.violation("the run does not end");
        }
        stage.ledger.audit(&stage.plan);
        Outcome {
            plan: plan.clone(),
            violations: stage.ledger.violations(),
            trace: stage.network.trace(),
            sums: stage.ledger.sums(),
            breaks: stage.network.breaks(),
        }
    })
}

struct Stage {
    plan: Plan,
    network: Network,
    ledger: Rc<Ledger>,
    server: Server,
    backends: Vec<Backend>,
    began: Instant,
    /// Backends that no name leads to, and since when.
    nameless: RefCell<BTreeMap<usize, Instant>>,
    /// Faults that take their time.
    under_way: RefCell<Vec<JoinHandle<()>>>,
}

impl Stage {
    async fn set(plan: Plan) -> Self {
        let network = Network::new(&plan.network);
        let ledger = Rc::new(Ledger::default());
        let backends = (0..plan.backends)
            .map(|number| Backend::start(&network, &ledger, number, plan.backend_keep_alive_ms))
            .collect();
        let toml = plan.toml(&vec!["ready"; plan.backends], &vec![1; plan.backends]);
        let options = Options {
            observer: Some(ledger.watch.clone()),
            seed: Some(plan.seed),
            library_only: plan.seed % 4 == 3,
        };
        lb_tests::panics_of_the_balancer_end_the_tests();
        let server = Server::start_on(network.host(LB), &lb_tests::valid(&toml), options)
            .await
            .unwrap_or_else(|error| panic!("seed {}: {error}", plan.seed));
        let stage = Self {
            plan,
            network,
            ledger,
            server,
            backends,
            began: Instant::now(),
            nameless: RefCell::default(),
            under_way: RefCell::default(),
        };
        stage.lead_to_all();
        for backend in 0..stage.plan.backends {
            stage.network.set_name(&name_of(backend), &[backend_ip(backend)]);
        }
        stage
    }

    async fn play(self: &Rc<Self>) {
        self.break_first();
        let auditor = spawn_local(Rc::clone(self).watch_counts());
        let faults = spawn_local(Rc::clone(self).go_wrong());
        let sessions: Vec<_> = self
            .plan
            .sessions
            .iter()
            .map(|session| spawn_local(Rc::clone(self).talk(session.clone())))
            .collect();
        for session in sessions {
            self.joined("a client", session).await;
        }
        self.joined("the faults", faults).await;
        let under_way = std::mem::take(&mut *self.under_way.borrow_mut());
        for fault in under_way {
            self.joined("a fault", fault).await;
        }
        sleep_until(self.at(self.plan.heals_at_ms())).await;
        if !self.ledger.is_shut_down() {
            self.network.heal_all();
            self.network.note(format_args!("peace"));
            self.recovers().await;
            self.settles().await;
            self.ends().await;
        }
        auditor.abort();
        self.leaves_nothing().await;
        self.network.stale_writes(LB.into()).iter().for_each(|beginning| self.ledger.stale_write(beginning));
        self.ledger.unopened(self.network.unopened(LB.into()));
        self.network.lost().iter().for_each(|beginning| self.ledger.lost(beginning));
    }

    /// A panic in a task of the run is a finding like others.
    async fn joined(&self, who: &str, task: JoinHandle<()>) {
        if let Err(error) = task.await {
            self.ledger.violation(format!("{who}: {error}"));
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.began + Duration::from_millis(ms)
    }

    // Clients.

    async fn talk(self: Rc<Self>, session: Session) {
        sleep_until(self.at(session.start_ms)).await;
        let (mut connection, mut jar) = (None, None);
        for asks in session.asks.chunk_by(|_, next| next.pipelined) {
            sleep(Duration::from_millis(asks[0].think_ms)).await;
            if self.ledger.is_shut_down() {
                return;
            }
            if !session.keeps_cookies {
                jar = None;
            }
            connection = self.ask(session.client, connection, asks, &mut jar).await;
        }
    }

    /// Asks for these, one behind the other; gives back the connection, if it may carry more.
    async fn ask(
        &self,
        client: usize,
        connection: Option<Client>,
        asks: &[Ask],
        jar: &mut Option<Cookie>,
    ) -> Option<Client> {
        let connection = match connection.filter(|connection| connection.is_usable(&self.ledger)) {
            Some(connection) => Some(connection),
            None => Client::connect(&self.network.host(client_ip(client))).await,
        };
        for (at, ask) in asks.iter().enumerate() {
            let connection = match (&connection, at) {
                (Some(connection), 0) if !connection.has_carried() => Carrier::New,
                (_, 0) => Carrier::Kept,
                _ => Carrier::Shared,
            };
            let way = Way { client, connection, session: jar.clone() };
            self.ledger.sends(way, ask, self.network.host(LB).unix_seconds());
        }
        let Some(connection) = connection else {
            asks.iter().for_each(|ask| self.ledger.saw(ask.id, Seen::NoConnection));
            return None;
        };
        let within = asks.iter().map(|ask| self.patience(client, ask)).sum();
        let cookie = jar.as_ref().map(|cookie| cookie.text.clone());
        let (seen, connection) = connection.ask(&self.ledger, asks, cookie.as_deref(), within).await;
        for (ask, seen) in asks.iter().zip(seen) {
            self.network.note(format_args!("request {} {}: {seen:?}", ask.id, ask.method));
            if let Seen::Whole { backend, cookie: Some(text) } = &seen {
                *jar = Some(Cookie { text: text.clone(), backend: *backend });
            }
            self.ledger.saw(ask.id, seen);
        }
        connection
    }

    /// By when a client must have its answer.
    fn patience(&self, client: usize, ask: &Ask) -> Duration {
        let unlimited = match self.plan.theme.is_harmless() {
            true => DEADLINE_WITHOUT_FAULTS,
            false => DEADLINE_WITHOUT_TIMEOUT,
        };
        let promised = self.plan.route_ms.map_or(unlimited, Duration::from_millis);
        let faults = self.plan.faults.iter();
        let cut_ms: u64 = faults
            .map(|(_, fault)| match fault {
                Fault::CutClient { client: cut, for_ms, .. } if *cut == client => *for_ms,
                _ => 0,
            })
            .sum();
        // The balancer's time begins when the head is there, not when it was sent.
        let upload_ms =
            ask.upload.map_or(0, |(bytes, _)| 300 + (bytes as u64 / 1_000 + 2) * ask.upload_pause_ms);
        let reading_ms = ask.pace_bytes.map_or(0, |pace| 2 * (ask.bytes + 500) as u64 / pace as u64);
        let pauses_ms: u64 = ask.head_cuts.iter().map(|(_, pause_ms)| pause_ms).sum::<u64>() + ask.think_ms;
        let journeys_ms = 8 * self.plan.latency_ms_max() + pauses_ms;
        promised + DEADLINE_SLACK + Duration::from_millis(cut_ms + upload_ms + reading_ms + journeys_ms)
    }

    // Faults.

    async fn go_wrong(self: Rc<Self>) {
        for (at_ms, fault) in &self.plan.faults {
            sleep_until(self.at(*at_ms)).await;
            self.network.note(format_args!("{fault:?}"));
            let stage = Rc::clone(&self);
            let fault = fault.clone();
            self.under_way.borrow_mut().push(spawn_local(async move { stage.fault(fault).await }));
        }
    }

    async fn fault(&self, fault: Fault) {
        match fault {
            Fault::CutBackend { backend, ways, for_ms } => {
                self.cut(backend_ip(backend), With::Backend(backend), ways, for_ms).await;
            }
            Fault::CutClient { client, ways, for_ms } => {
                self.cut(client_ip(client), With::Client(client), ways, for_ms).await;
            }
            Fault::SlowBackend { backend, latency_ms, for_ms } => {
                self.slow(backend_ip(backend), latency_ms, for_ms).await;
            }
            Fault::SlowClient { client, latency_ms, for_ms } => {
                if latency_ms + 20 > self.plan.body_idle_ms {
                    // Its window is full for so long that it counts as one that does not read.
                    let length = Duration::from_millis(for_ms + 4 * latency_ms);
                    self.ledger.trouble(With::Client(client), Instant::now(), Instant::now() + length);
                }
                self.slow(client_ip(client), latency_ms, for_ms).await;
            }
            Fault::ResetBackend { backend } => {
                self.network.reset_between(LB.into(), backend_ip(backend));
            }
            Fault::ResetClient { client } => {
                let now = Instant::now();
                self.ledger.trouble(With::Client(client), now, now);
                self.network.reset_between(LB.into(), client_ip(client));
            }
            Fault::Resets { percent, clients_too } => self.resets(percent, clients_too),
            Fault::Crash { backend, crash, for_ms } => {
                self.backends[backend].crash(crash);
                sleep(Duration::from_millis(for_ms)).await;
                self.backends[backend].restart();
            }
            Fault::Sick { backend, for_ms } => {
                self.backends[backend].set_sick(true);
                sleep(Duration::from_millis(for_ms)).await;
                self.backends[backend].set_sick(false);
            }
            Fault::Rename { backends, for_ms } => {
                self.lead_to(&backends);
                sleep(Duration::from_millis(for_ms)).await;
                self.lead_to_all();
            }
            Fault::NameFails { silent, for_ms } => {
                // What was known last is what counts.
                (0..self.plan.backends).for_each(|backend| self.has_name(backend));
                match silent {
                    true => self.network.silence_name(SHARED_NAME),
                    false => self.network.set_name(SHARED_NAME, &[]),
                }
                sleep(Duration::from_millis(for_ms)).await;
                self.lead_to_all();
            }
            Fault::Reload { variant } => self.reload(&self.plan.variant(variant)).await,
            Fault::RollingDeploy { down_ms } => self.rolling_deploy(down_ms).await,
            Fault::Shutdown => self.ends().await,
        }
    }

    /// The name that backends share leads to these.
    fn lead_to(&self, backends: &[usize]) {
        let ips: Vec<IpAddr> = backends.iter().map(|backend| backend_ip(*backend)).collect();
        self.network.set_name(SHARED_NAME, &ips);
        for backend in (0..self.plan.backends).filter(|_| self.plan.addresses == Addresses::Shared) {
            if backends.contains(&backend) {
                self.has_name(backend);
            } else {
                self.nameless.borrow_mut().entry(backend).or_insert_with(Instant::now);
            }
        }
    }

    fn has_name(&self, backend: usize) {
        if let Some(from) = self.nameless.borrow_mut().remove(&backend) {
            self.ledger.nameless(backend, from, Instant::now());
        }
    }

    fn lead_to_all(&self) {
        self.lead_to(&(0..self.plan.backends).collect::<Vec<_>>());
    }

    async fn cut(&self, ip: IpAddr, with: With, ways: Ways, for_ms: u64) {
        let length = Duration::from_millis(for_ms);
        let lb = LB.into();
        let links = match ways {
            Ways::Both => vec![(lb, ip), (ip, lb)],
            Ways::FromBalancer => vec![(lb, ip)],
            Ways::ToBalancer => vec![(ip, lb)],
        };
        // What was held travels after that, and its answer too.
        let after = length + Duration::from_millis(4 * self.plan.latency_ms_max());
        self.ledger.trouble(with, Instant::now(), Instant::now() + after);
        links.iter().for_each(|(from, to)| self.network.cut(*from, *to));
        sleep(length).await;
        links.iter().for_each(|(from, to)| self.network.heal(*from, *to));
    }

    async fn slow(&self, ip: IpAddr, latency_ms: u64, for_ms: u64) {
        let latency_us = latency_ms * 500..=latency_ms * 1_000;
        self.network.set_latency(LB.into(), ip, latency_us.clone());
        self.network.set_latency(ip, LB.into(), latency_us);
        sleep(Duration::from_millis(for_ms)).await;
        self.network.set_latency(LB.into(), ip, self.plan.network.latency_us.clone());
        self.network.set_latency(ip, LB.into(), self.plan.network.latency_us.clone());
    }

    fn resets(&self, percent: u64, clients_too: bool) {
        if clients_too {
            // Until peace, and for as long as such connections live.
            let long = Duration::from_secs(3_600);
            self.ledger.trouble(With::Everybody, Instant::now(), Instant::now() + long);
        }
        let mut prng = Prng::new(self.plan.seed ^ percent);
        self.network.set_resets(move |opened| {
            let meant = opened.from.ip() == IpAddr::from(LB) || clients_too;
            let breaks = prng.below(100) < percent && meant;
            let toward = if prng.below(2) == 0 { Side::Client } else { Side::Server };
            // Most exchanges are short; some are not.
            let bits = prng.below(RESET_BYTES_BITS_MAX);
            let bytes = prng.below(1 << bits);
            breaks.then_some(ResetAfter { toward, bytes })
        });
    }

    /// Sets up the one break that the plan may name.
    fn break_first(&self) {
        let Some((link, reset)) = self.plan.breaks else { return };
        if link == Link::OfClient {
            self.ledger.trouble(With::Client(0), self.began, self.began + SETTLE);
        }
        let mut left = 1;
        self.network.set_resets(move |opened| {
            let is_backends = opened.from.ip() == IpAddr::from(LB);
            let is_meant = is_backends == (link == Link::OfBackend) && left > 0;
            left -= u32::from(is_meant);
            is_meant.then_some(reset)
        });
    }

    async fn reload(&self, toml: &str) {
        let reloaded = self.server.reload(lb_tests::valid(toml)).await;
        if let Err(error) = reloaded
            && !self.ledger.is_shut_down()
        {
            self.ledger.violation(format!("reload: {error}"));
        }
    }

    /// Each backend in turn: drained, and when nothing is in flight there, stopped and started again.
    async fn rolling_deploy(&self, down_ms: u64) {
        let weights = vec![1; self.plan.backends];
        for (number, backend) in self.backends.iter().enumerate() {
            let mut states = vec!["ready"; self.plan.backends];
            states[number] = "drain";
            self.reload(&self.plan.toml(&states, &weights)).await;
            if self.plan.sticky.is_some() {
                // Its sessions still come.
                sleep(Duration::from_millis(down_ms)).await;
                states[number] = "maint";
                self.reload(&self.plan.toml(&states, &weights)).await;
            }
            while self.in_flight_at(number) > 0 {
                sleep(AUDIT_INTERVAL).await;
            }
            backend.crash(sim_net::Crash::Process);
            sleep(Duration::from_millis(down_ms)).await;
            backend.restart();
            states[number] = "ready";
            // As an operator would: it answers checks before it is put back.
            sleep(Duration::from_millis(down_ms + 2 * self.plan.latency_ms_max())).await;
            self.reload(&self.plan.toml(&states, &weights)).await;
            if let Some(health) = &self.plan.health {
                let checks = (health.rise + 1) * (health.interval_ms * 12 / 10 + health.timeout_ms);
                sleep(Duration::from_millis(checks)).await;
            }
        }
    }

    fn in_flight_at(&self, backend: usize) -> u32 {
        let pools = self.server.pools();
        let endpoints = pools.iter().flat_map(|pool| &pool.endpoints);
        endpoints.filter(|it| it.addr.ip() == backend_ip(backend)).map(|it| it.in_flight).sum()
    }

    // What must hold.

    /// The pools never count more than can be under way.
    async fn watch_counts(self: Rc<Self>) {
        loop {
            sleep(AUDIT_INTERVAL).await;
            // Probes are among the requests that were sent.
            let most = self.ledger.under_way_max() as u64;
            for pool in self.server.pools() {
                let of_endpoints: u64 = pool.endpoints.iter().map(|it| u64::from(it.in_flight)).sum();
                self.ledger.queue(pool.waiting);
                if let Some(broken) = self.plan.caps.and_then(|caps| over_cap(&caps, &pool)) {
                    self.ledger.violation(format!("{broken}: {pool:?}"));
                    return;
                }
                if pool.in_flight > most || u64::from(pool.pending) > most || of_endpoints > pool.in_flight {
                    self.ledger.violation(format!("more in flight than the {most} under way: {pool:?}"));
                    return;
                }
            }
        }
    }

    /// Success returns within the stated time, and stays.
    async fn recovers(&self) {
        let healed = Instant::now();
        let within = Duration::from_millis(self.plan.recovery_ms());
        let (mut connection, mut good, mut id) = (None, 0, PROBE_IDS);
        while good < self.plan.probes {
            id += 1;
            let ask = Ask::get(id, PROBE_BYTES);
            connection = self.ask(0, connection, &[ask], &mut None).await;
            let is_whole = self.ledger.is_whole(id);
            good = if is_whole { good + 1 } else { 0 };
            if !is_whole && healed.elapsed() > within {
                self.ledger
                    .violation(format!("request {id} fails {:?} after all has healed", healed.elapsed()));
                return;
            }
            connection = connection.filter(|_| id % 3 != 0);
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Counts return to zero.
    async fn settles(&self) {
        let until = Instant::now() + SETTLE;
        loop {
            let pools = self.server.pools();
            let busy = pools.iter().any(|pool| pool.in_flight > 0 || pool.pending > 0);
            let connections: usize = self.server.workers().iter().map(|worker| worker.connections).sum();
            if !busy && connections == 0 {
                return;
            }
            if Instant::now() > until {
                return self.ledger.violation(format!("{connections} connections stay; {pools:?}"));
            }
            sleep(AUDIT_INTERVAL).await;
        }
    }

    /// A shutdown ends in its time, and nobody is served after it.
    async fn ends(&self) {
        // Who has just got its answer is given time to read it.
        let busy = self.ledger.under_way_max() > 0 || self.ledger.has_answered_within(LINGER);
        self.ledger.shuts_down();
        let began = Instant::now();
        let outcome = self.server.shutdown().await;
        self.network.note(format_args!("shut down: {outcome:?}"));
        let most = Duration::from_millis(self.plan.shutdown_ms) + Duration::from_millis(1_500);
        if began.elapsed() > most {
            self.ledger.violation(format!("the shutdown took {:?}", began.elapsed()));
        }
        if !busy && outcome != Shutdown::Clean {
            self.ledger.violation(format!("an idle balancer's shutdown was {outcome:?}"));
        }
        if self.network.host(client_ip(0)).connect((LB, crate::plan::LB_PORT).into()).await.is_ok() {
            self.ledger.violation("connections are accepted after a shutdown");
        }
    }

    async fn leaves_nothing(&self) {
        self.network.heal_all();
        sleep(SETTLE).await;
        let left = self.network.open_connections(LB.into());
        let pools = self.server.pools();
        if left > 0 || pools.iter().any(|pool| pool.in_flight > 0 || pool.pending > 0) {
            self.ledger.violation(format!("{left} connections are left at the end; {pools:?}"));
        }
    }
}

/// What a pool lets in beyond what its configuration does.
fn over_cap(caps: &Caps, pool: &PoolStatus) -> Option<&'static str> {
    let most = |endpoint: &EndpointStatus| u64::from(endpoint.in_flight) > caps.max_in_flight;
    let busy = pool.endpoints.iter().any(most).then_some("more in flight at a backend than it may get");
    busy.or_else(|| {
        (pool.waiting as u64 > caps.queue_length).then_some("more in the queue than it has places")
    })
}

//! A run: backends, the balancer and clients on one network, faults at their times, then peace, in which
//! everything must work again, and an end that leaves nothing behind.

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::IpAddr,
    rc::Rc,
    sync::Once,
    time::Duration,
};

use lb_core::prng::Prng;
use lb_server::{Options, Server, Shutdown};
use lb_testkit::sim_net::{self, Network, ResetAfter, Side, Trace};
use tokio::{
    task::{JoinHandle, spawn_local},
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    backend::Backend,
    client::Client,
    ledger::{Ledger, Seen, Sums, With},
    plan::{Ask, Fault, Framing, LB, Link, Plan, Session, Ways, backend_ip, client_ip},
};

/// How often the books are looked at while a run goes on.
const AUDIT_INTERVAL: Duration = Duration::from_millis(25);
/// What a client grants beyond what the configuration promises: the wheel's tick, the journey there and
/// back, and what else takes a moment.
const DEADLINE_SLACK: Duration = Duration::from_millis(500);
/// Without a route's timeout bodies may take as long as they move.
const DEADLINE_WITHOUT_TIMEOUT: Duration = Duration::from_secs(90);
/// Between two requests that look whether the balancer has recovered.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);
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
        let server = Server::start_on(network.host(LB), &lb_tests::valid(&toml), options)
            .await
            .unwrap_or_else(|error| panic!("seed {}: {error}", plan.seed));
        Self { plan, network, ledger, server, backends, began: Instant::now(), under_way: RefCell::default() }
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
        let mut connection = None;
        for ask in &session.asks {
            sleep(Duration::from_millis(ask.think_ms)).await;
            if self.ledger.is_shut_down() {
                return;
            }
            connection = self.ask(session.client, connection, ask).await;
        }
    }

    async fn ask(&self, client: usize, connection: Option<Client>, ask: &Ask) -> Option<Client> {
        let connection = match connection.filter(|connection| connection.is_usable(&self.ledger)) {
            Some(connection) => Some(connection),
            None => Client::connect(&self.network.host(client_ip(client))).await,
        };
        let reused = connection.as_ref().is_some_and(Client::has_carried);
        self.ledger.sends(client, ask, reused);
        let Some(connection) = connection else {
            self.ledger.saw(ask.id, Seen::NoConnection);
            return None;
        };
        let (seen, connection) = connection.ask(&self.ledger, ask, self.patience(client, ask)).await;
        self.network.note(format_args!("request {} {}: {seen:?}", ask.id, ask.method));
        self.ledger.saw(ask.id, seen);
        connection
    }

    /// By when a client must have its answer.
    fn patience(&self, client: usize, ask: &Ask) -> Duration {
        let promised = self.plan.route_ms.map_or(DEADLINE_WITHOUT_TIMEOUT, Duration::from_millis);
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
        let journeys_ms = 8 * self.plan.latency_ms_max();
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
            Fault::Reload { variant } => self.reload(&self.plan.variant(variant)).await,
            Fault::RollingDeploy { down_ms } => self.rolling_deploy(down_ms).await,
            Fault::Shutdown => self.ends().await,
        }
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
            let ask = probe(id);
            connection = self.ask(0, connection, &ask).await;
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
        let busy = self.ledger.under_way_max() > 0;
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

fn probe(id: u64) -> Ask {
    Ask {
        id,
        method: "GET",
        upload: None,
        upload_pause_ms: 0,
        status: 200,
        bytes: 100,
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
    }
}

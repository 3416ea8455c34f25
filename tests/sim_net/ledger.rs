//! What everybody saw of each request, and what must hold of it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use lb_core::{
    config::AdminState,
    pool::{Change, Transition},
    reason::Reason,
};
use lb_server::{Observer, access_log::Record};
use tokio::time::{Duration, Instant};

use crate::plan::{Ask, Plan};

/// A backend's view of a request whose head came to it.
#[derive(Clone, Debug)]
pub(crate) struct Reception {
    pub(crate) backend: usize,
    pub(crate) at: Instant,
    /// Bytes of the body that came.
    pub(crate) body_bytes: usize,
    /// All of the request came.
    pub(crate) whole: bool,
    /// All of the answer was handed to the network.
    pub(crate) finished: bool,
}

/// A client's view of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A backend's answer, as it was asked for.
    Whole { backend: usize },
    /// An answer of the balancer's own.
    Refused { status: u16, reason: String },
    /// An answer that visibly broke off.
    Broken,
    /// The connection ended without a byte of an answer.
    NoAnswer,
    /// There was no connection.
    NoConnection,
    /// The client went before the answer was there.
    Left,
}

/// A line of the balancer's log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) status: u16,
    pub(crate) reason: Option<Reason>,
    pub(crate) tries: u32,
    pub(crate) at: Instant,
}

/// What is known of a request.
#[derive(Clone, Debug)]
struct Entry {
    ask: Ask,
    client: usize,
    sent: Instant,
    /// The connection had carried a request before.
    reused: bool,
    receptions: Vec<Reception>,
    seen: Option<(Seen, Instant)>,
}

/// A stretch of time in which something was wrong with somebody's link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    pub(crate) with: With,
    pub(crate) from: Instant,
    pub(crate) until: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    Backend(usize),
    Client(usize),
    /// New connections of anybody.
    Everybody,
}

/// What the balancer tells its observer.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    lines: BTreeMap<u64, Vec<Line>>,
    count: usize,
    changes: Vec<(Instant, SocketAddr, Change)>,
}

impl Observer for Watch {
    fn request(&self, record: &Record<'_>) {
        let line =
            Line { status: record.status, reason: record.reason, tries: record.tries, at: Instant::now() };
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = id_of(record.target) {
            watched.count += 1;
            watched.lines.entry(id).or_default().push(line);
        }
    }

    fn transition(&self, _: &str, transition: &Transition) {
        let mut watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.changes.push((Instant::now(), transition.addr, transition.change));
    }
}

/// The id in `/7?...`.
pub(crate) fn id_of(target: &str) -> Option<u64> {
    target.strip_prefix('/')?.split('?').next()?.parse().ok()
}

/// Everything that was seen in a run.
#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) watch: Arc<Watch>,
    books: RefCell<Books>,
}

#[derive(Default)]
struct Books {
    entries: BTreeMap<u64, Entry>,
    troubles: Vec<Trouble>,
    /// When the balancer was told to end, if it was told while clients asked.
    shut_down: Option<Instant>,
    violations: Vec<String>,
}

/// How a run went, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) requests: usize,
    pub(crate) whole: usize,
    pub(crate) refused: usize,
    pub(crate) broken: usize,
    pub(crate) retries: u64,
    pub(crate) changes: usize,
}

impl Ledger {
    /// Something that must not be.
    pub(crate) fn violation(&self, what: impl fmt::Display) {
        self.books.borrow_mut().violations.push(what.to_string());
    }

    pub(crate) fn sends(&self, client: usize, ask: &Ask, reused: bool) {
        let entry = Entry {
            ask: ask.clone(),
            client,
            sent: Instant::now(),
            reused,
            receptions: Vec::new(),
            seen: None,
        };
        self.books.borrow_mut().entries.insert(ask.id, entry);
    }

    pub(crate) fn saw(&self, id: u64, seen: Seen) {
        if let Some(entry) = self.books.borrow_mut().entries.get_mut(&id) {
            entry.seen = Some((seen, Instant::now()));
        }
    }

    /// A head came to a backend; gives the number of the reception.
    pub(crate) fn received(&self, id: u64, backend: usize) -> usize {
        let mut books = self.books.borrow_mut();
        let at = Instant::now();
        let Some(entry) = books.entries.get_mut(&id) else {
            books.violations.push(format!("b{backend} got request {id}, which nobody sent"));
            return 0;
        };
        entry.receptions.push(Reception { backend, at, body_bytes: 0, whole: false, finished: false });
        entry.receptions.len() - 1
    }

    pub(crate) fn reception(&self, id: u64, number: usize, change: impl FnOnce(&mut Reception)) {
        let mut books = self.books.borrow_mut();
        let reception = books.entries.get_mut(&id).and_then(|entry| entry.receptions.get_mut(number));
        if let Some(reception) = reception {
            change(reception);
        }
    }

    pub(crate) fn trouble(&self, with: With, from: Instant, until: Instant) {
        self.books.borrow_mut().troubles.push(Trouble { with, from, until });
    }

    pub(crate) fn shuts_down(&self) {
        self.books.borrow_mut().shut_down.get_or_insert_with(Instant::now);
    }

    pub(crate) fn is_shut_down(&self) -> bool {
        self.books.borrow().shut_down.is_some()
    }

    pub(crate) fn is_whole(&self, id: u64) -> bool {
        let books = self.books.borrow();
        let seen = books.entries.get(&id).and_then(|entry| entry.seen.as_ref());
        matches!(seen, Some((Seen::Whole { .. }, _)))
    }

    /// Requests that were sent, and lines that were logged: their difference bounds what is in flight.
    pub(crate) fn under_way_max(&self) -> usize {
        let logged = self.watch.0.lock().unwrap_or_else(PoisonError::into_inner).count;
        self.books.borrow().entries.len().saturating_sub(logged)
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.books.borrow().violations.clone()
    }

    pub(crate) fn sums(&self) -> Sums {
        let books = self.books.borrow();
        let watched = self.watch.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |wanted: fn(&Seen) -> bool| {
            books
                .entries
                .values()
                .filter(|entry| entry.seen.as_ref().is_some_and(|(seen, _)| wanted(seen)))
                .count()
        };
        Sums {
            requests: books.entries.len(),
            whole: count(|seen| matches!(seen, Seen::Whole { .. })),
            refused: count(|seen| matches!(seen, Seen::Refused { .. })),
            broken: count(|seen| matches!(seen, Seen::Broken | Seen::NoAnswer)),
            retries: watched
                .lines
                .values()
                .flatten()
                .map(|line| u64::from(line.tries.saturating_sub(1)))
                .sum(),
            changes: watched.changes.len(),
        }
    }

    /// Judges a run that is over.
    pub(crate) fn audit(&self, plan: &Plan) {
        let mut found = Vec::new();
        {
            let books = self.books.borrow();
            let watched = self.watch.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (id, entry) in &books.entries {
                let lines = watched.lines.get(id).map_or(&[][..], Vec::as_slice);
                let mut say =
                    |what: String| found.push(format!("request {id}: {what}; {entry:?}; {lines:?}"));
                books.answered(plan, entry, lines, &mut say);
                received(plan, entry, lines, &mut say);
            }
            found.extend(books.kept_out(plan, &watched.changes));
            found.extend(in_budget(plan, &watched));
        }
        self.books.borrow_mut().violations.extend(found);
    }
}

impl Books {
    /// Whether this client's link was in trouble between these moments.
    fn troubled(&self, with: With, from: Instant, until: Instant) -> bool {
        self.troubles.iter().any(|trouble| {
            (trouble.with == with || trouble.with == With::Everybody)
                && trouble.from <= until
                && trouble.until >= from
        })
    }

    /// Exactly one answer, of the kind that what went wrong allows.
    fn answered(&self, plan: &Plan, entry: &Entry, lines: &[Line], say: &mut impl FnMut(String)) {
        let Some((seen, at)) = &entry.seen else { return say("the client came to no end".into()) };
        let harmless = plan.theme.is_harmless();
        let troubled = self.troubled(With::Client(entry.client), entry.sent, *at);
        // A shutdown cuts off what takes longer than it may; and it may meet a request that nobody has seen.
        let unseen = entry.receptions.is_empty() && lines.is_empty();
        let time = Duration::from_millis(plan.shutdown_ms);
        let ending = self.shut_down.is_some_and(|begun| begun <= *at && unseen || begun + time <= *at);
        if lines.len() > 1 {
            say("it was logged twice".into());
        }
        match seen {
            Seen::Whole { backend } => {
                let may_answer = |it: &&Reception| it.backend == *backend && (it.whole || entry.ask.early);
                if entry.receptions.iter().find(may_answer).is_none() {
                    say("answered by a backend that did not get it whole".into());
                }
                if lines.len() != 1 {
                    say("answered, and not logged once".into());
                }
            }
            Seen::Refused { reason, .. } if harmless => say(format!("refused without need: {reason}")),
            Seen::Refused { status, reason } => {
                let is_so = |line: &Line| {
                    line.status == *status && line.reason.is_some_and(|logged| logged.code() == reason)
                };
                if !lines.iter().all(is_so) {
                    say("logged with another reason than the client was told".into());
                }
                let known = Reason::ALL.iter().find(|known| known.code() == reason);
                if !known.is_some_and(|reason| may_refuse(*reason)) {
                    say(format!("refused for a reason that nothing explains: {reason}"));
                }
            }
            Seen::Broken | Seen::NoAnswer | Seen::NoConnection if troubled || ending => {}
            Seen::Broken => {
                // A client that reads too slowly is cut off.
                let slow = entry.ask.pace_bytes.is_some();
                if harmless || !broke_off(lines) && !slow {
                    say("its answer broke off without need".into());
                }
            }
            Seen::NoAnswer => {
                // A kept connection may have been closed just before; then nobody has seen the request. And a
                // backend may break its answer off before a byte of that has left the balancer.
                let raced = entry.reused && unseen;
                if !raced && (harmless || !broke_off(lines)) {
                    say("no answer".into());
                }
            }
            Seen::NoConnection => say("no connection".into()),
            Seen::Left => {}
        }
    }

    /// Backends that are down, ejected, draining or gone get nothing that was picked later.
    fn kept_out(&self, plan: &Plan, changes: &[(Instant, SocketAddr, Change)]) -> Vec<String> {
        let mut found = Vec::new();
        // A request that was picked just before still connects and travels.
        let late = Duration::from_millis(plan.connect_ms + 2 * plan.latency_ms_max() + 20);
        for (index, (at, addr, change)) in changes.iter().enumerate() {
            if !is_out(change) {
                continue;
            }
            let back = changes[index + 1..].iter().find(|(_, other, _)| other == addr);
            let until = back.map(|(at, ..)| *at);
            for (id, entry) in &self.entries {
                for reception in &entry.receptions {
                    let inside = reception.at > *at + late && until.is_none_or(|until| reception.at < until);
                    let there = crate::plan::backend_ip(reception.backend) == addr.ip();
                    // What a cut link has held comes whenever it heals.
                    let held = self.troubled(With::Backend(reception.backend), entry.sent, reception.at);
                    if inside && there && !held {
                        let after = reception.at.duration_since(*at);
                        found.push(format!(
                            "b{} got request {id} {after:?} after: {change}",
                            reception.backend
                        ));
                    }
                }
            }
        }
        found
    }
}

/// The log says that a backend's answer broke off behind its head; 504 would be an answer of our own.
fn broke_off(lines: &[Line]) -> bool {
    use Reason::{RequestTimeout, ResponseBodyTimeout, ResponseTruncated};
    let explains = |reason| matches!(reason, ResponseTruncated | ResponseBodyTimeout | RequestTimeout);
    lines.iter().any(|line| line.status != 504 && line.reason.is_some_and(explains))
}

fn is_out(change: &Change) -> bool {
    match change {
        Change::Down(_) | Change::Ejected { .. } | Change::Removed => true,
        Change::State(state) => *state != AdminState::Ready,
        _ => false,
    }
}

/// Answers of the balancer's own that faults of backends, or slow clients, lead to.
fn may_refuse(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NoHealthyBackend
            | Reason::ConnectFailed
            | Reason::ConnectTimeout
            | Reason::BackendReset
            | Reason::ResponseHeadTimeout
            | Reason::RequestTimeout
            | Reason::RequestBodyTimeout
            | Reason::RequestHeadTimeout
            | Reason::ShuttingDown
    )
}

/// Nothing is sent twice but by the rules.
fn received(plan: &Plan, entry: &Entry, lines: &[Line], say: &mut impl FnMut(String)) {
    let receptions = &entry.receptions;
    let Some((last, earlier)) = receptions.split_last() else { return };
    if !earlier.is_empty() && !entry.ask.is_idempotent() {
        say("a request that is not idempotent came twice".into());
    }
    if earlier.iter().any(|reception| reception.body_bytes > 0) {
        say("sent again after a part of its body had gone".into());
    }
    if plan.theme.is_harmless() && !earlier.is_empty() {
        say("sent again without need".into());
    }
    // One connection that had gone stale is made anew without being counted.
    if receptions.len() as u64 > plan.tries + 1 {
        say("sent more often than the configuration allows".into());
    }
    if lines.iter().any(|line| receptions.len() > line.tries as usize + 1) {
        say("sent more often than the log says".into());
    }
    if plan.theme.is_harmless() && !last.whole && !entry.ask.early {
        say("did not come whole".into());
    }
}

/// Retries are a share of requests and a floor; see `lb_core::retry::RetryBudget`.
fn in_budget(plan: &Plan, watched: &Watched) -> Option<String> {
    let lines: Vec<&Line> = watched.lines.values().flatten().collect();
    let retries: u64 = lines.iter().map(|line| u64::from(line.tries.saturating_sub(1))).sum();
    let (first, last) = (lines.iter().map(|line| line.at).min()?, lines.iter().map(|line| line.at).max()?);
    let seconds = last.duration_since(first).as_secs() + 1;
    // A first request may have begun well before its line; its tries do not take longer than this.
    let share = lines.len() as u64 * plan.budget_percent / 100 + 1;
    let allowed = share + plan.budget_floor * (seconds + 10 + plan.heals_at_ms() / 1_000);
    (retries > allowed).then(|| format!("{retries} retries, and {allowed} were allowed"))
}

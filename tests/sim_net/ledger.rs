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

use crate::plan::{Ask, Caps, Framing, Plan, backend_ip};

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
    /// A backend's answer, as it was asked for, with the cookie that came with it.
    Whole { backend: usize, cookie: Option<String> },
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

/// A cookie of a sticky session, and who gave the answer that it came with.
#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    pub(crate) text: String,
    pub(crate) backend: usize,
}

impl Cookie {
    /// When it ends, in seconds of the Unix epoch: the second eight bytes of its value.
    fn expires(&self) -> Option<u64> {
        let (_, value) = self.text.split_once('=')?;
        u64::from_str_radix(value.get(16..32)?, 16).ok()
    }
}

/// The connection that a request goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carrier {
    New,
    /// It has carried requests before, and waited since.
    Kept,
    /// The answers to requests before this one are still to come on it.
    Shared,
    /// Such a one, of which its client was told meanwhile that it ends.
    Ending,
}

/// How a request was sent.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) client: usize,
    pub(crate) connection: Carrier,
    pub(crate) session: Option<Cookie>,
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
    way: Way,
    sent: Instant,
    /// The same by the wall's clock, in seconds of the Unix epoch.
    sent_unix: u64,
    receptions: Vec<Reception>,
    /// How often it came to a connection that was closed.
    lost: usize,
    seen: Option<(Seen, Instant)>,
}

impl Entry {
    fn is_in_session(&self) -> bool {
        let seen = self.seen.as_ref().map(|(seen, _)| seen);
        let session = self.way.session.as_ref();
        matches!((seen, session), (Some(Seen::Whole { backend, .. }), Some(it)) if it.backend == *backend)
    }

    fn is_answered_behind_another(&self) -> bool {
        self.way.connection == Carrier::Shared && matches!(self.seen, Some((Seen::Whole { .. }, _)))
    }
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

/// The id in the beginning of a request, if all of it is there.
fn id_sent(beginning: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(beginning);
    let target = text.split(' ').nth(1).filter(|target| target.contains('?'))?;
    id_of(target)
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
    /// Backends that no name led to, from when to when.
    nameless: Vec<(usize, Instant, Instant)>,
    queue_max: usize,
    /// Connections to backends that the balancer began in vain.
    unopened: u64,
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
    /// Refused because the queue was full, or its time was up.
    pub(crate) shed: usize,
    /// The longest queue that was seen.
    pub(crate) queue: usize,
    /// Answered by the backend of their session.
    pub(crate) stuck: usize,
    pub(crate) pipelined: usize,
}

impl Ledger {
    /// Something that must not be.
    pub(crate) fn violation(&self, what: impl fmt::Display) {
        self.books.borrow_mut().violations.push(what.to_string());
    }

    pub(crate) fn sends(&self, way: Way, ask: &Ask, now_unix: u64) {
        let entry = Entry {
            ask: ask.clone(),
            way,
            sent: Instant::now(),
            sent_unix: now_unix,
            receptions: Vec::new(),
            lost: 0,
            seen: None,
        };
        self.books.borrow_mut().entries.insert(ask.id, entry);
    }

    /// The connection that it was sent over has ended with the answer to an earlier one, and said so.
    pub(crate) fn gets_no_answer(&self, id: u64) {
        if let Some(entry) = self.books.borrow_mut().entries.get_mut(&id) {
            entry.way.connection = Carrier::Ending;
        }
    }

    /// The balancer sent this over a connection that a backend had ended before.
    pub(crate) fn stale_write(&self, beginning: &[u8]) {
        if let Some(id) = id_sent(beginning) {
            self.violation(format!("request {id} went over a connection that had long been closed"));
        }
    }

    /// A backend had closed the connection that this came on.
    pub(crate) fn lost(&self, beginning: &[u8]) {
        let mut books = self.books.borrow_mut();
        if let Some(entry) = id_sent(beginning).and_then(|id| books.entries.get_mut(&id)) {
            entry.lost += 1;
        }
    }

    /// So many connections the balancer began in vain.
    pub(crate) fn unopened(&self, connections: u64) {
        self.books.borrow_mut().unopened = connections;
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

    pub(crate) fn queue(&self, length: usize) {
        let mut books = self.books.borrow_mut();
        books.queue_max = books.queue_max.max(length);
    }

    /// No name led to this backend in all that time.
    pub(crate) fn nameless(&self, backend: usize, from: Instant, until: Instant) {
        self.books.borrow_mut().nameless.push((backend, from, until));
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

    /// Whether an answer was logged no longer ago than this.
    pub(crate) fn has_answered_within(&self, length: Duration) -> bool {
        let watched = self.watch.0.lock().unwrap_or_else(PoisonError::into_inner);
        watched.lines.values().flatten().any(|line| line.at.elapsed() <= length)
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
            shed: count(|seen| matches!(seen, Seen::Refused { reason, .. } if reason.starts_with("queue_"))),
            queue: books.queue_max,
            stuck: books.entries.values().filter(|entry| entry.is_in_session()).count(),
            pipelined: books.entries.values().filter(|entry| entry.is_answered_behind_another()).count(),
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
                books.waited(plan, entry, lines, &mut say);
                received(plan, entry, lines, &mut say);
                in_session(plan, entry, lines, &watched.changes, &mut say);
            }
            found.extend(books.kept_out(plan, &watched.changes));
            found.extend(books.unnamed(plan));
            found.extend(in_budget(plan, &watched, books.unopened));
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

    /// Whether a connection of the client's was reset at that moment, with which it lost what it had not read yet, of
    /// whole answers too. That is what becomes of one that reads too slowly, and of one whose last answer broke off
    /// where only the connection's end delimits it.
    fn may_lose_unread(&self, client: usize, at: Instant) -> bool {
        self.entries.values().filter(|entry| entry.way.client == client).any(|entry| {
            let ask = &entry.ask;
            let ended = entry
                .seen
                .as_ref()
                .is_some_and(|(seen, when)| *when == at && matches!(seen, Seen::Broken | Seen::NoAnswer));
            ended && (ask.pace_bytes.is_some() || ask.is_10 && ask.framing != Framing::Length)
        })
    }

    /// Whether the last answer of the client's connection that ended at that moment came before its upload had: where the
    /// backend then ends, a rest of the upload that is not soon over ends the connection.
    fn ends_behind_an_early_answer(&self, client: usize, at: Instant) -> bool {
        self.entries.values().any(|entry| {
            let ended = matches!(&entry.seen, Some((Seen::Whole { .. }, when)) if *when == at);
            entry.way.client == client && entry.ask.early && entry.ask.upload.is_some() && ended
        })
    }

    /// Exactly one answer, of the kind that what went wrong allows.
    fn answered(&self, plan: &Plan, entry: &Entry, lines: &[Line], say: &mut impl FnMut(String)) {
        let Some((seen, at)) = &entry.seen else { return say("the client came to no end".into()) };
        let harmless = plan.theme.is_harmless();
        let troubled = self.troubled(With::Client(entry.way.client), entry.sent, *at);
        // A shutdown cuts off what takes longer than it may; and it may meet a request that nobody has seen.
        let unseen = entry.receptions.is_empty() && lines.is_empty();
        let time = Duration::from_millis(plan.shutdown_ms);
        let ending = self.shut_down.is_some_and(|begun| begun <= *at && unseen || begun + time <= *at);
        let unread = self.may_lose_unread(entry.way.client, *at);
        if lines.len() > 1 {
            say("it was logged twice".into());
        }
        match seen {
            Seen::Whole { backend, .. } => {
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
                if !known.is_some_and(|reason| may_refuse(plan, *reason)) {
                    say(format!("refused for a reason that nothing explains: {reason}"));
                }
            }
            Seen::Broken | Seen::NoAnswer | Seen::NoConnection if troubled || ending => {}
            Seen::Broken => {
                if harmless || !broke_off(lines) && !unread {
                    say("its answer broke off without need".into());
                }
            }
            Seen::NoAnswer => {
                // A kept connection may have been closed just before; then nobody has seen the request. And a
                // backend may break its answer off before a byte of that has left the balancer.
                let raced = unseen
                    && match entry.way.connection {
                        Carrier::Kept | Carrier::Ending => true,
                        Carrier::Shared => {
                            !harmless || self.ends_behind_an_early_answer(entry.way.client, *at)
                        }
                        Carrier::New => false,
                    };
                if !raced && (harmless || !broke_off(lines) && !unread) {
                    say("no answer".into());
                }
            }
            Seen::NoConnection => say("no connection".into()),
            Seen::Left => {}
        }
    }

    /// Nobody waits in the queue for longer than its time, and who waited in vain is not told so before.
    fn waited(&self, plan: &Plan, entry: &Entry, lines: &[Line], say: &mut impl FnMut(String)) {
        let (Some(Caps { queue_ms, .. }), [line]) = (plan.caps, lines) else { return };
        let alone = matches!(entry.way.connection, Carrier::New | Carrier::Kept);
        let Some((_, seen)) = entry.seen.as_ref().filter(|_| alone) else { return };
        let waits = Duration::from_millis(queue_ms);
        let pauses_ms: u64 = entry.ask.head_cuts.iter().map(|(_, pause_ms)| pause_ms).sum();
        let slack = Duration::from_millis(pauses_ms + 8 * plan.latency_ms_max() + 500);
        let in_vain = line.tries == 0 && line.reason == Some(Reason::QueueTimeout);
        let late = line.tries == 0 && line.reason == Some(Reason::RequestTimeout);
        let left_at = match &entry.receptions[..] {
            [] if in_vain || late => line.at,
            // It connects, and travels.
            [reception] if line.tries == 1 => {
                let connecting = Duration::from_millis(plan.connect_ms);
                let held = self.troubled(With::Backend(reception.backend), entry.sent, reception.at);
                if held {
                    return;
                }
                reception.at - connecting.min(reception.at.duration_since(entry.sent))
            }
            _ => return,
        };
        let took = left_at.duration_since(entry.sent);
        let troubled = self.troubled(With::Client(entry.way.client), entry.sent, *seen);
        if in_vain && took + Duration::from_millis(1) < waits || took > waits + slack && !troubled {
            say(format!("in the queue for {took:?}, where {waits:?} is the time for it"));
        }
    }

    /// A backend that its name leads to no longer gets nothing, once that had to be known.
    fn unnamed(&self, plan: &Plan) -> Vec<String> {
        let mut found = Vec::new();
        let known_ms = plan.resolving_ms() + plan.connect_ms + 8 * plan.latency_ms_max() + 100;
        for (backend, from, until) in &self.nameless {
            let known = *from + Duration::from_millis(known_ms);
            for (id, entry) in &self.entries {
                let is_late = |it: &&Reception| it.backend == *backend && it.at > known && it.at < *until;
                let Some(reception) = entry.receptions.iter().find(is_late) else { continue };
                if !self.troubled(With::Backend(*backend), entry.sent, reception.at) {
                    let after = reception.at.duration_since(*from);
                    found.push(format!("b{backend} got request {id} {after:?} after its name led elsewhere"));
                }
            }
        }
        found
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
                    let there = backend_ip(reception.backend) == addr.ip();
                    // What a cut link has held comes whenever it heals.
                    let held = self.troubled(With::Backend(reception.backend), entry.sent, reception.at);
                    // Who is drained keeps its sessions.
                    let kept = matches!(change, Change::State(AdminState::Drain))
                        && entry.way.session.as_ref().is_some_and(|it| it.backend == reception.backend);
                    if inside && there && !held && !kept {
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
fn may_refuse(plan: &Plan, reason: Reason) -> bool {
    let crowded = match reason {
        Reason::QueueFull | Reason::QueueTimeout => plan.caps.is_some(),
        Reason::TooManyConnections => plan.connections_max.is_some(),
        Reason::TooManyPending => plan.pending_max.is_some(),
        _ => false,
    };
    crowded
        || matches!(
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
    if lines.iter().any(|line| receptions.len() + entry.lost > line.tries as usize + 1) {
        say("sent more often than the log says".into());
    }
    let Some(last_come) = receptions.len().checked_sub(1) else { return };
    // What a cut link held comes after what was sent behind it.
    let last_sent = match &entry.seen {
        Some((Seen::Whole { backend, .. }, _)) => receptions.iter().rposition(|it| it.backend == *backend),
        _ => None,
    };
    let last_sent = last_sent.unwrap_or(last_come);
    if receptions.len() > 1 && !entry.ask.is_idempotent() {
        say("a request that is not idempotent came twice".into());
    }
    if receptions.iter().enumerate().any(|(at, reception)| at != last_sent && reception.body_bytes > 0) {
        say("sent again after a part of its body had gone".into());
    }
    if plan.theme.is_harmless() && receptions.len() > 1 {
        say("sent again without need".into());
    }
    // One connection that had gone stale is made anew without being counted.
    if receptions.len() as u64 > plan.tries + 1 {
        say("sent more often than the configuration allows".into());
    }
    if plan.theme.is_harmless() && !receptions[last_sent].whole && !entry.ask.early {
        say("did not come whole".into());
    }
}

/// A session's requests come to its backend as long as that serves, and whoever else answers makes it its own.
fn in_session(
    plan: &Plan,
    entry: &Entry,
    lines: &[Line],
    changes: &[(Instant, SocketAddr, Change)],
    say: &mut impl FnMut(String),
) {
    let Some(sticky) = plan.sticky else { return };
    let session = entry.way.session.as_ref();
    // Which of two moments of a second a time is from cannot be seen.
    let lasts = session.filter(|cookie| cookie.expires().is_some_and(|end| entry.sent_unix + 1 < end));
    if let Some((Seen::Whole { backend, cookie: None }, _)) = &entry.seen
        && entry.ask.status < 500
        && session.is_none_or(|session| session.backend != *backend)
    {
        say(format!("answered by b{backend} without a cookie"));
    }
    if let Some((Seen::Whole { cookie: Some(_), .. }, _)) = &entry.seen
        && let Some(session) = lasts
        && entry.receptions.iter().all(|reception| reception.backend == session.backend)
        && sticky.ttl_ms > 600_000
    {
        say("a young session got another cookie".into());
    }
    let ([line], [reception], Some(session)) = (lines, &entry.receptions[..], lasts) else { return };
    // Whom the first try could not reach, and whoever finds no room at its own backend, goes elsewhere. A long
    // time on the way may outlive the session.
    let fits = plan.caps.is_none_or(|caps| caps.queue_length >= 1_000) && sticky.ttl_ms > 600_000;
    if reception.backend == session.backend || line.tries > 1 || !fits {
        return;
    }
    let of_its = |(_, addr, _): &&(Instant, SocketAddr, Change)| addr.ip() == backend_ip(session.backend);
    let before = changes.iter().filter(of_its).filter(|(at, ..)| *at <= reception.at);
    let (mut down, mut ejected, mut away, mut is_still) = (false, false, false, true);
    for (at, _, change) in before {
        is_still &= *at < entry.sent;
        match change {
            Change::Up => down = false,
            Change::Down(_) => down = true,
            Change::Ejected { .. } => ejected = true,
            Change::Returned => ejected = false,
            Change::Added => (down, ejected, away) = (false, false, false),
            Change::Removed => away = true,
            Change::State(state) => away = *state == AdminState::Maint,
        }
    }
    if is_still && !down && !ejected && !away {
        say(format!("of a session of b{}, which serves", session.backend));
    }
}

/// Retries are a share of requests and a floor; see `lb_core::retry::RetryBudget`. Those are free that follow a try
/// without a connection, of which there were at most `unopened`.
fn in_budget(plan: &Plan, watched: &Watched, unopened: u64) -> Option<String> {
    let lines: Vec<&Line> = watched.lines.values().flatten().collect();
    let retries: u64 = lines.iter().map(|line| u64::from(line.tries.saturating_sub(1))).sum();
    let (first, last) = (lines.iter().map(|line| line.at).min()?, lines.iter().map(|line| line.at).max()?);
    let seconds = last.duration_since(first).as_secs() + 1;
    // A first request may have begun well before its line; its tries do not take longer than this.
    let share = lines.len() as u64 * plan.budget_percent / 100 + 1;
    let allowed = share + plan.budget_floor * (seconds + 10 + plan.heals_at_ms() / 1_000);
    let paid = retries.saturating_sub(unopened);
    (paid > allowed).then(|| format!("{paid} retries had to be paid for, and {allowed} were allowed"))
}

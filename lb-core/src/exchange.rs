//! One request's life, from its admission to the end of its answer, as a state machine.
//!
//! ```text
//! begin -> next -> Try(attempt) -> on(event) -> Forward -> finish
//!          ^  |                       |
//!          |  +-> Wait(waiting)       |
//!          |         | woken, or late |
//!          +---------+---- Retry -----+-> Reply(reason)
//! ```
//!
//! The caller does what [`Exchange::next`] says, tells [`Exchange::on`] what came of it, and obeys the
//! [`Step`]. What is acquired from the pool on the way (a ticket, a place among the pending) goes back
//! whatever happens: dropping an exchange finishes it as [`End::ClientLeft`].
//!
//! # Waiting
//! When all usable endpoints are as busy as they may be, [`Next::Wait`] says until when the request waits in
//! the pool's queue. [`Exchange::next`] is to be asked again when [`Pool::poll_woken`] names its id, and at that
//! time at the latest; asking earlier does no harm. A retry waits as well, behind those that wait already; one
//! for the sake of a status does not: the answer that is there is better than a wait.
//!
//! # What is retried
//! - A try of which not a byte was sent: always, for any method.
//! - Otherwise only idempotent methods, and only while none of the client's body was consumed. A status
//!   of `on_status` and a late head follow the same rule.
//! - Within `tries` and the deadline; at another endpoint where there is an eligible one. The pool's
//!   [retry budget](crate::retry::RetryBudget) pays for what had been sent.
//! - A kept-alive connection that turns out to be closed is *healed* once: the same endpoint, a fresh
//!   connection, counted by nobody. Closing an idle connection is a backend's good right.
//!
//! ```
//! use core::cell::RefCell;
//! use lb_core::{config, exchange::*, pool::Pool, prng::Prng, time::{Duration, Instant}};
//!
//! let backends = ["127.0.0.1:8081", "127.0.0.1:8082"].map(|address| {
//!     config::Backend::at(config::BackendAddress::Ip(address.parse().unwrap()), address)
//! });
//! let config = config::Pool { backends: backends.into(), ..config::Pool::default() };
//! let now = Instant::ZERO;
//! let pool = std::rc::Rc::new(RefCell::new(Pool::new("mango".into(), &config, Prng::new(1), now)));
//!
//! let facts = Facts {
//!     idempotent: is_idempotent("GET"),
//!     deadline: now + Duration::from_secs(60),
//!     key: None,
//! };
//! let mut exchange = Exchange::begin(pool.clone(), facts, now)?;
//! let Next::Try(first) = exchange.next(now) else { panic!() };
//! assert_eq!(first.addr.port(), 8081);
//! let refused = Failure { kind: FailureKind::Connect, sent: Sent::Nothing, reused: false };
//! assert_eq!(exchange.on(Event::Failed(refused), now), Step::Retry);
//! let Next::Try(second) = exchange.next(now) else { panic!() };
//! assert_eq!(second.addr.port(), 8082);
//! assert_eq!(exchange.on(Event::Response { status: 200, sent: Sent::Head }, now), Step::Forward);
//! exchange.finish(End::Complete, now);
//! assert_eq!(pool.borrow().in_flight(), 0);
//! # Ok::<(), lb_core::reason::Reason>(())
//! ```

#[cfg(test)]
mod tests;

use alloc::{rc::Rc, sync::Arc, vec::Vec};
use core::{cell::RefCell, net::SocketAddr};

pub use crate::retry::{Sent, is_idempotent};
use crate::{
    pool::{Ask, EndpointId, Entry, Outcome, Pool, Site, Ticket, Turn, WaiterId},
    reason::Reason,
    retry::{may_resend, pays},
    sticky::Handle,
    time::{Duration, Instant},
};

/// How an exchange reaches its pool, which other exchanges use as well: a `RefCell` in a simulation, a
/// mutex in a server. It is held for one short call at a time.
pub trait PoolHandle {
    /// Calls `f` with the pool. `f` does not use the handle again.
    fn with<R>(&self, f: impl FnOnce(&mut Pool) -> R) -> R;
}

impl PoolHandle for Rc<RefCell<Pool>> {
    fn with<R>(&self, f: impl FnOnce(&mut Pool) -> R) -> R {
        f(&mut self.borrow_mut())
    }
}

/// What an exchange has to know of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// [`is_idempotent`] of its method.
    pub idempotent: bool,
    /// By when the head of a response must be there, all tries included.
    pub deadline: Instant,
    /// What hashing algorithms place it by: [`Plan::key`](crate::plan::Plan::key).
    pub key: Option<u64>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Send the request.
    Try(Attempt),
    /// Ask again when the pool's [`poll_woken`](Pool::poll_woken) names this one, or its time is up.
    Wait(Waiting),
    /// Answer the client; the exchange is over.
    Reply(Reason),
}

/// A place in a pool's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub id: WaiterId,
    /// How long it is kept.
    pub until: Instant,
}

/// One try. Whatever it waits for, it ends at the exchange's deadline as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// To whom.
    pub endpoint: EndpointId,
    /// Where to connect.
    pub addr: SocketAddr,
    /// Whether a kept-alive connection must not be used.
    pub fresh: bool,
    /// By when a connection must stand, if one has to be made.
    pub connect_by: Instant,
    /// How long the response's head may take from the end of sending the request.
    pub head_within: Duration,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// No response.
    Failed(Failure),
    /// The whole head of a final response.
    Response {
        /// 200 to 599, or 101.
        status: u16,
        /// How much of the request had gone out by then.
        sent: Sent,
    },
}

/// A try that gave no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How it failed.
    pub kind: FailureKind,
    /// How much of the request had gone out.
    pub sent: Sent,
    /// Whether it went over a connection that had carried a request before.
    pub reused: bool,
}

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No connection could be made.
    Connect,
    /// No connection stood by [`Attempt::connect_by`].
    ConnectTimeout,
    /// The connection was reset, or closed before a whole head.
    Closed,
    /// What came was not an HTTP response.
    Invalid,
    /// The head was not there within [`Attempt::head_within`], or by the deadline.
    HeadTimeout,
}

impl FailureKind {
    fn reason(self) -> Reason {
        match self {
            Self::Connect => Reason::ConnectFailed,
            Self::ConnectTimeout => Reason::ConnectTimeout,
            Self::Closed => Reason::BackendReset,
            Self::Invalid => Reason::BackendInvalid,
            Self::HeadTimeout => Reason::ResponseHeadTimeout,
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Connect | Self::ConnectTimeout => Outcome::ConnectFailed,
            Self::Closed => Outcome::Reset,
            Self::Invalid => Outcome::Invalid,
            Self::HeadTimeout => Outcome::Timeout,
        }
    }

    fn is_timeout(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::HeadTimeout)
    }
}

/// What an event leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pass the response on, then call [`Exchange::finish`].
    Forward,
    /// Call [`Exchange::next`] again; a response that is there is to be thrown away.
    Retry,
    /// Answer the client; the exchange is over.
    Reply(Reason),
}

/// How a response that was passed on ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Whole.
    Complete,
    /// The backend broke it off.
    Truncated,
    /// The backend let it stop for too long.
    BodyTimeout,
    /// The client went, or took it too slowly; says nothing about the backend.
    ClientLeft,
}

/// One request's life. See the [module](self).
#[derive(Debug)]
pub struct Exchange<H: PoolHandle> {
    pool: H,
    facts: Facts,
    stage: Stage,
    /// Held from the pick of a try to its end.
    ticket: Option<Ticket>,
    /// Counts as pending in the pool.
    pending: bool,
    tries: u32,
    /// Tries that a connection gone stale cost are not counted, once.
    healed: bool,
    /// Endpoints that failed.
    tried: Vec<EndpointId>,
    /// The last one that was tried.
    last: Option<Arc<Site>>,
    connect_within: Duration,
    head_within: Duration,
    /// The latest time that was told.
    last_now: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// In the pool's queue.
    Queued(Waiting),
    /// There is no endpoint, and no place to wait for one.
    Refused(Reason),
    /// A ticket is there for the next try.
    Ready { fresh: bool },
    /// The try is on.
    Trying { fresh: bool, since: Instant },
    /// A response is being passed on.
    Forwarding { status: u16 },
    /// Nothing is held.
    Over(Reason),
}

impl<H: PoolHandle> Exchange<H> {
    /// Takes a request in, and picks an endpoint for it in the same breath.
    ///
    /// # Errors
    /// [`Reason::TooManyPending`] when the pool has as many requests without a response as it may have.
    pub fn begin(pool: H, facts: Facts, now: Instant) -> Result<Self, Reason> {
        Self::begin_in_session(pool, facts, None, now)
    }

    /// The same for a request of a sticky session, which goes to the session's endpoint where that may be.
    ///
    /// # Errors
    /// As [`Exchange::begin`].
    pub fn begin_in_session(
        pool: H,
        facts: Facts,
        session: Option<Handle>,
        now: Instant,
    ) -> Result<Self, Reason> {
        let (entry, connect_within, head_within) = pool.with(|pool| {
            pool.admit(now)?;
            let ask = Ask { key: facts.key, tried: &[] };
            let timeouts = &pool.config().timeouts;
            let (connect_within, head_within) = (timeouts.connect, timeouts.response_head);
            Ok((pool.enter(ask, session, facts.deadline, now), connect_within, head_within))
        })?;
        let (stage, ticket) = entered(entry);
        Ok(Self {
            pool,
            facts,
            stage,
            ticket,
            pending: true,
            tries: 0,
            healed: false,
            tried: Vec::new(),
            last: None,
            connect_within,
            head_within,
            last_now: now,
        })
    }

    /// Nothing is held by now.
    fn enter(&mut self, entry: Entry) {
        debug_assert!(self.ticket.is_none());
        (self.stage, self.ticket) = entered(entry);
    }

    /// The endpoint whose ticket is held, and its address: while a response is passed on, whose it is.
    #[must_use]
    pub fn endpoint(&self) -> Option<(EndpointId, SocketAddr)> {
        self.ticket.as_ref().map(|ticket| (ticket.endpoint(), ticket.addr()))
    }

    /// Tries so far, healed ones not counted.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// By when the head of a response must be there.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.facts.deadline
    }

    /// What the configuration calls the backend of the last try.
    #[must_use]
    pub fn endpoint_name(&self) -> Option<&Arc<str>> {
        match self.stage {
            Stage::Ready { fresh: false } | Stage::Queued(_) | Stage::Refused(_) | Stage::Over(_) => {
                self.last.as_ref().map(|site| &site.name)
            }
            _ => self.ticket.as_ref().map(Ticket::name),
        }
    }

    /// What to do: at the beginning, and after each [`Step::Retry`]. Asked again, it says the same.
    pub fn next(&mut self, now: Instant) -> Next {
        self.last_now = self.last_now.max(now);
        if let Stage::Queued(waiting) = self.stage
            && let Some(next) = self.queued(waiting, now)
        {
            return next;
        }
        let (fresh, since) = match self.stage {
            Stage::Queued(_) | Stage::Refused(_) => (false, now),
            Stage::Ready { fresh } => (fresh, now),
            Stage::Trying { fresh, since } => (fresh, since),
            Stage::Forwarding { .. } => return Next::Reply(Reason::Internal),
            Stage::Over(reason) => return Next::Reply(reason),
        };
        if now >= self.facts.deadline {
            let outcome = if fresh { Outcome::Stale } else { Outcome::Cancelled };
            return Next::Reply(self.give_up(Reason::RequestTimeout, outcome, now));
        }
        if let Stage::Refused(reason) = self.stage {
            return Next::Reply(self.give_up(reason, Outcome::Cancelled, now));
        }
        let Some(ticket) = &self.ticket else {
            return Next::Reply(self.give_up(Reason::Internal, Outcome::Cancelled, now));
        };
        let attempt = Attempt {
            endpoint: ticket.endpoint(),
            addr: ticket.addr(),
            fresh,
            connect_by: (since + self.connect_within).min(self.facts.deadline),
            head_within: self.head_within,
        };
        if let Stage::Ready { fresh } = self.stage {
            self.tries += u32::from(!fresh);
            self.stage = Stage::Trying { fresh, since };
        }
        Next::Try(attempt)
    }

    /// What to do in the queue; none when the turn has come.
    fn queued(&mut self, waiting: Waiting, now: Instant) -> Option<Next> {
        match self.pool.with(|pool| pool.turn(waiting.id, now)) {
            Turn::Granted(ticket) => {
                self.enter(Entry::Ticket(ticket));
                None
            }
            Turn::Waiting if now < waiting.until => Some(Next::Wait(waiting)),
            Turn::Waiting | Turn::Over => {
                let is_late = now >= self.facts.deadline;
                let reason = if is_late { Reason::RequestTimeout } else { Reason::QueueTimeout };
                Some(Next::Reply(self.give_up(reason, Outcome::Cancelled, now)))
            }
        }
    }

    /// Takes what came of the try that [`Exchange::next`] gave, and says what follows.
    pub fn on(&mut self, event: Event, now: Instant) -> Step {
        self.last_now = self.last_now.max(now);
        match (self.stage, event) {
            (Stage::Trying { since, .. }, Event::Failed(failure)) => self.on_failure(failure, since, now),
            (Stage::Trying { .. }, Event::Response { status, sent }) => self.on_response(status, sent, now),
            (Stage::Over(reason), _) => Step::Reply(reason),
            (Stage::Forwarding { .. }, _) => Step::Forward,
            // An event of no try: the caller did not ask `next`.
            (Stage::Ready { .. } | Stage::Queued(_) | Stage::Refused(_), _) => Step::Retry,
        }
    }

    /// Ends the exchange: how the response that was passed on ended. Without one there is nothing to be
    /// said about the endpoint, and `end` only ends.
    pub fn finish(mut self, end: End, now: Instant) {
        self.end(end, now);
    }

    /// The same where it stands. Nothing follows: it replies [`Reason::ClientLeft`] if it is asked.
    pub fn end(&mut self, end: End, now: Instant) {
        let outcome = match (self.stage, end) {
            (Stage::Forwarding { .. }, End::Truncated) => Outcome::Reset,
            (Stage::Forwarding { .. }, End::BodyTimeout) => Outcome::Timeout,
            (Stage::Forwarding { status }, End::Complete) => response_outcome(status),
            (Stage::Forwarding { status }, End::ClientLeft) if status >= 500 => Outcome::ServerError,
            _ => Outcome::Cancelled,
        };
        self.release(outcome, now.max(self.last_now));
        if !matches!(self.stage, Stage::Over(_)) {
            self.stage = Stage::Over(Reason::ClientLeft);
        }
    }

    fn on_failure(&mut self, failure: Failure, since: Instant, now: Instant) -> Step {
        let Failure { kind, sent, reused } = failure;
        let resend = may_resend(sent, self.facts.idempotent);
        if reused && kind == FailureKind::Closed && !self.healed && resend {
            self.healed = true;
            self.stage = Stage::Ready { fresh: true };
            return Step::Retry;
        }
        let late = now >= self.facts.deadline;
        let outcome =
            if late && self.cut_short(kind, since, now) { Outcome::Cancelled } else { kind.outcome() };
        let reason = if late && kind.is_timeout() { Reason::RequestTimeout } else { kind.reason() };
        self.remember();
        self.tried.extend(self.ticket.as_ref().map(Ticket::endpoint));
        if !resend || late {
            return Step::Reply(self.give_up(reason, outcome, now));
        }
        let (ticket, tries) = (self.ticket.take(), self.tries);
        let ask = Ask { key: self.facts.key, tried: &self.tried };
        let deadline = self.facts.deadline;
        let next = self.pool.with(|pool| {
            if let Some(ticket) = ticket {
                pool.finish(ticket, outcome, now);
            }
            pool.enter_retry(tries, pays(sent), ask, deadline, now)
        });
        match next {
            Some(entry) => {
                self.enter(entry);
                Step::Retry
            }
            None => Step::Reply(self.give_up(reason, outcome, now)),
        }
    }

    fn on_response(&mut self, status: u16, sent: Sent, now: Instant) -> Step {
        let resend = may_resend(sent, self.facts.idempotent) && now < self.facts.deadline;
        let (tries, current) = (self.tries, self.ticket.as_ref().map(Ticket::endpoint));
        let (ticket, tried, pending) = (&mut self.ticket, &mut self.tried, &mut self.pending);
        let key = self.facts.key;
        let mut last = None;
        let next = self.pool.with(|pool| {
            if resend && pool.config().retry.on_status.contains(&status) {
                // The answer that is there is kept until there is an endpoint to do better.
                tried.extend(current);
                if let Some(next) = pool.pick_retry(tries, Ask { key, tried }, now) {
                    if let Some(ticket) = ticket.take() {
                        last = Some(ticket.site().clone());
                        pool.finish(ticket, response_outcome(status), now);
                    }
                    return Some(next);
                }
            }
            if core::mem::take(pending) {
                pool.settle();
            }
            if let Some(ticket) = ticket {
                pool.answered(ticket, status, now);
            }
            None
        });
        match next {
            Some(ticket) => {
                self.last = last;
                self.enter(Entry::Ticket(ticket));
                Step::Retry
            }
            None => {
                self.stage = Stage::Forwarding { status };
                Step::Forward
            }
        }
    }

    /// Whether the deadline left a retry less than the time that a first try gets; then the endpoint is
    /// not to blame for having used it up.
    fn cut_short(&self, kind: FailureKind, since: Instant, now: Instant) -> bool {
        let granted = match kind {
            FailureKind::ConnectTimeout => self.connect_within,
            _ => self.head_within,
        };
        kind.is_timeout() && self.tries > 1 && now.since(since) < granted
    }

    /// Keeps the name of the try that ends.
    fn remember(&mut self) {
        if matches!(
            self.stage,
            Stage::Ready { fresh: true } | Stage::Trying { .. } | Stage::Forwarding { .. }
        ) && let Some(ticket) = &self.ticket
        {
            self.last = Some(ticket.site().clone());
        }
    }

    /// Gives back what is held, for an answer of the balancer itself.
    fn give_up(&mut self, reason: Reason, outcome: Outcome, now: Instant) -> Reason {
        self.remember();
        self.release(outcome, now);
        self.stage = Stage::Over(reason);
        reason
    }

    fn release(&mut self, outcome: Outcome, now: Instant) {
        let (ticket, pending) = (self.ticket.take(), core::mem::take(&mut self.pending));
        // Who waits is pending.
        if ticket.is_none() && !pending {
            return;
        }
        let stage = self.stage;
        self.pool.with(|pool| {
            if let Stage::Queued(waiting) = stage {
                pool.leave(waiting.id, now);
            }
            if let Some(ticket) = ticket {
                pool.finish(ticket, outcome, now);
            }
            if pending {
                pool.settle();
            }
        });
    }
}

/// What an entry makes of an exchange.
fn entered(entry: Entry) -> (Stage, Option<Ticket>) {
    match entry {
        Entry::Ticket(ticket) => (Stage::Ready { fresh: false }, Some(ticket)),
        Entry::Wait(id, until) => (Stage::Queued(Waiting { id, until }), None),
        Entry::Refused(reason) => (Stage::Refused(reason), None),
    }
}

fn response_outcome(status: u16) -> Outcome {
    if (500..600).contains(&status) { Outcome::ServerError } else { Outcome::Success }
}

/// The client is gone.
impl<H: PoolHandle> Drop for Exchange<H> {
    fn drop(&mut self) {
        if self.ticket.is_some() || self.pending {
            self.end(End::ClientLeft, self.last_now);
        }
    }
}

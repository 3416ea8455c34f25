//! What a pool tells the log: changes of its endpoints' standing.

use alloc::{collections::VecDeque, sync::Arc};
use core::{fmt, net::SocketAddr};

use super::{EndpointId, Outcome};
use crate::{
    config::AdminState,
    health::CheckFailure,
    limits::TRANSITIONS_MAX,
    outlier::Rule,
    time::{Duration, Instant},
};

/// One change of one endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Whose; it may be gone by now.
    pub endpoint: EndpointId,
    /// What the configuration calls the backend.
    pub name: Arc<str>,
    /// The endpoint's address.
    pub addr: SocketAddr,
    /// What happened.
    pub change: Change,
}

/// What happened to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Active checks found it healthy again, or are no longer made.
    Up,
    /// Active checks found it unhealthy; the last failure.
    Down(CheckFailure),
    /// It fails real traffic.
    Ejected {
        /// For how long.
        length: Duration,
        /// When it returns.
        until: Instant,
        /// What was found.
        why: Cause,
    },
    /// An ejection ended.
    Returned,
    /// It came into the pool, by a reload or a new address of a name.
    Added,
    /// It left the pool; requests in flight go on.
    Removed,
    /// What an operator wants of it changed.
    State(AdminState),
}

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Too many consecutive failures; the last one.
    Failures(Outcome),
    /// A success rate out of line with those of the others.
    Rate(Rule),
}

/// A phrase for logs: `reset`, `success rate below the median`.
impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(outcome) => outcome.fmt(f),
            Self::Rate(Rule::SuccessRate) => f.write_str("success rate below the mean"),
            Self::Rate(Rule::Robust) => f.write_str("success rate below the median"),
        }
    }
}

/// A phrase for logs: `down: status 503`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Up => f.write_str("up"),
            Self::Down(failure) => write!(f, "down: {failure}"),
            Self::Ejected { length, why, .. } => write!(f, "ejected for {length:?}: {why}"),
            Self::Returned => f.write_str("returned from ejection"),
            Self::Added => f.write_str("added"),
            Self::Removed => f.write_str("removed"),
            Self::State(AdminState::Ready) => f.write_str("state ready"),
            Self::State(AdminState::Drain) => f.write_str("state drain"),
            Self::State(AdminState::Maint) => f.write_str("state maint"),
        }
    }
}

/// Transitions that wait to be polled, oldest first.
#[derive(Debug, Default)]
pub(super) struct Transitions {
    queue: VecDeque<Transition>,
    pub(super) lost: u64,
}

impl Transitions {
    pub(super) fn push(&mut self, transition: Transition) {
        if self.queue.len() >= TRANSITIONS_MAX {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back(transition);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Transition> {
        self.queue.pop_front()
    }
}

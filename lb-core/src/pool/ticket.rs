//! What a pick is asked with, what it gives, and what it is given back with.

use alloc::sync::Arc;
use core::{fmt, net::SocketAddr};

use crate::time::Instant;

/// What a pick depends on besides the pool.
///
/// ```
/// use lb_core::pool::Ask;
/// let any = Ask::default();
/// let of_a_user = Ask { key: Some(lb_core::hash::hash(b"user 7")), ..any };
/// assert!(of_a_user.tried.is_empty());
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// What hashing algorithms place the request by: equal keys go to the same endpoint. A request
    /// without one goes where a random key would.
    pub key: Option<u64>,
    /// Endpoints that the request was sent to before: avoided where there are others.
    pub tried: &'a [EndpointId],
}

/// Which endpoint of a pool: stable while the endpoint lives, and never that of a successor that took
/// its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// The right, and the duty, to count as one request in flight at an endpoint.
///
/// It is not `Clone`: [`Pool::finish`](super::Pool::finish) of the pool that gave it is the one way to
/// be rid of it, so that in-flight counts are exact.
#[must_use = "a ticket that is not finished counts as a request in flight for ever"]
#[derive(Debug)]
pub struct Ticket {
    pub(super) id: EndpointId,
    pub(super) site: Arc<Site>,
    /// When it was picked.
    pub(super) since: Instant,
    /// Whether the head of a response was told of: see [`Pool::answered`](super::Pool::answered).
    pub(super) answered: Option<Answered>,
}

/// What an endpoint is called, and where it is.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) name: Arc<str>,
    pub(crate) addr: SocketAddr,
}

/// What a response's head said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answered {
    Well,
    WithServerError,
}

impl Ticket {
    /// The endpoint that was picked.
    #[must_use]
    pub fn endpoint(&self) -> EndpointId {
        self.id
    }

    /// Where to connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.site.addr
    }

    /// What the configuration calls the backend.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.site.name
    }

    /// Both, for what outlives the ticket.
    pub(crate) fn site(&self) -> &Arc<Site> {
        &self.site
    }
}

/// How a request went, as far as the endpoint is to be judged by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A whole answer below 500.
    Success,
    /// An answer of 500 to 599.
    ServerError,
    /// No connection: refused, unreachable or too slow.
    ConnectFailed,
    /// The connection broke before the answer was whole.
    Reset,
    /// The answer, or more of it, did not come in time.
    Timeout,
    /// The answer was not HTTP.
    Invalid,
    /// The try was given up for a reason that is not the endpoint's; says nothing about it.
    Cancelled,
    /// A kept-alive connection had been closed meanwhile; says nothing about the endpoint.
    Stale,
}

impl Outcome {
    /// Whether this speaks against the endpoint.
    #[must_use]
    pub fn is_failure(self) -> bool {
        match self {
            Self::ServerError | Self::ConnectFailed | Self::Reset | Self::Timeout | Self::Invalid => true,
            Self::Success | Self::Cancelled | Self::Stale => false,
        }
    }
}

/// The stable lower-case word for logs.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Success => "success",
            Self::ServerError => "server_error",
            Self::ConnectFailed => "connect_failed",
            Self::Reset => "reset",
            Self::Timeout => "timeout",
            Self::Invalid => "invalid",
            Self::Cancelled => "cancelled",
            Self::Stale => "stale",
        })
    }
}

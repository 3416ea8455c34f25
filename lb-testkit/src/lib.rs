//! Mock backends, a raw client and the chapter suites of a course on load balancers, for any crate's
//! tests and for any balancer.
//!
//! - [`Backend`]: a small HTTP/1.1 server that answers as the course says, misbehaves on demand
//!   ([`Behaviour`]) and records what arrived ([`Recorded`]).
//! - [`RawClient`]: bytes out, heads and bodies in, each wait under a deadline.
//! - [`Port`]: a port that is ours and refuses connections, or that a backend comes back to.
//! - [`probe`]: whether a server is well, for health checks of containers.
//! - [`wire`]: heads and bodies over any stream, for who writes another end.
//! - `sim_net` (feature `sim`): a network that is simulated, by seed.
//! - [`course`] (a feature, on by default): the chapters as lists of black-box cases that judge any balancer:
//!   [`course::run`] with a base URL, [`course::StartCommand`] with a program.
//! - [`sim`]: the balancer's decisions against modelled backends, as discrete events.
//!
//! Both ends speak HTTP through this crate's own few hundred lines instead of a library: a test double
//! that shares its parser with the program under test would share its defects, and a library hides
//! what tests must see and do (the case and order of fields, half a head, a reset in a body).
//!
//! Nothing here panics on what a peer sends, and every wait ends: with `io::ErrorKind::TimedOut` and a
//! message that says what was waited for.

pub mod backend;
mod behaviour;
#[cfg(feature = "course")]
pub mod course;
mod digest;
mod message;
mod port;
pub mod probe;
mod raw_client;
mod record;
pub mod sim;
#[cfg(feature = "sim")]
pub mod sim_net;
pub mod theory;
pub mod wire;

pub use backend::{Backend, Builder};
pub use behaviour::{Behaviour, Content, End, Framing, Gate, OnAccept};
pub use digest::{Digest, pattern};
pub use message::{Body, BodyEnd, Head, Headers};
pub use port::Port;
pub use raw_client::{RawClient, Response};
pub use record::{Connections, Recorded};

use std::time::Duration;

/// How long a wait may take before it counts as failed: far longer than anything takes on a busy
/// machine, so that only a defect runs into it.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn overdue(what: impl std::fmt::Display) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::TimedOut, format!("waited in vain for {what}"))
}

/// The examples of the crate's README are run with those of its documentation.
#[cfg(all(doctest, feature = "course"))]
#[doc = include_str!("../README.md")]
struct Readme;

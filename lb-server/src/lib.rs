//! The `lb` server: sockets, and hyper where it is needed, around `lb-core`.
//!
//! [`Server::start`] runs a balancer inside any process; the binary `lb` is a command line around it.
//! Decisions are `lb-core`'s; this crate reads sockets and clocks, and does what it is told.

mod accept;
pub mod access_log;
mod answer;
mod byte_marks;
pub mod clock;
mod date;
pub mod event_log;
mod flight;
mod forwarded;
mod framing;
mod front;
mod interim;
mod net;
mod observer;
mod outbox;
mod outgoing;
mod pool_tasks;
mod proxy;
mod reply;
mod request_body;
mod request_head;
mod response_body;
mod server;
mod session_cookies;
mod snapshot;
mod spare;
mod timer;
mod upstream;
mod waiters;
mod worker;
mod writer;

pub use observer::Observer;
pub use server::{Options, PoolStatus, Server, Shutdown, StartError, WorkerStatus};
#[cfg(fuzzing)]
pub use upstream::fuzz;

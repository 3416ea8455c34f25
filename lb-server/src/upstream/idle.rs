//! Unused connections, kept for the next request.
//!
//! Every worker has its own, so that no request waits for another thread. The connection that was used
//! last is used first: under low load few stay warm and the others run out.

use std::{cell::RefCell, net::SocketAddr, time::Duration};

use bytes::BytesMut;
use lb_core::time::Instant;
use rustc_hash::FxHashMap;

use super::Connection;

/// How often a worker looks through its unused connections.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// A larger buffer is given back as soon as its connection is unused; a smaller one by a sweep. Enough for
/// bodies of 16 KiB.
pub(super) const KEPT_BUFFER_BYTES_MAX: usize = 24 << 10;

/// A worker's unused connections.
#[derive(Default)]
pub(crate) struct IdleConnections {
    /// Addresses come from the configuration, so nobody can make them collide.
    by_address: RefCell<FxHashMap<SocketAddr, Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    until: Instant,
    /// A sweep has seen it here.
    swept: bool,
}

impl IdleConnections {
    /// The connection to `addr` that was used last, if there is one that may still be used.
    ///
    /// With `asked` the socket itself is asked whether the backend has closed it, which costs a system
    /// call: for requests that must not be sent twice. Without it, only a close that the runtime has
    /// already heard of is known.
    pub(crate) fn take(&self, addr: SocketAddr, asked: bool, now: Instant) -> Option<Connection> {
        let mut by_address = self.by_address.borrow_mut();
        let idle = by_address.get_mut(&addr)?;
        while let Some(Idle { mut connection, until, .. }) = idle.pop() {
            let is_over =
                until <= now || if asked { connection.is_closed() } else { connection.seems_closed() };
            if !is_over {
                connection.reused = true;
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last response has ended, unless there are `most` already: then the one
    /// that has waited longest goes.
    pub(crate) fn put(&self, mut connection: Connection, most: u32, until: Instant) {
        if most == 0 {
            return;
        }
        connection.trim(KEPT_BUFFER_BYTES_MAX);
        let mut by_address = self.by_address.borrow_mut();
        let idle = by_address.entry(connection.addr).or_default();
        if idle.len() >= most as usize {
            idle.remove(0);
        }
        idle.push(Idle { connection, until, swept: false });
    }

    /// Drops what was unused for too long or was closed by its backend, and gives back the buffers of what
    /// was unused since the last sweep.
    pub(crate) fn sweep(&self, now: Instant) {
        self.by_address.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| idle.until > now && !idle.connection.seems_closed());
            idle.shrink_to(idle.len() * 2);
            for idle in &mut *idle {
                if std::mem::replace(&mut idle.swept, true) {
                    idle.connection.trim(0);
                }
            }
            !idle.is_empty()
        });
    }
}

impl Connection {
    /// Gives back buffers that are larger than this.
    fn trim(&mut self, bytes: usize) {
        if self.buffer.capacity() > bytes {
            self.buffer = BytesMut::new();
        }
        if self.out.capacity() > bytes {
            self.out = Vec::new();
        }
    }

    /// Whether something has come on an unused connection: its end, or bytes that nobody asked for.
    /// Costs nothing while nothing has.
    fn seems_closed(&self) -> bool {
        self.read.has_news()
    }

    /// The same, by asking the system.
    fn is_closed(&self) -> bool {
        self.read.has_news_now()
    }
}

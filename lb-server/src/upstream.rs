//! Connections to backends: made, lent to one request at a time, kept for the next one.
//!
//! Every worker has its own, so that no request waits for another thread. The connection that was used
//! last is used first: under low load few stay warm and the others run out.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::{
    client::conn::http1::{self, SendRequest},
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::rt::TokioIo;
use lb_core::time::Instant;
use tokio::net::TcpStream;

use crate::request_body::BodyReader;

/// A worker's unused connections.
#[derive(Default)]
pub(crate) struct IdleConnections {
    by_address: RefCell<HashMap<SocketAddr, Vec<Idle>>>,
}

struct Idle {
    connection: Connection,
    until: Instant,
}

impl IdleConnections {
    /// The connection to `addr` that was used last, if there is a usable one.
    ///
    /// With `checked` the socket itself is asked whether the backend has closed it, which costs a
    /// system call: for requests that must not be sent twice.
    pub(crate) fn take(&self, addr: SocketAddr, checked: bool) -> Option<Connection> {
        let mut by_address = self.by_address.borrow_mut();
        let idle = by_address.get_mut(&addr)?;
        while let Some(Idle { mut connection, .. }) = idle.pop() {
            if connection.sender.is_ready() && !(checked && connection.has_bytes_or_end()) {
                connection.reused = true;
                connection.counters.reset();
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose last response has ended, unless there are `most` already.
    pub(crate) fn put(&self, connection: Connection, most: u32, until: Instant) {
        if connection.sender.is_closed() || most == 0 {
            return;
        }
        let mut by_address = self.by_address.borrow_mut();
        let idle = by_address.entry(connection.addr).or_default();
        if idle.len() >= most as usize {
            idle.remove(0);
        }
        idle.push(Idle { connection, until });
    }

    /// Drops what was unused for too long or was closed by its backend.
    pub(crate) fn sweep(&self, now: Instant) {
        self.by_address.borrow_mut().retain(|_, idle| {
            idle.retain(|idle| idle.until > now && !idle.connection.sender.is_closed());
            idle.shrink_to(idle.len() * 2);
            !idle.is_empty()
        });
    }
}

/// A connection to a backend, for one request at a time.
pub(crate) struct Connection {
    pub(crate) addr: SocketAddr,
    pub(crate) sender: SendRequest<BodyReader>,
    /// It has carried a request before.
    pub(crate) reused: bool,
    counters: Rc<Counted>,
}

impl Connection {
    /// Connects, and leaves the connection's work to a task of this thread.
    pub(crate) async fn open(addr: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        // Only delays small requests where it cannot be set.
        let _ = stream.set_nodelay(true);
        let counters = Rc::new(Counted { stream: RefCell::new(TokioIo::new(stream)), written: Cell::new(0) });
        let (sender, connection) = http1::Builder::new()
            .handshake(CountedIo(Rc::clone(&counters)))
            .await
            .map_err(io::Error::other)?;
        tokio::task::spawn_local(async move {
            // How it ended is what the request that used it is told.
            let _ = connection.await;
        });
        Ok(Self { addr, sender, reused: false, counters })
    }

    /// Whether a byte of the present request has left.
    pub(crate) fn has_sent(&self) -> bool {
        self.counters.written.get() > 0
    }

    fn has_bytes_or_end(&self) -> bool {
        let stream = self.counters.stream.borrow();
        let mut byte = [std::mem::MaybeUninit::uninit()];
        match socket2::SockRef::from(stream.inner()).peek(&mut byte) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }
}

/// A socket that counts what was written, so that a failed try knows whether the backend can have seen
/// anything of it.
struct Counted {
    stream: RefCell<TokioIo<TcpStream>>,
    written: Cell<usize>,
}

impl Counted {
    fn reset(&self) {
        self.written.set(0);
    }

    fn count(&self, written: usize) -> Poll<io::Result<usize>> {
        self.written.set(self.written.get() + written);
        Poll::Ready(Ok(written))
    }
}

struct CountedIo(Rc<Counted>);

impl Read for CountedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, cursor)
    }
}

impl Write for CountedIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, bytes))?;
        self.0.count(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, slices))?;
        self.0.count(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

/// How often a worker looks through its unused connections.
pub(crate) const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

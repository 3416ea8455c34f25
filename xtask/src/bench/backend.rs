//! The backend of the benchmark: two addresses, one thread, one epoll, answers made in advance. It has
//! to be cheaper than any proxy in front of it, so it does what the scenarios ask for and nothing else.
//!
//! `.../bytes/N` gives N bytes; a request body is swallowed before the answer; `/probe` tells whether
//! X-Forwarded-For was there; everything else is a health check.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
};

use super::sys;

/// The most bytes that a path can ask for.
const BYTES_MAX: usize = 64 << 20;
const SCRATCH_BYTES: usize = 256 << 10;
/// How long a wait may go on before the thread looks whether it should end.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What arrived so far.
#[derive(Default)]
struct Counts {
    /// Requests, by address.
    served: [AtomicU64; 2],
    accepted: AtomicU64,
}

/// A running backend. Ends when dropped.
pub(super) struct Backend {
    pub(super) addresses: [SocketAddr; 2],
    counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    pub(super) fn start(cpu: usize) -> io::Result<Self> {
        let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let mut server = Server::new(listeners, Arc::clone(&counts))?;
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("backend".into()).spawn(move || {
            if let Err(error) = sys::pin(cpu).and_then(|()| server.run(&stopped)) {
                eprintln!("the backend ended: {error}");
            }
        })?;
        Ok(Self { addresses, counts, stop, thread: Some(thread) })
    }

    /// Requests that reached each address.
    pub(super) fn served(&self) -> [u64; 2] {
        self.counts.served.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// Connections that were accepted.
    pub(super) fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Server {
    epoll: OwnedFd,
    listeners: [TcpListener; 2],
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    answers: HashMap<usize, Arc<[u8]>>,
    counts: Arc<Counts>,
    scratch: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    listener: usize,
    /// An incomplete head.
    head: Vec<u8>,
    /// Bytes of the request's body that are still to come.
    body_left: u64,
    /// What is owed when the body is in, and whether the connection ends with it.
    owed: Option<(Arc<[u8]>, bool)>,
    /// What is being written, from which byte on.
    writing: Option<(Arc<[u8]>, usize, bool)>,
}

/// The epoll keys of the listeners; connections come after them.
const FIRST_CONNECTION: u64 = 2;

impl Server {
    fn new(listeners: [TcpListener; 2], counts: Arc<Counts>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        for (key, listener) in (0..).zip(&listeners) {
            listener.set_nonblocking(true)?;
            epoll::add(&epoll, listener, EventData::new_u64(key), EventFlags::IN)?;
        }
        Ok(Self {
            epoll,
            listeners,
            connections: Vec::new(),
            free: Vec::new(),
            answers: HashMap::new(),
            counts,
            scratch: vec![0; SCRATCH_BYTES],
        })
    }

    fn run(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Vec::with_capacity(1024);
        while !stop.load(Ordering::Relaxed) {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&WAIT)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            for event in &events {
                match event.data.u64() {
                    key @ 0..FIRST_CONNECTION => self.accept(key as usize)?,
                    key => self.ready((key - FIRST_CONNECTION) as usize, event.flags)?,
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let stream = match self.listeners[listener].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            self.counts.accepted.fetch_add(1, Ordering::Relaxed);
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let key = EventData::new_u64(slot as u64 + FIRST_CONNECTION);
            epoll::add(&self.epoll, &stream, key, EventFlags::IN)?;
            self.connections[slot] = Some(Connection {
                stream,
                listener,
                head: Vec::new(),
                body_left: 0,
                owed: None,
                writing: None,
            });
        }
    }

    fn ready(&mut self, slot: usize, flags: EventFlags) -> io::Result<()> {
        let Some(mut connection) = self.connections[slot].take() else { return Ok(()) };
        // A broken connection is no concern of the others.
        let open = self.serve(&mut connection, slot, flags).unwrap_or(false);
        if open {
            self.connections[slot] = Some(connection);
        } else {
            self.free.push(slot);
        }
        Ok(())
    }

    /// Gives whether the connection goes on.
    fn serve(&mut self, connection: &mut Connection, slot: usize, flags: EventFlags) -> io::Result<bool> {
        if flags.contains(EventFlags::OUT) {
            match connection.write()? {
                Written::Open => self.watch(connection, slot, EventFlags::IN)?,
                Written::Blocked => return Ok(true),
                Written::Closed => return Ok(false),
            }
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(true);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = match connection.stream.read(&mut scratch) {
            Ok(0) => Ok(false),
            Ok(count) => self.take_in(connection, slot, &scratch[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        };
        self.scratch = scratch;
        result
    }

    fn take_in(&mut self, connection: &mut Connection, slot: usize, mut bytes: &[u8]) -> io::Result<bool> {
        while !bytes.is_empty() {
            if connection.body_left > 0 {
                let count = connection.body_left.min(bytes.len() as u64);
                connection.body_left -= count;
                bytes = &bytes[count as usize..];
            } else if connection.head.is_empty()
                && let Some(end) = head_end(bytes)
            {
                self.take_head(connection, &bytes[..end])?;
                bytes = &bytes[end..];
            } else {
                // Rare: a head in pieces.
                let before = connection.head.len();
                connection.head.extend_from_slice(bytes);
                let Some(end) = head_end(&connection.head) else { return Ok(true) };
                let head = std::mem::take(&mut connection.head);
                self.take_head(connection, &head[..end])?;
                bytes = &bytes[end - before..];
            }
            if connection.body_left == 0
                && let Some((answer, close)) = connection.owed.take()
            {
                self.counts.served[connection.listener].fetch_add(1, Ordering::Relaxed);
                connection.writing = Some((answer, 0, close));
                match connection.write()? {
                    Written::Open => {}
                    Written::Closed => return Ok(false),
                    Written::Blocked => {
                        self.watch(connection, slot, EventFlags::OUT)?;
                        // No proxy here pipelines, so nothing waits behind this request.
                        return if bytes.is_empty() { Ok(true) } else { Err(unsupported()) };
                    }
                }
            }
        }
        Ok(true)
    }

    fn take_head(&mut self, connection: &mut Connection, head: &[u8]) -> io::Result<()> {
        let request = Request::read(head).ok_or_else(unsupported)?;
        let answer = match request.wants {
            Wants::Bytes(count) => self.answer(count),
            Wants::Probe if request.forwarded_for => self.answer(PROBE_BYTES),
            Wants::Probe => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"[..].into(),
        };
        connection.body_left = request.body;
        connection.owed = Some((answer, request.close));
        Ok(())
    }

    fn answer(&mut self, count: usize) -> Arc<[u8]> {
        let made = self.answers.entry(count).or_insert_with(|| {
            let head = format!(
                "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                 Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n\
                 Content-Length: {count}\r\n\r\n"
            );
            let body = std::iter::repeat_n(b'x', count);
            head.into_bytes().into_iter().chain(body).collect()
        });
        Arc::clone(made)
    }

    fn watch(&self, connection: &Connection, slot: usize, flags: EventFlags) -> io::Result<()> {
        let key = EventData::new_u64(slot as u64 + FIRST_CONNECTION);
        Ok(epoll::modify(&self.epoll, &connection.stream, key, flags)?)
    }
}

/// The answer to a probe and to a health check.
pub(super) const PROBE_BYTES: usize = 2;

enum Written {
    Open,
    Blocked,
    Closed,
}

impl Connection {
    fn write(&mut self) -> io::Result<Written> {
        let Some((answer, from, close)) = &mut self.writing else { return Ok(Written::Open) };
        while *from < answer.len() {
            match self.stream.write(&answer[*from..]) {
                Ok(count) => *from += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Written::Blocked),
                Err(error) => return Err(error),
            }
        }
        let close = *close;
        self.writing = None;
        Ok(if close { Written::Closed } else { Written::Open })
    }
}

struct Request {
    wants: Wants,
    body: u64,
    close: bool,
    forwarded_for: bool,
}

enum Wants {
    Bytes(usize),
    Probe,
}

impl Request {
    /// Reads a head, empty line included; none if it asks for what this backend cannot do.
    fn read(head: &[u8]) -> Option<Self> {
        let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
        let line = str::from_utf8(lines.next()?).ok()?;
        let mut parts = line.split(' ');
        let path = parts.nth(1)?;
        let wants = match path.rsplit_once("/bytes/") {
            Some((_, count)) => Wants::Bytes(count.parse().ok().filter(|&count| count <= BYTES_MAX)?),
            None if path.ends_with("/probe") => Wants::Probe,
            None => Wants::Bytes(PROBE_BYTES),
        };
        let mut request = Self { wants, body: 0, close: parts.next()? == "HTTP/1.0", forwarded_for: false };
        for line in lines {
            // Most fields are told apart from these by their first letter alone.
            if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T' | b'x' | b'X')) {
                continue;
            }
            let Some(colon) = line.iter().position(|&byte| byte == b':') else { continue };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                request.body = str::from_utf8(value).ok()?.parse().ok()?;
            } else if name.eq_ignore_ascii_case(b"connection") {
                request.close |= value.eq_ignore_ascii_case(b"close");
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                return None;
            } else if name.eq_ignore_ascii_case(b"x-forwarded-for") {
                request.forwarded_for = true;
            }
        }
        Some(request)
    }
}

fn head_end(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

fn unsupported() -> io::Error {
    io::Error::new(ErrorKind::Unsupported, "a request that the benchmark's backend does not understand")
}

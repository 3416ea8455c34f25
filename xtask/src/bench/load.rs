//! The benchmark's own load generator: a closed loop over many connections, one thread, one epoll. It
//! sends an exact number of requests (for counting instructions), keeps connections open (for counting
//! memory), and stands in for wrk where that is missing.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    event::{
        Timespec,
        epoll::{self, CreateFlags, EventData, EventFlags},
    },
    fd::OwnedFd,
};

/// How long no answer at all may come before the rest is given up.
const STALL: Duration = Duration::from_secs(20);
const SCRATCH_BYTES: usize = 256 << 10;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) completed: u64,
    /// Failed connections, broken answers, statuses other than 200, answers that never came.
    pub(super) errors: u64,
    pub(super) elapsed: Duration,
    /// Of each completed request, in nanoseconds; sorted.
    pub(super) latencies_ns: Vec<u32>,
}

impl Outcome {
    /// The latency that `share` of the requests stayed under, in microseconds.
    pub(super) fn percentile_us(&self, share: f64) -> f64 {
        let last = self.latencies_ns.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        self.latencies_ns.get(at).map_or(0.0, |&nanos| f64::from(nanos) / 1000.0)
    }
}

/// How much to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quota {
    /// Connections that may wait for an answer at the same time.
    pub(super) in_flight: usize,
    /// Requests in all.
    pub(super) total: u64,
    /// Requests on each connection, one after the other.
    pub(super) each: u64,
    pub(super) until: Option<Instant>,
}

/// Connections to one address that send one and the same request.
pub(super) struct Fleet {
    epoll: OwnedFd,
    to: SocketAddr,
    request: Arc<[u8]>,
    /// A new connection for each request.
    reconnect: bool,
    connections: Vec<Connection>,
    scratch: Vec<u8>,
}

struct Connection {
    stream: Option<TcpStream>,
    state: State,
    begun: Instant,
    /// Requests begun in this run.
    sent: u64,
}

enum State {
    Idle,
    /// The request is written up to here.
    Sending(usize),
    /// The head of the answer, as far as it is there.
    Head(Vec<u8>),
    /// Bytes of the answer's body that are missing.
    Body(u64),
}

impl Fleet {
    /// Opens `count` connections.
    pub(super) fn open(to: SocketAddr, count: usize, request: &[u8], reconnect: bool) -> io::Result<Self> {
        let mut fleet = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            to,
            request: request.into(),
            reconnect,
            connections: Vec::with_capacity(count),
            scratch: vec![0; SCRATCH_BYTES],
        };
        for index in 0..count {
            fleet.connections.push(Connection {
                stream: None,
                state: State::Idle,
                begun: Instant::now(),
                sent: 0,
            });
            fleet.connect(index)?;
        }
        Ok(fleet)
    }

    fn connect(&mut self, index: usize) -> io::Result<()> {
        let stream = TcpStream::connect(self.to)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&self.epoll, &stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        self.connections[index].stream = Some(stream);
        Ok(())
    }

    /// Sends requests, and collects their answers.
    pub(super) fn run(&mut self, quota: Quota) -> io::Result<Outcome> {
        let mut run = Run { quota, sent: 0, waiting: 0, next: 0, outcome: Outcome::default() };
        for connection in &mut self.connections {
            (connection.sent, connection.state) = (0, State::Idle);
        }
        let begun = Instant::now();
        while run.waiting < quota.in_flight && self.begin_next(&mut run) {}
        let mut events = Vec::with_capacity(1024);
        let wait = Timespec { tv_sec: STALL.as_secs().cast_signed(), tv_nsec: 0 };
        while run.waiting > 0 {
            events.clear();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&wait)) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if events.is_empty() {
                run.outcome.errors += run.waiting as u64;
                break;
            }
            for event in &events {
                self.ready(event.data.u64() as usize, &mut run);
            }
        }
        run.outcome.elapsed = begun.elapsed();
        run.outcome.latencies_ns.sort_unstable();
        Ok(run.outcome)
    }

    /// Begins a request on the next connection that had none so far; gives whether there was one.
    fn begin_next(&mut self, run: &mut Run) -> bool {
        while run.next < self.connections.len() {
            let index = run.next;
            run.next += 1;
            if !run.may_send(0) {
                return false;
            }
            if self.begin(index, run) {
                return true;
            }
        }
        false
    }

    /// Begins a request; gives whether an answer to it may come.
    fn begin(&mut self, index: usize, run: &mut Run) -> bool {
        run.sent += 1;
        let connection = &mut self.connections[index];
        connection.sent += 1;
        connection.begun = Instant::now();
        connection.state = State::Sending(0);
        let begun = match connection.stream {
            Some(_) => Ok(()),
            None => self.connect(index),
        };
        match begun.and_then(|()| self.write(index)) {
            Ok(()) => {
                run.waiting += 1;
                true
            }
            Err(_) => {
                self.connections[index].stream = None;
                run.outcome.errors += 1;
                false
            }
        }
    }

    fn write(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let (State::Sending(from), Some(stream)) = (&mut connection.state, &mut connection.stream) else {
            return Ok(());
        };
        let key = EventData::new_u64(index as u64);
        let resumed = *from > 0;
        while *from < self.request.len() {
            match stream.write(&self.request[*from..]) {
                Ok(count) => *from += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let both = EventFlags::IN | EventFlags::OUT;
                    return Ok(epoll::modify(&self.epoll, stream, key, both)?);
                }
                Err(error) => return Err(error),
            }
        }
        connection.state = State::Head(Vec::new());
        if resumed {
            epoll::modify(&self.epoll, stream, key, EventFlags::IN)?;
        }
        Ok(())
    }

    fn ready(&mut self, index: usize, run: &mut Run) {
        match self.advance(index) {
            Ok(false) => return,
            Ok(true) => {
                let connection = &mut self.connections[index];
                let nanos = connection.begun.elapsed().as_nanos();
                run.outcome.latencies_ns.push(u32::try_from(nanos).unwrap_or(u32::MAX));
                run.outcome.completed += 1;
                if self.reconnect {
                    connection.stream = None;
                }
            }
            Err(_) => {
                let connection = &mut self.connections[index];
                connection.stream = None;
                if matches!(connection.state, State::Idle) {
                    // Closed by the proxy between two requests, as it may.
                    return;
                }
                run.outcome.errors += 1;
            }
        }
        run.waiting -= 1;
        self.connections[index].state = State::Idle;
        let again = run.may_send(self.connections[index].sent) && self.begin(index, run);
        if !again {
            self.begin_next(run);
        }
    }

    /// Reads or writes what is possible; gives whether the answer is complete.
    fn advance(&mut self, index: usize) -> io::Result<bool> {
        self.write(index)?;
        let connection = &mut self.connections[index];
        let Some(stream) = &mut connection.stream else { return Ok(false) };
        let count = match stream.read(&mut self.scratch) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        connection.state.take_in(&self.scratch[..count])
    }
}

struct Run {
    quota: Quota,
    sent: u64,
    waiting: usize,
    /// The first connection that had no request in this run.
    next: usize,
    outcome: Outcome,
}

impl Run {
    fn may_send(&self, on_connection: u64) -> bool {
        self.sent < self.quota.total
            && on_connection < self.quota.each
            && self.quota.until.is_none_or(|until| Instant::now() < until)
    }
}

impl State {
    /// Gives whether the answer is complete.
    fn take_in(&mut self, bytes: &[u8]) -> io::Result<bool> {
        match self {
            Self::Idle | Self::Sending(_) => Err(ErrorKind::InvalidData.into()),
            Self::Body(left) => {
                *left = left.checked_sub(bytes.len() as u64).ok_or(ErrorKind::InvalidData)?;
                Ok(*left == 0)
            }
            Self::Head(head) => {
                head.extend_from_slice(bytes);
                let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") else {
                    return Ok(false);
                };
                let length = answer_length(&head[..end]).ok_or(ErrorKind::InvalidData)?;
                let there = (head.len() - end - 4) as u64;
                let left = length.checked_sub(there).ok_or(ErrorKind::InvalidData)?;
                *self = Self::Body(left);
                Ok(left == 0)
            }
        }
    }
}

/// The length of the body behind this head; none if it is not that of a 200 with Content-Length.
fn answer_length(head: &[u8]) -> Option<u64> {
    let mut lines = head.split(|&byte| byte == b'\n');
    let good = lines.next()?.get(8..).is_some_and(|rest| rest.starts_with(b" 200"));
    let length = lines.find_map(|line| {
        let (name, value) = line.split_at_checked(15)?;
        name.eq_ignore_ascii_case(b"content-length:").then_some(value.trim_ascii())
    })?;
    str::from_utf8(length).ok()?.parse().ok().filter(|_| good)
}

#[cfg(test)]
mod tests {
    use super::{super::backend::Backend, *};

    fn quota(total: u64, in_flight: usize) -> Quota {
        Quota { in_flight, total, each: u64::MAX, until: None }
    }

    fn backend() -> Backend {
        Backend::start(super::super::sys::cpus().unwrap()[0]).unwrap()
    }

    #[test]
    fn exact_numbers_of_requests_arrive() {
        let backend = backend();
        let request = b"GET /bytes/100000 HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut fleet = Fleet::open(backend.addresses[0], 7, request, false).unwrap();
        let outcome = fleet.run(quota(1000, 7)).unwrap();
        assert_eq!((outcome.completed, outcome.errors, outcome.latencies_ns.len()), (1000, 0, 1000));
        assert_eq!(backend.served(), [1000, 0]);
        let each = Quota { in_flight: 2, total: u64::MAX, each: 3, until: None };
        assert_eq!(fleet.run(each).unwrap().completed, 21);
    }

    #[test]
    fn bodies_go_up() {
        let backend = backend();
        let mut request = b"POST /bytes/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n".to_vec();
        request.resize(request.len() + 3_000_000, b'x');
        let mut fleet = Fleet::open(backend.addresses[1], 3, &request, false).unwrap();
        let outcome = fleet.run(quota(30, 3)).unwrap();
        assert_eq!((outcome.completed, outcome.errors), (30, 0));
        assert_eq!(backend.served(), [0, 30]);
    }

    #[test]
    fn a_connection_for_each_request() {
        let backend = backend();
        let request = b"GET /bytes/128 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let mut fleet = Fleet::open(backend.addresses[0], 4, request, true).unwrap();
        let outcome = fleet.run(quota(200, 4)).unwrap();
        assert_eq!((outcome.completed, outcome.errors), (200, 0));
    }

    #[test]
    fn a_refusal_is_an_error() {
        let backend = backend();
        let request = b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut fleet = Fleet::open(backend.addresses[0], 1, request, false).unwrap();
        let outcome = fleet.run(quota(1, 1)).unwrap();
        assert_eq!((outcome.completed, outcome.errors), (0, 1));
    }
}

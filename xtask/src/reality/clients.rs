//! Clients that send at given times, whatever becomes of earlier requests.
//!
//! A latency is measured from the time at which a request was meant to be sent, so that a client that is late
//! hides nothing ("coordinated omission").

use std::{
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::backend::WORK_FIELD;

/// Connections, each with a thread: more than requests that are ever on at once, or some are sent late.
const CONNECTIONS: usize = 300;
/// From the start of the threads to the first request.
const LEAD: Duration = Duration::from_millis(300);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is sent so much after its time is counted as late.
const LATE: Duration = Duration::from_millis(2);
/// Longest head of an answer, in lines.
const HEAD_LINES_MAX: usize = 100;

/// What the clients saw of the requests that count.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Of good answers, in nanoseconds, rising.
    pub(super) latencies: Vec<u64>,
    /// Requests without an answer of 200.
    pub(super) errors: u64,
    /// Requests that were sent late.
    pub(super) late: u64,
}

impl Seen {
    /// A quantile of the latency, in nanoseconds; 0 without any.
    pub(super) fn quantile(&self, q: f64) -> u64 {
        let place = (q * self.latencies.len() as f64).ceil() as usize;
        self.latencies.get(place.saturating_sub(1)).copied().unwrap_or(0)
    }

    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.errors += other.errors;
        self.late += other.late;
    }
}

/// Sends all requests, given as the nanoseconds from the start at which each is due, in rising order, and those
/// that its work takes. Those that are due within the warm-up do not count.
pub(super) fn send(to: SocketAddr, requests: &[(u64, u64)], warmup: Duration) -> Result<Seen, String> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Seen::default());
    let start = Instant::now() + LEAD;
    let work = || {
        let mut seen = Seen::default();
        let mut connection = None;
        while let Some(&(at, nanos)) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
            let due = start + Duration::from_nanos(at);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let late = due.elapsed() > LATE;
            let answered = exchange(&mut connection, to, nanos);
            let latency = due.elapsed();
            if Duration::from_nanos(at) < warmup {
                continue;
            }
            seen.late += u64::from(late);
            match answered {
                Ok(200) => seen.latencies.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX)),
                Ok(_) | Err(_) => seen.errors += 1,
            }
        }
        if let Ok(mut all) = all.lock() {
            all.add(seen);
        }
    };
    thread::scope(|scope| {
        (0..CONNECTIONS.min(requests.len()))
            .try_for_each(|_| thread::Builder::new().spawn_scoped(scope, work).map(drop))
    })
    .map_err(|error| format!("the clients: {error}"))?;
    let mut seen = all.into_inner().map_err(|_| "a client failed".to_owned())?;
    seen.latencies.sort_unstable();
    Ok(seen)
}

/// Sends a request over the connection that is there, or over a new one; gives the status.
fn exchange(connection: &mut Option<BufReader<TcpStream>>, to: SocketAddr, work: u64) -> io::Result<u16> {
    let mut reader = match connection.take() {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            BufReader::new(stream)
        }
    };
    let request = format!("GET / HTTP/1.1\r\nhost: reality\r\n{WORK_FIELD}: {work}\r\n\r\n");
    reader.get_mut().write_all(request.as_bytes())?;
    let (status, length) = read_head(&mut reader)?;
    if length == 0 {
        *connection = Some(reader);
    }
    Ok(status)
}

/// Status and length of the body. A connection whose answer has one is not used again.
fn read_head(reader: &mut impl BufRead) -> io::Result<(u16, u64)> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "not the head of an answer");
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status =
        line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(wrong)?;
    let mut length = u64::MAX;
    for _ in 0..HEAD_LINES_MAX {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(wrong());
        }
        if line == "\r\n" {
            return Ok((status, length));
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(|_| wrong())?;
        }
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::{super::backend::Backends, *};

    #[test]
    fn heads_are_read() {
        let read = |text: &str| read_head(&mut text.as_bytes());
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap(), (200, 0));
        assert_eq!(read("HTTP/1.1 503 No\r\n\r\n").unwrap(), (503, u64::MAX));
        for wrong in ["", "HTTP/1.1 2", "HTTP/1.1 200 OK\r\n", "SMTP\r\n\r\n"] {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn quantiles_are_of_the_sorted_ones() {
        let seen = Seen { latencies: (1..=100).collect(), ..Seen::default() };
        assert_eq!([0.0, 0.5, 0.99, 1.0].map(|q| seen.quantile(q)), [1, 50, 99, 100]);
        assert_eq!(Seen::default().quantile(0.5), 0);
    }

    /// Two requests for one slot, due at once: the second one's wait counts. The warm-up does not.
    #[test]
    fn latency_counts_from_when_a_request_is_due() {
        const MILLI: u64 = 1_000_000;
        let backends = Backends::start(1, 1).unwrap();
        let requests = [(0, MILLI), (20 * MILLI, 30 * MILLI), (20 * MILLI, 30 * MILLI)];
        let seen = send(backends.addresses()[0], &requests, Duration::from_millis(10)).unwrap();
        assert_eq!((seen.errors, seen.latencies.len()), (0, 2));
        assert!(seen.latencies[0] >= 30 * MILLI && seen.latencies[1] >= 60 * MILLI, "{seen:?}");
    }

    #[test]
    fn who_is_not_answered_is_an_error() {
        let free = super::super::proxy::free_address().unwrap();
        let seen = send(free, &[(0, 1)], Duration::ZERO).unwrap();
        assert_eq!((seen.errors, seen.latencies.len()), (1, 0));
    }
}

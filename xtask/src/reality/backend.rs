//! Backends whose service is known: slots, first come first served, and a time that the request names.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// The field that says how many nanoseconds a request takes.
pub(super) const WORK_FIELD: &str = "x-work-nanos";
/// A request that asks for more is refused.
const WORK_NANOS_MAX: u64 = 60_000_000_000;
/// Longest head of a request, in lines.
const HEAD_LINES_MAX: usize = 100;

/// Backends in threads of this process. They live until it ends.
pub(super) struct Backends(Vec<(SocketAddr, Arc<Slots>)>);

/// When each slot is free. As the work of a request is known when it comes, its end is as well: that of a
/// queue with so many servers, without threads that wake each other.
struct Slots(Mutex<BinaryHeap<Reverse<Instant>>>, u32);

impl Slots {
    fn new(slots: u32) -> Self {
        let free = Instant::now();
        Self(Mutex::new((0..slots).map(|_| Reverse(free)).collect()), slots)
    }

    /// When a request that comes now is done.
    fn take(&self, now: Instant, work: Duration) -> Instant {
        let mut slots = self.lock();
        let free = slots.pop().map_or(now, |Reverse(free)| free);
        let done = free.max(now) + work;
        slots.push(Reverse(done));
        done
    }

    fn reset(&self) {
        *self.lock() = (0..self.1).map(|_| Reverse(Instant::now())).collect();
    }

    fn lock(&self) -> MutexGuard<'_, BinaryHeap<Reverse<Instant>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backends {
    pub(super) fn start(count: usize, slots: u32) -> io::Result<Self> {
        let backend = |_| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let slots = Arc::new(Slots::new(slots));
            let (address, mine) = (listener.local_addr()?, slots.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let slots = mine.clone();
                    // A connection that breaks is the balancer's to notice.
                    thread::spawn(move || drop(serve(&stream, &slots)));
                }
            });
            Ok((address, slots))
        };
        (0..count).map(backend).collect::<io::Result<_>>().map(Self)
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|&(address, _)| address).collect()
    }

    /// All slots are free.
    pub(super) fn reset(&self) {
        self.0.iter().for_each(|(_, slots)| slots.reset());
    }
}

fn serve(stream: &TcpStream, slots: &Slots) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    while let Some(work) = read_work(&mut reader)? {
        let done = slots.take(Instant::now(), work);
        thread::sleep(done.saturating_duration_since(Instant::now()));
        (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
    }
    Ok(())
}

/// Reads the head of a request without a body; none when there is no further one.
fn read_work(reader: &mut impl BufRead) -> io::Result<Option<Duration>> {
    let mut work = None;
    let mut line = String::new();
    for _ in 0..HEAD_LINES_MAX {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            let nanos: Option<u64> = work.filter(|nanos| *nanos <= WORK_NANOS_MAX);
            return nanos.map(Duration::from_nanos).map(Some).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("no good field {WORK_FIELD}"))
            });
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case(WORK_FIELD)
        {
            work = value.trim().parse().ok();
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two slots: the third request waits for the first that is free, whoever has it.
    #[test]
    fn slots_are_first_come_first_served() {
        let slots = Slots::new(2);
        let start = Instant::now() + Duration::from_secs(1);
        let millis = |millis| Duration::from_millis(millis);
        let take = |at, work| slots.take(start + millis(at), millis(work)) - start;
        assert_eq!(take(0, 30), millis(30));
        assert_eq!(take(1, 10), millis(11));
        assert_eq!(take(2, 5), millis(16));
        assert_eq!(take(3, 100), millis(116));
        assert_eq!(take(40, 1), millis(41));
    }

    #[test]
    fn work_is_read_from_the_head() {
        let read = |text: &str| read_work(&mut text.as_bytes());
        let good = read("GET / HTTP/1.1\r\nhost: a\r\nX-Work-Nanos: 700\r\n\r\n").unwrap();
        assert_eq!(good, Some(Duration::from_nanos(700)));
        assert_eq!(read("").unwrap(), None);
        assert_eq!(read("GET / HTTP/1.1\r\nhost: a\r\n").unwrap(), None);
        for wrong in
            ["GET / HTTP/1.1\r\n\r\n", "x-work-nanos: -1\r\n\r\n", "x-work-nanos: 60000000001\r\n\r\n"]
        {
            assert!(read(wrong).is_err(), "{wrong:?}");
        }
        assert!(read(&"a: b\r\n".repeat(200)).is_err());
    }
}

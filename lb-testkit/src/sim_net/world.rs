//! The state of the whole network, and its rules. Everything happens under one lock, in one thread.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    fmt, io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    task::{Context, Poll},
};

use lb_core::prng::Prng;
use tokio::time::{Duration, Instant};

use super::{
    Crash, Options,
    connection::{Connection, Opened, Packet, Phase, ResetAfter, Side, Tell},
    host::Accepting,
    trace::Trace,
};

/// The first port of outgoing connections.
const EPHEMERAL_PORT: u16 = 32_768;
/// The first port that is given to who listens on port 0.
const LISTEN_PORT: u16 = 8_000;

/// Of bytes that nobody will read, so much is kept.
const LOST_BYTES_MAX: usize = 64;
/// When every run begins, in seconds of the Unix epoch.
const BEGAN_UNIX_SECONDS: u64 = 1_800_000_000;

/// What becomes of a question for a name.
#[derive(Clone, Debug)]
pub(super) enum Lookup {
    Found(Vec<IpAddr>),
    Silence,
}

type Link = (IpAddr, IpAddr);
type ResetRule = Box<dyn FnMut(&Opened) -> Option<ResetAfter> + Send>;

pub(super) struct World {
    options: Options,
    prng: Prng,
    began: Instant,
    /// When the next packet of which end is due, in nanoseconds; then in the order of sending.
    due: BinaryHeap<Reverse<(u64, u64, u64, Side)>>,
    sent: u64,
    connections: BTreeMap<u64, Connection>,
    opened: u64,
    pub(super) listeners: BTreeMap<u64, Accepting>,
    hosts: BTreeMap<IpAddr, HostState>,
    /// Links that are cut, with the ends whose next packets wait there.
    cut: BTreeMap<Link, VecDeque<(u64, Side)>>,
    latency_us: BTreeMap<Link, RangeInclusive<u64>>,
    pub(super) names: BTreeMap<String, Lookup>,
    /// Apart from the network's own draws, so that who asks does not change how packets travel.
    asides: Prng,
    pub(super) resets: Option<ResetRule>,
    pub(super) trace: Trace,
    /// Connections that the network has reset.
    pub(super) breaks: u64,
    pub(super) stale_writes: Vec<(IpAddr, Vec<u8>)>,
    pub(super) lost: Vec<Vec<u8>>,
    tell: Tell,
}

#[derive(Default)]
struct HostState {
    ports: u16,
    /// Connections that it began and that never stood.
    unopened: u64,
    crashed: Option<Crash>,
}

impl World {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            prng: Prng::new(options.seed),
            asides: Prng::new(options.seed).fork(1),
            options: options.clone(),
            began: Instant::now(),
            due: BinaryHeap::new(),
            sent: 0,
            connections: BTreeMap::new(),
            opened: 0,
            listeners: BTreeMap::new(),
            hosts: BTreeMap::new(),
            cut: BTreeMap::new(),
            latency_us: BTreeMap::new(),
            names: BTreeMap::new(),
            resets: None,
            trace: Trace::default(),
            breaks: 0,
            stale_writes: Vec::new(),
            lost: Vec::new(),
            tell: Tell::default(),
        }
    }

    pub(super) fn take_tell(&mut self) -> Tell {
        std::mem::take(&mut self.tell)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.prng.below(2) == 0
    }

    pub(super) fn draw_seed(&mut self) -> u64 {
        self.prng.next_u64()
    }

    pub(super) fn fill_secret(&mut self, secret: &mut [u8]) {
        secret.iter_mut().for_each(|byte| *byte = self.asides.next_u64() as u8);
    }

    pub(super) fn unix_seconds(&self) -> u64 {
        BEGAN_UNIX_SECONDS + self.now() / 1_000_000_000
    }

    pub(super) fn set_name(&mut self, name: &str, lookup: Lookup) {
        self.note(format_args!("{name}: {lookup:?}"));
        self.names.insert(name.to_owned(), lookup);
    }

    /// There and back, as any packet travels.
    pub(super) fn lookup_takes(&mut self) -> Duration {
        let one_way = |prng: &mut Prng| draw(prng, &self.options.latency_us);
        Duration::from_micros(one_way(&mut self.asides) + one_way(&mut self.asides))
    }

    pub(super) fn note(&mut self, what: fmt::Arguments<'_>) {
        let now_us = self.now() / 1_000;
        self.trace.add(format!("{:>5}.{:06} {what}", now_us / 1_000_000, now_us % 1_000_000));
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    // Packets.

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, ..))| self.began + Duration::from_nanos(*at))
    }

    /// Delivers the next packet if it is due.
    pub(super) fn deliver_next(&mut self) -> bool {
        let now = self.now();
        match self.due.peek() {
            Some(Reverse((at, ..))) if *at <= now => {}
            _ => return false,
        }
        let Some(Reverse((_, _, number, side))) = self.due.pop() else { return false };
        let Some(connection) = self.connections.get(&number) else { return true };
        let link = (connection.end(side.other()).addr.ip(), connection.end(side).addr.ip());
        if let Some(waiting) = self.cut.get_mut(&link) {
            waiting.push_back((number, side));
        } else {
            self.deliver(number, side);
            self.forget_if_over(number);
        }
        true
    }

    fn send(&mut self, number: u64, toward: Side, packet: Packet) {
        if let Some(connection) = self.connections.get_mut(&number) {
            let end = connection.end_mut(toward);
            if let Packet::Data(bytes) = &packet {
                end.in_flight += bytes.len();
            }
            end.incoming.push_back(packet);
            self.schedule(number, toward);
        }
    }

    /// Puts down when the next packet comes, which is not before those that were sent earlier.
    fn schedule(&mut self, number: u64, toward: Side) {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let link = (connection.end(toward.other()).addr.ip(), connection.end(toward).addr.ip());
        let latency_us = self.latency_us.get(&link).unwrap_or(&self.options.latency_us);
        let nanos = 1_000 * draw(&mut self.prng, latency_us);
        let end = connection.end_mut(toward);
        end.last_due = end.last_due.max(now + nanos);
        self.sent += 1;
        self.due.push(Reverse((end.last_due, self.sent, number, toward)));
        self.tell.sent = true;
    }

    fn deliver(&mut self, number: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let end = connection.end_mut(side);
        let Some(packet) = end.incoming.pop_front() else { return };
        if let Packet::Data(bytes) = &packet {
            end.in_flight -= bytes.len();
        }
        let ip = end.addr.ip();
        match self.hosts.get(&ip).and_then(|host| host.crashed) {
            Some(Crash::Machine) => return,
            Some(Crash::Process) => {
                if !matches!(packet, Packet::Reset) {
                    self.send(number, side.other(), Packet::Reset);
                }
                return;
            }
            None => {}
        }
        match packet {
            Packet::Syn => self.arrive(number),
            Packet::SynAck => self.opened(number),
            Packet::Data(bytes) => self.data(number, side, &bytes),
            Packet::Fin => self.fin(number, side),
            Packet::Reset => self.reset(number, side),
        }
    }

    fn parts(&mut self, number: u64, side: Side) -> Option<(&mut super::connection::End, &mut Tell)> {
        let connection = self.connections.get_mut(&number)?;
        Some((connection.end_mut(side), &mut self.tell))
    }

    fn arrive(&mut self, number: u64) {
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.end(Side::Client).closed {
            connection.end_mut(Side::Server).closed = true;
            return;
        }
        let to = connection.end(Side::Server).addr;
        let listening: Vec<u64> = self
            .listeners
            .iter()
            .filter(|(_, listener)| listener.addr == to && listener.queue.len() < listener.backlog)
            .map(|(key, _)| *key)
            .collect();
        let chosen = self.prng.below(listening.len() as u64) as usize;
        let Some(listener) = listening.get(chosen).and_then(|key| self.listeners.get_mut(key)) else {
            self.note(format_args!("c{number} refused at {to}"));
            if let Some((end, tell)) = self.parts(number, Side::Server) {
                end.die(None, tell);
                end.closed = true;
            }
            self.send(number, Side::Client, Packet::Reset);
            return;
        };
        connection.end_mut(Side::Server).phase = Phase::Open;
        listener.queue.push_back(number);
        self.tell.wakers.extend(listener.waker.take());
        self.send(number, Side::Client, Packet::SynAck);
    }

    fn opened(&mut self, number: u64) {
        let Some((end, tell)) = self.parts(number, Side::Client) else { return };
        if end.phase == Phase::Opening && !end.closed {
            end.phase = Phase::Open;
            end.wake(tell);
            return;
        }
        self.send(number, Side::Server, Packet::Reset);
    }

    fn data(&mut self, number: u64, side: Side, bytes: &[u8]) {
        let Some((end, tell)) = self.parts(number, side) else { return };
        if end.closed {
            // Nobody reads here any more: whoever still sends shall know.
            let is_first = end.phase != Phase::Dead;
            end.die(None, tell);
            if is_first && side == Side::Server {
                self.lost.push(beginning(bytes));
            }
            self.note(format_args!("c{number} {} bytes for a closed {side:?}", bytes.len()));
            self.send(number, side.other(), Packet::Reset);
            return;
        }
        if end.phase != Phase::Open {
            return;
        }
        let room = end.reset_after.map_or(u64::MAX, |after| after - end.received_total);
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        end.received.extend(&bytes[..taken]);
        end.received_total += taken as u64;
        let (total, breaks) = (end.received_total, end.reset_after == Some(end.received_total));
        tell.wakers.extend(end.reader.take());
        self.note(format_args!("c{number} {taken} bytes to {side:?}, {total} in all"));
        if breaks {
            self.break_up(number);
        }
    }

    fn fin(&mut self, number: u64, side: Side) {
        let now = self.now();
        if let Some((end, tell)) = self.parts(number, side) {
            end.fin_received = true;
            end.fin_received_at = now;
            tell.wakers.extend(end.reader.take());
        }
        self.note(format_args!("c{number} end to {side:?}"));
    }

    fn reset(&mut self, number: u64, side: Side) {
        let discards = self.coin();
        let Some((end, tell)) = self.parts(number, side) else { return };
        let error = match end.phase {
            Phase::Opening => io::ErrorKind::ConnectionRefused,
            _ => io::ErrorKind::ConnectionReset,
        };
        if discards {
            end.received.clear(); // as some systems do, and others do not
        }
        end.die(Some(error), tell);
        self.note(format_args!("c{number} reset to {side:?}"));
    }

    /// The network itself resets a connection, at both ends.
    fn break_up(&mut self, number: u64) {
        self.breaks += 1;
        for side in [Side::Client, Side::Server] {
            if let Some((end, _)) = self.parts(number, side) {
                end.incoming.clear();
                end.in_flight = 0;
            }
            self.reset(number, side);
        }
    }

    fn forget_if_over(&mut self, number: u64) {
        if self.connections.get(&number).is_some_and(Connection::is_over) {
            self.connections.remove(&number);
        }
    }

    // What programs do.

    pub(super) fn open(&mut self, from: IpAddr, to: SocketAddr) -> u64 {
        let host = self.hosts.entry(from).or_default();
        host.ports = host.ports.wrapping_add(1);
        host.unopened += 1;
        let port = EPHEMERAL_PORT.checked_add(host.ports).unwrap_or(EPHEMERAL_PORT);
        let number = self.opened;
        self.opened += 1;
        let opened = Opened { number, from: SocketAddr::new(from, port), to };
        let reset = self.resets.as_mut().and_then(|rule| rule(&opened));
        self.connections.insert(number, Connection::new(&opened, reset));
        self.note(format_args!("c{number} opens, {} to {to}", opened.from));
        self.send(number, Side::Server, Packet::Syn);
        number
    }

    pub(super) fn unopened(&self, ip: IpAddr) -> u64 {
        self.hosts.get(&ip).map_or(0, |host| host.unopened)
    }

    /// Whether a connection that `from` began stands; not asked again then.
    pub(super) fn poll_open(
        &mut self,
        from: IpAddr,
        number: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let Some((end, _)) = self.parts(number, Side::Client) else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        match end.phase {
            Phase::Opening => {
                end.writer = Some(cx.waker().clone());
                Poll::Pending
            }
            Phase::Open => {
                self.hosts.entry(from).or_default().unopened -= 1;
                Poll::Ready(Ok(()))
            }
            Phase::Dead => {
                Poll::Ready(Err(end.error.take().unwrap_or(io::ErrorKind::ConnectionReset).into()))
            }
        }
    }

    pub(super) fn listen(&mut self, ip: IpAddr, mut addr: SocketAddr) -> io::Result<(u64, SocketAddr)> {
        if !addr.ip().is_unspecified() && addr.ip() != ip {
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        addr.set_ip(ip);
        if addr.port() == 0 {
            let taken: BTreeSet<u16> = self
                .listeners
                .values()
                .filter(|listener| listener.addr.ip() == ip)
                .map(|listener| listener.addr.port())
                .collect();
            let free = (LISTEN_PORT..EPHEMERAL_PORT).find(|port| !taken.contains(port));
            addr.set_port(free.ok_or(io::ErrorKind::AddrInUse)?);
        }
        self.sent += 1;
        let key = self.sent;
        self.listeners.insert(key, Accepting::new(addr));
        Ok((key, addr))
    }

    /// The next connection that waits at a listener, with who opened it.
    pub(super) fn accept(&mut self, key: u64) -> Option<(u64, SocketAddr)> {
        let number = self.listeners.get_mut(&key)?.queue.pop_front()?;
        let from = self.connections.get(&number)?.end(Side::Client).addr;
        self.note(format_args!("c{number} accepted"));
        Some((number, from))
    }

    /// Nobody listens there any more; who waits to be accepted is reset.
    pub(super) fn stop_listening(&mut self, key: u64) {
        for number in self.listeners.remove(&key).into_iter().flat_map(|listener| listener.queue) {
            self.abort(number, Side::Server);
            self.forget_if_over(number);
        }
    }

    pub(super) fn poll_read(
        &mut self,
        number: u64,
        side: Side,
        cx: Option<&mut Context<'_>>,
        mut take: impl FnMut(&[u8]) -> usize,
    ) -> Poll<io::Result<usize>> {
        let Some(connection) = self.connections.get_mut(&number) else { return Poll::Ready(Ok(0)) };
        let end = connection.end_mut(side);
        if !end.received.is_empty() {
            let taken = take(end.received.make_contiguous());
            end.received.drain(..taken);
            if taken > 0 {
                self.tell.wakers.extend(connection.end_mut(side.other()).writer.take());
            }
            return Poll::Ready(Ok(taken));
        }
        if let Some(told) = end.at_end() {
            return Poll::Ready(told);
        }
        if let Some(cx) = cx {
            end.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// A byte, an end or an error, none of which is taken.
    pub(super) fn peek(&mut self, number: u64, side: Side) -> io::Result<usize> {
        let Some((end, _)) = self.parts(number, side) else { return Ok(0) };
        if !end.received.is_empty() {
            return Ok(1);
        }
        end.at_end().unwrap_or_else(|| Err(io::ErrorKind::WouldBlock.into()))
    }

    pub(super) fn take_error(&mut self, number: u64, side: Side) -> Option<io::ErrorKind> {
        self.parts(number, side).and_then(|(end, _)| end.error.take())
    }

    pub(super) fn poll_write(
        &mut self,
        number: u64,
        side: Side,
        cx: Option<&mut Context<'_>>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let now = self.now();
        let Some(connection) = self.connections.get_mut(&number) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        let end = connection.end_mut(side);
        if let Some(error) = end.error.take() {
            return Poll::Ready(Err(error.into()));
        }
        if end.phase == Phase::Dead || end.fin_sent {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let is_stale = side == Side::Client && end.has_missed_the_end(now);
        if is_stale {
            self.stale_writes.push((end.addr.ip(), beginning(bytes)));
        }
        let outstanding = connection.end(side.other()).outstanding();
        let room = self.options.window_bytes.saturating_sub(outstanding);
        let taken = room.min(bytes.len());
        if taken == 0 && !bytes.is_empty() {
            if let Some(cx) = cx {
                connection.end_mut(side).writer = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            let sizes = &self.options.segment_bytes;
            let size = draw(&mut self.prng, &(*sizes.start() as u64..=*sizes.end() as u64)).max(1);
            let (segment, further) = rest.split_at(rest.len().min(size as usize));
            rest = further;
            self.send(number, side.other(), Packet::Data(segment.to_vec()));
        }
        Poll::Ready(Ok(taken))
    }

    /// Ends this direction of the stream.
    pub(super) fn end_writing(&mut self, number: u64, side: Side) {
        let Some((end, _)) = self.parts(number, side) else { return };
        if end.phase == Phase::Open && !end.fin_sent {
            end.fin_sent = true;
            self.send(number, side.other(), Packet::Fin);
        }
    }

    pub(super) fn reset_when_dropped(&mut self, number: u64, side: Side) {
        if let Some((end, _)) = self.parts(number, side) {
            end.reset_when_dropped = true;
        }
    }

    /// The program has let go of its end: an orderly end, unless bytes came that nobody read.
    pub(super) fn close(&mut self, number: u64, side: Side) {
        let Some((end, _)) = self.parts(number, side) else { return };
        if end.closed {
            return;
        }
        end.closed = true;
        if end.phase == Phase::Open && (end.reset_when_dropped || !end.received.is_empty()) {
            self.abort(number, side);
        } else {
            self.end_writing(number, side);
        }
        self.forget_if_over(number);
    }

    /// Resets the connection from this end. What was on its way may still come before the reset, or not.
    fn abort(&mut self, number: u64, side: Side) {
        let purges = self.coin();
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let (tell, end) = (&mut self.tell, connection.end_mut(side));
        end.closed = true;
        end.received.clear();
        end.die(None, tell);
        let peer = connection.end_mut(side.other());
        if purges {
            peer.incoming.retain(|packet| !matches!(packet, Packet::Data(_) | Packet::Fin));
            peer.in_flight = 0;
        }
        self.note(format_args!("c{number} aborted by {side:?}"));
        self.send(number, side.other(), Packet::Reset);
    }

    // What goes wrong.

    pub(super) fn cut(&mut self, from: IpAddr, to: IpAddr) {
        self.note(format_args!("cut {from} to {to}"));
        self.cut.entry((from, to)).or_default();
    }

    pub(super) fn heal(&mut self, from: IpAddr, to: IpAddr) {
        if let Some(waiting) = self.cut.remove(&(from, to)) {
            self.note(format_args!("healed {from} to {to}"));
            for (number, side) in waiting {
                self.schedule(number, side);
            }
        }
    }

    pub(super) fn heal_all(&mut self) {
        let links: Vec<Link> = self.cut.keys().copied().collect();
        self.latency_us.clear();
        self.resets = None;
        for (from, to) in links {
            self.heal(from, to);
        }
    }

    pub(super) fn set_latency(&mut self, from: IpAddr, to: IpAddr, latency_us: RangeInclusive<u64>) {
        self.note(format_args!("{from} to {to} takes {latency_us:?} us"));
        self.latency_us.insert((from, to), latency_us);
    }

    pub(super) fn reset_between(&mut self, a: IpAddr, b: IpAddr) -> usize {
        let numbers = self.between(|one, other| (one, other) == (a, b) || (one, other) == (b, a));
        for number in &numbers {
            self.break_up(*number);
        }
        numbers.len()
    }

    fn between(&self, meant: impl Fn(IpAddr, IpAddr) -> bool) -> Vec<u64> {
        let is_meant = |connection: &Connection| {
            let (client, server) = (connection.end(Side::Client), connection.end(Side::Server));
            server.phase == Phase::Open
                && client.phase == Phase::Open
                && meant(client.addr.ip(), server.addr.ip())
        };
        self.connections.iter().filter(|(_, c)| is_meant(c)).map(|(number, _)| *number).collect()
    }

    pub(super) fn crash(&mut self, ip: IpAddr, crash: Crash) {
        self.note(format_args!("{ip} dies: {crash:?}"));
        let numbers = self.between(|one, other| one == ip || other == ip);
        for number in numbers {
            for side in [Side::Client, Side::Server] {
                let is_there = self.connections.get(&number).is_some_and(|c| c.end(side).addr.ip() == ip);
                if !is_there {
                    continue;
                }
                if let Some((end, tell)) = self.parts(number, side) {
                    end.received.clear();
                    end.closed = true;
                    end.die(None, tell);
                }
                if crash == Crash::Process {
                    self.send(number, side.other(), Packet::Reset);
                }
            }
        }
        // Who waits to be accepted is among them; nobody is there who could listen.
        self.listeners.retain(|_, listener| listener.addr.ip() != ip);
        self.hosts.entry(ip).or_default().crashed = Some(crash);
    }

    pub(super) fn restart(&mut self, ip: IpAddr) {
        self.note(format_args!("{ip} is back"));
        self.hosts.entry(ip).or_default().crashed = None;
    }

    pub(super) fn open_connections(&self, ip: IpAddr) -> usize {
        let is_open = |connection: &&Connection| {
            [Side::Client, Side::Server].iter().any(|side| {
                let end = connection.end(*side);
                end.addr.ip() == ip && !end.closed && end.phase != Phase::Dead
            })
        };
        self.connections.values().filter(is_open).count()
    }
}

fn beginning(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(LOST_BYTES_MAX)].to_vec()
}

fn draw(prng: &mut Prng, range: &RangeInclusive<u64>) -> u64 {
    range.start() + prng.below(range.end().saturating_sub(*range.start()) + 1)
}

//! One connection: two ends, each with what is on its way to it. Pure state; the world moves it.

use std::{collections::VecDeque, io, net::SocketAddr, task::Waker};

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The end that opened it.
    Client,
    /// The end that accepted it.
    Server,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

/// A connection that is being opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Its number, from 0, in the order of opening.
    pub number: u64,
    /// The end that opens it.
    pub from: SocketAddr,
    /// The end that is to accept it.
    pub to: SocketAddr,
}

/// Where a connection breaks: both ends are reset when so many bytes have come to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetAfter {
    /// The end whose bytes are counted.
    pub toward: Side,
    /// How many bytes come, not one more.
    pub bytes: u64,
}

/// What travels.
#[derive(Debug)]
pub(super) enum Packet {
    /// Opens the connection; to the server only.
    Syn,
    /// It is open; to the client only.
    SynAck,
    Data(Vec<u8>),
    /// Nothing more comes from there.
    Fin,
    /// The connection is over.
    Reset,
}

/// Who is to be woken once the world is unlocked, and whether a packet was sent.
#[derive(Default)]
pub(super) struct Tell {
    pub(super) wakers: Vec<Waker>,
    pub(super) sent: bool,
}

pub(super) struct Connection {
    client: End,
    server: End,
}

/// How far an end is with opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Opening,
    Open,
    /// A reset came, or was sent; or both directions have ended.
    Dead,
}

pub(super) struct End {
    pub(super) addr: SocketAddr,
    pub(super) phase: Phase,
    /// Packets on their way to this end, in order.
    pub(super) incoming: VecDeque<Packet>,
    /// When the last of them comes, in nanoseconds.
    pub(super) last_due: u64,
    /// Bytes that have come and that nobody has read.
    pub(super) received: VecDeque<u8>,
    pub(super) received_total: u64,
    pub(super) in_flight: usize,
    pub(super) reset_after: Option<u64>,
    pub(super) fin_received: bool,
    /// When, in nanoseconds.
    pub(super) fin_received_at: u64,
    /// The program knows that nothing more comes.
    pub(super) end_told: bool,
    pub(super) fin_sent: bool,
    /// The program has let go of it.
    pub(super) closed: bool,
    pub(super) reset_when_dropped: bool,
    /// What the program has not been told of yet.
    pub(super) error: Option<io::ErrorKind>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl End {
    fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            phase: Phase::Opening,
            incoming: VecDeque::new(),
            last_due: 0,
            received: VecDeque::new(),
            received_total: 0,
            in_flight: 0,
            reset_after: None,
            fin_received: false,
            fin_received_at: 0,
            end_told: false,
            fin_sent: false,
            closed: false,
            reset_when_dropped: false,
            error: None,
            reader: None,
            writer: None,
        }
    }

    /// Bytes that are on their way or unread.
    pub(super) fn outstanding(&self) -> usize {
        self.in_flight + self.received.len()
    }

    /// Dies of `error`; whoever waits is woken.
    pub(super) fn die(&mut self, error: Option<io::ErrorKind>, tell: &mut Tell) {
        if self.phase == Phase::Dead {
            return;
        }
        self.phase = Phase::Dead;
        self.error = error;
        self.wake(tell);
    }

    pub(super) fn wake(&mut self, tell: &mut Tell) {
        tell.wakers.extend(self.reader.take());
        tell.wakers.extend(self.writer.take());
    }

    /// What a read finds besides bytes: an error, the end, or nothing yet.
    pub(super) fn at_end(&mut self) -> Option<io::Result<usize>> {
        if let Some(error) = self.error.take() {
            return Some(Err(error.into()));
        }
        let ended = self.fin_received || self.phase == Phase::Dead;
        self.end_told |= ended;
        ended.then_some(Ok(0))
    }

    /// Whether the peer's end came before `now`, behind nothing that is unread, and the program has not looked.
    pub(super) fn has_missed_the_end(&self, now: u64) -> bool {
        self.fin_received && self.fin_received_at < now && self.received.is_empty() && !self.end_told
    }
}

impl Connection {
    pub(super) fn new(opened: &Opened, reset: Option<ResetAfter>) -> Self {
        let mut connection = Self { client: End::new(opened.from), server: End::new(opened.to) };
        if let Some(ResetAfter { toward, bytes }) = reset {
            connection.end_mut(toward).reset_after = Some(bytes);
        }
        connection
    }

    pub(super) fn end(&self, side: Side) -> &End {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }

    pub(super) fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// Neither side has it any more, and nothing is on its way.
    pub(super) fn is_over(&self) -> bool {
        [&self.client, &self.server].iter().all(|end| end.closed && end.incoming.is_empty())
    }
}

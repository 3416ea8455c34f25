//! What arrived at a mock backend.

use std::{collections::VecDeque, fmt, io, time::Duration};

use tokio::sync::watch;

use crate::{Body, BodyEnd, Head, overdue, wire};

const REQUESTS_KEPT_MAX: usize = 10_000;
const BODY_KEPT_BYTES_MAX: usize = 1024;

/// A request as it arrived. It is recorded when its head is there; its body grows afterwards.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Number of this request at its backend, from 0, health checks included.
    pub number: u64,
    /// Number of its connection at its backend, from 0.
    pub connection: u64,
    /// Its place on that connection, from 0.
    pub nth: u64,
    /// Its head, with every byte.
    pub head: Head,
    /// Its body; the first KiB is kept.
    pub body: Body,
    /// Whether its path is one of the backend's health paths.
    pub is_health_check: bool,
    /// Whether the peer was gone before the answer was complete.
    pub abandoned: bool,
}

impl Recorded {
    /// The method.
    #[must_use]
    pub fn method(&self) -> &str {
        self.head.word(0)
    }

    /// The target as it came, query included.
    #[must_use]
    pub fn target(&self) -> &str {
        self.head.word(1)
    }

    /// The target up to its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target().split('?').next().unwrap_or_default()
    }

    /// The target's query.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target().split_once('?').map(|(_, query)| query)
    }

    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)
    }
}

/// `GET /path (connection 3, body complete, 5 bytes)`
impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Body { end, length_bytes, .. } = &self.body;
        write!(f, "{} {} (connection {}, ", self.method(), self.target(), self.connection)?;
        write!(f, "body {end}, {length_bytes} bytes{})", if self.abandoned { ", abandoned" } else { "" })
    }
}

/// How many connections a backend has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// Accepted so far.
    pub total: u64,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) requests: VecDeque<Recorded>,
    next_number: u64,
    pub(crate) connections: Connections,
}

/// The record: written by connections, awaited by tests.
#[derive(Debug)]
pub(crate) struct Record(watch::Sender<State>);

impl Record {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(State::default()))
    }

    pub(crate) fn connected(&self) -> u64 {
        let mut number = 0;
        self.0.send_modify(|state| {
            number = state.connections.total;
            state.connections.total += 1;
            state.connections.open += 1;
        });
        number
    }

    pub(crate) fn disconnected(&self) {
        self.0.send_modify(|state| state.connections.open -= 1);
    }

    pub(crate) fn arrived(&self, mut request: Recorded) -> u64 {
        let mut number = 0;
        self.0.send_modify(|state| {
            number = state.next_number;
            state.next_number += 1;
            request.number = number;
            if state.requests.len() == REQUESTS_KEPT_MAX {
                state.requests.pop_front();
            }
            state.requests.push_back(request);
        });
        number
    }

    pub(crate) fn body_event(&self, number: u64, event: wire::Event<'_>) {
        self.update(number, |request| event.apply(&mut request.body, BODY_KEPT_BYTES_MAX));
    }

    pub(crate) fn abandoned(&self, number: u64) {
        self.update(number, |request| {
            request.abandoned = true;
            if request.body.end == BodyEnd::Arriving {
                request.body.end = BodyEnd::Truncated;
            }
        });
    }

    pub(crate) fn forget_requests(&self) {
        self.0.send_modify(|state| state.requests.clear());
    }

    pub(crate) fn read<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.0.borrow())
    }

    /// The request with this number, unless it was forgotten.
    pub(crate) fn get(&self, number: u64) -> Option<Recorded> {
        self.read(|state| state.requests.iter().rev().find(|request| request.number == number).cloned())
    }

    /// Waits until `enough` says so.
    pub(crate) async fn wait(
        &self,
        deadline: Duration,
        what: impl fmt::Display,
        mut enough: impl FnMut(&State) -> bool,
    ) -> io::Result<()> {
        let mut states = self.0.subscribe();
        let found = tokio::time::timeout(deadline, states.wait_for(|state| enough(state))).await.is_ok();
        if found { Ok(()) } else { Err(overdue(format_args!("{what}; {}", self.summary()))) }
    }

    fn summary(&self) -> String {
        self.read(|state| {
            let Connections { open, total } = state.connections;
            let last: Vec<_> = state.requests.iter().rev().take(5).map(ToString::to_string).collect();
            let count = state.requests.len();
            format!("{open} of {total} connections open, {count} requests, the last ones: {last:?}")
        })
    }

    fn update(&self, number: u64, change: impl FnOnce(&mut Recorded)) {
        self.0.send_modify(|state| {
            // Old requests may have been dropped, and a test may have cleared the record.
            let found = state.requests.binary_search_by_key(&number, |request| request.number);
            if let Some(request) = found.ok().and_then(|index| state.requests.get_mut(index)) {
                change(request);
            }
        });
    }
}

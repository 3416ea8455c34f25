//! What a mock backend does with a request.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::Semaphore;

/// What a backend does with a request: when it answers, with what, and how that ends.
///
/// ```
/// use lb_testkit::{Behaviour, End};
/// use std::time::Duration;
/// let slow = Behaviour::own().after(Duration::from_millis(500));
/// let broken = Behaviour::pattern(1 << 20).cut_after(1000, End::Reset);
/// let hints = Behaviour::own().interim("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
/// # let _ = (slow, broken, hints);
/// ```
#[derive(Clone, Debug)]
pub struct Behaviour {
    pub(crate) latency: Duration,
    pub(crate) gate: Option<Gate>,
    pub(crate) early: bool,
    pub(crate) interim: Vec<Bytes>,
    pub(crate) answer: Answer,
    pub(crate) framing: Framing,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) pace: Option<(usize, Duration)>,
    pub(crate) cut: Option<u64>,
    pub(crate) end: End,
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// What the application says to this request.
    Own,
    /// No byte; straight to the end.
    Nothing,
    /// These bytes instead of a response.
    Raw(Bytes),
    /// A response.
    Full(u16, Content),
}

/// The body of an answer.
#[derive(Clone, Debug)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// So many bytes of [`pattern`](crate::pattern()), made while they are sent.
    Pattern(u64),
}

impl Content {
    pub(crate) fn length_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pattern(length) => *length,
        }
    }
}

impl From<&'static str> for Content {
    fn from(text: &'static str) -> Self {
        Self::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Bytes(text.into())
    }
}

/// How an answer tells where its body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Its Content-Length.
    Length,
    /// This Content-Length, true or not.
    Claim(u64),
    /// Chunked.
    Chunked,
    /// The connection's end.
    UntilClose,
}

/// What happens to the connection after an answer, or where the answer is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It stays for a next request, as the request allows.
    Keep,
    /// The answer says `Connection: close`, and it is closed.
    Announce,
    /// It is closed without a word.
    Close,
    /// It is reset (RST).
    Reset,
    /// It stays open and nothing more happens, until the peer closes it.
    Hang,
}

/// What happens to a new connection before its first request is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnAccept {
    /// It is served.
    #[default]
    Serve,
    /// It is closed.
    Close,
    /// It is reset.
    Reset,
    /// It stays open and nothing is read.
    Hang,
}

impl Behaviour {
    fn of(answer: Answer, end: End) -> Self {
        Self {
            latency: Duration::ZERO,
            gate: None,
            early: false,
            interim: Vec::new(),
            answer,
            framing: Framing::Length,
            headers: Vec::new(),
            trailers: Vec::new(),
            pace: None,
            cut: None,
            end,
        }
    }

    /// What the backend is there for: the application's own answer.
    #[must_use]
    pub fn own() -> Self {
        Self::of(Answer::Own, End::Keep)
    }

    /// This status and body. (A status of 204 or 304, or a HEAD request, leaves the body out.)
    #[must_use]
    pub fn reply(status: u16, content: impl Into<Content>) -> Self {
        Self::of(Answer::Full(status, content.into()), End::Keep)
    }

    /// This status, with its number as the body.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::reply(status, format!("status {status}"))
    }

    /// Status 500.
    #[must_use]
    pub fn fail() -> Self {
        Self::status(500)
    }

    /// Status 200 and so many bytes of [`pattern`](crate::pattern()).
    #[must_use]
    pub fn pattern(length_bytes: u64) -> Self {
        Self::of(Answer::Full(200, Content::Pattern(length_bytes)), End::Keep)
    }

    /// Reads the request and never answers.
    #[must_use]
    pub fn hang() -> Self {
        Self::of(Answer::Nothing, End::Hang)
    }

    /// Reads the request and resets the connection.
    #[must_use]
    pub fn reset() -> Self {
        Self::of(Answer::Nothing, End::Reset)
    }

    /// Reads the request and closes the connection.
    #[must_use]
    pub fn close() -> Self {
        Self::of(Answer::Nothing, End::Close)
    }

    /// Sends these bytes instead of an answer, and closes; [`Behaviour::end`] changes the latter.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self::of(Answer::Raw(bytes.into()), End::Close)
    }

    /// Bytes that are no answer in any protocol, and closes.
    #[must_use]
    pub fn garbage() -> Self {
        Self::raw(&b"\x16\x03\x01\x00\x00 this is not HTTP \x00\xff\r\n\r\n"[..])
    }

    /// Promises `claimed_bytes` of body, sends `sent_bytes` of them and closes.
    #[must_use]
    pub fn truncated(claimed_bytes: u64, sent_bytes: u64) -> Self {
        Self::pattern(sent_bytes).framing(Framing::Claim(claimed_bytes)).end(End::Close)
    }

    /// Waits so long before it answers.
    #[must_use]
    pub fn after(self, latency: Duration) -> Self {
        Self { latency, ..self }
    }

    /// Waits until the gate lets this request through.
    #[must_use]
    pub fn held_by(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// Answers on the request's head; reads the body only afterwards.
    #[must_use]
    pub fn early(self) -> Self {
        Self { early: true, ..self }
    }

    /// Sends these bytes (a whole 1xx response) before the answer. A request with
    /// `Expect: 100-continue` gets its 100 without that.
    #[must_use]
    pub fn interim(mut self, response: impl Into<Bytes>) -> Self {
        self.interim.push(response.into());
        self
    }

    /// Adds a field to the answer.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a field after the body, and makes the answer chunked.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self.framing(Framing::Chunked)
    }

    /// How the body's end is told; default its Content-Length.
    #[must_use]
    pub fn framing(self, framing: Framing) -> Self {
        Self { framing, ..self }
    }

    /// Sends the body so many bytes at a time, with a pause after each.
    #[must_use]
    pub fn paced(self, bytes: usize, pause: Duration) -> Self {
        Self { pace: Some((bytes.max(1), pause)), ..self }
    }

    /// Stops after so many bytes of the body, with this end.
    #[must_use]
    pub fn cut_after(self, body_bytes: u64, end: End) -> Self {
        Self { cut: Some(body_bytes), end, ..self }
    }

    /// What happens to the connection afterwards.
    #[must_use]
    pub fn end(self, end: End) -> Self {
        Self { end, ..self }
    }
}

/// Holds requests back until a test lets them go: latency without a clock.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use lb_testkit::{Backend, Behaviour, Gate, RawClient};
/// let gate = Gate::default();
/// let mango = Backend::mango().start().await?;
/// mango.behave(Behaviour::own().held_by(&gate));
/// let mut client = RawClient::connect(mango.addr()).await?;
/// client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
/// mango.wait_for_requests(1).await?; // it is there, and waits
/// gate.open(1);
/// assert_eq!(client.response().await?.status(), 200);
/// # std::io::Result::Ok(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// Lets `requests` through, first those that wait longest.
    pub fn open(&self, requests: usize) {
        self.0.add_permits(requests);
    }

    /// Lets everything through from now on.
    pub fn open_for_all(&self) {
        self.0.close();
    }

    pub(crate) async fn pass(&self) {
        // A closed semaphore is an open gate.
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

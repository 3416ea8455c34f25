//! A client that sends what it is told and shows what came.

use std::{fmt, io, net::SocketAddr, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::net::TcpStream;

use crate::{
    Body, DEADLINE, Head, overdue, pattern,
    wire::{Extent, Wire},
};

const BODY_KEPT_BYTES_MAX: usize = 1 << 20;

/// One connection to a server: bytes out, heads and bodies in. Each call is under a deadline
/// ([`DEADLINE`] unless changed), so that no test hangs.
pub struct RawClient {
    wire: Wire,
    deadline: Duration,
}

/// A response as it came, with those of the 1xx kind before it.
#[derive(Clone, Debug)]
pub struct Response {
    /// 1xx responses that came before.
    pub interim: Vec<Head>,
    /// The head.
    pub head: Head,
    /// The body; the first MiB is kept.
    pub body: Body,
}

impl Response {
    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    /// The first value of a field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)
    }
}

/// `200 "the body"`, cut short; with a word on a body that is not whole.
impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.body.text().chars().take(300).collect();
        write!(f, "{} {text:?}", self.status())?;
        if self.body.is_complete() { Ok(()) } else { write!(f, " ({})", self.body.end) }
    }
}

impl RawClient {
    /// Connects.
    ///
    /// # Errors
    /// What the system says, or `TimedOut`.
    pub async fn connect(addr: SocketAddr) -> io::Result<Self> {
        let connected = tokio::time::timeout(DEADLINE, TcpStream::connect(addr)).await;
        let stream = connected.map_err(|_| overdue(format_args!("a connection to {addr}")))??;
        Ok(Self { wire: Wire::new(stream), deadline: DEADLINE })
    }

    /// A connection made in another way (with options set, say).
    #[must_use]
    pub fn over(stream: TcpStream) -> Self {
        Self { wire: Wire::new(stream), deadline: DEADLINE }
    }

    /// Another deadline for each call.
    #[must_use]
    pub fn deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// This end's address, as the server sees it.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.wire.stream.local_addr()
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// What the system says, or `TimedOut` when the server takes no more.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let (bytes, deadline) = (bytes.as_ref(), self.deadline);
        within(deadline, "the server to take bytes", self.wire.write(bytes)).await
    }

    /// Sends so many bytes of [`pattern`](crate::pattern()). The deadline is for each 64 KiB.
    ///
    /// # Errors
    /// Like [`RawClient::send`].
    pub async fn send_pattern(&mut self, length_bytes: u64) -> io::Result<()> {
        let mut sent = 0;
        while sent < length_bytes {
            let piece = pattern(sent, length_bytes);
            self.send(&piece).await?;
            sent += piece.len() as u64;
        }
        Ok(())
    }

    /// Sends until the server takes no more for `pause`, and says how many bytes it took: what lies in
    /// the buffers of the way. For tests of back-pressure.
    ///
    /// # Errors
    /// What the system says.
    pub async fn send_until_stuck(&mut self, pause: Duration, length_bytes_max: u64) -> io::Result<u64> {
        use tokio::io::AsyncWriteExt;
        let mut sent = 0;
        while sent < length_bytes_max {
            let piece = pattern(sent, length_bytes_max);
            match tokio::time::timeout(pause, self.wire.stream.write(&piece)).await {
                Ok(written) => sent += written? as u64,
                Err(_) => break,
            }
        }
        Ok(sent)
    }

    /// `GET target` on this connection, which stays open.
    ///
    /// # Errors
    /// Like [`RawClient::send`] and [`RawClient::response`].
    pub async fn get(&mut self, target: &str, host: &str) -> io::Result<Response> {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await?;
        self.response().await
    }

    /// The next head, a 1xx one included; none if the server closed the connection instead.
    ///
    /// # Errors
    /// `ConnectionReset`, `UnexpectedEof` within a head, `TimedOut`.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        let head = tokio::time::timeout(self.deadline, self.wire.head()).await;
        let came = shown(self.wire.unread());
        head.map_err(|_| overdue(format_args!("a head; so far came {came}")))?.map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => {
                    io::Error::new(error.kind(), format!("closed within a head, of which came {came}"))
                }
                _ => error,
            }
        })
    }

    /// The body that follows a response's head. A body that does not end well is no error: see
    /// [`Body::end`]. The deadline is for each 64 KiB or so.
    ///
    /// # Errors
    /// `InvalidData` when the head's framing makes no sense; `TimedOut`.
    pub async fn body(&mut self, head: &Head, method: &str) -> io::Result<Body> {
        let extent = Extent::of_response(head, method).ok_or_else(|| {
            let message = format!("no sense in the framing of {}", shown(&head.raw));
            io::Error::new(io::ErrorKind::InvalidData, message)
        })?;
        let mut body = Body::default();
        let progress = std::sync::atomic::AtomicU64::new(0);
        let mut update = |event: crate::wire::Event<'_>| {
            event.apply(&mut body, BODY_KEPT_BYTES_MAX);
            progress.store(body.length_bytes, Relaxed);
        };
        {
            let mut reading = std::pin::pin!(self.wire.body(extent, &mut update));
            loop {
                let before = progress.load(Relaxed);
                match tokio::time::timeout(self.deadline, &mut reading).await {
                    Ok(()) => break,
                    Err(_) if progress.load(Relaxed) > before => {}
                    Err(_) => return Err(overdue(format_args!("the rest of a body after {before} bytes"))),
                }
            }
        }
        Ok(body)
    }

    /// The next response, to a method other than HEAD.
    ///
    /// # Errors
    /// Like [`RawClient::response_to`].
    pub async fn response(&mut self) -> io::Result<Response> {
        self.response_to("GET").await
    }

    /// The next response, to this method.
    ///
    /// # Errors
    /// Those of [`RawClient::head`] and [`RawClient::body`]; `UnexpectedEof` when the server closed the
    /// connection instead.
    pub async fn response_to(&mut self, method: &str) -> io::Result<Response> {
        let mut interim = Vec::new();
        loop {
            let Some(head) = self.head().await? else {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed instead of a response"));
            };
            if (100..=199).contains(&head.status()) && head.status() != 101 {
                interim.push(head);
                continue;
            }
            let body = self.body(&head, method).await?;
            return Ok(Response { interim, head, body });
        }
    }

    /// Ends this direction (FIN); answers can still come.
    ///
    /// # Errors
    /// What the system says.
    pub async fn finish_sending(&mut self) -> io::Result<()> {
        use tokio::io::AsyncWriteExt;
        self.wire.stream.shutdown().await
    }

    /// All bytes up to the server's end of the connection.
    ///
    /// # Errors
    /// `ConnectionReset`, `TimedOut`.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let deadline = self.deadline;
        within(deadline, "the end of the connection", async {
            while self.wire.fill().await? {}
            Ok(())
        })
        .await?;
        Ok(self.wire.unread().to_vec())
    }

    /// Waits until the server ends the connection, and gives what came before; a reset counts as an end.
    ///
    /// # Errors
    /// `TimedOut`.
    pub async fn closed(&mut self) -> io::Result<Vec<u8>> {
        match self.read_to_end().await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(error),
            Err(_) => Ok(self.wire.unread().to_vec()),
            Ok(bytes) => Ok(bytes),
        }
    }

    /// Ends the connection with RST. (Dropping the client ends it with FIN, when all was read.)
    pub fn reset(self) {
        self.wire.reset();
    }
}

async fn within<T>(
    deadline: Duration,
    what: &str,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(deadline, work).await.map_err(|_| overdue(what))?
}

fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(500)]))
}

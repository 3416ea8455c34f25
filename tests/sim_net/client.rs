//! A client: it asks, reads as fast as it is meant to, and judges what it gets.

use std::{
    cell::Cell,
    io,
    pin::{Pin, pin},
    task::{Context, Poll, ready},
    time::Duration,
};

use lb_testkit::{
    BodyEnd, Head,
    sim_net::{Host, ReadHalf, Stream, WriteHalf},
    wire::{Event, Extent, Wire},
};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
    sync::Notify,
    time::{Sleep, sleep, timeout},
};

use crate::{
    backend::{content, is_content},
    ledger::{Ledger, Seen},
    plan::{Ask, LB, LB_PORT},
};

/// How long a client waits for a connection: a cut link may hold it up.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// How long a client waits to be told that its body is wanted.
const EXPECT_WAIT: Duration = Duration::from_millis(300);
/// An upload leaves in pieces of this size.
const PIECE_BYTES: usize = 1_000;
/// The fastest of those that read slowly.
const PACE_BYTES_MAX: usize = 256;

/// A connection to the balancer.
pub(crate) struct Client {
    wire: Wire<Paced>,
    write: WriteHalf,
    has_carried: bool,
}

impl Client {
    pub(crate) async fn connect(host: &Host) -> Option<Self> {
        let connected = timeout(CONNECT_WAIT, host.connect((LB, LB_PORT).into())).await;
        Some(Self::over(connected.ok()?.ok()?))
    }

    fn over(stream: Stream) -> Self {
        let (read, write) = stream.into_split();
        Self { wire: Wire::over(Paced { read, pace_bytes: None, pause: None }), write, has_carried: false }
    }

    /// Whether it has carried a request before.
    pub(crate) fn has_carried(&self) -> bool {
        self.has_carried
    }

    /// Whether another request may go over it; nothing must have come on it.
    pub(crate) fn is_usable(&self, ledger: &Ledger) -> bool {
        match self.wire.stream().read.peek() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            Ok(1..) => {
                ledger.violation("bytes that nobody asked for");
                false
            }
            Ok(0) | Err(_) => false,
        }
    }

    /// One request and its answer; gives the connection back if it can carry another.
    pub(crate) async fn ask(mut self, ledger: &Ledger, ask: &Ask, within: Duration) -> (Seen, Option<Self>) {
        self.has_carried = true;
        self.wire.stream_mut().pace_bytes = ask.pace_bytes;
        let patience = ask.leave_ms.map_or(within, Duration::from_millis);
        match timeout(patience, self.exchange(ledger, ask)).await {
            Ok((seen, reusable)) => (seen, Some(self).filter(|_| reusable)),
            Err(_) => {
                if ask.leave_ms.is_none() {
                    ledger.violation(format!("request {} has no answer after {within:?}", ask.id));
                }
                (Seen::Left, None)
            }
        }
    }

    async fn exchange(&mut self, ledger: &Ledger, ask: &Ask) -> (Seen, bool) {
        let Self { wire, write, .. } = self;
        let mut sent = false;
        let (seen, closes) = {
            let (told, reset) = (Notify::new(), Cell::new(false));
            let mut sending = pin!(async {
                if send(write, ask, &told).await.is_err() {
                    reset.set(true);
                    std::future::pending::<()>().await; // there may be an answer all the same
                }
            });
            let mut reading = pin!(receive(wire, ledger, ask, &told, &reset));
            loop {
                tokio::select! {
                    biased;
                    () = &mut sending, if !sent => sent = true,
                    answer = &mut reading => break answer,
                }
            }
        };
        let answered = matches!(seen, Seen::Whole { .. } | Seen::Refused { .. });
        if answered && !wire.unread().is_empty() {
            ledger.violation(format!("request {}: more than one answer", ask.id));
        }
        (seen, answered && sent && !closes && !ask.half_closes)
    }
}

async fn send(write: &mut WriteHalf, ask: &Ask, told: &Notify) -> io::Result<()> {
    let upload = ask.upload.map_or(0, |(bytes, _)| bytes);
    let version = if ask.is_10 { "1.0" } else { "1.1" };
    let framing = match ask.upload {
        None => String::new(),
        Some((_, true)) => "Transfer-Encoding: chunked\r\n".into(),
        Some((bytes, false)) => format!("Content-Length: {bytes}\r\n"),
    };
    let expect = if ask.expects { "Expect: 100-continue\r\n" } else { "" };
    let Ask { id, method, status, bytes, framing: answer, delay_ms, early, cut, .. } = ask;
    let head = format!(
        "{method} /{id}?status={status}&bytes={bytes}&framing={answer:?}&delay={delay_ms}&upload={upload}&early={early}&cut={cut} \
         HTTP/{version}\r\nHost: mango\r\n{expect}{framing}\r\n"
    );
    write.write_all(head.as_bytes()).await?;
    if ask.expects {
        // Told or not, it is sent in the end (RFC 9110, section 10.1.1).
        let _ = timeout(EXPECT_WAIT, told.notified()).await;
    }
    let body = content(!id, upload);
    for piece in body.chunks(PIECE_BYTES) {
        sleep(Duration::from_millis(ask.upload_pause_ms)).await;
        if let Some((_, true)) = ask.upload {
            write.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            write.write_all(piece).await?;
            write.write_all(b"\r\n").await?;
        } else {
            write.write_all(piece).await?;
        }
    }
    if let Some((_, true)) = ask.upload {
        write.write_all(b"0\r\n\r\n").await?;
    }
    if ask.half_closes {
        write.shutdown().await?;
    }
    Ok(())
}

/// The answer, and whether the balancer ends the connection with it. `told` when the body is wanted; `reset`
/// when the sender has met the connection's end.
async fn receive(
    wire: &mut Wire<Paced>,
    ledger: &Ledger,
    ask: &Ask,
    told: &Notify,
    reset: &Cell<bool>,
) -> (Seen, bool) {
    let head = loop {
        match wire.head().await {
            Ok(Some(head)) if (100..200).contains(&head.status()) => told.notify_one(),
            Ok(Some(head)) => break head,
            Ok(None) => return (Seen::NoAnswer, true),
            Err(_) if wire.unread().is_empty() => return (Seen::NoAnswer, true),
            Err(_) => return (Seen::Broken, true),
        }
    };
    let closes = ask.is_10 || head.headers.lists("connection", "close");
    let Some(extent) = Extent::of_response(&head, ask.method) else {
        ledger.violation(format!("request {}: an answer without a valid framing: {head:?}", ask.id));
        return (Seen::Broken, true);
    };
    let own = head.headers.get("x-lb-reason").map(str::to_owned);
    let (mut came, mut wrong, mut end) = (0, false, BodyEnd::Arriving);
    wire.body(extent, &mut |event| match event {
        Event::Data(bytes) => {
            wrong |= own.is_none() && !is_content(ask.id, came, bytes);
            came += bytes.len();
        }
        Event::Trailer(_) => {}
        Event::End(ending) => end = ending,
    })
    .await;
    if wrong {
        ledger.violation(format!("request {}: another body than its own", ask.id));
    }
    match (end, own) {
        // A reset is told once, and the upload may be who was told: an end after that is none.
        (BodyEnd::Closed, _) if reset.get() => (Seen::Broken, true),
        (BodyEnd::Complete | BodyEnd::Closed, Some(reason)) => {
            (Seen::Refused { status: head.status(), reason }, closes)
        }
        (BodyEnd::Complete | BodyEnd::Closed, None) => (judge(ledger, ask, &head, came), closes),
        _ => (Seen::Broken, true),
    }
}

/// An answer that looks whole, and claims to be a backend's, must be what was asked for.
fn judge(ledger: &Ledger, ask: &Ask, head: &Head, came: usize) -> Seen {
    let expected = if ask.method == "HEAD" { 0 } else { ask.bytes };
    let id = head.headers.get("x-id").and_then(|id| id.parse().ok());
    let backend = head.headers.get("x-backend").and_then(|backend| backend.parse().ok());
    if id != Some(ask.id) || head.status() != ask.status || backend.is_none() {
        ledger.violation(format!("request {}: another answer than its own: {head:?}", ask.id));
    }
    if came != expected {
        ledger
            .violation(format!("request {}: {came} bytes look whole, and are {expected}: {head:?}", ask.id));
    }
    Seen::Whole { backend: backend.unwrap_or(usize::MAX) }
}

/// A connection that is read no faster than its client means to.
pub(crate) struct Paced {
    read: ReadHalf,
    /// Bytes a millisecond.
    pace_bytes: Option<usize>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(pace_bytes) = self.pace_bytes else { return Pin::new(&mut self.read).poll_read(cx, buffer) };
        let mut scratch = [0; PACE_BYTES_MAX];
        let room = pace_bytes.min(PACE_BYTES_MAX).min(buffer.remaining());
        let mut piece = ReadBuf::new(&mut scratch[..room]);
        ready!(Pin::new(&mut self.read).poll_read(cx, &mut piece))?;
        buffer.put_slice(piece.filled());
        self.pause = Some(Box::pin(sleep(Duration::from_millis(1))));
        Poll::Ready(Ok(()))
    }
}

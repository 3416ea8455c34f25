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

    /// Requests that follow each other without waiting, and what came of each; gives the connection back if it
    /// can carry more.
    pub(crate) async fn ask(
        mut self,
        ledger: &Ledger,
        asks: &[Ask],
        cookie: Option<&str>,
        within: Duration,
    ) -> (Vec<Seen>, Option<Self>) {
        self.has_carried = true;
        let leaves = asks.iter().find_map(|ask| ask.leave_ms.map(|ms| (ms, ask.leaves_by_reset)));
        let patience = leaves.map_or(within, |(ms, _)| Duration::from_millis(ms));
        let mut seen = Vec::new();
        let ended = timeout(patience, self.converse(ledger, asks, cookie, &mut seen)).await;
        if ended.is_err() {
            match leaves {
                Some((_, by_reset)) if by_reset => self.wire.stream().read.reset_when_dropped(),
                Some(_) => {}
                None => {
                    let ids: Vec<u64> = asks.iter().map(|ask| ask.id).skip(seen.len()).collect();
                    ledger.violation(format!("requests {ids:?} have no answer after {within:?}"));
                }
            }
            seen.resize(asks.len(), Seen::Left);
        }
        seen.resize(asks.len(), Seen::NoAnswer);
        (seen, Some(self).filter(|_| ended == Ok(true)))
    }

    /// Gives whether the connection can carry more; what it says no more about has no answer.
    async fn converse(
        &mut self,
        ledger: &Ledger,
        asks: &[Ask],
        cookie: Option<&str>,
        seen: &mut Vec<Seen>,
    ) -> bool {
        let Self { wire, write, .. } = self;
        let (told, reset) = (Notify::new(), Cell::new(false));
        let mut sent = false;
        let mut sending = pin!(async {
            if send(write, asks, cookie, &told).await.is_err() {
                reset.set(true);
                std::future::pending::<()>().await; // there may be an answer all the same
            }
        });
        for (at, ask) in asks.iter().enumerate() {
            wire.stream_mut().pace_bytes = ask.pace_bytes;
            let (answer, closes) = {
                let mut reading = pin!(receive(wire, ledger, ask, &told, &reset));
                loop {
                    tokio::select! {
                        biased;
                        () = &mut sending, if !sent => sent = true,
                        answer = &mut reading => break answer,
                    }
                }
            };
            let answered = matches!(answer, Seen::Whole { .. } | Seen::Refused { .. });
            seen.push(answer);
            if !answered || closes {
                // A refusal that no request was read for cannot know that a HEAD has no body.
                if matches!(seen.last(), Some(Seen::Whole { .. })) && !wire.unread().is_empty() {
                    ledger
                        .violation(format!("request {}: bytes behind its connection's last answer", ask.id));
                }
                for further in &asks[at + 1..] {
                    ledger.gets_no_answer(further.id);
                }
                return false;
            }
        }
        if !wire.unread().is_empty() {
            ledger.violation(format!("{} requests, and more answers", asks.len()));
        }
        sent && asks.last().is_none_or(|ask| !ask.half_closes)
    }
}

/// What is on its way to the wire: it leaves when something has to be waited for.
struct Outbox<'a> {
    write: &'a mut WriteHalf,
    bytes: Vec<u8>,
}

impl Outbox<'_> {
    async fn flush(&mut self) -> io::Result<()> {
        self.write.write_all(&self.bytes).await?;
        self.bytes.clear();
        Ok(())
    }

    async fn pause(&mut self, ms: u64) -> io::Result<()> {
        self.flush().await?;
        sleep(Duration::from_millis(ms)).await;
        Ok(())
    }
}

async fn send(write: &mut WriteHalf, asks: &[Ask], cookie: Option<&str>, told: &Notify) -> io::Result<()> {
    let mut out = Outbox { write, bytes: Vec::new() };
    for ask in asks {
        if ask.pipelined && ask.think_ms > 0 {
            out.pause(ask.think_ms).await?;
        }
        let head = head(ask, cookie);
        let mut from = 0;
        for (permille, pause_ms) in &ask.head_cuts {
            let to = head.len() * *permille as usize / 1_000;
            out.bytes.extend(&head[from..to]);
            out.pause(*pause_ms).await?;
            from = to;
        }
        out.bytes.extend(&head[from..]);
        if ask.expects {
            out.flush().await?;
            // Told or not, it is sent in the end (RFC 9110, section 10.1.1).
            let _ = timeout(EXPECT_WAIT, told.notified()).await;
        }
        if !ask.at_once {
            out.flush().await?;
        }
        let Some((upload, chunked)) = ask.upload else { continue };
        for piece in content(!ask.id, upload).chunks(PIECE_BYTES) {
            if ask.upload_pause_ms > 0 {
                out.pause(ask.upload_pause_ms).await?;
            }
            if chunked {
                out.bytes.extend(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            out.bytes.extend(piece);
            if chunked {
                out.bytes.extend(b"\r\n");
            }
            if !ask.at_once {
                out.flush().await?;
            }
        }
        if chunked {
            out.bytes.extend(b"0\r\n\r\n");
        }
    }
    out.flush().await?;
    if asks.last().is_some_and(|ask| ask.half_closes) {
        out.write.shutdown().await?;
    }
    Ok(())
}

fn head(ask: &Ask, cookie: Option<&str>) -> Vec<u8> {
    let upload = ask.upload.map_or(0, |(bytes, _)| bytes);
    let version = if ask.is_10 { "1.0" } else { "1.1" };
    let framing = match ask.upload {
        None => String::new(),
        Some((_, true)) => "Transfer-Encoding: chunked\r\n".into(),
        Some((bytes, false)) => format!("Content-Length: {bytes}\r\n"),
    };
    let expect = if ask.expects { "Expect: 100-continue\r\n" } else { "" };
    let connection = match (ask.says_connection, ask.is_10) {
        (false, _) => "",
        (true, true) => "Connection: keep-alive\r\n",
        (true, false) => "Connection: close\r\n",
    };
    let cookie = cookie.map_or(String::new(), |cookie| format!("Cookie: a=b; {cookie}\r\n"));
    let Ask { id, method, status, bytes, framing: answer, delay_ms, early, cut, .. } = ask;
    let head = format!(
        "{method} /{id}?status={status}&bytes={bytes}&framing={answer:?}&delay={delay_ms}&upload={upload}&early={early}&cut={cut} \
         HTTP/{version}\r\nHost: mango\r\n{connection}{cookie}{expect}{framing}\r\n"
    );
    head.into_bytes()
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
    let says = |what| head.headers.lists("connection", what);
    let closes = says("close") || ask.is_10 && !says("keep-alive");
    if !closes && !ask.keeps_alive() && !ask.half_closes {
        ledger.violation(format!("request {}: its connection was to end: {head:?}", ask.id));
    }
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
    let cookie = head.headers.get("set-cookie").and_then(|cookie| cookie.split(';').next());
    Seen::Whole { backend: backend.unwrap_or(usize::MAX), cookie: cookie.map(str::to_owned) }
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

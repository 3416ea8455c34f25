//! One connection of a mock backend: requests in, answers out, exactly as the behaviour says.

use std::{io, sync::Arc};

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;

use super::Shared;
use crate::{
    Behaviour, Body, Content, End, Framing, Head, OnAccept, Recorded,
    behaviour::Answer,
    pattern,
    wire::{Extent, Wire},
};

const CHUNK_BYTES_MAX: usize = 1 << 16;

/// Serves a connection to its end.
pub(super) async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let open = Open { number: shared.record.connected(), shared };
    let mut wire = Wire::new(stream);
    let on_accept = open.shared.rules().on_accept;
    let end = match on_accept {
        OnAccept::Serve => requests(&mut wire, &open).await,
        OnAccept::Close => End::Close,
        OnAccept::Reset => End::Reset,
        OnAccept::Hang => End::Hang,
    };
    match end {
        End::Keep | End::Announce | End::Close => wire.close().await,
        End::Reset => wire.reset(),
        End::Hang => wire.gone().await,
    }
}

/// Counts a connection as open as long as it lives, however it ends.
struct Open {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.shared.record.disconnected();
    }
}

/// Serves requests until something ends the connection, and says what.
async fn requests(wire: &mut Wire, open: &Open) -> End {
    let mut nth = 0;
    loop {
        let Ok(Some(head)) = wire.head().await else { return End::Close };
        let (health, mut behaviour) = open.shared.rules().choose(&head, nth);
        let number = open.shared.record.arrived(Recorded {
            number: 0,
            connection: open.number,
            nth,
            head: head.clone(),
            body: Body::default(),
            is_health_check: health,
            abandoned: false,
        });
        if behaviour.end == End::Keep && !wants_keep_alive(&head) {
            behaviour.end = End::Announce;
        }
        let end = Exchange { wire, open, head: &head, number, behaviour: &behaviour }.run().await;
        if end.is_err() {
            open.shared.record.abandoned(number);
        }
        open.shared.observe(number);
        match end {
            Ok(End::Keep) => nth += 1,
            Ok(end) => return end,
            Err(_) => return End::Close,
        }
    }
}

fn wants_keep_alive(head: &Head) -> bool {
    let listed = |token| head.headers.lists("connection", token);
    if head.word(2) == "HTTP/1.0" { listed("keep-alive") } else { !listed("close") }
}

struct Exchange<'a> {
    wire: &'a mut Wire,
    open: &'a Open,
    head: &'a Head,
    number: u64,
    behaviour: &'a Behaviour,
}

impl Exchange<'_> {
    /// Reads the body, waits and answers; an error means that the peer is gone.
    async fn run(mut self) -> io::Result<End> {
        let Some(extent) = Extent::of_request(self.head) else {
            self.wire
                .write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await?;
            return Ok(End::Close);
        };
        if !self.behaviour.early {
            self.read_body(extent).await?;
        }
        self.wait().await?;
        for response in &self.behaviour.interim {
            self.wire.write(response).await?;
        }
        let end = self.answer().await?;
        if self.behaviour.early && matches!(end, End::Keep | End::Announce) {
            self.read_body(extent).await?;
        }
        Ok(end)
    }

    async fn read_body(&mut self, extent: Extent) -> io::Result<()> {
        if !self.behaviour.early
            && self.head.headers.lists("expect", "100-continue")
            && self.wire.unread().is_empty()
        {
            self.wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let record = &self.open.shared.record;
        let mut broken = false;
        let mut update = |event: crate::wire::Event<'_>| {
            broken |= matches!(event, crate::wire::Event::End(end) if end != crate::BodyEnd::Complete);
            record.body_event(self.number, event);
        };
        self.wire.body(extent, &mut update).await;
        if broken { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }

    async fn wait(&mut self) -> io::Result<()> {
        let Behaviour { latency, gate, .. } = self.behaviour;
        let wait = async {
            if !latency.is_zero() {
                tokio::time::sleep(*latency).await;
            }
            if let Some(gate) = gate {
                gate.pass().await;
            }
        };
        self.unless_gone(wait).await
    }

    /// Awaits something other than the peer, whose leaving ends the wait.
    async fn unless_gone(&mut self, wait: impl Future<Output = ()>) -> io::Result<()> {
        tokio::select! {
            biased;
            () = wait => Ok(()),
            () = self.wire.gone() => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    async fn answer(&mut self) -> io::Result<End> {
        match &self.behaviour.answer {
            Answer::Nothing if self.behaviour.end == End::Hang => {
                // Not left to the caller, so that the record shows when the peer has given up.
                self.wire.gone().await;
                Err(io::ErrorKind::UnexpectedEof.into())
            }
            Answer::Nothing => Ok(self.behaviour.end),
            Answer::Raw(bytes) => {
                self.wire.write(bytes).await?;
                Ok(self.behaviour.end)
            }
            Answer::Full(status, content) => self.respond(*status, "application/octet-stream", content).await,
            Answer::Own => {
                let said = self.open.shared.app.answer(self.head, &self.open.shared.endpoint);
                self.respond(200, said.content_type, &Content::Bytes(said.body)).await
            }
        }
    }

    async fn respond(&mut self, status: u16, content_type: &str, content: &Content) -> io::Result<End> {
        let bodiless = self.head.word(0) == "HEAD" || matches!(status, 100..=199 | 204 | 304);
        let head = self.response_head(status, content_type, content.length_bytes());
        let end = match (self.behaviour.end, self.behaviour.framing) {
            (End::Keep, Framing::UntilClose) => End::Close,
            (end, _) => end,
        };
        if bodiless {
            self.wire.write(&head).await?;
            return Ok(end);
        }
        let cut = self.behaviour.cut.unwrap_or(u64::MAX);
        self.send_body(head, content, cut).await?;
        // A cut is a failure from which no connection comes back.
        Ok(if end == End::Keep && cut < content.length_bytes() { End::Close } else { end })
    }

    fn response_head(&self, status: u16, content_type: &str, length: u64) -> BytesMut {
        let Behaviour { framing, headers, end, .. } = self.behaviour;
        let mut head = format!("HTTP/1.1 {status} {}\r\n", reason_phrase(status));
        let given = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        if !matches!(status, 204 | 304) {
            if !given("content-type") {
                head += &format!("Content-Type: {content_type}\r\n");
            }
            match framing {
                Framing::Length => head += &format!("Content-Length: {length}\r\n"),
                Framing::Claim(claimed) => head += &format!("Content-Length: {claimed}\r\n"),
                Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
                Framing::UntilClose => {}
            }
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if *end == End::Announce {
            head += "Connection: close\r\n";
        }
        head += "\r\n";
        head.as_bytes().into()
    }

    /// Sends the head and at most `cut` bytes of the body; small answers leave in one piece.
    async fn send_body(&mut self, mut out: BytesMut, content: &Content, cut: u64) -> io::Result<()> {
        let length = content.length_bytes().min(cut);
        let step = self.behaviour.pace.map_or(CHUNK_BYTES_MAX, |(bytes, _)| bytes.min(CHUNK_BYTES_MAX));
        let chunked = self.behaviour.framing == Framing::Chunked;
        let mut sent = 0;
        while sent < length {
            let piece = piece(content, sent, (sent + step as u64).min(length));
            if chunked {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            out.extend_from_slice(&piece);
            if chunked {
                out.extend_from_slice(b"\r\n");
            }
            sent += piece.len() as u64;
            if let Some((_, pause)) = self.behaviour.pace {
                self.wire.write(&out.split()).await?;
                self.unless_gone(tokio::time::sleep(pause)).await?;
            } else if out.len() >= CHUNK_BYTES_MAX {
                self.wire.write(&out.split()).await?;
            }
        }
        if chunked && cut >= content.length_bytes() {
            out.extend_from_slice(b"0\r\n");
            for (name, value) in &self.behaviour.trailers {
                out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
            }
            out.extend_from_slice(b"\r\n");
        }
        self.wire.write(&out).await
    }
}

/// From `from` on, at most up to `to`.
fn piece(content: &Content, from: u64, to: u64) -> Bytes {
    match content {
        // Both are bounded by the length of what is in memory.
        Content::Bytes(bytes) => bytes.slice(from as usize..to as usize),
        Content::Pattern(_) => pattern(from, to),
    }
}

fn reason_phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

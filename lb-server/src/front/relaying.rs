//! An answer on its way to the client without hyper: its head, the framing of its body, and the body piece
//! by piece (RFC 9112 sections 6 and 7).

use std::{
    io::Write,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame};

use super::{Front, PAST_BYTES_MIN};
use crate::{
    access_log::push_number, answer::Answer, outbox::Outbox, response_body::ResponseBody,
    upstream::write_field,
};

/// So many bytes of small pieces are gathered before they are sent.
const GATHERED_BYTES_MAX: usize = 16 << 10;

/// The answer cannot be brought to its end.
#[derive(Debug)]
pub(super) struct BrokeOff;

/// An answer that is being sent.
pub(super) struct Relaying {
    out: Outbox,
    body: ResponseBody,
    framing: Framing,
    /// All that there is of it is in `out` or has left.
    is_over: bool,
    /// That was not all.
    broke_off: bool,
}

enum Framing {
    /// By the head alone.
    Counted,
    /// In chunks, and behind them trailers of these names.
    Chunked { trailers: Vec<HeaderName> },
}

impl Relaying {
    /// Begins an answer over HTTP/1.1.
    pub(super) fn begin(answer: Answer, to_head_request: bool, closes: bool) -> Self {
        let Answer { status, fields, trailer, mut body, close: _ } = answer;
        let length = body.size_hint().exact();
        let mut lines = fields.into_head();
        let bodiless = to_head_request || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let mut framing = Framing::Counted;
        if !bodiless {
            write_list(&mut lines, "trailer", &trailer);
            match length {
                Some(length) => write_length(&mut lines, length),
                None => {
                    lines.extend_from_slice(b"transfer-encoding: chunked\r\n");
                    let trailers = if body.may_have_trailers() { announced(&trailer) } else { Vec::new() };
                    framing = Framing::Chunked { trailers };
                }
            }
        }
        if closes {
            lines.extend_from_slice(b"connection: close\r\n");
        }
        lines.extend_from_slice(b"\r\n");
        if length.is_some() {
            // Mostly that is all of it, and head and body leave in one piece.
            body.copy_whole(PAST_BYTES_MIN, &mut lines);
        }
        let is_over = body.is_end_stream();
        Self { out: Outbox::new(lines), body, framing, is_over, broke_off: false }
    }

    /// Takes what the body gives and sends what can be sent. Ready when all has left.
    pub(super) fn poll(&mut self, front: &Front, cx: &mut Context<'_>) -> Poll<Result<(), BrokeOff>> {
        loop {
            let mut waits = false;
            while !self.is_over && self.has_room() && !waits {
                match self.body.poll_next(cx, true) {
                    Poll::Ready(Some(Ok(frame))) => self.put(frame),
                    // What has come of it leaves.
                    Poll::Ready(Some(Err(broken))) if broken.in_order => {
                        (self.is_over, self.broke_off) = (true, true);
                    }
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(BrokeOff)),
                    Poll::Ready(None) => self.end(None),
                    Poll::Pending => waits = true,
                }
            }
            if front.poll_send_all(cx, &mut self.out).map_err(|_| BrokeOff)?.is_pending() {
                // While the body is waited for, that wait has the timer.
                let overdue = !self.is_over && !waits && self.body.poll_held_up(cx).is_ready();
                return if overdue { Poll::Ready(Err(BrokeOff)) } else { Poll::Pending };
            }
            if self.is_over {
                front.flushed();
                return Poll::Ready(if self.broke_off { Err(BrokeOff) } else { Ok(()) });
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// The memory that the head had.
    pub(super) fn into_memory(self) -> Vec<u8> {
        self.out.lines
    }

    fn has_room(&self) -> bool {
        self.out.has_room() && self.out.lines.len() < GATHERED_BYTES_MAX
    }

    fn put(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) => {
                self.put_data(data);
                if self.body.is_end_stream() {
                    self.end(None);
                }
            }
            Err(frame) => self.end(frame.into_trailers().ok()),
        }
    }

    fn put_data(&mut self, data: Bytes) {
        let lines = &mut self.out.lines;
        let mut behind: &'static [u8] = b"";
        if let Framing::Chunked { .. } = self.framing {
            if data.is_empty() {
                return; // it would end the body
            }
            let _ = write!(lines, "{:x}\r\n", data.len()); // writing to memory cannot fail
            behind = b"\r\n";
        }
        if (data.len() as u64) < PAST_BYTES_MIN {
            // Cheaper than a second piece of memory in the system call.
            lines.extend_from_slice(&data);
            lines.extend_from_slice(behind);
        } else {
            self.out.put_piece(data, behind);
        }
    }

    /// The body is over. (There is room: trailers and the end come by a turn of their own.)
    fn end(&mut self, trailers: Option<HeaderMap>) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let Framing::Chunked { trailers: announced } = &self.framing else { return };
        debug_assert!(self.out.has_room(), "the end would overtake a piece");
        let lines = &mut self.out.lines;
        lines.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten().filter(|(name, _)| announced.contains(name)) {
            write_field(lines, name, value.as_bytes());
        }
        lines.extend_from_slice(b"\r\n");
    }
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    push_number(out, length);
    out.extend_from_slice(b"\r\n");
}

/// Writes one field with all values, if there are any.
fn write_list(out: &mut Vec<u8>, name: &str, values: &[HeaderValue]) {
    if !values.is_empty() {
        let values: Vec<&[u8]> = values.iter().map(HeaderValue::as_bytes).collect();
        write_field(out, name, &values.join(&b", "[..]));
    }
}

/// The fields that a message announces behind its body.
fn announced(trailer: &[HeaderValue]) -> Vec<HeaderName> {
    let names = trailer.iter().flat_map(|value| crate::forwarded::options(value.as_bytes()));
    names.filter_map(|name| HeaderName::from_bytes(name).ok()).collect()
}

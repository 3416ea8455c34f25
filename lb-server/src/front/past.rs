//! What goes to the client past hyper: the fields of a backend's response, and large bodies.
//!
//! hyper frames each answer and keeps the connection's books. For that it is told a response's status and
//! the length of its body. All other fields go out as the backend sent them: they are put behind the status
//! line when hyper writes it, which saves a map on the way in and another one on the way out. And a large
//! body goes from the backend's buffer straight into the socket, where hyper would copy it into a buffer of
//! its own.

use std::{
    io, mem,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};

use super::Front;
use crate::outbox::Outbox;

/// The least length of a body that goes past hyper. A smaller one leaves with its head anyway, and copying
/// it is cheaper than a second piece of memory in the system call.
pub(crate) const PAST_BYTES_MIN: u64 = 4 << 10;

/// What hyper itself may write before the head of an answer.
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A larger buffer is given back once it is empty.
const KEPT_BYTES_MAX: usize = 2 << 10;

/// A piece of a body as hyper gets it.
pub(crate) enum Piece {
    /// Copied by hyper into its own buffer.
    Copied(Bytes),
    /// So many bytes that go past hyper, which only counts them. Only for bodies of a known length: hyper
    /// must not have anything to put around them.
    Counted(usize),
}

/// hyper copies what `chunk` gives until that is nothing, so that of a counted piece it copies nothing.
/// (That is less than [`Buf`] asks for: a buffer is to have a chunk while it has bytes. Tests that send
/// large bodies through hyper would tell if it ever minded.)
impl Buf for Piece {
    fn remaining(&self) -> usize {
        match self {
            Self::Copied(bytes) => bytes.len(),
            Self::Counted(count) => *count,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Counted(_) => &[],
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Copied(bytes) => bytes.advance(count),
            Self::Counted(left) => *left -= count,
        }
    }
}

/// The bytes that are on their way past hyper.
#[derive(Default)]
pub(super) struct Past {
    /// Lines to be put behind the next status line.
    fields: Option<Vec<u8>>,
    /// A head and what hyper wrote behind it, then a piece of a body.
    out: Outbox,
    /// A piece of the answer whose fields are still here: it waits for its head.
    waiting: Bytes,
    /// How much hyper has at hand that it could not write; it comes before the next status line.
    hypers: usize,
}

impl Past {
    /// Puts these lines behind the status line that hyper writes next.
    pub(super) fn put_fields(&mut self, fields: Vec<u8>) {
        self.fields = Some(fields);
    }

    /// Sends this behind all that is on its way. One piece at a time: see [`Past::has_room`].
    pub(super) fn put_piece(&mut self, piece: Bytes) {
        debug_assert!(self.has_room());
        match self.fields {
            Some(_) => self.waiting = piece,
            None => self.out.put_piece(piece, b""),
        }
    }

    /// Whether the next piece may come.
    pub(super) fn has_room(&self) -> bool {
        self.out.has_room() && self.waiting.is_empty()
    }

    /// Whether nothing waits to be sent that could be.
    pub(super) fn is_sent(&self) -> bool {
        self.out.is_sent()
    }

    /// hyper wants these bytes written: takes all of them if fields are to go among them. Only when all
    /// that may be sent has been: it may be the end of the answer before, which hyper does not wait for
    /// where the request's body ends after its answer.
    pub(super) fn takes_over(&mut self, bytes: &[u8]) -> bool {
        debug_assert!(self.is_sent());
        let Some(fields) = self.fields.take() else { return false };
        let at = behind_status_line(bytes, self.hypers);
        self.hypers = 0;
        self.out.lines.reserve(bytes.len() + fields.len());
        for part in [&bytes[..at], &fields, &bytes[at..]] {
            self.out.lines.extend_from_slice(part);
        }
        if !self.waiting.is_empty() {
            self.out.put_piece(mem::take(&mut self.waiting), b"");
        }
        true
    }

    /// hyper keeps this many bytes for another try. With fields at hand their head is among them, and
    /// what comes before it is known already.
    pub(super) fn hyper_keeps(&mut self, bytes: usize) {
        if self.fields.is_none() {
            self.hypers = bytes;
        }
    }

    /// Gives memory back that one answer needed, if it is much.
    fn trim(&mut self) {
        if self.out.lines.is_empty() && self.out.lines.capacity() > KEPT_BYTES_MAX {
            self.out.lines = Vec::new();
        }
    }
}

/// Where the line behind the status line begins in what hyper wants written. `before` are bytes that came
/// before the head.
fn behind_status_line(bytes: &[u8], before: usize) -> usize {
    let mut at = before.min(bytes.len());
    while bytes[at..].starts_with(CONTINUE) {
        at += CONTINUE.len();
    }
    memchr::memchr(b'\n', &bytes[at..]).map_or(bytes.len(), |end| at + end + 1)
}

impl Front {
    /// Sends what goes past hyper. Ready when all of it that may has left.
    pub(super) fn poll_past(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut past = self.past.borrow_mut();
        let sent = self.poll_send(cx, &mut past.out);
        past.trim();
        sent
    }

    /// Sends what went past hyper without its knowing. Gives whether hyper has to be asked again: all that
    /// it waited for has left, or cannot any more.
    pub(super) fn sends_past(&self, cx: &mut Context<'_>) -> bool {
        !self.past.borrow().is_sent() && self.poll_past(cx).is_ready()
    }

    /// hyper is about to get the head of the answer, with which these lines, each with its end, are to go out.
    pub(crate) fn answers_with(&self, fields: Vec<u8>) {
        self.answers();
        self.past.borrow_mut().put_fields(fields);
    }

    /// Whether a piece of a body may be sent past hyper. If not, hyper asks for it once it may.
    pub(crate) fn takes_piece(&self) -> bool {
        self.past.borrow().has_room()
    }

    /// Sends a piece of a body past hyper, behind the head of the answer.
    pub(crate) fn send_past(&self, piece: Bytes) {
        self.past.borrow_mut().put_piece(piece);
    }
}

#[cfg(test)]
mod tests {
    use std::{pin::Pin, task::Waker};

    use proptest::prelude::*;
    use tokio::io::AsyncWrite;

    use super::*;

    /// Takes so many bytes at each call, then blocks once.
    struct Slow {
        takes: Vec<usize>,
        calls: usize,
        taken: Vec<u8>,
    }

    impl AsyncWrite for Slow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let takes = self.takes[self.calls % self.takes.len()];
            self.calls += 1;
            if takes == 0 {
                return Poll::Pending;
            }
            let count = takes.min(bytes.len());
            self.taken.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Sends what can be sent; whether all of it has left.
    fn send(past: &mut Past, slow: &mut Slow) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        while !past.is_sent() {
            match past.out.poll_write(&mut cx, slow) {
                Poll::Ready(written) => assert!(written.unwrap() > 0),
                Poll::Pending => return false,
            }
        }
        true
    }

    /// Writes as hyper does, and flushes until all has left.
    fn write(past: &mut Past, slow: &mut Slow, mut bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            if !send(past, slow) {
                past.hyper_keeps(bytes.len());
            } else if past.takes_over(bytes) {
                bytes = &[];
            } else {
                let written = match Pin::new(&mut *slow).poll_write(&mut cx, bytes) {
                    Poll::Ready(written) => written.unwrap(),
                    Poll::Pending => 0,
                };
                bytes = &bytes[written..];
                past.hyper_keeps(bytes.len());
            }
        }
        flush(past, slow);
    }

    fn flush(past: &mut Past, slow: &mut Slow) {
        while !send(past, slow) {}
    }

    proptest! {
        #[test]
        fn fields_stand_behind_the_status_line_and_pieces_behind_the_head(
            takes in prop::collection::vec(0usize..40, 1..6),
            continues in 0usize..3,
            partly in 0usize..30,
            small in "[a-z]{0,9}",
            pieces in prop::collection::vec("[A-Z]{1,90}", 0..4),
        ) {
            prop_assume!(takes.iter().any(|&takes| takes > 0));
            let (mut past, mut slow) = (Past::default(), Slow { takes, calls: 0, taken: Vec::new() });
            let interim = String::from_utf8_lossy(CONTINUE).repeat(continues);
            // hyper may have been stopped in the midst of what came before.
            let before = if continues == 1 { partly.min(CONTINUE.len() - 1) } else { 0 };
            past.hyper_keeps(if before > 0 { CONTINUE.len() - before } else { 0 });
            past.put_fields(b"A: b\r\n".to_vec());
            let mut waiting = pieces.iter().map(|piece| Bytes::from(piece.clone()));
            if let Some(first) = waiting.next() {
                past.put_piece(first);
                prop_assert!(!past.has_room());
            }
            let head = "HTTP/1.1 200 OK\r\n";
            let hypers = format!("{interim}{head}content-length: 9\r\n\r\n{small}");
            write(&mut past, &mut slow, &hypers.as_bytes()[before..]);
            for piece in waiting {
                prop_assert!(past.is_sent() && past.has_room());
                past.put_piece(piece);
                prop_assert!(!past.is_sent());
                flush(&mut past, &mut slow);
            }
            let expected =
                format!("{interim}{head}A: b\r\ncontent-length: 9\r\n\r\n{small}{}", pieces.concat());
            prop_assert_eq!(String::from_utf8_lossy(&slow.taken), &expected[before..]);
        }
    }

    /// Where a request's body ends after its answer, hyper goes on to the next answer before all of the
    /// one before has left.
    #[test]
    fn the_next_head_waits_for_the_last_piece_of_the_answer_before() {
        let (mut past, mut slow) = (Past::default(), Slow { takes: vec![3, 0], calls: 0, taken: Vec::new() });
        past.put_fields(Vec::new());
        write(&mut past, &mut slow, b"HTTP/1.1 200 OK\r\n\r\n");
        past.put_piece(Bytes::from_static(b"first body"));
        past.put_fields(b"A: b\r\n".to_vec());
        assert!(!past.is_sent() && !past.has_room());
        write(&mut past, &mut slow, b"HTTP/1.1 201 Created\r\n\r\nsecond");
        let expected = "HTTP/1.1 200 OK\r\n\r\nfirst bodyHTTP/1.1 201 Created\r\nA: b\r\n\r\nsecond";
        assert_eq!(String::from_utf8_lossy(&slow.taken), expected);
    }

    /// hyper's own answer waits behind a piece, and another head behind that.
    #[test]
    fn fields_do_not_get_into_an_answer_that_waits_before_their_own() {
        let (mut past, mut slow) =
            (Past::default(), Slow { takes: vec![0, 100], calls: 0, taken: Vec::new() });
        past.put_piece(Bytes::from_static(b"body"));
        let own = "HTTP/1.1 404 Not Found\r\n\r\n";
        assert!(!send(&mut past, &mut slow));
        past.hyper_keeps(own.len());
        past.put_fields(b"A: b\r\n".to_vec());
        write(&mut past, &mut slow, format!("{own}HTTP/1.1 200 OK\r\n\r\n").as_bytes());
        let expected = format!("body{own}HTTP/1.1 200 OK\r\nA: b\r\n\r\n");
        assert_eq!(String::from_utf8_lossy(&slow.taken), expected);
    }

    #[test]
    fn a_piece_waits_for_its_head() {
        let (mut past, mut slow) = (Past::default(), Slow { takes: vec![100], calls: 0, taken: Vec::new() });
        past.put_fields(Vec::new());
        past.put_piece(Bytes::from_static(b"body"));
        flush(&mut past, &mut slow);
        assert_eq!((slow.calls, past.has_room()), (0, false), "its head has not come");
        write(&mut past, &mut slow, b"HTTP/1.0 299 \r\n\r\n");
        assert_eq!(slow.taken, b"HTTP/1.0 299 \r\n\r\nbody");
        assert!(past.has_room() && past.is_sent());
    }
}

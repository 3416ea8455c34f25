//! Bytes on their way into a socket: lines, a piece of a body that is not copied, and what ends the piece.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// What is to be sent, in this order: `lines`, one piece, what stands behind the piece.
#[derive(Default)]
pub(crate) struct Outbox {
    /// A head, a chunk's size, or whatever else is copied.
    pub(crate) lines: Vec<u8>,
    lines_sent: usize,
    piece: Bytes,
    behind: &'static [u8],
}

impl Outbox {
    pub(crate) fn new(lines: Vec<u8>) -> Self {
        Self { lines, ..Self::default() }
    }

    /// Puts a piece behind the lines, and what ends it behind the piece. One at a time: see
    /// [`Outbox::has_room`].
    pub(crate) fn put_piece(&mut self, piece: Bytes, behind: &'static [u8]) {
        debug_assert!(self.has_room());
        (self.piece, self.behind) = (piece, behind);
    }

    /// Whether lines and a piece may be put behind what is here.
    pub(crate) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.behind.is_empty()
    }

    pub(crate) fn is_sent(&self) -> bool {
        self.lines_sent == self.lines.len() && self.has_room()
    }

    /// Writes once; gives how much has left.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<io::Result<usize>> {
        let lines = &self.lines[self.lines_sent..];
        let stream = Pin::new(stream);
        let written = if self.has_room() {
            ready!(stream.poll_write(cx, lines))?
        } else {
            let slices = [IoSlice::new(lines), IoSlice::new(&self.piece), IoSlice::new(self.behind)];
            ready!(stream.poll_write_vectored(cx, &slices))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, written: usize) {
        let of_lines = written.min(self.lines.len() - self.lines_sent);
        self.lines_sent += of_lines;
        if self.lines_sent == self.lines.len() {
            self.lines_sent = 0;
            self.lines.clear();
        }
        if of_lines < written {
            let of_piece = (written - of_lines).min(self.piece.len());
            self.piece.advance(of_piece);
            if self.piece.is_empty() {
                // Lets go of the memory.
                drop(mem::take(&mut self.piece));
            }
            self.behind = &self.behind[written - of_lines - of_piece..];
        }
    }
}

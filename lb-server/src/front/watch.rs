//! Watching a client whose request is in flight: hyper does not read meanwhile.

use std::{
    io::Result,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

use super::Front;
use crate::framing::Position;

/// What may come of a next request before the present one is answered: enough to notice it.
const EARLY_BYTES_MAX: usize = 64;

impl Front {
    /// Gives hyper what was scanned before there was a hyper; whether that was anything.
    pub(super) fn deliver_scanned(&self, cursor: &mut ReadBufCursor<'_>) -> bool {
        let mut scanned = self.scanned.borrow_mut();
        let count = scanned.len().min(cursor.remaining());
        cursor.put_slice(&scanned[..count]);
        scanned.drain(..count);
        if scanned.is_empty() {
            *scanned = Vec::new();
        }
        count > 0
    }

    /// How many bytes that were read early hyper may see, which then are in `cursor`; none if there are none.
    pub(super) fn scan_early(&self, cursor: &mut ReadBufCursor<'_>) -> Option<usize> {
        let mut early = self.early.borrow_mut();
        let count = early.len().min(cursor.remaining());
        if count == 0 {
            return None;
        }
        let deliverable = self.scan(&early[..count]);
        cursor.put_slice(&early[..deliverable]);
        early.drain(..count);
        Some(deliverable)
    }

    /// Looks whether the client is still there while its request is in flight and hyper does not read.
    pub(super) fn watch(&self, cx: &mut Context<'_>) -> Result<()> {
        let mut early = self.early.borrow_mut();
        let is_watched = self.in_flight.get() && !self.eof.get() && early.is_empty();
        if !is_watched || self.position() != Position::Between {
            return Ok(());
        }
        let mut memory = [MaybeUninit::uninit(); EARLY_BYTES_MAX];
        let mut buffer = ReadBuf::uninit(&mut memory);
        match Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buffer) {
            Poll::Ready(read) => {
                read?;
                if buffer.filled().is_empty() {
                    self.ended();
                }
                early.extend_from_slice(buffer.filled());
                Ok(())
            }
            Poll::Pending => Ok(()),
        }
    }
}

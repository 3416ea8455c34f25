//! The client's socket as hyper sees it: every byte goes past the framing scanner first.
#![allow(unsafe_code)] // hyper's read cursor hands out uninitialised memory

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Front;
use crate::framing::Position;

/// What hyper reads from and writes to.
pub(super) struct FrontIo(pub(super) Rc<Front>);

impl FrontIo {
    /// What a read gives without touching the socket, if the connection's state settles that.
    fn settled(&self) -> Option<Poll<io::Result<()>>> {
        let front = &*self.0;
        if front.left.get() {
            return Some(Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())));
        }
        let end = match front.refusal.get() {
            // The body that is being read is broken: its reader must learn it now.
            Some(_) if front.refusal().is_some() => true,
            Some(refusal) => {
                let is_due = !front.is_busy();
                front.refusal_is_due.set(is_due && refusal.body_of.is_none());
                is_due
            }
            None if front.closing.get() => !front.is_busy(),
            // Half-closed: the request is complete, so it is served; hyper learns of the end when it
            // asks for the next one.
            None if front.eof.get() => !front.is_busy() || front.position() == Position::Body,
            None => return None,
        };
        // Pending without a waker: the connection's task is woken when the answer has been written.
        Some(if end { Poll::Ready(Ok(())) } else { Poll::Pending })
    }
}

impl Read for FrontIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let front = &*self.0;
        if front.deliver_scanned(&mut cursor) {
            return Poll::Ready(Ok(()));
        }
        if let Some(settled) = self.settled() {
            return settled;
        }
        if let Some(deliverable) = front.scan_early(&mut cursor) {
            return if deliverable > 0 {
                Poll::Ready(Ok(()))
            } else {
                self.settled().unwrap_or(Poll::Ready(Ok(())))
            };
        }
        let deliverable = {
            // SAFETY: the memory is only handed on as uninitialised, to a reader that initialises what
            // it fills; nothing is read from it before.
            let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
            ready!(Pin::new(&mut *front.stream.borrow_mut()).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                front.ended();
                0
            } else {
                front.scan(buffer.filled())
            }
        };
        if deliverable == 0 {
            // End of the stream, or nothing of what came may be passed on.
            return self.settled().unwrap_or(Poll::Ready(Ok(())));
        }
        // SAFETY: `deliverable` is at most the number of bytes that the read above initialised.
        unsafe { cursor.advance(deliverable) };
        Poll::Ready(Ok(()))
    }
}

impl Write for FrontIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let front = &*self.0;
        ready!(front.poll_injected(cx))?;
        if front.poll_past(cx)?.is_pending() {
            front.past.borrow_mut().hyper_keeps(bytes.len());
            return Poll::Pending;
        }
        if front.past.borrow_mut().takes_over(bytes) {
            // What does not leave now leaves with the flush that hyper asks for next.
            front.wrote();
            let _ = front.poll_past(cx)?;
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = match Pin::new(&mut *front.stream.borrow_mut()).poll_write(cx, bytes) {
            Poll::Ready(written) => written?,
            Poll::Pending => {
                front.write_blocked();
                front.past.borrow_mut().hyper_keeps(bytes.len());
                return Poll::Pending;
            }
        };
        front.wrote();
        front.past.borrow_mut().hyper_keeps(bytes.len() - written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_injected(cx))?;
        ready!(self.0.poll_past(cx))?;
        self.0.flushed();
        Poll::Ready(Ok(()))
    }

    /// The connection's task decides how the socket ends: with an answer of its own, with a wait, with a
    /// reset, or, which takes no system call, by being closed.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

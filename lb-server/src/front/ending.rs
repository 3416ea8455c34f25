//! How a connection ends so that the client gets what it was sent.

use std::{
    future::poll_fn,
    io::{ErrorKind, Result},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

use lb_core::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Front, Wait};
use crate::{
    framing::Position,
    reply::{self, Manner},
};

/// How long an ended connection is read from so that the client sees the last answer instead of a
/// reset.
const LINGER: Duration = Duration::from_secs(2);
/// How much is read and thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 4 << 20;

impl Front {
    /// Writes a refusal if there is one, and ends the connection so that the client can read it.
    pub(super) async fn end(&self) {
        if self.abort.get() {
            self.reset_when_dropped();
            return;
        }
        if let Some(refusal) = self.refusal.get()
            && self.refusal_is_due.get()
            && !self.left.get()
        {
            let answer = reply::raw_reply(
                refusal.reason,
                &Manner {
                    reason_header: self.listener.config.reason_header,
                    close: true,
                    ..Manner::default()
                },
                SystemTime::now(),
            );
            self.log_refusal(refusal);
            if self.write_all(&answer).await.is_err() {
                return;
            }
        }
        if let Some(until) = self.linger_until()
            && self.shutdown().await.is_ok()
        {
            self.timer.set(until);
            let mut discarded = 0;
            poll_fn(|cx| {
                if self.timer.poll_fired(cx).is_ready() {
                    return Poll::Ready(());
                }
                self.poll_discard(cx, &mut discarded)
            })
            .await;
        }
    }

    /// A close with unread bytes resets the connection, and a reset may overtake the last answer: until
    /// when the client is waited for, so that it does not.
    fn linger_until(&self) -> Option<Instant> {
        let now = self.worker.clock.now();
        let between = self.refusal.get().is_none() && self.position() == Position::Between;
        let is_silent = between && self.last.get() && self.early.borrow().is_empty();
        if self.eof.get() || self.left.get() || is_silent {
            return None;
        }
        // One that has waited for its next request has long had its last answer.
        let is_idle = between && !self.in_flight.get() && self.wait.get() == Wait::Begin;
        let since = if is_idle { self.since.get() } else { now };
        let answered = self.scanner.borrow().heads() > 0 || !between;
        Some(since + LINGER).filter(|until| answered && *until > now)
    }

    async fn write_all(&self, mut bytes: &[u8]) -> Result<()> {
        self.timer.set(self.worker.clock.now() + LINGER);
        poll_fn(|cx| {
            while !bytes.is_empty() {
                if self.timer.poll_fired(cx).is_ready() {
                    return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                }
                let written = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes))?;
                bytes = &bytes[written..];
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    async fn shutdown(&self) -> Result<()> {
        poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_shutdown(cx)).await
    }

    fn poll_discard(&self, cx: &mut Context<'_>, discarded: &mut usize) -> Poll<()> {
        let mut scratch = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, &mut buffer));
            *discarded += buffer.filled().len();
            if read.is_err() || buffer.filled().is_empty() || *discarded > LINGER_BYTES_MAX {
                return Poll::Ready(());
            }
        }
    }
}

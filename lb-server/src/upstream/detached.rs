//! The rest of an upload whose response has already begun: it goes out in a task of its own.

use std::{
    cell::Cell,
    future::{pending, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    sync::Notify,
    task::{JoinHandle, spawn_local},
    time::{sleep, timeout},
};

use super::sending::{SendFailed, Sending, Sent, Upload, may_hide_a_reset};
use crate::net::ReadHalf;

/// As much of an upload that nobody takes is read all the same, so that the client's next request is answered: it
/// costs less than a new connection. (Go's server, `net/http`, reads as much behind a handler that did not.)
const DISCARDED_BYTES_MAX: usize = 256 << 10;
/// How long that may take.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(2);

/// What an upload may take behind its answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// Without a byte that leaves. It is looked once in each such time, so that it may be up to twice as long.
    pub(crate) idle: Duration,
    /// In all.
    pub(crate) left: Option<Duration>,
}

/// A task that ends when this is dropped, and its client's upload with it.
pub(super) struct Detached {
    task: JoinHandle<Option<Sent>>,
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Told when the backend takes nothing more.
    unwanted: Notify,
    sent_bytes: Cell<u64>,
    /// How writing has failed, if it has.
    failed: Cell<Option<io::ErrorKind>>,
}

impl Detached {
    /// Sends the rest, if writing has not failed before. What the task gives keeps the socket's half open for as long
    /// as the task is held: an early end would look to the backend as if the client had left.
    pub(super) fn send<B: Upload>(mut sending: Sending<B>, failed: Option<io::ErrorKind>) -> Self {
        let shared = Rc::new(Shared { failed: Cell::new(failed), ..Shared::default() });
        let told = Rc::clone(&shared);
        let task = spawn_local(async move {
            let all_left = poll_fn(|cx| {
                let polled = sending.poll(cx);
                told.sent_bytes.set(sending.sent_bytes());
                polled
            });
            if failed.is_none() {
                tokio::select! {
                    biased;
                    sent = all_left => match sent {
                        Ok(()) => return Some(sending.into_sent()),
                        // The client's side; the body knows how.
                        Err(SendFailed::Body) => return None,
                        Err(SendFailed::Io(kind)) => told.failed.set(Some(kind)),
                    },
                    () = told.unwanted.notified() => {}
                }
            }
            discard(sending).await;
            None
        });
        Self { task, shared }
    }

    /// Whether an end of the response may be a reset that writing was told of.
    pub(super) fn may_hide_a_reset(&self) -> bool {
        self.shared.failed.get().is_some_and(may_hide_a_reset)
    }

    /// What the task gave, if it is over; asked only until then. None inside: not everything has left.
    pub(super) fn outcome(&mut self) -> Option<Option<Sent>> {
        match Pin::new(&mut self.task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome.ok().flatten()),
            Poll::Pending => None,
        }
    }

    /// Goes on behind a response that is whole: nobody said that the backend does not want the rest of the request.
    /// It does not once its connection has ended, or when it takes nothing, or too long.
    pub(super) fn go_on(mut self, read: ReadHalf, patience: Patience) {
        spawn_local(async move {
            if self.ends_by_itself(read, patience).await {
                return;
            }
            self.shared.unwanted.notify_one();
            let _ = (&mut self.task).await; // a panic has been told
        });
    }

    /// Waits for the task's end; false if there is a reason to give up before.
    async fn ends_by_itself(&mut self, mut read: ReadHalf, patience: Patience) -> bool {
        let mut byte = [0];
        // The connection's end; or bytes that nobody asked for, and then nothing more is owed to the backend.
        let mut ends = pin!(read.read(&mut byte));
        let mut is_late = pin!(async {
            match patience.left {
                Some(left) => sleep(left).await,
                None => pending().await,
            }
        });
        loop {
            let sent_bytes = self.shared.sent_bytes.get();
            tokio::select! {
                biased;
                _ = &mut self.task => return true,
                _ = &mut ends => return false,
                () = &mut is_late => return false,
                () = sleep(patience.idle) => {
                    if self.shared.sent_bytes.get() == sent_bytes {
                        return false;
                    }
                }
            }
        }
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads what is left of the body, if it is little and another request may come behind it.
async fn discard<B: Upload>(sending: Sending<B>) {
    let Some(body) = sending.into_body() else { return };
    let reading = async {
        let mut bytes = 0;
        while body.precedes_another()
            && bytes <= DISCARDED_BYTES_MAX
            && let Some(Ok(frame)) = poll_fn(|cx| body.poll_frame(cx)).await
        {
            bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
        }
    };
    let _ = timeout(DISCARD_TIME_MAX, reading).await; // what is left then is left
}

//! The rest of an upload whose response has already begun: it goes out in a task of its own.

use std::{
    cell::Cell,
    future::poll_fn,
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    sync::Notify,
    task::{JoinHandle, spawn_local},
};

use super::sending::{SendFailed, Sending, Sent, Upload};
use crate::net::ReadHalf;

/// As much of an upload that nobody takes is read all the same, so that the client's next request is answered: it
/// costs less than a new connection. (Go's server, `net/http`, reads as much behind a handler that did not.)
const DISCARDED_BYTES_MAX: usize = 256 << 10;

/// A task that ends when this is dropped, and its client's upload with it.
pub(super) struct Detached {
    task: JoinHandle<Option<Sent>>,
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Told when the backend takes nothing more.
    unwanted: Notify,
    /// Writing has failed.
    broke: Cell<bool>,
    sent_bytes: Cell<u64>,
}

impl Detached {
    /// Sends the rest. What the task gives keeps the socket's half open for as long as the task is held: an early
    /// end would look to the backend as if the client had left.
    pub(super) fn send<B: Upload>(mut sending: Sending<B>) -> Self {
        let shared = Rc::<Shared>::default();
        let told = Rc::clone(&shared);
        let task = spawn_local(async move {
            let all_left = poll_fn(|cx| {
                let polled = sending.poll(cx);
                told.sent_bytes.set(sending.sent_bytes());
                polled
            });
            let sent = tokio::select! {
                biased;
                sent = all_left => sent,
                () = told.unwanted.notified() => Err(SendFailed::Io),
            };
            match sent {
                Ok(()) => return Some(sending.into_sent()),
                // The client's side; the body knows how.
                Err(SendFailed::Body) => {}
                Err(SendFailed::Io) => {
                    told.broke.set(true);
                    discard(sending).await;
                }
            }
            None
        });
        Self { task, shared }
    }

    /// Whether the connection broke while something was written.
    pub(super) fn broke(&self) -> bool {
        self.shared.broke.get()
    }

    /// What the task gave, if it is over; asked only until then. None inside: not everything has left.
    pub(super) fn outcome(&mut self) -> Option<Option<Sent>> {
        match Pin::new(&mut self.task).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(outcome) => Some(outcome.ok().flatten()),
            Poll::Pending => None,
        }
    }

    /// Goes on behind a response that is whole: nobody said that the backend does not want the rest of the request.
    /// Once its connection has ended, or has taken nothing for `idle`, it does not.
    pub(super) fn go_on(mut self, mut read: ReadHalf, idle: Duration) {
        spawn_local(async move {
            let mut byte = [0];
            // Its end; or bytes that nobody asked for, and then nothing more is owed to it.
            let mut ends = pin!(read.read(&mut byte));
            loop {
                let sent_bytes = self.shared.sent_bytes.get();
                tokio::select! {
                    biased;
                    _ = &mut self.task => return,
                    _ = &mut ends => break,
                    () = tokio::time::sleep(idle) => {
                        if self.shared.sent_bytes.get() == sent_bytes {
                            break;
                        }
                    }
                }
            }
            self.shared.unwanted.notify_one();
            let _ = (&mut self.task).await; // a panic has been told
        });
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads what is left of the body, if it is little.
async fn discard<B: Upload>(sending: Sending<B>) {
    let Some(body) = sending.into_body() else { return };
    let mut bytes = 0;
    while let Some(Ok(frame)) = poll_fn(|cx| body.poll_frame(cx)).await {
        bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
        if bytes > DISCARDED_BYTES_MAX {
            return;
        }
    }
}

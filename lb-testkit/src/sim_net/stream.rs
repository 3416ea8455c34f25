//! An end of a connection as a program holds it, whole or in halves.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Network, connection::Side};

/// An end of a connection; closed when its last holder is dropped.
struct Held {
    network: Network,
    number: u64,
    side: Side,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.network.with(|world| world.close(self.number, self.side));
    }
}

impl Held {
    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let read = self.network.with(|world| {
            world.poll_read(self.number, self.side, Some(cx), |bytes| {
                let taken = bytes.len().min(buffer.remaining());
                buffer.put_slice(&bytes[..taken]);
                taken
            })
        });
        read.map_ok(|_| ())
    }

    fn poll_write(&self, cx: Option<&mut Context<'_>>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.network.with(|world| world.poll_write(self.number, self.side, cx, bytes))
    }

    fn peek(&self) -> io::Result<usize> {
        self.network.with(|world| world.peek(self.number, self.side))
    }

    fn reset_when_dropped(&self) {
        self.network.with(|world| world.reset_when_dropped(self.number, self.side));
    }

    fn end_writing(&self) {
        self.network.with(|world| world.end_writing(self.number, self.side));
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {:?} of c{}", self.side, self.number)
    }
}

/// An end of a connection.
#[derive(Debug)]
pub struct Stream(Arc<Held>);

/// The half of a stream that is read.
#[derive(Debug)]
pub struct ReadHalf(Arc<Held>);

/// The half of a stream that is written. Dropped, it ends its direction.
#[derive(Debug)]
pub struct WriteHalf(Arc<Held>);

impl Stream {
    pub(super) fn new(network: Network, number: u64, side: Side) -> Self {
        Self(Arc::new(Held { network, number, side }))
    }

    /// Both halves; the connection is closed when both are dropped.
    #[must_use]
    pub fn into_split(self) -> (ReadHalf, WriteHalf) {
        (ReadHalf(Arc::clone(&self.0)), WriteHalf(self.0))
    }

    /// Writes what fits, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` when nothing fits; those of a connection that is over.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.poll_write(None, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// How many bytes a read of one byte would give; 0 at the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has come; that of a connection that is over, which is told once.
    pub fn peek(&self) -> io::Result<usize> {
        self.0.peek()
    }

    /// The error that the connection died of, if nobody was told of it.
    #[must_use]
    pub fn take_error(&self) -> Option<io::Error> {
        let Held { network, number, side } = &*self.0;
        network.with(|world| world.take_error(*number, *side)).map(Into::into)
    }

    /// When it is dropped, the peer sees a reset.
    pub fn reset_when_dropped(&self) {
        self.0.reset_when_dropped();
    }
}

impl ReadHalf {
    /// [`Stream::peek`].
    ///
    /// # Errors
    /// As there.
    pub fn peek(&self) -> io::Result<usize> {
        self.0.peek()
    }

    /// [`Stream::reset_when_dropped`]: when both halves are.
    pub fn reset_when_dropped(&self) {
        self.0.reset_when_dropped();
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        self.0.end_writing();
    }
}

macro_rules! reads {
    ($type:ty) => {
        impl AsyncRead for $type {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buffer: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.0.poll_read(cx, buffer)
            }
        }
    };
}

macro_rules! writes {
    ($type:ty) => {
        impl AsyncWrite for $type {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.0.poll_write(Some(cx), bytes)
            }

            fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
                self.0.end_writing();
                Poll::Ready(Ok(()))
            }
        }
    };
}

reads!(Stream);
reads!(ReadHalf);
writes!(Stream);
writes!(WriteHalf);

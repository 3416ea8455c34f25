//! A connection's bytes, and what the server asks a socket besides them.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, tcp},
};

#[cfg(feature = "sim")]
use lb_testkit::sim_net;

/// What is written without asking first whether it would have to wait. Of larger pieces often only a part is
/// taken, which the runtime's own way to write learns from.
const SMALL_BYTES_MAX: usize = 16 << 10;

/// A connection to a client or to a backend.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(feature = "sim")]
    Sim(sim_net::Stream),
}

/// The half of a backend's connection that responses come from.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    #[cfg(feature = "sim")]
    Sim(sim_net::ReadHalf),
}

/// The half that requests go into. Dropped, it ends its direction of the stream.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    #[cfg(feature = "sim")]
    Sim(sim_net::WriteHalf),
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Tcp(stream)
    }
}

impl Stream {
    /// Small writes leave at once.
    pub(crate) fn set_nodelay(&self) {
        match self {
            // Only delays small requests where it cannot be set.
            Self::Tcp(stream) => drop(stream.set_nodelay(true)),
            #[cfg(feature = "sim")]
            Self::Sim(_) => {}
        }
    }

    pub(crate) fn into_split(self) -> (ReadHalf, WriteHalf) {
        match self {
            Self::Tcp(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            #[cfg(feature = "sim")]
            Self::Sim(stream) => {
                let (read, write) = stream.into_split();
                (ReadHalf::Sim(read), WriteHalf::Sim(write))
            }
        }
    }

    /// Writes what fits, without waiting.
    #[inline]
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            #[cfg(feature = "sim")]
            Self::Sim(stream) => stream.try_write(bytes),
        }
    }

    /// Asks the system how many bytes a read of one byte would give: 0 is the end of the stream,
    /// `WouldBlock` means that nothing has come. Takes nothing.
    pub(crate) fn peek(&self) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]),
            #[cfg(feature = "sim")]
            Self::Sim(stream) => stream.peek(),
        }
    }

    /// The error that the connection died of, if it did and nobody has been told.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        match self {
            Self::Tcp(stream) => stream.take_error(),
            #[cfg(feature = "sim")]
            Self::Sim(stream) => Ok(stream.take_error()),
        }
    }

    /// When it is dropped, the peer shall see a reset instead of an orderly end.
    pub(crate) fn reset_when_dropped(&self) {
        match self {
            // Where it cannot be set the connection has ended anyway.
            Self::Tcp(stream) => drop(SockRef::from(stream).set_linger(Some(Duration::ZERO))),
            #[cfg(feature = "sim")]
            Self::Sim(stream) => stream.reset_when_dropped(),
        }
    }
}

impl ReadHalf {
    /// Whether something has come: the end of the stream, or bytes. Knows only what the runtime has
    /// already heard of, and costs nothing while that is nothing.
    pub(crate) fn has_news(&self) -> bool {
        match self {
            // The runtime asks the system only where it has heard of something.
            Self::Tcp(half) => {
                !matches!(half.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            #[cfg(feature = "sim")]
            Self::Sim(half) => is_news(&half.peek()),
        }
    }

    /// The same, by asking the system.
    pub(crate) fn has_news_now(&self) -> bool {
        is_news(&match self {
            Self::Tcp(half) => SockRef::from(half.as_ref()).peek(&mut [MaybeUninit::uninit()]),
            #[cfg(feature = "sim")]
            Self::Sim(half) => half.peek(),
        })
    }
}

fn is_news(peeked: &io::Result<usize>) -> bool {
    !matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Calls the same method on whichever stream there is.
macro_rules! on_each {
    ($this:expr, $stream:ident => $call:expr) => {
        match $this.get_mut() {
            Self::Tcp($stream) => $call,
            #[cfg(feature = "sim")]
            Self::Sim($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self, stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl AsyncRead for ReadHalf {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self, half => Pin::new(half).poll_read(cx, buffer))
    }
}

macro_rules! writes {
    ($type:ty) => {
        impl AsyncWrite for $type {
            #[inline]
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                // Nearly every small piece is taken at once, and then nobody has to be woken later.
                if let Self::Tcp(stream) = &*self
                    && bytes.len() <= SMALL_BYTES_MAX
                {
                    match stream.try_write(bytes) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        written => return Poll::Ready(written),
                    }
                }
                on_each!(self, stream => Pin::new(stream).poll_write(cx, bytes))
            }

            #[inline]
            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                on_each!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices))
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                on_each!(self, stream => Pin::new(stream).poll_flush(cx))
            }

            fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                on_each!(self, stream => Pin::new(stream).poll_shutdown(cx))
            }
        }
    };
}

writes!(Stream);
writes!(WriteHalf);

//! Connections to backends: an HTTP/1.1 client of our own, because this is where a proxy's time goes.
//!
//! | module | what it does |
//! |---|---|
//! | [`request`] | writes fields and the framing of bodies |
//! | [`response`], [`body`] | read heads and bodies out of a buffer, without I/O |
//! | [`fields`] | a response's fields on their way to the client |
//! | [`sending`] | moves a request, its streamed body included, into a socket |
//! | [`call`] | leads one request and its response over a connection |
//! | [`room`] | how much is read at once |
//! | [`detached`] | sends the rest of an upload whose response has begun |
//! | [`idle`] | keeps connections for the next request |
//!
//! A connection belongs to one request at a time and is driven by that request's own task; nothing
//! runs in the background but the rest of an upload whose response has already begun.

mod body;
mod call;
mod detached;
mod fields;
mod idle;
mod request;
mod response;
mod room;
mod sending;

#[cfg(any(test, fuzzing))]
mod against_hyper;
#[cfg(fuzzing)]
pub mod fuzz;
#[cfg(any(test, fuzzing))]
mod reading;
#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr};

use bytes::BytesMut;

pub(crate) use self::{
    call::{Call, CallFailed, ResponseStream},
    detached::Patience,
    fields::FieldLines,
    idle::{IdleConnections, SWEEP_INTERVAL},
    request::{Framing, write_field},
    response::Head,
};
use crate::net::{Net, ReadHalf, Stream, WriteHalf};

/// A connection to a backend, between requests.
pub(crate) struct Connection {
    pub(crate) addr: SocketAddr,
    read: ReadHalf,
    write: WriteHalf,
    /// What is read into; empty between requests.
    buffer: BytesMut,
    /// Bytes of the last response's body: so much is expected of the next one.
    last_bytes: usize,
    /// What heads are written into; empty between requests.
    out: Vec<u8>,
    /// It has carried a request before.
    pub(crate) reused: bool,
}

impl Connection {
    pub(crate) async fn open(net: &Net, addr: SocketAddr) -> io::Result<Self> {
        Ok(Self::over(net.connect(addr).await?, addr))
    }

    fn over(stream: Stream, addr: SocketAddr) -> Self {
        stream.set_nodelay();
        let (read, write) = stream.into_split();
        Self { addr, read, write, buffer: BytesMut::new(), last_bytes: 0, out: Vec::new(), reused: false }
    }
}

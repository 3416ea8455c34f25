//! A port that stays ours while nobody listens at it.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

const BACKLOG_CONNECTIONS: i32 = 4096;

/// A TCP port, reserved as long as this value lives. Nobody listens at it (connecting is refused) until
/// [`Port::listen`]; when that listener is gone, connecting is refused again and nobody else can have
/// taken the port in between.
///
/// It works by a bound socket that never listens: the kernel gives its port to nobody else, and lets
/// one listener share it because both set `SO_REUSEADDR`.
#[derive(Debug)]
pub struct Port {
    addr: SocketAddr,
    _reserved: Socket,
}

impl Port {
    /// A free port of 127.0.0.1.
    ///
    /// # Errors
    /// What the system says when there is none.
    pub fn free() -> io::Result<Self> {
        Self::at((Ipv4Addr::LOCALHOST, 0).into())
    }

    /// This address; port 0 takes a free one.
    ///
    /// # Errors
    /// What the system says when the address is in use or is not of this machine.
    pub fn at(addr: SocketAddr) -> io::Result<Self> {
        let reserved = bound(addr)?;
        let addr = reserved.local_addr()?.as_socket().unwrap_or(addr);
        Ok(Self { addr, _reserved: reserved })
    }

    /// The address with its real port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Listens; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When somebody listens already.
    pub fn listen(&self) -> io::Result<TcpListener> {
        let socket = bound(self.addr)?;
        socket.listen(BACKLOG_CONNECTIONS)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

fn bound(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_port_refuses_listens_and_refuses_again() {
        let port = Port::free().unwrap();
        let refused = |result: io::Result<TcpStream>| {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        };
        for _ in 0..3 {
            refused(TcpStream::connect(port.addr()).await);
            let listener = port.listen().unwrap();
            TcpStream::connect(port.addr()).await.unwrap();
            drop(listener);
        }
        refused(TcpStream::connect(port.addr()).await);
    }

    #[tokio::test]
    async fn nobody_else_gets_a_reserved_port() {
        let port = Port::free().unwrap();
        let others: Vec<_> = (0..200).map(|_| Port::free().unwrap()).collect();
        assert!(others.iter().all(|other| other.addr() != port.addr()));
    }
}

//! Connections between requests.

use std::net::SocketAddr;

use lb_core::time::Instant;

use super::*;
use crate::{net::ReadHalf, upstream::IdleConnections};

const NOW: Instant = Instant::from_nanos(1_000);
const LATER: Instant = Instant::from_nanos(2_000);

async fn kept(idle: &IdleConnections) -> (SocketAddr, TcpStream) {
    let (connection, backend) = pair().await;
    let addr = connection.addr;
    idle.put(connection, 8, LATER);
    (addr, backend)
}

#[test]
fn an_open_connection_is_taken_once() {
    run(async {
        for asked in [false, true] {
            let idle = IdleConnections::default();
            let (addr, _backend) = kept(&idle).await;
            assert!(idle.take("127.0.0.1:1".parse().unwrap(), asked, NOW).is_none());
            assert!(idle.take(addr, asked, NOW).expect("open").reused);
            assert!(idle.take(addr, asked, NOW).is_none());
        }
    });
}

/// What happens to a connection nobody uses.
#[derive(Clone, Copy)]
enum Meanwhile {
    Closed,
    Reset,
    HalfClosed,
    SpokenTo,
}

#[rstest]
fn a_connection_on_which_something_came_is_not_used(
    #[values(Meanwhile::Closed, Meanwhile::Reset, Meanwhile::HalfClosed, Meanwhile::SpokenTo)]
    meanwhile: Meanwhile,
    #[values(false, true)] asked: bool,
) {
    run(async {
        let idle = IdleConnections::default();
        let (addr, mut backend) = kept(&idle).await;
        let mut open = None;
        match meanwhile {
            Meanwhile::Closed => drop(backend),
            Meanwhile::Reset => {
                socket2::SockRef::from(&backend).set_linger(Some(Duration::ZERO)).unwrap();
                drop(backend);
            }
            Meanwhile::HalfClosed => {
                backend.shutdown().await.unwrap();
                open = Some(backend);
            }
            Meanwhile::SpokenTo => {
                backend.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
                open = Some(backend);
            }
        }
        if asked {
            assert!(idle.take(addr, true, NOW).is_none(), "the system knows at once");
        } else {
            // The runtime knows once it has looked.
            while let Some(connection) = idle.take(addr, false, NOW) {
                idle.put(connection, 8, LATER);
                tokio::task::yield_now().await;
            }
        }
        drop(open);
    });
}

fn local_addr(connection: &Connection) -> SocketAddr {
    match &connection.read {
        ReadHalf::Tcp(half) => half.local_addr().unwrap(),
        #[cfg(feature = "sim")]
        ReadHalf::Sim(_) => unreachable!("these tests use sockets"),
    }
}

#[test]
fn the_last_used_comes_first_and_the_oldest_goes_when_there_are_too_many() {
    run(async {
        let idle = IdleConnections::default();
        let (first, mut first_backend) = pair().await;
        let addr = first.addr;
        let (mut second, _second_backend) = pair().await;
        let (mut third, _third_backend) = pair().await;
        let locals = [local_addr(&second), local_addr(&third)];
        (second.addr, third.addr) = (addr, addr);
        for connection in [first, second, third] {
            idle.put(connection, 2, LATER);
        }
        assert_eq!(first_backend.read(&mut [0]).await.unwrap(), 0, "the oldest went");
        assert_eq!(local_addr(&idle.take(addr, false, NOW).unwrap()), locals[1]);
        assert_eq!(local_addr(&idle.take(addr, false, NOW).unwrap()), locals[0]);
    });
}

#[test]
fn time_and_the_limit_end_what_is_unused() {
    run(async {
        let idle = IdleConnections::default();
        let (addr, _backend) = kept(&idle).await;
        assert!(idle.take(addr, false, LATER).is_none(), "also before the sweep");
        let (addr, mut backend) = kept(&idle).await;
        idle.sweep(NOW);
        let connection = idle.take(addr, true, NOW).expect("not yet");
        idle.put(connection, 8, LATER);
        idle.sweep(LATER);
        assert_eq!(backend.read(&mut [0]).await.unwrap(), 0);
        let (connection, _backend) = pair().await;
        let addr = connection.addr;
        idle.put(connection, 0, LATER);
        assert!(idle.take(addr, false, NOW).is_none(), "a pool may want none");
    });
}

/// What few requests use stays warm; what only a burst used costs its socket and nothing else.
#[test]
fn a_connection_that_was_long_unused_has_given_its_buffers_back() {
    run(async {
        let idle = IdleConnections::default();
        let (mut connection, _backend) = pair().await;
        let addr = connection.addr;
        connection.buffer.reserve(4096);
        connection.out.reserve(4096);
        idle.put(connection, 8, LATER);
        idle.sweep(NOW);
        let connection = idle.take(addr, false, NOW).expect("open");
        assert!(connection.buffer.capacity() >= 4096 && connection.out.capacity() >= 4096);
        idle.put(connection, 8, LATER);
        idle.sweep(NOW);
        idle.sweep(NOW);
        let connection = idle.take(addr, true, NOW).expect("open");
        assert_eq!((connection.buffer.capacity(), connection.out.capacity()), (0, 0));
    });
}

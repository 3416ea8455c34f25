//! The network keeps the promises that its module states.

use std::{io, net::SocketAddr, time::Duration};

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::spawn_local,
    time::{Instant, timeout},
};

use super::*;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const LONG: Duration = Duration::from_secs(3600);

fn at_b() -> SocketAddr {
    (B, 80).into()
}

fn tight(seed: u64) -> Options {
    Options { seed, latency_us: 0..=20_000, segment_bytes: 1..=7, window_bytes: 64 }
}

/// Both ends of a connection from A to B.
async fn pair(network: &Network) -> (Stream, Stream) {
    let listener = network.host(B).listen(at_b()).unwrap();
    let here = network.host(A);
    let (client, accepted) = tokio::join!(here.connect(at_b()), listener.accept());
    (client.unwrap(), accepted.0)
}

#[test]
fn bytes_come_whole_and_in_order_through_a_small_window() {
    for seed in 0..50 {
        run(|| async move {
            let network = Network::new(&tight(seed));
            let (mut client, mut server) = pair(&network).await;
            let sent: Vec<u8> = (0..2_000u32).map(|n| n as u8).collect();
            let bytes = sent.clone();
            spawn_local(async move {
                client.write_all(&bytes).await.unwrap();
                client.shutdown().await.unwrap();
                let mut echo = Vec::new();
                client.read_to_end(&mut echo).await.unwrap();
                assert_eq!(echo, bytes[..3], "the other direction is still open");
            });
            let mut heard = Vec::new();
            server.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, sent, "seed {seed}");
            server.write_all(&sent[..3]).await.unwrap();
        });
    }
}

#[test]
fn a_writer_waits_for_its_reader() {
    run(|| async {
        let network = Network::new(&tight(1));
        let (mut client, mut server) = pair(&network).await;
        assert_eq!(client.try_write(&[1; 1000]).unwrap(), 64);
        assert_eq!(client.try_write(&[1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(timeout(LONG, client.write(&[1])).await.is_err(), "nobody reads");
        server.read_exact(&mut [0; 10]).await.unwrap();
        assert_eq!(client.write(&[2; 1000]).await.unwrap(), 10);
    });
}

#[test]
fn nobody_listens_and_nobody_answers() {
    run(|| async {
        let network = Network::new(&tight(1));
        let refused = network.host(A).connect(at_b()).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        network.crash(B.into(), Crash::Machine);
        assert!(timeout(LONG, network.host(A).connect(at_b())).await.is_err());
        network.restart(B.into());
        assert_eq!(network.unopened(A.into()), 2);
        let (_client, _server) = pair(&network).await;
        assert_eq!(network.unopened(A.into()), 2);
    });
}

#[rstest]
#[case(Side::Client)]
#[case(Side::Server)]
fn a_connection_breaks_at_the_very_byte(#[case] toward: Side) {
    for bytes in 0..=20 {
        run(|| async move {
            let network = Network::new(&tight(bytes));
            network.set_resets(move |_| Some(ResetAfter { toward, bytes }));
            let (client, server) = pair(&network).await;
            let (mut writer, mut reader) =
                if toward == Side::Server { (client, server) } else { (server, client) };
            let mut heard = 0;
            let mut byte = [0];
            writer.write_all(&[7; 19]).await.unwrap();
            while let Ok(read) = timeout(LONG, reader.read(&mut byte)).await {
                match read {
                    Ok(read) => heard += read as u64,
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                        assert!(heard <= bytes && bytes < 20);
                        assert!(writer.write(&[0]).await.is_err(), "both ends know");
                        return;
                    }
                }
            }
            assert_eq!((heard, bytes), (19, 20), "only beyond the last byte nothing breaks");
        });
    }
}

#[test]
fn what_a_cut_link_holds_comes_when_it_heals() {
    run(|| async {
        let network = Network::new(&tight(3));
        let (mut client, mut server) = pair(&network).await;
        network.cut(A.into(), B.into());
        client.write_all(b"later").await.unwrap();
        let mut heard = [0; 5];
        assert!(timeout(LONG, server.read(&mut heard)).await.is_err());
        server.write_all(b"now").await.unwrap();
        client.read_exact(&mut [0; 3]).await.unwrap(); // the other way is open
        client.write_all(b"!").await.unwrap();
        network.heal(A.into(), B.into());
        server.read_exact(&mut heard).await.unwrap();
        assert_eq!((&heard, server.read_u8().await.unwrap()), (b"later", b'!'));
    });
}

#[derive(Clone, Copy)]
enum Ending {
    Shut,
    Dropped,
    DroppedUnread,
    Aborted,
    HalfAfterHalf,
}

#[rstest]
#[case(Ending::Shut, Ok(0))]
#[case(Ending::Dropped, Ok(0))]
#[case(Ending::DroppedUnread, Err(io::ErrorKind::ConnectionReset))]
#[case(Ending::Aborted, Err(io::ErrorKind::ConnectionReset))]
#[case(Ending::HalfAfterHalf, Ok(0))]
fn how_a_peer_sees_the_end(#[case] ending: Ending, #[case] seen: Result<usize, io::ErrorKind>) {
    run(|| async move {
        let network = Network::new(&tight(5));
        let (mut client, mut server) = pair(&network).await;
        if matches!(ending, Ending::DroppedUnread) {
            server.write_all(b"unread").await.unwrap();
            tokio::time::sleep(LONG).await;
        }
        let mut open = None;
        match ending {
            Ending::Shut => {
                client.shutdown().await.unwrap();
                open = Some(client);
            }
            Ending::Dropped | Ending::DroppedUnread => drop(client),
            Ending::Aborted => {
                client.reset_when_dropped();
                drop(client);
            }
            Ending::HalfAfterHalf => {
                let (read, write) = client.into_split();
                drop(write);
                let end = server.read(&mut [0]).await;
                assert_eq!(end.unwrap(), 0, "the half that is written ends its direction");
                drop(read);
            }
        }
        assert_eq!(server.read(&mut [0]).await.map_err(|error| error.kind()), seen);
        if open.is_none() && seen.is_ok() {
            // What is written to a closed end comes back as a reset.
            server.write_all(b"?").await.unwrap();
            tokio::time::sleep(LONG).await;
            assert_eq!(server.take_error().unwrap().kind(), io::ErrorKind::ConnectionReset);
            assert_eq!(server.write(b"?").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        }
        drop((open, server));
        tokio::time::sleep(LONG).await;
        assert_eq!(network.open_connections(A.into()) + network.open_connections(B.into()), 0);
    });
}

#[test]
fn a_process_that_dies_resets_and_a_machine_falls_silent() {
    for crash in [Crash::Process, Crash::Machine] {
        run(|| async move {
            let network = Network::new(&tight(2));
            let (mut client, _server) = pair(&network).await;
            network.crash(B.into(), crash);
            let read = timeout(LONG, client.read(&mut [0])).await;
            match crash {
                Crash::Process => assert!(read.unwrap().is_err()),
                Crash::Machine => {
                    assert!(read.is_err());
                    network.restart(B.into());
                    client.write_all(b"still there?").await.unwrap();
                    assert!(timeout(LONG, client.read(&mut [0])).await.unwrap().is_err());
                }
            }
        });
    }
}

#[test]
fn the_same_seed_is_the_same_run_and_another_is_not() {
    let digest = |seed| {
        run(|| async move {
            let network = Network::new(&tight(seed));
            let (mut client, mut server) = pair(&network).await;
            spawn_local(async move { client.write_all(&[1; 500]).await });
            server.read_exact(&mut [0; 500]).await.unwrap();
            let trace = network.trace();
            assert!(trace.events() > 70 && trace.to_string().contains("bytes to Server"));
            trace.digest()
        })
    };
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}

#[test]
fn latency_is_what_it_was_set_to() {
    run(|| async {
        let network = Network::new(&Options::seeded(1));
        let (mut client, mut server) = pair(&network).await;
        network.set_latency(A.into(), B.into(), 5_000_000..=5_000_000);
        let sent = Instant::now();
        client.write_all(b"x").await.unwrap();
        server.read_u8().await.unwrap();
        assert_eq!(sent.elapsed(), Duration::from_secs(5));
    });
}

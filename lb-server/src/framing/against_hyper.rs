//! The scanner before the library that it guards: what it lets pass, hyper must neither refuse nor divide
//! differently.

use std::cell::Cell;
use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::tests::{LIMITS, streams};
use super::{Position, Scanner};

/// What hyper makes of a stream.
#[derive(Debug, Default)]
struct Seen {
    /// Heads.
    requests: u64,
    /// Bodies that did not end well.
    broken_bodies: u64,
    /// What came back.
    answers: String,
    is_parse_error: bool,
}

async fn serve(stream: &[u8]) -> Seen {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(stream).await.expect("fits");
    client.shutdown().await.expect("shuts down");
    let (requests, broken_bodies) = (Cell::new(0), Cell::new(0));
    let service = service_fn(|request: Request<Incoming>| {
        requests.set(requests.get() + 1);
        let broken_bodies = &broken_bodies;
        // After a CONNECT that succeeds there is no HTTP any more.
        let is_connect = request.method() == Method::CONNECT;
        async move {
            if request.into_body().collect().await.is_err() {
                broken_bodies.set(broken_bodies.get() + 1);
            }
            let mut response = Response::new(Empty::<Bytes>::new());
            if is_connect {
                *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            }
            Ok::<_, Infallible>(response)
        }
    });
    let result = http1::Builder::new()
        .half_close(true)
        .max_headers(LIMITS.fields)
        .serve_connection(TokioIo::new(server), service)
        .await;
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).await.expect("readable");
    Seen {
        requests: requests.get(),
        broken_bodies: broken_bodies.get(),
        answers: String::from_utf8_lossy(&answers).into_owned(),
        is_parse_error: result.is_err_and(|error| error.is_parse()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn hyper_takes_what_the_scanner_delivers(stream in streams(), cut in any::<prop::sample::Index>()) {
        let mut scanner = Scanner::new(LIMITS);
        let (first, second) = stream.split_at(cut.index(stream.len() + 1));
        let mut delivered = Vec::new();
        let mut is_refused = false;
        for piece in [first, second] {
            match scanner.scan(piece) {
                Ok(()) => delivered.extend_from_slice(piece),
                Err(refusal) => {
                    delivered.extend_from_slice(&piece[..refusal.deliverable]);
                    is_refused = true;
                    break;
                }
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let seen = runtime.block_on(serve(&delivered));
        prop_assert!(!seen.is_parse_error && !seen.answers.contains("HTTP/1.1 4"), "{:?}", seen);
        // hyper stops after HTTP/1.0 and after a body that breaks off.
        let stops = delivered.windows(8).any(|window| window == b"HTTP/1.0");
        if !stops {
            prop_assert_eq!(seen.requests, scanner.heads());
        }
        prop_assert!(seen.requests <= scanner.heads());
        let breaks_off = u64::from(scanner.position() == Position::Body);
        prop_assert!(seen.broken_bodies <= breaks_off, "{:?}", seen);
        if is_refused && scanner.position() == Position::Body && !stops {
            prop_assert_eq!(seen.broken_bodies, 1, "a refused body must not look complete");
        }
    }
}

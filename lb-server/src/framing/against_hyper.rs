//! The scanner before the library that it guards: what it lets pass, hyper must neither refuse nor divide
//! differently.

use std::cell::{Cell, RefCell};
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

use super::tests::{LIMITS, heads, streams};
use super::{Position, Scanner};
use crate::request_head::{Places, RequestHead};

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
    /// The first head, as its parts.
    first: Option<Parts>,
}

/// A head's method, path and query, authority and fields (in lower case, in order of their names).
type Parts = (String, String, Option<String>, Vec<(String, Vec<u8>)>);

fn parts_of(head: &RequestHead) -> Parts {
    let mut fields: Vec<(String, Vec<u8>)> = head
        .fields()
        .map(|field| (String::from_utf8_lossy(field.name).to_lowercase(), field.value.to_vec()))
        .collect();
    // hyper keeps the order among the fields of one name only.
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    let query = head.query().map_or(String::new(), |query| format!("?{query}"));
    assert_eq!(format!("{}{query}", head.path()), head.target());
    (head.method().to_owned(), head.target().to_owned(), head.authority().map(str::to_owned), fields)
}

async fn serve(stream: &[u8]) -> Seen {
    let (mut client, server) = tokio::io::duplex(1 << 20);
    client.write_all(stream).await.expect("fits");
    client.shutdown().await.expect("shuts down");
    let (requests, broken_bodies) = (Cell::new(0), Cell::new(0));
    let first = RefCell::new(None);
    let service = service_fn(|request: Request<Incoming>| {
        requests.set(requests.get() + 1);
        let (parts, body) = request.into_parts();
        if parts.method != Method::CONNECT {
            first.borrow_mut().get_or_insert_with(|| parts_of(&RequestHead::of_library(&parts)));
        }
        let request = Request::from_parts(parts, body);
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
        first: first.into_inner(),
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
    /// What is served without hyper is what hyper would serve, part by part.
    #[test]
    fn a_plain_head_is_what_hyper_sees(head in heads(), behind in prop_oneof![3 => Just(String::new()), 1 => "[\r\nGx]{1,4}"]) {
        let stream = [&head[..], behind.as_bytes()].concat();
        let (mut scanner, mut places) = (Scanner::new(LIMITS), Places::into(Vec::new()));
        let is_plain = scanner.scan_first(&stream, &mut places) == Ok(true) && places.is_plain();
        let mut again = Scanner::new(LIMITS);
        prop_assert_eq!(again.scan(&stream).is_ok(), scanner.scan(b"").is_ok(), "one judges as the other");
        if !is_plain {
            return Ok(());
        }
        prop_assert!(behind.is_empty(), "more than a head is none");
        prop_assert_eq!((scanner.position(), scanner.heads()), (Position::Between, 1));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let seen = runtime.block_on(serve(&stream));
        prop_assert!(!seen.is_parse_error, "{:?}", seen);
        let head = RequestHead::plain(&stream, places, Vec::new());
        for field in head.fields() {
            let anew = [field.name, b": ", field.value, b"\r\n"].concat();
            prop_assert!(field.line.clone().is_none_or(|line| head.bytes()[line] == anew), "{:?}", field);
        }
        prop_assert_eq!(seen.first, Some(parts_of(&head)));
        prop_assert_eq!((seen.requests, seen.broken_bodies), (1, 0));
    }
}

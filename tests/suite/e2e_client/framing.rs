//! What is malformed or ambiguous is answered with 400 and a closed connection, and never reaches a
//! backend.

use lb_core::{prng::Prng, reason::Reason};
use lb_testkit::{Backend, BodyEnd, RawClient, Recorded, Response};
use lb_tests::{Line, Setup, Stage};

/// What a smuggler wants to be read as a request of its own.
const SMUGGLED: &[u8] = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const GOOD: &str = "GET /good HTTP/1.1\r\nHost: a\r\n\r\n";

/// Heads that are refused, and a part of what the log says of each.
const HEADS: &[(&[u8], &str)] = &[
    // Two lengths, or a length and chunks.
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "Transfer-Encoding"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "more than one"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: 3\r\n\r\nabc", "more than one"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", "Content-Length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3,4\r\n\r\nabc", "Content-Length"),
    // Lengths that are none.
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", "Content-Length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", "Content-Length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc", "Content-Length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 4\r\n\r\nabc", "Content-Length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3.0\r\n\r\nabc", "Content-Length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc", "Content-Length"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\nabc", "Content-Length"),
    // Codings other than one `chunked`.
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "control byte"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n", "chunked"),
    (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0"),
    // Bytes that end lines for some readers only.
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "bare CR"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\r\n\r\n", "bare CR"),
    (b"GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "bare LF"),
    (b"GET / HTTP/1.1\r\nHost: a\n\r\n", "bare LF"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\n\n", "bare LF"),
    (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "bare LF"),
    (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare LF"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", "control byte"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", "control byte"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", "control byte"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", "control byte"),
    (b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    // Field lines.
    (b"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n", "before a field's colon"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\t: b\r\n\r\n", "before a field's colon"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", "before a field's colon"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "before a field's colon"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", "folded"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n\tc\r\n\r\n", "folded"),
    (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "folded"),
    (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", ""),
    (b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "empty field name"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", ""),
    (b"GET / HTTP/1.1\r\nHost: a\r\nnocolon\r\n\r\n", "without a colon"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX(Y: z\r\n\r\n", "not a token"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX\xe4: z\r\n\r\n", "not a token"),
    // Host.
    (b"GET / HTTP/1.1\r\n\r\n", "without Host"),
    (b"GET http://a/ HTTP/1.1\r\n\r\n", "without Host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "more than one Host"),
    (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "more than one Host"),
    (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "more than one Host"),
    (b"GET / HTTP/1.1\r\nHost:\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", "host"),
    (b"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n", ""),
    // The request line.
    (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
    (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", "version"),
    (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "after the version"),
    (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "version"),
    (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", "method"),
    (b"GET /\r\nHost: a\r\n\r\n", "version"),
    (b"GET\r\nHost: a\r\n\r\n", "target"),
    (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", "method"),
    (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "method"),
    (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", "version"),
    (b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", "version"),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "version"),
    (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", "version"),
    (b"GET / http/1.1\r\nHost: a\r\n\r\n", "version"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "control byte"),
    (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
    (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "target *"),
    (b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", "host"),
    (b"GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "host"),
    (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "scheme"),
    (b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", "percent-encoded"),
    (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "fragment"),
    (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    (b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    (b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n", ""),
    (b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "empty lines"),
];

const CHUNKED: &str = "POST /chunked HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Chunked bodies that are refused.
const CHUNKS: &[&[u8]] = &[
    b"g\r\n",
    b"\r\n",
    b"+5\r\nhello\r\n0\r\n\r\n",
    b"-1\r\nhello\r\n0\r\n\r\n",
    b"0x5\r\nhello\r\n0\r\n\r\n",
    b" 5\r\nhello\r\n0\r\n\r\n",
    b"5 \r\nhello\r\n0\r\n\r\n",
    b"5\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\n0\r\n\r\n",
    b"5\r\nhello0\r\n\r\n",
    b"4\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n00000000000000000\r\n\r\n",
    b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    b"FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    b"5;a\x01\r\nhello\r\n0\r\n\r\n",
    b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    b"5\r\nhello\r\n0\r\nnocolon\r\n\r\n",
    b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"5\r\nhello\r\n0\r\nHost: b\r\n\r\n",
    b"5\r\nhello\r\n0\r\nX: y\n\r\n",
];

async fn setup() -> (Backend, Stage) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    (mango, stage)
}

/// 400, a word that the connection ends, and its end.
async fn assert_refused(client: &mut RawClient, reason: Reason, what: &str) {
    let answer = client.response().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let header = |name| answer.header(name);
    assert_eq!((answer.status(), answer.body.text().as_str()), (400, "Bad Request\n"), "{what}");
    assert_eq!((header("connection"), header("x-lb-reason")), (Some("close"), Some(reason.code())), "{what}");
    assert!(header("date").is_some(), "{what}");
    let rest = client.read_to_end().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(rest, b"", "{what}");
}

async fn next_line(stage: &Stage, count: &mut usize) -> Line {
    *count += 1;
    stage.log.wait_for(*count).await.swap_remove(*count - 1)
}

/// A last request shows that nothing else came before it.
async fn assert_nothing_arrived(stage: &Stage, mango: &Backend) {
    assert_eq!(stage.get("/last", "a").await.status(), 200);
    let targets: Vec<_> = mango.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/last"]);
    assert_eq!(mango.connections().total, 1);
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

#[tokio::test]
async fn a_bad_head_is_refused() {
    let (mango, stage) = setup().await;
    let mut count = 0;
    for (head, detail) in HEADS {
        let what = shown(head);
        let mut client = stage.client().await;
        client.send([head, SMUGGLED].concat()).await.unwrap();
        assert_refused(&mut client, Reason::MalformedRequest, &what).await;
        let line = next_line(&stage, &mut count).await;
        assert_eq!((line.status, line.reason), (400, Some(Reason::MalformedRequest)), "{what}");
        assert!(line.detail.contains(detail), "{what}: {}", line.detail);
        assert_ne!(line.detail, "refused by the HTTP library", "{what}");
    }
    assert_nothing_arrived(&stage, &mango).await;
    assert_eq!(stage.log.wait_for(count + 1).await.len(), count + 1, "one line each");
}

#[tokio::test]
async fn a_bad_head_is_refused_byte_by_byte() {
    let (mango, stage) = setup().await;
    for (head, _) in HEADS {
        let what = shown(head);
        let mut client = stage.client().await;
        for byte in head.chunks(1).chain([SMUGGLED]) {
            if client.send(byte).await.is_err() {
                break; // refused already
            }
        }
        assert_refused(&mut client, Reason::MalformedRequest, &what).await;
    }
    assert_nothing_arrived(&stage, &mango).await;
}

#[tokio::test]
async fn a_bad_head_after_a_good_request_lets_that_one_be_answered() {
    let (mango, stage) = setup().await;
    let mut count = 0;
    for (head, _) in HEADS {
        let what = shown(head);
        let mut client = stage.client().await;
        client.send([GOOD.as_bytes(), head, SMUGGLED].concat()).await.unwrap();
        let first = client.response().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(first.status(), 200, "{what}");
        assert_refused(&mut client, Reason::MalformedRequest, &what).await;
        assert_eq!(next_line(&stage, &mut count).await.status, 200, "{what}");
        assert_eq!(next_line(&stage, &mut count).await.status, 400, "{what}");
    }
    assert!(mango.requests().iter().all(|request| request.target() == "/good"));
    assert_eq!(mango.requests().len(), HEADS.len());
    stage.assert_idle();
}

#[tokio::test]
async fn bad_chunks_that_come_with_the_head_reach_nobody() {
    let (mango, stage) = setup().await;
    let mut count = 0;
    for chunks in CHUNKS {
        let what = shown(chunks);
        let mut client = stage.client().await;
        client.send([CHUNKED.as_bytes(), chunks, SMUGGLED].concat()).await.unwrap();
        assert_refused(&mut client, Reason::MalformedBody, &what).await;
        let line = next_line(&stage, &mut count).await;
        assert_eq!((line.status, line.reason), (400, Some(Reason::MalformedBody)), "{what}");
        assert_ne!(line.detail, "", "{what}");
    }
    assert_nothing_arrived(&stage, &mango).await;
}

#[tokio::test]
async fn bad_chunks_that_come_later_never_make_a_whole_request() {
    let (mango, stage) = setup().await;
    let mut count = 0;
    for chunks in CHUNKS {
        let what = shown(chunks);
        mango.forget_requests();
        let mut client = stage.client().await;
        client.send(CHUNKED).await.unwrap();
        client.send("3\r\nabc\r\n").await.unwrap();
        mango.wait_until("three bytes", |all| all.iter().any(|r| r.body.length_bytes == 3)).await.unwrap();
        client.send([chunks, SMUGGLED].concat()).await.unwrap();
        assert_refused(&mut client, Reason::MalformedBody, &what).await;
        let line = next_line(&stage, &mut count).await;
        assert_eq!((line.status, line.reason), (400, Some(Reason::MalformedBody)), "{what}");
        assert_ne!(line.detail, "", "{what}");
        let arrived = mango.wait_until("the end", |all| all.iter().all(|r| r.abandoned)).await.unwrap();
        assert_eq!((arrived.len(), arrived[0].body.end), (1, BodyEnd::Truncated), "{what}");
        stage.assert_idle();
    }
}

/// Who answers before the body is whole must not lend its answer to a broken request's end.
#[tokio::test]
async fn a_body_that_ends_early_is_a_broken_request() {
    let (mango, stage) = setup().await;
    for (head, body) in [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", "abc"),
        (CHUNKED, "5\r\nabc"),
        (CHUNKED, "3\r\nabc\r\n"),
        (CHUNKED, "3\r\nabc\r\n0\r\n"),
    ] {
        mango.forget_requests();
        let before = stage.log.lines().len();
        let mut client = stage.client().await;
        client.send(head).await.unwrap();
        client.send(body).await.unwrap();
        client.finish_sending().await.unwrap();
        let came = client.closed().await.unwrap();
        assert!(came.is_empty() || came.starts_with(b"HTTP/1.1 400 "), "{body:?}: {}", shown(&came));
        let line = stage.log.wait_for(before + 1).await.swap_remove(before);
        assert!(matches!(line.status, 400 | 499), "{body:?}: {line:?}");
        let arrived = mango.wait_until("its end", |all| all.iter().all(|r| r.abandoned)).await.unwrap();
        assert!(arrived.iter().all(|request| !request.body.is_complete()), "{body:?}: {arrived:?}");
        stage.assert_idle();
    }
}

#[tokio::test]
async fn a_head_that_ends_early_is_no_request() {
    let (mango, stage) = setup().await;
    for head in
        ["G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r"]
    {
        let mut client = stage.client().await;
        client.send(head).await.unwrap();
        client.finish_sending().await.unwrap();
        let came = client.closed().await.unwrap();
        assert!(came.is_empty() || came.starts_with(b"HTTP/1.1 400 "), "{head:?}: {}", shown(&came));
    }
    assert_nothing_arrived(&stage, &mango).await;
}

const GOODS: [&str; 4] = [
    GOOD,
    "PUT /good HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /",
    "POST /good HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\n0\r\n\r\n",
    "HEAD /good HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Good requests, one bad one, and what a smuggler adds, cut into pieces anywhere: each good one is
/// answered, then comes one 400 and the end, and nothing else reaches the backend whole.
#[tokio::test]
async fn streams_cut_anywhere_are_read_alike() {
    let (mango, stage) = setup().await;
    let mut prng = Prng::new(0xe1);
    let mut draw = |below: usize| usize::try_from(prng.next_u64() % below as u64).unwrap();
    for round in 0..400 {
        mango.forget_requests();
        let before = stage.log.lines().len();
        let goods: Vec<&str> = (0..draw(4)).map(|_| GOODS[draw(GOODS.len())]).collect();
        let mut stream = goods.concat().into_bytes();
        if draw(2) == 0 {
            stream.extend_from_slice(HEADS[draw(HEADS.len())].0);
        } else {
            stream.extend_from_slice(CHUNKED.as_bytes());
            stream.extend_from_slice(CHUNKS[draw(CHUNKS.len())]);
        }
        stream.extend_from_slice(SMUGGLED);
        let what = format!("round {round}: {}", shown(&stream));
        let mut client = stage.client().await;
        let mut rest = stream.as_slice();
        while !rest.is_empty() {
            let (piece, next) = rest.split_at(1 + draw(rest.len().min(120)));
            if client.send(piece).await.is_err() {
                break; // refused already
            }
            for _ in 0..draw(3) {
                tokio::task::yield_now().await;
            }
            rest = next;
        }
        for good in &goods {
            let method = good.split(' ').next().unwrap();
            let answer = client.response_to(method).await.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(answer.status(), 200, "{what}");
        }
        let answer = client.response().await.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((answer.status(), answer.header("connection")), (400, Some("close")), "{what}");
        assert_eq!(client.closed().await.unwrap(), b"", "{what}");
        let lines = stage.log.wait_for(before + goods.len() + 1).await;
        let statuses: Vec<_> = lines[before..].iter().map(|line| line.status).collect();
        assert_eq!(statuses, [vec![200; goods.len()], vec![400]].concat(), "{what}");
        stage.assert_idle();
        let settled = |all: &[&Recorded]| all.iter().all(|r| r.body.is_complete() || r.abandoned);
        let arrived = mango.wait_until("the bodies' ends", settled).await.unwrap();
        let whole = arrived.iter().filter(|request| request.body.is_complete());
        assert_eq!(whole.clone().count(), goods.len(), "{what}: {arrived:?}");
        assert!(whole.into_iter().all(|request| request.path() == "/good"), "{what}");
        assert!(arrived.iter().all(|request| request.path() != "/smuggled"), "{what}");
    }
}

/// What looks odd and is allowed.
#[tokio::test]
async fn odd_but_valid_requests_are_served() {
    let (mango, stage) = setup().await;
    let odd: [&[u8]; 7] = [
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nhOST:a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \t a \t \r\nX:\r\nY: \xe4\xff\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\n\r\n0005;a=b;c=\"d;\"\r\nhello\r\n000\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0005\r\n\r\nhello",
        b"mEtHoD!#$ / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    ];
    let mut client = stage.client().await;
    for request in odd {
        client.send(request).await.unwrap();
        let answer: Response = client.response().await.unwrap();
        assert_eq!(answer.status(), 200, "{}: {answer}", shown(request));
    }
    assert_eq!(mango.requests().len(), odd.len());
    assert!(mango.requests().iter().all(|request| request.body.is_complete()));
}

//! Which header fields cross, and what the backend is told of the client.

use lb_testkit::{Backend, Behaviour, Recorded};
use lb_tests::{Line, Setup, Stage};
use rstest::rstest;

async fn setup(listener: &str) -> (Backend, Stage) {
    let mango = Backend::text("said").start().await.unwrap();
    let stage = Setup::new(&[&mango]).listener(listener).start();
    (mango, stage)
}

const TRUSTING: &str = r#"trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]"#;

/// Sends a request with these fields; gives what arrived and what the log says.
async fn send(mango: &Backend, stage: &Stage, fields: &str) -> (Recorded, Line) {
    let before = stage.log.lines().len();
    let mut client = stage.client().await;
    client.send(format!("GET / HTTP/1.1\r\nHost: www.mango.com\r\n{fields}\r\n")).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let line = stage.log.wait_for(before + 1).await.swap_remove(before);
    (mango.requests().pop().unwrap(), line)
}

/// In both directions: what concerns one connection only, and what Connection names.
const HOP_BY_HOP: &[(&str, &str)] = &[
    ("Connection", "keep-alive, X-Named"),
    ("Connection", "x-other,, X-Third ,keep-alive"),
    ("X-Named", "secret"),
    ("X-Other", "secret"),
    ("X-Third", "secret"),
    ("X-Third", "secret"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Connection", "keep-alive"),
    ("Proxy-Authenticate", "Basic"),
    ("Proxy-Authorization", "Basic secret"),
    ("TE", "gzip"),
    ("Upgrade", "websocket"),
];

/// Fields that cross, each line for itself, with their bytes.
const END_TO_END: &[(&str, &str)] = &[
    ("X-Twice", "1"),
    ("X-Twice", "2"),
    ("X-Empty", ""),
    ("X-Latin", "\u{e4}\u{ff}"),
    ("Via", "1.1 other"),
    ("Cache-Control", "no-transform"),
];

/// As the testkit shows bytes: one character each.
fn lines(fields: &[(&str, &str)]) -> Vec<u8> {
    let text: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

#[tokio::test]
async fn hop_by_hop_fields_of_requests_stay_behind() {
    let (mango, stage) = setup("").await;
    let mut client = stage.client().await;
    let head =
        [&b"GET / HTTP/1.1\r\nHost: a\r\n"[..], &lines(HOP_BY_HOP), &lines(END_TO_END), b"\r\n"].concat();
    client.send(head).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let headers = &mango.requests()[0].head.headers;
    for (name, _) in HOP_BY_HOP {
        assert!(!headers.has(name), "{name}: {headers:?}");
    }
    for (name, _) in END_TO_END {
        let expected: Vec<_> = END_TO_END.iter().filter(|field| field.0 == *name).map(|f| f.1).collect();
        assert_eq!(headers.all(name).collect::<Vec<_>>(), expected);
    }
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    let expected = [
        "cache-control",
        "host",
        "via",
        "x-empty",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-latin",
        "x-request-id",
        "x-twice",
    ];
    assert_eq!(names, expected, "nothing is lost and nothing added");
}

#[tokio::test]
async fn hop_by_hop_fields_of_responses_stay_behind() {
    let (mango, stage) = setup("").await;
    let raw = [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"[..],
        &lines(HOP_BY_HOP),
        &lines(END_TO_END),
        b"\r\nsaid",
    ]
    .concat();
    mango.behave(Behaviour::raw(raw));
    let mut client = stage.client().await;
    let answer = client.get("/", "a").await.unwrap();
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "said"));
    let headers = &answer.head.headers;
    for (name, _) in HOP_BY_HOP {
        assert!(!headers.has(name), "{name}: {headers:?}");
    }
    for (name, _) in END_TO_END {
        let expected: Vec<_> = END_TO_END.iter().filter(|field| field.0 == *name).map(|f| f.1).collect();
        assert_eq!(headers.all(name).collect::<Vec<_>>(), expected);
    }
    assert_eq!(headers.all("set-cookie").collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert!(!headers.has("x-forwarded-for") && !headers.has("server"));
    // The backend's connection ended; the client's goes on.
    mango.behave_normally();
    assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
}

/// Whatever another field of that name says before or after.
#[rstest]
#[case("Connection: keep-alive\r\nConnection: X-Secret\r\n")]
#[case("Connection: close\r\nConnection: X-Secret\r\n")]
#[case("Connection: X-Secret\r\nConnection: keep-alive\r\n")]
#[tokio::test]
async fn every_connection_field_names_fields(#[case] connection: &str) {
    let (mango, stage) = setup("").await;
    let (arrived, _) = send(&mango, &stage, &format!("{connection}X-Secret: 1\r\n")).await;
    assert_eq!(arrived.header("x-secret"), None);
}

/// What Connection may not take away: the framing, Host, and what the balancer says itself.
#[tokio::test]
async fn connection_cannot_name_what_the_backend_needs() {
    let (mango, stage) = setup("").await;
    let mut client = stage.client().await;
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nConnection: host, content-length, \
                transfer-encoding, x-forwarded-for, x-forwarded-host, x-forwarded-proto, x-request-id\r\n\r\n";
    client.send(format!("{head}hello")).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let arrived = &mango.requests()[0];
    assert_eq!((arrived.header("host"), arrived.body.start.as_slice()), (Some("a"), &b"hello"[..]));
    for name in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-request-id"] {
        assert_eq!(arrived.head.headers.all(name).count(), 1, "{name}");
    }
}

/// A recipient may merge trailers into the head: what may not stand there may not come this way either.
#[tokio::test]
async fn trailers_bring_nothing_that_the_head_may_not() {
    let (mango, stage) = setup("").await;
    let mut client = stage.client().await;
    let names = "X-Sum, Connection, Keep-Alive, X-Forwarded-For, X-Forwarded-Host, X-Request-ID, X-Real-IP";
    let head = format!("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: {names}\r\n\r\n");
    let trailers: String = names.split(", ").map(|name| format!("{name}: 6.6.6.6\r\n")).collect();
    client.send(format!("{head}5\r\nhello\r\n0\r\n{trailers}\r\n")).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let arrived = mango.requests().remove(0);
    assert!(arrived.body.is_complete() && arrived.body.start == b"hello");
    let came: Vec<_> = arrived.body.trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert_eq!(came, ["x-sum"]);

    let raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, Connection, Keep-Alive\r\n\r\n\
               4\r\nsaid\r\n0\r\nX-Sum: 1\r\nConnection: x\r\nKeep-Alive: 1\r\n\r\n";
    mango.behave(Behaviour::raw(raw));
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n").await.unwrap();
    let answer = client.response().await.unwrap();
    assert!(answer.body.is_complete() && answer.body.start == b"said");
    let came: Vec<_> = answer.body.trailers.iter().collect();
    assert_eq!(came, [("x-sum", "1")]);
}

/// `TE: trailers` is said anew to the backend, for itself.
#[tokio::test]
async fn trailers_are_asked_for_anew() {
    let (mango, stage) = setup("").await;
    let (arrived, _) = send(&mango, &stage, "TE: trailers, gzip\r\nConnection: TE\r\n").await;
    assert_eq!((arrived.header("te"), arrived.header("connection")), (Some("trailers"), Some("te")));
}

#[tokio::test]
async fn an_untrusted_peer_says_nothing_about_the_client() {
    let (mango, stage) = setup(r#"trusted_proxies = ["10.0.0.0/8"]"#).await;
    let lies = "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
                X-Request-ID: chosen\r\nX_Forwarded_For: 6.6.6.6\r\nx-forwarded_for: 6.6.6.6\r\nX_REAL_IP: 6.6.6.6\r\n";
    let (arrived, line) = send(&mango, &stage, lies).await;
    let all = |name| arrived.head.headers.all(name).collect::<Vec<_>>();
    assert_eq!(all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(all("x-forwarded-proto"), ["http"]);
    assert_eq!(all("x-forwarded-host"), ["www.mango.com"]);
    let others =
        ["x-forwarded-port", "x-real-ip", "forwarded", "x_forwarded_for", "x-forwarded_for", "x_real_ip"];
    for name in others {
        assert!(all(name).is_empty(), "{name}");
    }
    assert_eq!(all("x-request-id"), [&line.request_id]);
    assert_ne!(line.request_id, "chosen");
    assert_eq!(line.client.to_string(), "127.0.0.1");
}

#[tokio::test]
async fn each_request_has_an_id_of_its_own() {
    let (mango, stage) = setup("").await;
    let mut client = stage.client().await;
    for _ in 0..20 {
        assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
        stage.get("/", "a").await;
    }
    let mut ids: Vec<_> =
        mango.requests().iter().map(|r| r.header("x-request-id").unwrap().to_owned()).collect();
    assert!(
        ids.iter().all(|id| id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())),
        "{ids:?}"
    );
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 40);
}

#[tokio::test]
async fn a_trusted_peer_is_believed() {
    let (mango, stage) = setup(TRUSTING).await;
    let said = "X-Forwarded-For: 203.0.113.9, 10.0.0.7\r\nX-Forwarded-Proto: https\r\n\
                X-Forwarded-Host: www.example.org\r\nX-Request-ID: from-before\r\n";
    let (arrived, line) = send(&mango, &stage, said).await;
    assert_eq!(arrived.header("x-forwarded-for"), Some("203.0.113.9, 10.0.0.7, 127.0.0.1"));
    assert_eq!(arrived.header("x-forwarded-proto"), Some("https"));
    assert_eq!(arrived.header("x-forwarded-host"), Some("www.example.org"));
    assert_eq!(arrived.header("x-request-id"), Some("from-before"));
    assert_eq!((line.client.to_string().as_str(), line.request_id.as_str()), ("203.0.113.9", "from-before"));
}

#[tokio::test]
async fn a_trusted_peer_that_says_nothing_is_the_client() {
    let (mango, stage) = setup(TRUSTING).await;
    let (arrived, line) = send(&mango, &stage, "").await;
    assert_eq!(arrived.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(arrived.header("x-forwarded-proto"), Some("http"));
    assert_eq!(arrived.header("x-forwarded-host"), Some("www.mango.com"));
    assert_eq!(line.client.to_string(), "127.0.0.1");
}

#[rstest]
#[case::right_most_untrusted("X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.0.0.1\r\n", "203.0.113.9")]
#[case::over_several_lines(
    "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n",
    "203.0.113.9"
)]
#[case::all_trusted("X-Forwarded-For: 10.1.1.1, 10.0.0.1\r\n", "10.1.1.1")]
#[case::with_port("X-Forwarded-For: 203.0.113.9:1234\r\n", "203.0.113.9")]
#[case::v6("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1")]
#[case::v6_with_port("X-Forwarded-For: [2001:db8::1]:80\r\n", "2001:db8::1")]
#[case::mapped("X-Forwarded-For: ::ffff:203.0.113.9\r\n", "203.0.113.9")]
#[case::garbage_stops("X-Forwarded-For: 203.0.113.9, unknown, 10.0.0.1\r\n", "10.0.0.1")]
#[case::only_garbage("X-Forwarded-For: unknown\r\n", "127.0.0.1")]
#[tokio::test]
async fn the_client_is_the_right_most_that_is_not_trusted(#[case] fields: &str, #[case] client: &str) {
    let (mango, stage) = setup(TRUSTING).await;
    let (_, line) = send(&mango, &stage, fields).await;
    assert_eq!(line.client.to_string(), client);
}

#[tokio::test]
async fn via_is_not_added() {
    let (mango, stage) = setup("").await;
    let (arrived, _) = send(&mango, &stage, "").await;
    assert!(!arrived.head.headers.has("via") && !arrived.head.headers.has("forwarded"));
    let answer = stage.get("/", "a").await;
    assert_eq!((answer.header("via"), answer.header("server")), (None, None));
}

/// Host arrives as the client wrote it, port and case included.
#[rstest]
#[case("www.mango.com")]
#[case("WWW.Mango.COM:8000")]
#[case("www.mango.com.")]
#[case("[::1]:8000")]
#[tokio::test]
async fn host_arrives_as_it_was(#[case] host: &str) {
    let (mango, stage) = setup("").await;
    assert_eq!(stage.get("/", host).await.status(), 200);
    let arrived = &mango.requests()[0];
    assert_eq!((arrived.header("host"), arrived.header("x-forwarded-host")), (Some(host), Some(host)));
}

//! A request that comes as one whole head is served by the balancer's own code, any other by the HTTP
//! library. Nobody can tell which: the same request gets the same answer, reaches the backend as the same
//! request, and leaves the same line in the log.

use std::time::Duration;

use lb_server::Shutdown;
use lb_testkit::{Backend, Behaviour, End, Framing, Gate, RawClient};
use lb_tests::{Line, Setup, Stage};

/// Behind an empty line, which every server skips, a head is the HTTP library's.
const FOR_THE_LIBRARY: &str = "\r\n";

/// Everything about an exchange but what is another one each time.
#[derive(Debug, PartialEq, Eq)]
struct Exchange {
    interim: Vec<Vec<String>>,
    /// The answer, or of a broken one the line that tells so.
    answer: Result<Answer, String>,
    /// What came of a second request on the same connection.
    next: Result<(u16, String), ()>,
    arrived: Vec<(Vec<String>, u64)>,
}

#[derive(Debug, PartialEq, Eq)]
struct Answer {
    head: Vec<String>,
    length: u64,
    body: String,
    end: String,
    trailers: Vec<String>,
    line: String,
}

/// The lines of a head, with names in lower case and in order.
fn lines(raw: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(raw);
    let mut lines = text.trim_end().split("\r\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let mut fields: Vec<String> = lines
        .map(|line| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            match name.to_lowercase().as_str() {
                name @ ("date" | "x-request-id") => format!("{name}: (any)"),
                name => format!("{name}: {}", value.trim()),
            }
        })
        .collect();
    fields.sort();
    [vec![first], fields].concat()
}

fn described(line: &Line) -> String {
    let Line { method, host, target, version, detail, route, pool, .. } = line;
    let bytes = (line.request_bytes, line.response_bytes);
    format!("{line} {method} {host} {target} {version} {detail:?} {route:?} {pool:?} {bytes:?}")
}

async fn exchange(stage: &Stage, backend: &Backend, behaviour: &Behaviour, request: &str) -> Exchange {
    let (logged, seen) = (stage.log.lines().len(), backend.requests().len());
    backend.behave(behaviour.clone());
    let mut client = stage.client().await;
    client.send(request).await.unwrap();
    let method = request.trim_start().split(' ').next().unwrap_or_default();
    let came = client.response_to(method).await;
    let line = stage.log.wait_for(logged + 1).await.swap_remove(logged);
    let mut arrived: Vec<_> = backend.requests()[seen..]
        .iter()
        .map(|arrived| (lines(&arrived.head.raw), arrived.body.length_bytes))
        .collect();
    // How often it is tried depends on whether a connection was kept.
    arrived.dedup();
    backend.behave(Behaviour::own());
    let next = match came {
        Ok(_) => next(&mut client).await,
        Err(_) => Err(()),
    };
    let (interim, answer) = match came {
        // How much comes before a reset is nobody's to say.
        Ok(came) if !came.body.is_complete() => (Vec::new(), Err(line.to_string())),
        Err(_) => (Vec::new(), Err(line.to_string())),
        Ok(came) => {
            let interim = came.interim.iter().map(|head| lines(&head.raw)).collect();
            let (body, trailers) = (
                came.body.text(),
                came.body.trailers.iter().map(|(name, value)| format!("{name}: {value}")).collect(),
            );
            let end = format!("{:?}", came.body.end);
            let head = lines(&came.head.raw);
            (
                interim,
                Ok(Answer {
                    head,
                    length: came.body.length_bytes,
                    body,
                    end,
                    trailers,
                    line: described(&line),
                }),
            )
        }
    };
    Exchange { interim, answer, next, arrived }
}

async fn next(client: &mut RawClient) -> Result<(u16, String), ()> {
    let answer = client.get("/next", "a").await.map_err(drop)?;
    Ok((answer.status(), answer.body.text()))
}

fn direct(stage: &Stage) -> u64 {
    stage.server.workers().iter().map(|worker| worker.direct).sum()
}

/// Runs both ways and compares.
async fn compare(stage: &Stage, backend: &Backend, behaviour: &Behaviour, request: &str) {
    let before = direct(stage);
    let ours = exchange(stage, backend, behaviour, request).await;
    let after = direct(stage);
    assert!(after > before, "not served without the library: {request:?}");
    let theirs = exchange(stage, backend, behaviour, &format!("{FOR_THE_LIBRARY}{request}")).await;
    assert_eq!(direct(stage), after, "not served by the library: {request:?}");
    assert_eq!(ours, theirs, "without and with the library: {request:?}, {behaviour:?}");
}

async fn setup() -> (Backend, Stage) {
    let mango = Backend::mango().start().await.unwrap();
    let toml = Setup::new(&[&mango])
        // Failures are wanted here, and each is to be seen.
        .pool("retry = { tries = 2, budget_floor = 100000 }\noutlier = { consecutive_failures = 0 }")
        .route("match = { path_prefix = \"/\" }\nfirewall = { deny_paths = [\"/no\"] }")
        .rest(
            "[[route]]\npool = \"mango\"\nmatch = { path = \"/edited\" }\n\
             request = { set_headers = { X-Set = \"1\" }, remove_headers = [\"X-Gone\"] }\n\
             response = { append_headers = { X-More = \"2\" }, remove_headers = [\"X-Gone\"] }",
        )
        .toml();
    (mango, Stage::start_with(&toml, false))
}

fn behaviours() -> Vec<Behaviour> {
    let mut all = vec![Behaviour::own(), Behaviour::close(), Behaviour::reset(), Behaviour::garbage()];
    for length in [0, 1, 4095, 4096, 70_000, 500_000] {
        for framing in [Framing::Length, Framing::Chunked, Framing::UntilClose] {
            all.push(Behaviour::pattern(length).framing(framing));
        }
    }
    all.extend([204, 299, 304, 404, 500, 503].map(Behaviour::status));
    for framing in [Framing::Length, Framing::Chunked, Framing::UntilClose] {
        all.push(Behaviour::reply(200, "slowly").framing(framing).paced(2, Duration::from_millis(1)));
        all.push(Behaviour::pattern(50_000).framing(framing).cut_after(20_000, End::Reset));
    }
    all.extend([
        Behaviour::truncated(100, 10),
        Behaviour::pattern(50_000).framing(Framing::Chunked).cut_after(20_000, End::Close),
        Behaviour::own().end(End::Announce),
        Behaviour::own().interim("HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"),
        Behaviour::own().header("Trailer", "X-Sum, X-Other").trailer("X-Sum", "1").trailer("X-Not", "2"),
        Behaviour::own().header("Trailer", "X-Sum").trailer("Content-Length", "1"),
        Behaviour::own().trailer("X-Sum", "1"),
        Behaviour::own().header("Date", "then").header("Connection", "X-A").header("X-A", "1"),
        Behaviour::own().header("Keep-Alive", "5").header("X-Twice", "1").header("x-twice", "2"),
        Behaviour::raw("HTTP/1.0 200 OK\r\n\r\nold"),
        Behaviour::raw("HTTP/1.1 299 \r\nContent-Length: 2\r\nX-Gone: 1\r\n\r\nhi"),
    ]);
    all
}

const REQUESTS: [&str; 22] = [
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /a?b=c HTTP/1.1\r\nHost: a:80\r\n\r\n",
    "DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: X-A , Close\r\nX-A: 1\r\nX-B: 2\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\nTE: x, Trailers \r\n\r\n",
    "GET /edited HTTP/1.1\r\nHost: a\r\nX-Gone: 1\r\nx-set: 2\r\n\r\n",
    "OPTIONS /a%2fb//c HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Tab:\t1\t\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n",
    "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a/../b/./c?d HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /? HTTP/1.1\r\nHost: A.B:0080\r\n\r\n",
    "GET /{}|\"?{}|^` HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /no HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /no HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /no HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX_Real_IP: 1\r\nX-Request-Id: 1\r\nForwarded: x\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nCookie: a=b\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nHOST: a\r\nTrailer: x\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX-Latin: \u{e9}\r\nUser-Agent: me\r\nReferer: you\r\n\r\n",
    "M-SEARCH /a HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length, keep-alive\r\nContent-Length: 0\r\n\r\n",
];

#[tokio::test]
async fn requests_of_every_shape() {
    let (mango, stage) = setup().await;
    for request in REQUESTS {
        for behaviour in [Behaviour::own(), Behaviour::own().trailer("X-Sum", "1").header("Trailer", "X-Sum")]
        {
            compare(&stage, &mango, &behaviour, request).await;
        }
    }
    stage.assert_idle();
}

#[tokio::test]
async fn responses_of_every_shape() {
    for behaviour in behaviours() {
        let (mango, stage) = setup().await;
        for request in REQUESTS.iter().take(7) {
            compare(&stage, &mango, &behaviour, request).await;
        }
        stage.assert_idle();
    }
}

/// A head may be as long as it is allowed to be, and one in many pieces is the same as one in one.
#[tokio::test]
async fn heads_of_every_length() {
    let (mango, stage) = setup().await;
    for bytes in [10, 1000, 7000, 8100, 8192, 9000, 15_000] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(bytes));
        let one = exchange(&stage, &mango, &Behaviour::own(), &request).await;
        let other = exchange(&stage, &mango, &Behaviour::own(), &format!("{FOR_THE_LIBRARY}{request}")).await;
        assert_eq!(one, other, "{bytes}");
        assert!(one.answer.is_ok());
    }
}

/// What comes of a next request during the present one is kept, however much of it that is.
#[tokio::test]
async fn a_request_that_comes_during_another_is_served_next() {
    for padding in [0, 1, 20, 36, 37, 38, 100, 3000] {
        let (mango, stage) = setup().await;
        let gate = Gate::default();
        mango.behave_next(1, Behaviour::reply(200, "first").held_by(&gate));
        let mut client = stage.client().await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        mango.wait_for_requests(1).await.unwrap();
        let path = "x".repeat(padding);
        client.send(format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n")).await.unwrap();
        // Ended or not, the client gets both answers.
        if padding % 2 == 0 {
            client.finish_sending().await.unwrap();
        }
        gate.open_for_all();
        assert_eq!(client.response().await.unwrap().body.text(), "first");
        assert_eq!(client.response().await.unwrap().status(), 200);
        assert_eq!(mango.requests()[1].target(), format!("/{path}"));
        assert_eq!(direct(&stage), 2, "{padding}");
    }
}

/// Behind a plain request the connection is at rest at once; what needs the library finds it.
#[tokio::test]
async fn the_two_take_turns_on_one_connection() {
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    for round in 0..5 {
        assert_eq!(client.get("/plain", "a").await.unwrap().status(), 200);
        let upload = "PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
        client.send(upload).await.unwrap();
        assert_eq!(client.response().await.unwrap().status(), 200, "{round}");
        client.send(format!("GET /one HTTP/1.1\r\nHost: a\r\n\r\n{upload}")).await.unwrap();
        for _ in 0..2 {
            assert_eq!(client.response().await.unwrap().status(), 200, "{round}");
        }
    }
    let targets: Vec<String> = mango.requests().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/plain", "/upload", "/one", "/upload"].repeat(5));
    assert!(direct(&stage) >= 1);
    stage.assert_idle();
}

/// Looking whether its first bytes had come, a worker panicked: it was still reading from the socket.
#[tokio::test]
async fn a_connection_that_was_never_used_ends_quietly() {
    let (_mango, stage) = setup().await;
    let mut silent = stage.client().await;
    let mut used = stage.client().await;
    assert_eq!(used.get("/", "a").await.unwrap().status(), 200);
    while stage.server.workers().iter().map(|worker| worker.parked).sum::<usize>() < 2 {
        tokio::task::yield_now().await;
    }
    let clients = async {
        assert_eq!(silent.read_to_end().await.unwrap(), b"");
        assert_eq!(used.read_to_end().await.unwrap(), b"");
        drop((silent, used));
    };
    let (outcome, ()) = tokio::join!(stage.server.shutdown(), clients);
    assert_eq!(outcome, Shutdown::Clean);
}

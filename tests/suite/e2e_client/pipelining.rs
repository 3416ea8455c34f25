//! Requests in one stream are answered in their order, each as if it were alone.

use lb_testkit::{Backend, Behaviour, Digest, End, Framing, Gate};
use lb_tests::{Setup, Stage};

async fn setup() -> (Backend, Stage) {
    let mango = Backend::text("said").start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    (mango, stage)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_requests() {
    let (mango, stage) = setup().await;
    let gate = Gate::default();
    mango.behave_at("/slow", Behaviour::reply(200, "slow").held_by(&gate));
    mango.behave_at("/fast", Behaviour::reply(200, "fast"));
    let mut client = stage.client().await;
    client.send([get("/slow"), get("/fast"), get("/slow"), get("/fast")].concat()).await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    gate.open_for_all();
    for expected in ["slow", "fast", "slow", "fast"] {
        assert_eq!(client.response().await.unwrap().body.text(), expected);
    }
    let paths: Vec<_> = mango.requests().iter().map(|request| request.path().to_owned()).collect();
    assert_eq!(paths, ["/slow", "/fast", "/slow", "/fast"]);
    let lines = stage.log.wait_for(4).await;
    assert_eq!(lines.iter().map(|line| line.target.as_str()).collect::<Vec<_>>(), paths);
    stage.assert_idle();
}

#[tokio::test]
async fn hundreds_of_requests_with_and_without_bodies() {
    const COUNT: usize = 300;
    let (mango, stage) = setup().await;
    let mut client = stage.client().await;
    let requests: String = (0..COUNT)
        .map(|n| match n % 3 {
            0 => get(&format!("/{n}")),
            1 => format!("PUT /{n} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /"),
            _ => {
                let head = format!("PUT /{n} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                head + "4\r\nGET \r\n1\r\n/\r\n0\r\n\r\n"
            }
        })
        .collect();
    client.send(requests).await.unwrap();
    for n in 0..COUNT {
        let answer = client.response().await.unwrap_or_else(|error| panic!("{n}: {error}"));
        assert_eq!((answer.status(), answer.body.text().as_str()), (200, "said"), "{n}");
    }
    let arrived = mango.requests();
    assert_eq!(arrived.len(), COUNT);
    for (n, request) in arrived.iter().enumerate() {
        assert_eq!(request.path(), format!("/{n}"));
        let body: &[u8] = if n % 3 == 0 { b"" } else { b"GET /" };
        assert!(request.body.is_complete() && request.body.digest() == Digest::of(body), "{request}");
    }
    stage.log.wait_for(COUNT).await;
    stage.assert_idle();
}

/// What is there of an answer goes out, whatever else the client has asked already.
#[tokio::test]
async fn an_answer_is_not_held_back_by_the_next_request() {
    let (mango, stage) = setup().await;
    let stalls = Behaviour::reply(200, "abcdef").framing(Framing::Chunked).cut_after(3, End::Hang);
    mango.behave_at("/stalls", stalls);
    let mut client = stage.client().await;
    client.send([get("/stalls"), get("/next")].concat()).await.unwrap();
    let head = client.head().await.unwrap().unwrap();
    assert_eq!(head.status(), 200);
    let body = client.deadline(std::time::Duration::from_millis(200)).body(&head, "GET").await;
    let error = body.unwrap_err().to_string();
    assert!(error.contains("after 3 bytes"), "{error}");
    assert_eq!(mango.requests().len(), 1, "the next one waits for its turn");
}

#[tokio::test]
async fn nothing_is_read_after_the_last_request() {
    let (mango, stage) = setup().await;
    for last in [
        "GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET /last HTTP/1.0\r\nHost: a\r\n\r\n",
    ] {
        for after in [get("/after"), "not HTTP\r\n\r\n".to_owned()] {
            mango.forget_requests();
            let before = stage.log.lines().len();
            let mut client = stage.client().await;
            client.send([get("/first"), last.to_owned(), after.clone()].concat()).await.unwrap();
            assert_eq!(client.response().await.unwrap().status(), 200);
            let answer = client.response().await.unwrap();
            assert_eq!(answer.status(), 200);
            assert!(answer.head.word(0) == "HTTP/1.0" || answer.head.headers.lists("connection", "close"));
            assert_eq!(client.read_to_end().await.unwrap(), b"", "{last:?} {after:?}");
            let paths: Vec<_> = mango.requests().iter().map(|request| request.path().to_owned()).collect();
            assert_eq!(paths, ["/first", "/last"]);
            assert_eq!(stage.log.wait_for(before + 2).await.len(), before + 2);
        }
    }
}

/// A close with unread bytes is a reset, and where only the end tells, that makes an answer one that broke off.
/// (Found by the simulation.)
#[tokio::test]
async fn what_follows_an_answer_that_ends_the_connection_does_not_reset_it() {
    let (mango, stage) = setup().await;
    let gate = Gate::default();
    mango.behave(Behaviour::reply(200, "chunks").framing(Framing::Chunked).held_by(&gate));
    let kept = "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    let mut client = stage.client().await;
    client.send(kept).await.unwrap();
    mango.wait_for_requests(1).await.unwrap();
    client.send(kept).await.unwrap();
    gate.open_for_all();
    let bytes = client.read_to_end().await.unwrap();
    assert!(bytes.ends_with(b"\r\n\r\nchunks"), "{}", bytes.escape_ascii());
    assert_eq!(mango.requests().len(), 1);
}

/// The balancer's own answers are no reason to lose the next request.
#[tokio::test]
async fn own_answers_and_forwarded_ones_take_turns() {
    let mango = Backend::text("said").start().await.unwrap();
    let stage = Setup::new(&[&mango]).route(r#"match = { path_prefix = "/here" }"#).start();
    let mut client = stage.client().await;
    let post = "POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /".to_owned();
    client.send([get("/here"), get("/nowhere"), post, get("/here/2")].concat()).await.unwrap();
    for status in [200, 404, 404, 200] {
        assert_eq!(client.response().await.unwrap().status(), status);
    }
    assert_eq!(mango.requests().len(), 2);
    assert_eq!(stage.log.wait_for(4).await.len(), 4);
    stage.assert_idle();
}

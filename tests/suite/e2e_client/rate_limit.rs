//! Too many requests are answered with 429 and a time to come back.

use lb_core::reason::Reason;
use lb_testkit::{Backend, RawClient, Response};
use lb_tests::{Setup, Stage};

use super::{assert_answer, assert_line};

/// Two at once, and one more each half hour: no test takes that long.
const LIMIT: &str = "rate_limit = { requests = 2, per = \"1h\", burst = 2 }";

async fn ask(client: &mut RawClient, forwarded_for: &str) -> Response {
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {forwarded_for}\r\n\r\n");
    client.send(head).await.unwrap();
    client.response().await.unwrap()
}

async fn setup(listener: &str, limit: &str) -> (Backend, Stage) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).listener(listener).route(limit).start();
    (mango, stage)
}

#[tokio::test]
async fn past_the_limit_comes_429_with_the_time_to_wait() {
    let (mango, stage) = setup("", LIMIT).await;
    let mut client = stage.client().await;
    for _ in 0..2 {
        assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
    }
    for _ in 0..3 {
        // On the same connection and on others, whatever a client says of itself.
        for answer in [ask(&mut client, "1.2.3.4").await, stage.get("/", "b").await] {
            assert_answer(&answer, Reason::RateLimited);
            let wait: u32 = answer.header("retry-after").unwrap().parse().unwrap();
            assert!((1700..=1800).contains(&wait), "{wait}");
        }
    }
    let lines = stage.log.wait_for(8).await;
    assert_line(&lines[7], Reason::RateLimited);
    assert_eq!((mango.requests().len(), lines[7].tries), (2, 0));
    stage.assert_idle();
}

#[tokio::test]
async fn each_client_has_its_own() {
    let (mango, stage) = setup("trusted_proxies = [\"127.0.0.1\"]", LIMIT).await;
    let mut client = stage.client().await;
    for peer in ["1.2.3.4", "1.2.3.5", "2001:db8::1", "2001:db8:0:1::1"] {
        for status in [200, 200, 429] {
            assert_eq!(ask(&mut client, peer).await.status(), status, "{peer}");
        }
    }
    // Of a v6 client it is its network that counts, and v4 in v6's clothes is v4.
    for peer in ["2001:db8::2", "::ffff:1.2.3.4"] {
        assert_eq!(ask(&mut client, peer).await.status(), 429, "{peer}");
    }
    assert_eq!(mango.requests().len(), 8);
}

#[tokio::test]
async fn or_all_share_one() {
    let limit = LIMIT.replace("burst = 2", "burst = 2, by = \"route\"");
    let (mango, stage) = setup("trusted_proxies = [\"127.0.0.1\"]", &limit).await;
    let mut client = stage.client().await;
    for (peer, status) in [("1.2.3.4", 200), ("1.2.3.5", 200), ("1.2.3.6", 429), ("1.2.3.4", 429)] {
        assert_eq!(ask(&mut client, peer).await.status(), status, "{peer}");
    }
    assert_eq!(mango.requests().len(), 2);
}

#[tokio::test]
async fn each_route_has_its_own() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango])
        .route(LIMIT)
        .rest("[[route]]\npool = \"mango\"\nmatch = { path = \"/free\" }")
        .rest(&format!("[[route]]\npool = \"mango\"\nmatch = {{ path = \"/other\" }}\n{LIMIT}"))
        .start();
    for (path, status) in [
        ("/", 200),
        ("/", 200),
        ("/", 429),
        ("/free", 200),
        ("/free", 200),
        ("/free", 200),
        ("/other", 200),
        ("/other", 200),
        ("/other", 429),
        ("//other", 429),
    ] {
        assert_eq!(stage.get(path, "a").await.status(), status, "{path}");
    }
}

/// What comes back in time is served again.
#[tokio::test]
async fn the_limit_fills_up_again() {
    let (_mango, stage) = setup("", "rate_limit = { requests = 10, per = \"1s\", burst = 1 }").await;
    let mut client = stage.client().await;
    assert_eq!(client.get("/", "a").await.unwrap().status(), 200);
    while client.get("/", "a").await.unwrap().status() != 200 {
        tokio::task::yield_now().await;
    }
    let lines = stage.log.lines();
    let served: Vec<_> = lines.iter().filter(|line| line.status == 200).collect();
    assert_eq!(served.len(), 2);
}

//! Kept connections that the backend has closed meanwhile: healed without a word.

use lb_testkit::{Behaviour, End};
use rstest::rstest;

use crate::support::{Lb, Setup, Tested, backend};

/// Every request finds a connection that the backend has just closed: in the same breath in which it wrote its
/// answer, and long before the balancer looks through its unused connections. Each is answered, reaches the backend
/// once, and counts as one try. (This test waited for that look, and so found none to heal.)
#[rstest]
#[case::get("GET", "")]
#[case::put_with_a_body("PUT", "body")]
#[case::post("POST", "body")]
#[case::post_without_a_body("POST", "")]
#[tokio::test]
async fn is_healed_without_counting(#[case] method: &str, #[case] body: &str) -> Tested {
    let a = backend("a").await;
    a.close_after(Some(1), false);
    let pool = "retry = { tries = 1 }\noutlier = { consecutive_failures = 1, max_ejected_percent = 100 }";
    let lb = Setup::over(&[&a]).pool(pool).start();
    let mut client = lb.client().await;
    for round in 0..4 {
        let length = body.len();
        client
            .send(format!(
                "{method} /{round} HTTP/1.1\r\nHost: mango\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await?;
        let answer = client.response().await?;
        assert_eq!(answer.status(), 200, "round {round}: {answer}");
    }
    let seen = a.requests();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|request| request.body.text() == body && request.body.is_complete()));
    assert!(lb.lines(4).await.iter().all(|line| line.to_string() == "200 - a 1"));
    assert_eq!(lb.changes(), [""; 0]);
    Ok(())
}

/// The request went out, and then the kept connection was closed without an answer.
#[rstest]
#[case::get("GET", "", "200 - a 1")]
#[case::post("POST", "", "502 backend_reset a 1")]
#[case::put_with_a_body("PUT", "body", "502 backend_reset a 1")]
#[tokio::test]
async fn closed_while_the_request_was_on_its_way(
    #[case] method: &str,
    #[case] body: &str,
    #[case] logged: &str,
    #[values(End::Close, End::Reset)] end: End,
) -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).pool("retry = { tries = 1 }").start();
    let mut client = lb.client().await;
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    a.behave_next(1, if end == End::Close { Behaviour::close() } else { Behaviour::reset() });
    let length = body.len();
    client
        .send(format!("{method} / HTTP/1.1\r\nHost: mango\r\nContent-Length: {length}\r\n\r\n{body}"))
        .await?;
    let answer = client.response().await?;
    assert_eq!(answer.status().to_string(), &logged[..3], "{answer}");
    assert_eq!(lb.lines(2).await[1].to_string(), logged);
    assert_eq!(a.requests().len(), if method == "GET" { 3 } else { 2 });
    Ok(())
}

/// Healing happens once: a backend that closes fresh connections, too, is at fault.
#[tokio::test]
async fn is_healed_once() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).pool("retry = { tries = 1 }").start();
    let mut client = lb.client().await;
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    a.behave_next(2, Behaviour::close());
    assert_eq!(client.get("/", "mango").await?.status(), 502);
    assert_eq!(lb.lines(2).await[1].to_string(), "502 backend_reset a 1");
    assert_eq!(a.requests().len(), 3);
    Ok(())
}

/// A backend that was restarted has closed everything; nobody notices.
#[tokio::test]
async fn a_restart_between_two_requests_is_not_seen() -> Tested {
    let a = backend("a").await;
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    for _ in 0..10 {
        assert_eq!(client.get("/", "mango").await?.status(), 200);
        client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 2\r\n\r\nhi").await?;
        assert_eq!(client.response().await?.status(), 200);
        a.restart().await?;
    }
    assert!(lb.lines(20).await.iter().all(|line| line.to_string() == "200 - a 1"));
    Ok(())
}

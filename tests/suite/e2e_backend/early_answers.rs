//! A backend that answers before it has the whole request.

use lb_testkit::{Behaviour, End};
use rstest::rstest;

use crate::support::{Lb, Tested, backend};

/// The client hears it while it still sends.
#[rstest]
#[case::refusal(Behaviour::reply(413, "too large").early(), 413)]
#[case::answer(Behaviour::reply(200, "fine").early(), 200)]
#[case::refusal_and_close(Behaviour::reply(413, "too large").early().end(End::Announce), 413)]
#[tokio::test]
async fn reaches_the_client_before_the_body_is_sent(
    #[case] behaviour: Behaviour,
    #[case] status: u16,
) -> Tested {
    let a = backend("a").await;
    a.behave(behaviour);
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 100000\r\n\r\npart").await?;
    let answer = client.response().await?;
    assert_eq!(answer.status(), status, "{answer}");
    assert!(answer.body.is_complete());
    assert_eq!(lb.line().await, format!("{status} - a 1"));
    Ok(())
}

/// The balancer is not stuck with such a request: whatever the client does next, others are served.
#[tokio::test]
async fn the_connection_to_the_backend_is_not_used_for_others() -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::reply(403, "no").early());
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 10\r\n\r\nhalf ").await?;
    assert_eq!(client.response().await?.status(), 403);
    // `GET / HTTP` would be the rest of the body on a connection that was given to another too early.
    assert_eq!(lb.get("/").await?.status(), 200);
    let seen = a.requests();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].connection != seen[1].connection, "{} {}", seen[0], seen[1]);
    Ok(())
}

/// Both directions flow at once: the answer's end is seen although the request's end never comes.
#[tokio::test]
async fn both_directions_flow_at_once() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::pattern(1 << 20).early());
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await?;
    let head = client.head().await?.expect("a head while the request is not complete");
    assert_eq!(head.status(), 200);
    client.send("6\r\n world\r\n").await?;
    let body = client.body(&head, "POST").await?;
    assert!(body.is_complete() && body.length_bytes == 1 << 20);
    Ok(())
}

/// The backend answers and closes without reading an upload that is larger than all buffers.
#[tokio::test]
async fn an_upload_that_nobody_reads_is_answered() -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::reply(413, "too large").early().end(End::Announce));
    let lb = Lb::over(&[&a]);
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 3000000\r\n\r\n").await?;
    let _ = client.send_pattern(3_000_000).await; // the balancer may end the connection before
    let answer = client.response().await?;
    assert_eq!((answer.status(), answer.body.text().as_str()), (413, "too large"), "{answer}");
    Ok(())
}

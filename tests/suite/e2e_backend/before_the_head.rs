//! A backend that fails before the head of its answer is whole: a clean 5xx of the balancer's own.

use lb_testkit::{Behaviour, End, OnAccept};
use rstest::rstest;

use crate::support::{Setup, Tested, backend};

/// One try, so that the failure itself is what the client sees.
fn once(backend: &lb_testkit::Backend) -> Setup {
    Setup::over(&[backend]).pool("retry = { tries = 1 }\noutlier = { consecutive_failures = 0 }")
}

#[rstest]
#[case::closes(Behaviour::close(), "502 backend_reset a 1")]
#[case::resets(Behaviour::reset(), "502 backend_reset a 1")]
#[case::closes_in_the_status_line(Behaviour::raw("HTTP/1.1 20"), "502 backend_reset a 1")]
#[case::closes_in_mid_head(Behaviour::raw("HTTP/1.1 200 OK\r\nContent-Le"), "502 backend_reset a 1")]
#[case::resets_in_mid_head(Behaviour::raw("HTTP/1.1 200 OK\r\nContent-Le").end(End::Reset), "502 backend_reset a 1")]
#[case::closes_before_the_empty_line(
    Behaviour::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"),
    "502 backend_reset a 1"
)]
#[case::closes_after_100(Behaviour::raw("HTTP/1.1 100 Continue\r\n\r\n"), "502 backend_reset a 1")]
#[case::closes_after_103(
    Behaviour::raw("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"),
    "502 backend_reset a 1"
)]
#[case::speaks_tls(Behaviour::garbage(), "502 backend_invalid a 1")]
#[case::speaks_ssh(Behaviour::raw("SSH-2.0-OpenSSH_9.9\r\n"), "502 backend_invalid a 1")]
#[case::speaks_http_0_9(Behaviour::raw("<html>hello</html>\r\n"), "502 backend_invalid a 1")]
#[case::speaks_http_2(Behaviour::raw("HTTP/2.0 200 OK\r\n\r\n"), "502 backend_invalid a 1")]
#[case::has_no_status(Behaviour::raw("HTTP/1.1 OK\r\n\r\n"), "502 backend_invalid a 1")]
#[case::has_a_status_of_two_digits(Behaviour::raw("HTTP/1.1 99 X\r\n\r\n"), "502 backend_invalid a 1")]
#[case::has_a_space_before_the_colon(
    Behaviour::raw("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
    "502 backend_invalid a 1"
)]
#[case::has_a_nul_in_a_field(
    Behaviour::raw("HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 5\r\n\r\nhello"),
    "502 backend_invalid a 1"
)]
#[case::switches_protocols_unasked(
    Behaviour::raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhello")
        .end(End::Hang),
    "502 backend_invalid a 1"
)]
#[tokio::test]
async fn the_client_gets_a_502(#[case] behaviour: Behaviour, #[case] logged: &str) -> Tested {
    let a = backend("a").await;
    a.behave_next(1, behaviour);
    let lb = once(&a).start();
    let mut client = lb.client().await;
    let answer = client.get("/", "mango").await?;
    assert_eq!((answer.status(), answer.body.text().as_str()), (502, "Bad Gateway\n"), "{answer}");
    assert_eq!(answer.header("x-lb-reason"), Some(logged.split(' ').nth(1).unwrap_or_default()));
    assert_eq!(lb.line().await, logged);
    assert_eq!(a.requests().len(), 1, "nothing is sent twice");
    // Neither the client's connection nor the backend is spoilt.
    let next = client.get("/", "mango").await?;
    assert_eq!(next.status(), 200, "{next}");
    assert_eq!(a.requests()[1].connection, 1, "the failed connection is not used again");
    Ok(())
}

#[rstest]
#[case::refuses(None, "502 connect_failed a 1")]
#[case::closes_on_accept(Some(OnAccept::Close), "502 backend_reset a 1")]
#[case::resets_on_accept(Some(OnAccept::Reset), "502 backend_reset a 1")]
#[tokio::test]
async fn a_backend_that_takes_no_connection(
    #[case] on_accept: Option<OnAccept>,
    #[case] logged: &str,
) -> Tested {
    let a = backend("a").await;
    match on_accept {
        Some(on_accept) => a.on_accept(on_accept),
        None => a.stop().await,
    }
    let lb = once(&a).start();
    let answer = lb.get("/").await?;
    assert_eq!(answer.status(), 502, "{answer}");
    let line = lb.line().await;
    // A reset may already strike while connecting.
    let or = "502 connect_failed a 1";
    assert!(line == logged || (on_accept.is_some() && line == or), "{line}");
    assert_eq!(a.requests().len(), 0);
    a.on_accept(OnAccept::Serve);
    a.restart().await?;
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}

/// The reply has what HEAD may have, and the JSON form is JSON for HEAD, too.
#[tokio::test]
async fn head_gets_the_502_without_a_body() -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::close());
    let lb = once(&a).start();
    let mut client = lb.client().await;
    client.send("HEAD / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    let answer = client.response_to("HEAD").await?;
    assert_eq!((answer.status(), answer.header("content-length")), (502, Some("12")), "{answer}");
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    Ok(())
}

/// A head larger than the balancer keeps is not half passed on.
#[tokio::test]
async fn a_head_without_end_is_a_502() -> Tested {
    let a = backend("a").await;
    let mut head = b"HTTP/1.1 200 OK\r\nA: ".to_vec();
    head.resize(4 << 20, b'a');
    a.behave_next(1, Behaviour::raw(head));
    let lb = once(&a).start();
    let answer = lb.get("/").await?;
    assert_eq!(answer.status(), 502, "{answer}");
    assert_eq!(lb.line().await, "502 backend_invalid a 1");
    Ok(())
}

/// Bytes after a whole answer belong to no request: they are not given to the next one.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_not_given_to_the_next_request() -> Tested {
    let a = backend("a").await;
    let two =
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    a.behave_next(1, Behaviour::raw(two).end(End::Hang));
    let lb = once(&a).start();
    let mut client = lb.client().await;
    assert_eq!(client.get("/", "mango").await?.body.text(), "one");
    let next = client.get("/", "mango").await?;
    assert!(next.body.text().starts_with("This is the mango"), "{next}");
    Ok(())
}

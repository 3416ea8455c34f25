//! What is tried again, where, and what each backend saw of it.

use std::time::{Duration, Instant};

use lb_testkit::{Backend, Behaviour};
use rstest::rstest;

use crate::support::{Lb, Setup, Tested, backend, two};

/// Two backends behind round robin; the next request goes to `a`, on a fresh connection.
async fn pair(pool: &str) -> ([Backend; 2], Lb) {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).pool("limits = { idle_connections = 0 }").pool(pool).start();
    while lb.who_answers(1).await.expect("an answer") == ["a"] {}
    a.forget_requests();
    b.forget_requests();
    ([a, b], lb)
}

/// The log's line on the request for `/x`, which none of [`pair`]'s is.
async fn last(lb: &Lb) -> String {
    let line = lb.line_where("on /x", |line| line.target == "/x").await;
    lb.assert_idle();
    line.to_string()
}

fn request(method: &str, body: &str) -> String {
    let length = if body.is_empty() && !matches!(method, "POST" | "PATCH") {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    format!("{method} /x HTTP/1.1\r\nHost: mango\r\n{length}\r\n{body}")
}

/// Nothing was sent, so anything may be sent elsewhere, its body with it.
#[rstest]
#[tokio::test]
async fn a_refused_connection_is_tried_elsewhere(
    #[values("GET", "POST", "PATCH", "PUT", "DELETE")] method: &str,
    #[values("", "some body")] body: &str,
) -> Tested {
    let ([a, b], lb) = pair("").await;
    a.stop().await;
    let mut client = lb.client().await;
    client.send(request(method, body)).await?;
    let answer = client.response().await?;
    assert_eq!(answer.status(), 200, "{answer}");
    let seen = b.requests();
    assert_eq!((seen.len(), seen[0].method(), seen[0].body.text().as_str()), (1, method, body));
    assert_eq!(last(&lb).await, "200 - b 2");
    Ok(())
}

#[rstest]
#[case::get_closed("GET", "", Behaviour::close(), "200 - b 2")]
#[case::get_reset("GET", "", Behaviour::reset(), "200 - b 2")]
#[case::get_garbage("GET", "", Behaviour::garbage(), "200 - b 2")]
#[case::get_in_mid_head("GET", "", Behaviour::raw("HTTP/1.1 200 OK\r\nContent-"), "200 - b 2")]
#[case::head_closed("HEAD", "", Behaviour::close(), "200 - b 2")]
#[case::options_closed("OPTIONS", "", Behaviour::close(), "200 - b 2")]
#[case::delete_closed("DELETE", "", Behaviour::close(), "200 - b 2")]
#[case::put_without_body_closed("PUT", "", Behaviour::close(), "200 - b 2")]
#[case::put_with_body_closed("PUT", "body", Behaviour::close(), "502 backend_reset a 1")]
#[case::post_closed("POST", "", Behaviour::close(), "502 backend_reset a 1")]
#[case::post_garbage("POST", "", Behaviour::garbage(), "502 backend_invalid a 1")]
#[case::post_with_body_reset("POST", "body", Behaviour::reset(), "502 backend_reset a 1")]
#[case::patch_closed("PATCH", "body", Behaviour::close(), "502 backend_reset a 1")]
#[case::unknown_method("BREW", "", Behaviour::close(), "502 backend_reset a 1")]
#[case::status_is_an_answer("GET", "", Behaviour::status(503), "503 - a 1")]
#[tokio::test]
async fn after_bytes_were_sent(
    #[case] method: &str,
    #[case] body: &str,
    #[case] behaviour: Behaviour,
    #[case] logged: &str,
) -> Tested {
    let ([a, b], lb) = pair("").await;
    a.behave_next(1, behaviour);
    let mut client = lb.client().await;
    client.send(request(method, body)).await?;
    let answer = client.response_to(method).await?;
    assert_eq!(answer.status().to_string(), &logged[..3], "{answer}");
    assert_eq!(last(&lb).await, logged);
    let tried_again = logged.ends_with("b 2");
    assert_eq!((a.requests().len(), b.requests().len()), (1, usize::from(tried_again)));
    Ok(())
}

#[rstest]
#[case::get("GET", "", "200 - b 2")]
#[case::post("POST", "", "503 - a 1")]
#[case::put_with_body("PUT", "body", "503 - a 1")]
#[tokio::test]
async fn a_listed_status_is_tried_elsewhere(
    #[case] method: &str,
    #[case] body: &str,
    #[case] logged: &str,
) -> Tested {
    let ([a, b], lb) = pair("retry = { on_status = [503] }").await;
    a.behave_next(1, Behaviour::status(503));
    let mut client = lb.client().await;
    client.send(request(method, body)).await?;
    let answer = client.response().await?;
    assert_eq!(answer.status().to_string(), &logged[..3], "{answer}");
    assert_eq!(last(&lb).await, logged);
    assert_eq!((a.requests().len(), b.requests().len()), (1, usize::from(logged.ends_with("b 2"))));
    Ok(())
}

/// When every try gets it, the client gets the last one as it came.
#[tokio::test]
async fn the_last_answer_with_a_listed_status_is_passed_on() -> Tested {
    let ([a, b], lb) = pair("retry = { on_status = [503], tries = 2 }").await;
    a.behave_next(1, Behaviour::reply(503, "a is sorry"));
    b.behave_next(1, Behaviour::reply(503, "b is sorry"));
    let answer = lb.get("/x").await?;
    assert_eq!((answer.status(), answer.body.text().as_str()), (503, "b is sorry"), "{answer}");
    assert_eq!(last(&lb).await, "503 - b 2");
    Ok(())
}

#[tokio::test]
async fn tries_are_bounded() -> Tested {
    let all = [backend("a").await, backend("b").await, backend("c").await, backend("d").await];
    for backend in &all {
        backend.behave(Behaviour::close());
    }
    let lb = Setup::over(&all.each_ref()).pool("retry = { tries = 3 }").start();
    assert_eq!(lb.get("/").await?.status(), 502);
    let mut seen = all.each_ref().map(|backend| backend.requests().len());
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 1, 1], "each try goes to another backend");
    assert_eq!(lb.lines(1).await[0].tries, 3);
    Ok(())
}

#[tokio::test]
async fn one_try_is_one_try() -> Tested {
    let ([a, b], lb) = pair("retry = { tries = 1 }").await;
    a.stop().await;
    assert_eq!(lb.get("/x").await?.status(), 502);
    assert_eq!((b.requests().len(), last(&lb).await.as_str()), (0, "502 connect_failed a 1"));
    Ok(())
}

/// A pool of one is tried again as well: what failed may have been the connection.
#[tokio::test]
async fn a_backend_that_is_alone_is_tried_again() -> Tested {
    let a = backend("a").await;
    a.behave_next(1, Behaviour::reset());
    let lb = Lb::over(&[&a]);
    assert_eq!(lb.get("/").await?.status(), 200);
    assert_eq!(lb.line().await, "200 - a 2");
    assert_eq!(a.requests().len(), 2);
    Ok(())
}

/// Two of three are dead from the start, before any check could tell, and one at most is ejected: each request is
/// tried until it comes to the third, and the budget is not asked. (It was, and requests got 502.)
#[tokio::test]
async fn most_of_a_pool_dies_and_no_request_is_lost() -> Tested {
    let [a, b] = two().await;
    let c = backend("c").await;
    let lb = Setup::over(&[&a, &b, &c]).start();
    a.stop().await;
    b.stop().await;
    let mut client = lb.client().await;
    for _ in 0..300 {
        let answer = client.get("/", "mango").await?;
        assert_eq!(answer.status(), 200, "{answer}");
    }
    assert_eq!(c.requests().len(), 300);
    Ok(())
}

/// In a total outage the load on the backends grows by the budget and no more.
#[tokio::test]
async fn the_budget_bounds_retries() -> Tested {
    let [a, b] = two().await;
    a.behave(Behaviour::close());
    b.behave(Behaviour::close());
    let pool = "retry = { budget_percent = 20, budget_floor = 0 }\noutlier = { consecutive_failures = 0 }";
    let lb = Setup::over(&[&a, &b]).pool(pool).start();
    let mut client = lb.client().await;
    for _ in 0..50 {
        assert_eq!(client.get("/", "mango").await?.status(), 502);
    }
    assert_eq!(a.requests().len() + b.requests().len(), 50 + 10);
    Ok(())
}

/// One deadline over all tries: the second one gets what the first one left.
#[tokio::test]
async fn the_deadline_is_over_all_tries() -> Tested {
    let [a, b] = two().await;
    a.behave(Behaviour::hang());
    b.behave(Behaviour::hang());
    let lb = Setup::over(&[&a, &b])
        .pool("timeouts = { response_head = \"250ms\" }\noutlier = { consecutive_failures = 0 }")
        .route("timeout = \"400ms\"")
        .start();
    let began = Instant::now();
    let answer = lb.get("/").await?;
    let took = began.elapsed();
    assert_eq!((answer.status(), answer.header("x-lb-reason")), (504, Some("request_timeout")), "{answer}");
    assert!(took >= Duration::from_millis(400), "{took:?}");
    let line = lb.line().await;
    assert!(line.starts_with("504 request_timeout") && line.ends_with(" 2"), "{line}");
    assert_eq!((a.requests().len(), b.requests().len()), (1, 1));
    for backend in [&a, &b] {
        backend.wait_for_connections(|connections| connections.open == 0).await?;
    }
    Ok(())
}

/// The head's timeout ends a try; an idempotent request is then tried elsewhere.
#[rstest]
#[case("GET", "200 - b 2")]
#[case("POST", "504 response_head_timeout a 1")]
#[tokio::test]
async fn a_try_that_takes_too_long(#[case] method: &str, #[case] logged: &str) -> Tested {
    let ([a, b], lb) = pair("timeouts = { response_head = \"200ms\" }").await;
    a.behave_next(1, Behaviour::hang());
    let mut client = lb.client().await;
    client.send(request(method, "")).await?;
    assert_eq!(client.response().await?.status().to_string(), &logged[..3]);
    assert_eq!(last(&lb).await, logged);
    assert_eq!((a.requests().len(), b.requests().len()), (1, usize::from(method == "GET")));
    a.wait_until("that the hung try was given up", |requests| requests.iter().all(|r| r.abandoned)).await?;
    Ok(())
}

/// A body that the backend never asked for is whole for the next try.
#[tokio::test]
async fn a_body_held_back_by_expect_goes_elsewhere_whole() -> Tested {
    let ([a, b], lb) = pair("").await;
    // `a` closes on the head, before any 100 Continue.
    a.behave_next(1, Behaviour::close().early());
    let mut client = lb.client().await;
    client
        .send("PUT /x HTTP/1.1\r\nHost: mango\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        .await?;
    let interim = client.head().await?;
    assert_eq!(interim.map(|head| head.status()), Some(100));
    client.send("hello").await?;
    assert_eq!(client.response().await?.status(), 200);
    assert_eq!((a.requests().len(), b.requests()[0].body.text().as_str()), (1, "hello"));
    assert_eq!(last(&lb).await, "200 - b 2");
    Ok(())
}

//! The answers that the balancer makes itself: their reasons, and the forms in which they come.

use lb_core::reason::Reason;
use lb_testkit::{Backend, Response};
use lb_tests::{Setup, Stage};
use rstest::rstest;

use super::assert_answer;

async fn ask(stage: &Stage, path: &str, fields: &str) -> Response {
    let mut client = stage.client().await;
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await.unwrap();
    client.response().await.unwrap()
}

async fn setup() -> (Backend, Stage) {
    let mango = Backend::mango().start().await.unwrap();
    mango.stop().await;
    let stage = Setup::new(&[&mango])
        .route("match = { path_prefix = \"/mango\" }\nfirewall = { deny_paths = [\"/mango/no\"] }")
        .rest("[pool.none]\nbackends = [{ address = \"127.0.0.1:1\", state = \"maint\" }]")
        .rest("[[route]]\npool = \"none\"\nmatch = { path = \"/none\" }")
        .start();
    (mango, stage)
}

#[tokio::test]
async fn each_has_its_status_its_reason_and_its_line() {
    let (_mango, stage) = setup().await;
    let cases = [
        ("/nowhere", Reason::NoRoute, None, None),
        ("/mango/no", Reason::FirewallRoute, Some("mango"), Some("mango")),
        ("/none", Reason::NoHealthyBackend, Some("none"), None),
        ("/mango", Reason::ConnectFailed, Some("mango"), Some("mango")),
    ];
    for (count, (path, reason, pool, route)) in cases.into_iter().enumerate() {
        let answer = ask(&stage, path, "").await;
        assert_answer(&answer, reason);
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let line = stage.log.wait_for(count + 1).await.swap_remove(count);
        super::assert_line(&line, reason);
        assert_eq!((line.target.as_str(), line.pool.as_deref()), (path, pool));
        if route.is_some() {
            assert_eq!(line.route.as_deref(), route);
        }
        assert_eq!(answer.header("x-request-id"), Some(line.request_id.as_str()));
        assert_eq!(line.response_bytes, answer.body.length_bytes);
    }
    stage.assert_idle();
}

/// A client that sends all of its body before it reads must not lose the answer to a reset.
#[tokio::test]
async fn they_can_be_read_after_a_long_body() {
    const LENGTH: u64 = 2 << 20;
    let (_mango, stage) = setup().await;
    for (count, path) in ["/nowhere", "/mango/no", "/none", "/mango"].into_iter().enumerate() {
        let mut client = stage.client().await;
        client
            .send(format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n"))
            .await
            .unwrap();
        client.send_pattern(LENGTH).await.unwrap();
        let answer = client.response().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(matches!(answer.status(), 403 | 404 | 502 | 503), "{path}: {answer}");
        stage.log.wait_for(count + 1).await;
    }
    stage.assert_idle();
}

#[rstest]
#[case::json("application/json", true)]
#[case::json_of_a_kind("application/problem+json", true)]
#[case::json_first("application/json, text/plain;q=0.5", true)]
#[case::text_first("application/json;q=0.5, text/plain", false)]
#[case::anything("*/*", false)]
#[case::browser("text/html,application/xhtml+xml,*/*;q=0.8", false)]
#[tokio::test]
async fn json_for_those_who_prefer_it(#[case] accept: &str, #[case] json: bool) {
    let (_mango, stage) = setup().await;
    for (path, reason) in [("/nowhere", Reason::NoRoute), ("/none", Reason::NoHealthyBackend)] {
        let answer = ask(&stage, path, &format!("Accept: {accept}\r\n")).await;
        assert_eq!((answer.status(), answer.header("x-lb-reason")), (reason.status(), Some(reason.code())));
        if json {
            assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
            let body: serde_json::Value = serde_json::from_slice(&answer.body.start).unwrap();
            assert_eq!(body, serde_json::json!({ "error": reason.json_error() }));
        } else {
            assert_answer(&answer, reason);
        }
    }
}

#[tokio::test]
async fn the_reason_is_told_only_where_it_was_asked_for() {
    let mango = Backend::mango().start().await.unwrap();
    let toml = Setup::new(&[&mango]).route(r#"match = { path = "/here" }"#).toml();
    let stage = Stage::start(&toml.replace("reason_header = true", ""));
    let answer = ask(&stage, "/nowhere", "").await;
    assert_eq!((answer.status(), answer.header("x-lb-reason")), (404, None));
    let mut client = stage.client().await;
    client.send("GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = client.response().await.unwrap();
    assert_eq!((answer.status(), answer.header("x-lb-reason")), (400, None));
    let lines = stage.log.wait_for(2).await;
    assert_eq!(
        lines.iter().map(|line| line.reason).collect::<Vec<_>>(),
        [Some(Reason::NoRoute), Some(Reason::MalformedRequest)]
    );
}

/// A backend's answer is its own, whatever it looks like.
#[tokio::test]
async fn a_backends_answer_has_no_reason() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    for status in [200, 404, 500, 503] {
        mango.behave(lb_testkit::Behaviour::status(status));
        let answer = ask(&stage, "/", "").await;
        assert_eq!((answer.status(), answer.header("x-lb-reason")), (status, None));
    }
    assert!(stage.log.wait_for(4).await.iter().all(|line| line.reason.is_none()));
}

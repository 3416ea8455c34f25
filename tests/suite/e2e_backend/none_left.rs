//! No backend that may be picked: 503, in the form that the client prefers.

use lb_testkit::Behaviour;
use rstest::rstest;

use crate::support::{Lb, Setup, Tested, backend};

async fn down() -> std::io::Result<(lb_testkit::Backend, Lb)> {
    let a = backend("a").await;
    a.behave_for_health(Behaviour::fail());
    let lb = Setup::over(&[&a])
        .pool("health_check = { path = \"/healthcheck\", interval = \"50ms\", initial = \"down\" }")
        .start();
    Ok((a, lb))
}

const TEXT: &str = "No Backends servers available\n";
const JSON: &str = "{\"error\": \"No healthy backends\"}";

#[rstest]
#[case::nothing_said("", "text/plain", TEXT)]
#[case::anything("Accept: */*\r\n", "text/plain", TEXT)]
#[case::text("Accept: text/plain\r\n", "text/plain", TEXT)]
#[case::json("Accept: application/json\r\n", "application/json", JSON)]
#[case::json_preferred("Accept: text/plain;q=0.5, application/json\r\n", "application/json", JSON)]
#[tokio::test]
async fn is_a_503(#[case] accept: &str, #[case] content_type: &str, #[case] body: &str) -> Tested {
    let (a, lb) = down().await?;
    let mut client = lb.client().await;
    for _ in 0..2 {
        client.send(format!("GET / HTTP/1.1\r\nHost: mango\r\n{accept}\r\n")).await?;
        let answer = client.response().await?;
        assert_eq!(answer.status(), 503, "{answer}");
        let got = answer.header("content-type").unwrap_or_default();
        assert!(got.starts_with(content_type), "{got}");
        let seconds = answer.header("retry-after").and_then(|value| value.parse::<u32>().ok());
        assert!(seconds.is_some_and(|seconds| seconds >= 1), "{seconds:?}");
        if content_type == "application/json" {
            let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            assert_eq!(json(&answer.body.text()), json(body));
        } else {
            assert_eq!(answer.body.text(), body);
        }
    }
    assert_eq!(a.requests().len(), 0);
    let lines = lb.lines(2).await;
    assert!(lines.iter().all(|line| line.to_string() == "503 no_healthy_backend"), "{lines:?}");
    Ok(())
}

/// With a body on its way as well: the connection is still good, or ends in an orderly way.
#[tokio::test]
async fn an_upload_gets_it_too() -> Tested {
    let (_a, lb) = down().await?;
    let mut client = lb.client().await;
    client.send("POST / HTTP/1.1\r\nHost: mango\r\nContent-Length: 100000\r\n\r\n").await?;
    let answer = client.response().await?;
    assert_eq!(answer.status(), 503, "{answer}");
    Ok(())
}

#[tokio::test]
async fn it_ends_when_a_backend_comes_back() -> Tested {
    let (a, lb) = down().await?;
    assert_eq!(lb.get("/").await?.status(), 503);
    a.behave_normally();
    lb.changed("mango a up", 1).await;
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}

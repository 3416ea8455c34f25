//! The access log: its formats, where it goes, and what a hostile request cannot do to it.

use lb_testkit::{Behaviour, Gate, RawClient};
use serde_json::Value;

use crate::support::{Lb, Process, Setup, Tested, backend, lb};

fn setup(backends: &[&lb_testkit::Backend], format: &str, path: &str) -> Setup {
    Setup::over(backends).top(&format!("access_log = {{ format = \"{format}\", path = \"{path}\" }}"))
}

/// Runs until its end, which writes what is left; gives the lines.
async fn lines_of(lb: Lb, client: RawClient, path: &std::path::Path) -> Vec<String> {
    drop(client); // its connection would be waited for a while
    lb.shutdown().await;
    std::fs::read_to_string(path).expect("a log").lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn json_lines() -> Tested {
    let a = backend("a").await;
    let file = tempfile::NamedTempFile::new()?;
    let lb = setup(&[&a], "json", file.path().to_str().unwrap_or_default()).start();
    let mut client = lb.client().await;
    client
        .send(
            "POST /p?q=1 HTTP/1.1\r\nHost: www.mango.com:80\r\nUser-Agent: \"curl\" \\ \t1\r\nReferer: r\r\n\
             Content-Length: 2\r\n\r\nhi",
        )
        .await?;
    assert_eq!(client.response().await?.status(), 200);
    let peer = client.local_addr()?;
    a.behave_next(1, Behaviour::truncated(10, 5));
    let _ = client.get("/broken", "mango").await;
    a.stop().await;
    assert_eq!(lb.get("/refused").await?.status(), 502);
    let lines = lines_of(lb, client, file.path()).await;
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    let first = &lines[0];
    for (key, expected) in [
        ("method", "POST"),
        ("target", "/p?q=1"),
        ("host", "www.mango.com:80"),
        ("version", "HTTP/1.1"),
        ("client", "127.0.0.1"),
        ("pool", "mango"),
        ("backend", "a"),
        ("user_agent", "\"curl\" \\ \t1"),
        ("referer", "r"),
        ("route", "route-1"),
        ("listener", "127.0.0.1:0"),
        ("peer", &peer.to_string()),
    ] {
        assert_eq!(first[key], expected, "{key} of {first}");
    }
    for (key, expected) in [("status", 200), ("tries", 1), ("request_bytes", 2)] {
        assert_eq!(first[key], expected, "{key} of {first}");
    }
    assert_eq!(first.get("reason"), None);
    assert!(first["duration_ms"].as_f64() >= first["head_duration_ms"].as_f64(), "{first}");
    assert_eq!(first["request_id"].as_str(), a.requests()[0].header("x-request-id"));
    let time = first["time"].as_str().unwrap_or_default();
    assert!(time.len() == 24 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{time}");
    assert_eq!((&lines[1]["status"], &lines[1]["reason"]), (&200.into(), &"response_truncated".into()));
    assert_eq!(lines[1]["response_bytes"], 5);
    assert_eq!((&lines[2]["status"], &lines[2]["reason"]), (&502.into(), &"connect_failed".into()));
    Ok(())
}

#[tokio::test]
async fn combined_lines() -> Tested {
    let a = backend("a").await;
    let file = tempfile::NamedTempFile::new()?;
    let lb = setup(&[&a], "combined", file.path().to_str().unwrap_or_default()).start();
    let mut client = lb.client().await;
    client.send("GET /p?q HTTP/1.1\r\nHost: m\r\nUser-Agent: a\"b\r\nReferer: http://r/\r\n\r\n").await?;
    let length = client.response().await?.body.length_bytes;
    client.send("GET / HTTP/1.0\r\n\r\n").await?;
    client.response().await?;
    let lines = lines_of(lb, client, file.path()).await;
    assert_eq!(lines.len(), 2, "{lines:?}");
    let (start, rest) = lines[0].split_once('[').expect("a time");
    let (time, rest) = rest.split_once(']').expect("a time's end");
    assert_eq!(start, "127.0.0.1 - - ");
    assert!(time.len() == 26 && time.ends_with(" +0000"), "{time}");
    let agent = rest.strip_prefix(&format!(" \"GET /p?q HTTP/1.1\" 200 {length} \"http://r/\" "));
    assert!(agent.is_some_and(|agent| agent.matches('"').count() >= 2 && !agent.contains("a\"b")), "{rest}");
    assert!(lines[1].contains("\"GET / HTTP/1.0\" 200 "), "{}", lines[1]);
    Ok(())
}

/// The client that left has its line as well.
#[tokio::test]
async fn a_client_that_leaves_is_a_499() -> Tested {
    let a = backend("a").await;
    let gate = Gate::default();
    a.behave(Behaviour::own().held_by(&gate));
    let file = tempfile::NamedTempFile::new()?;
    let lb = setup(&[&a], "json", file.path().to_str().unwrap_or_default()).start();
    let mut client = lb.client().await;
    client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    a.wait_for_requests(1).await?;
    client.reset();
    assert_eq!(lb.line().await, "499 client_left a 1");
    let client = lb.client().await;
    let lines = lines_of(lb, client, file.path()).await;
    let line: Value = serde_json::from_str(&lines[0]).expect("JSON");
    assert_eq!((&line["status"], &line["reason"]), (&499.into(), &"client_left".into()));
    Ok(())
}

/// Whatever a field's bytes are, a line is a line and JSON is JSON.
#[tokio::test]
async fn bytes_of_a_request_cannot_forge_lines() -> Tested {
    let a = backend("a").await;
    for format in ["json", "combined"] {
        let file = tempfile::NamedTempFile::new()?;
        let lb = setup(&[&a], format, file.path().to_str().unwrap_or_default()).start();
        let mut client = lb.client().await;
        let mut request = b"GET /%0a{\"x\":1}\"'<> HTTP/1.1\r\nHost: m\r\nUser-Agent: ".to_vec();
        request.extend((0x80..=0xffu8).chain([b'"', b'\\', b'\t', b'<', b'{']));
        request.extend_from_slice(b"\r\n\r\n");
        client.send(request).await?;
        client.response().await?;
        let lines = lines_of(lb, client, file.path()).await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        if format == "json" {
            serde_json::from_str::<Value>(&lines[0]).expect("JSON");
        }
    }
    Ok(())
}

#[tokio::test]
async fn standard_output_takes_it_by_default() -> Tested {
    let a = backend("a").await;
    let (mut lb, addr) = Process::run(&setup(&[&a], "json", "-").toml()).await;
    RawClient::connect(addr).await?.get("/seen", "mango").await?;
    let line = lb.says("/seen").await;
    assert_eq!(serde_json::from_str::<Value>(&line).expect("JSON")["status"], 200);
    lb.terminate().await;
    Ok(())
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_stops_the_start() -> Tested {
    let a = backend("a").await;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("lb.toml");
    std::fs::write(&path, setup(&[&a], "json", "/no/such/directory/log").toml())?;
    let (code, _, errors) = lb(&["run", "-c", path.to_str().unwrap_or_default()]).await;
    assert_eq!(code, 1, "{errors}");
    assert!(errors.contains("cannot open the access log /no/such/directory/log"), "{errors}");
    Ok(())
}

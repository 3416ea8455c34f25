//! The program and its signals: TERM, INT, QUIT, HUP, USR1.

use lb_testkit::{Behaviour, DEADLINE, Gate, RawClient};
use rstest::rstest;

use crate::support::{Process, Setup, Signal, Tested, backend, two};

#[rstest]
#[case(Signal::TERM)]
#[case(Signal::INT)]
#[case(Signal::QUIT)]
#[tokio::test]
async fn ends_with_0(#[case] signal: Signal) -> Tested {
    let a = backend("a").await;
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    lb.signal(signal);
    assert_eq!(client.closed().await?, b"");
    drop(client);
    assert_eq!(lb.ends().await, 0);
    assert!(RawClient::connect(addr).await.is_err());
    Ok(())
}

#[rstest]
#[case(Signal::TERM)]
#[case(Signal::INT)]
#[tokio::test]
async fn finishes_what_is_in_flight(#[case] signal: Signal) -> Tested {
    let a = backend("a").await;
    let gate = Gate::default();
    a.behave(Behaviour::own().held_by(&gate));
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    a.wait_for_requests(1).await?;
    lb.signal(signal);
    lb.tells("shutting down").await;
    gate.open_for_all();
    assert_eq!(client.response().await?.status(), 200);
    drop(client);
    assert_eq!(lb.ends().await, 0);
    lb.tells("shut down").await;
    Ok(())
}

#[rstest]
#[case::the_time_is_up("200ms", None)]
#[case::a_second_signal("1h", Some(Signal::TERM))]
#[case::another_signal("1h", Some(Signal::INT))]
#[tokio::test]
async fn cuts_off_what_takes_too_long(#[case] time: &str, #[case] second: Option<Signal>) -> Tested {
    let a = backend("a").await;
    a.behave(Behaviour::hang());
    let (mut lb, addr) =
        Process::run(&Setup::over(&[&a]).top(&format!("shutdown_timeout = \"{time}\"")).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    client.send("GET / HTTP/1.1\r\nHost: mango\r\n\r\n").await?;
    a.wait_for_requests(1).await?;
    lb.signal(Signal::TERM);
    lb.tells("shutting down").await;
    if let Some(second) = second {
        lb.signal(second);
    }
    assert_eq!(lb.ends().await, 0);
    lb.tells("by force").await;
    assert_eq!(client.closed().await?, b"");
    Ok(())
}

#[tokio::test]
async fn hup_reloads_the_file() -> Tested {
    let [a, b] = two().await;
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    client.get("/", "mango").await?;
    lb.rewrite(&Setup::over(&[&b]).toml());
    client.get("/", "mango").await?; // not before it is told to
    lb.signal(Signal::HUP);
    lb.tells("configuration reloaded").await;
    client.get("/", "mango").await?;
    assert_eq!((a.requests().len(), b.requests().len()), (2, 1));
    drop(client);
    lb.terminate().await;
    Ok(())
}

/// A broken file is told of, with its problems, and changes nothing.
#[rstest]
#[case::not_toml("[[listener\n", "lb.toml:1:")]
#[case::not_valid("[[listener]]\nbind = \"nowhere\"\n", "listener[0].bind")]
#[tokio::test]
async fn hup_with_a_broken_file_keeps_the_old_configuration(
    #[case] broken: &str,
    #[case] told: &str,
) -> Tested {
    let [a, b] = two().await;
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    client.get("/", "mango").await?;
    lb.rewrite(broken);
    lb.signal(Signal::HUP);
    lb.tells("configuration not reloaded").await;
    lb.tells(told).await;
    assert_eq!(client.get("/", "mango").await?.status(), 200);
    assert_eq!(a.requests().len(), 2);
    lb.rewrite(&Setup::over(&[&b]).toml());
    lb.signal(Signal::HUP);
    lb.tells("configuration reloaded").await;
    client.get("/", "mango").await?;
    assert_eq!((a.requests().len(), b.requests().len()), (2, 1));
    drop(client);
    lb.terminate().await;
    Ok(())
}

/// What has changed is told, and what a reload cannot change.
#[tokio::test]
async fn hup_tells_what_it_changed() -> Tested {
    let [a, b] = two().await;
    let (mut lb, _) = Process::run(&Setup::over(&[&a]).toml()).await;
    lb.rewrite(&Setup::over(&[&a, &b]).top("workers = 2").toml());
    lb.signal(Signal::HUP);
    lb.tells("configuration reloaded changes=pools ~mango; other settings").await;
    lb.tells("changes of workers and access_log take a restart").await;
    lb.terminate().await;
    Ok(())
}

/// Nobody reads what is told: that stops neither requests nor the program's end.
#[tokio::test]
async fn a_full_standard_error_holds_up_nothing() -> Tested {
    let a = backend("a").await;
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    let problems: String =
        (0..100).map(|number| format!("{}{number} = 1\n", "unknown_".repeat(20))).collect();
    lb.rewrite(&problems);
    for _ in 0..50 {
        lb.signal(Signal::HUP);
        assert_eq!(client.get("/", "mango").await?.status(), 200);
    }
    drop(client);
    lb.terminate().await;
    Ok(())
}

/// After a log file was moved away, USR1 makes a new one.
#[tokio::test]
async fn usr1_opens_the_log_anew() -> Tested {
    let a = backend("a").await;
    let directory = tempfile::tempdir()?;
    let (path, moved) = (directory.path().join("access.log"), directory.path().join("access.log.1"));
    let log = format!("access_log = {{ format = \"json\", path = \"{}\" }}", path.display());
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).top(&log).toml()).await;
    let mut client = RawClient::connect(addr).await?;
    client.get("/before", "mango").await?;
    std::fs::rename(&path, &moved)?;
    lb.signal(Signal::USR1);
    let reopened = async {
        let mut requests = 1;
        while std::fs::read_to_string(&path).unwrap_or_default().is_empty() {
            client.get("/after", "mango").await?;
            requests += 1;
        }
        std::io::Result::Ok(requests)
    };
    let requests = tokio::time::timeout(DEADLINE, reopened).await.expect("a new file")?;
    drop(client);
    lb.terminate().await;
    let (old, new) = (std::fs::read_to_string(&moved)?, std::fs::read_to_string(&path)?);
    assert!(old.starts_with('{') && old.contains("\"/before\""), "{old}");
    assert!(new.contains("\"/after\"") && !new.contains("\"/before\""), "{new}");
    assert_eq!(old.lines().count() + new.lines().count(), requests, "no line is lost");
    Ok(())
}

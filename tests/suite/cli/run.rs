//! `lb run`: starts, says where it listens, or why it cannot.

use lb_testkit::{Port, RawClient};

use crate::support::{Process, Setup, Tested, backend, lb};

#[tokio::test]
async fn says_where_it_listens_and_serves() -> Tested {
    let a = backend("a").await;
    let second = "[[listener]]\nbind = \"127.0.0.1:0\"\n";
    let (mut lb, first) = Process::run(&(Setup::over(&[&a]).toml() + second)).await;
    let line = lb.tells("listening").await;
    let second = line.split("address=").nth(1).and_then(|text| text.trim().parse().ok());
    for addr in [first, second.expect("an address")] {
        assert_eq!(RawClient::connect(addr).await?.get("/", "mango").await?.status(), 200);
    }
    lb.terminate().await;
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_is_1() -> Tested {
    let a = backend("a").await;
    let port = Port::free()?;
    let _taken = port.listen()?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("lb.toml");
    std::fs::write(&path, Setup::over(&[&a]).listener(&format!("bind = \"{}\"", port.addr())).toml())?;
    let (code, output, errors) = lb(&["run", "-c", path.to_str().unwrap_or_default()]).await;
    assert_eq!((code, output.as_str()), (1, ""));
    assert!(errors.contains(&format!("cannot listen on {}: ", port.addr())), "{errors}");
    Ok(())
}

/// Health transitions are told; requests are not.
#[tokio::test]
async fn tells_of_health_and_is_quiet_otherwise() -> Tested {
    let a = backend("a").await;
    let check = "health_check = { path = \"/healthcheck\", interval = \"50ms\" }";
    let (mut lb, addr) = Process::run(&Setup::over(&[&a]).pool(check).toml()).await;
    RawClient::connect(addr).await?.get("/", "mango").await?;
    a.behave_for_health(lb_testkit::Behaviour::fail());
    // The very next line: nothing was said of the request.
    let line = lb.errors.next_line().await?.unwrap_or_default();
    assert!(line.contains("WARN") && line.contains("backend down: status 500"), "{line}");
    assert!(line.contains("pool=\"mango\"") && line.contains("backend=a"), "{line}");
    a.behave_normally();
    lb.tells("backend up").await;
    lb.terminate().await;
    assert_eq!(lb.output.next_line().await?, None, "the access log is off");
    Ok(())
}

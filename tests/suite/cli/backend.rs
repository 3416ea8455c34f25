//! `lb backend`: one mock backend of the course.

use std::net::SocketAddr;

use lb_testkit::{Port, RawClient};
use rstest::rstest;

use crate::support::{Process, Signal, Tested, lb};

async fn start(arguments: &[&str], name: &str) -> (Process, SocketAddr) {
    let mut process = Process::start(&[&["backend"], arguments].concat());
    let line = process.says("listens on").await;
    let address = line.strip_prefix(&format!("{name} listens on ")).and_then(|address| address.parse().ok());
    (process, address.unwrap_or_else(|| panic!("{line}")))
}

#[tokio::test]
async fn serves_under_its_name() -> Tested {
    let (mut orange, addr) = start(&["--name", "orange"], "orange").await;
    let mut client = RawClient::connect(addr).await?;
    let answer = client.get("/?MyCustomParam=Test", "www.orange.com").await?.body.text();
    assert_eq!(
        answer,
        format!(
            "This is the orange application. Serving on {addr}. Custom Header: None, \
             Host Header: www.orange.com, Custom Param: Test"
        )
    );
    orange.says("GET /?MyCustomParam=Test").await;
    assert_eq!(client.get("/healthcheck", "x").await?.body.text(), "OK");
    assert_eq!(client.get("/v2", "x").await?.body.text(), "This is V2");
    Ok(())
}

#[tokio::test]
async fn claims_another_endpoint() -> Tested {
    let (_mango, addr) = start(&["--endpoint", "mango.local:8081"], "mango").await;
    let answer = RawClient::connect(addr).await?.get("/", "x").await?.body.text();
    assert!(answer.starts_with("This is the mango application. Serving on mango.local:8081."), "{answer}");
    Ok(())
}

#[rstest]
#[case(Signal::TERM)]
#[case(Signal::INT)]
#[case::its_terminal_closes(Signal::HUP)]
#[tokio::test]
async fn ends_with_0(#[case] signal: Signal) -> Tested {
    let (mut mango, addr) = start(&[], "mango").await;
    let mut client = RawClient::connect(addr).await?;
    client.get("/", "x").await?;
    mango.signal(signal);
    assert_eq!(mango.ends().await, 0);
    assert_eq!(client.closed().await?, b"");
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_is_1() -> Tested {
    let port = Port::free()?;
    let _taken = port.listen()?;
    let addr = port.addr().to_string();
    let (code, _, errors) = lb(&["backend", "--listen", &addr]).await;
    assert_eq!(code, 1);
    assert!(errors.contains(&format!("cannot listen on {addr}")), "{errors}");
    Ok(())
}

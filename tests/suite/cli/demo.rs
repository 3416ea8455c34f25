//! `lb demo`: the guide's walk, moved by typed lines.

use std::net::SocketAddr;

use lb_testkit::{DEADLINE, RawClient};
use rstest::rstest;

use crate::support::{Process, Signal, Tested, lb};

/// Starts it and reads its introduction; gives the balancer's address.
async fn start() -> (Process, SocketAddr) {
    let mut demo = Process::start(&["demo"]);
    let line = demo.says("The balancer listens on http://").await;
    let address = line.split("http://").nth(1).and_then(|rest| rest.split(". ").next()?.parse().ok());
    let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
    (demo, address)
}

async fn get(addr: SocketAddr, target: &str, host: &str) -> std::io::Result<lb_testkit::Response> {
    RawClient::connect(addr).await?.get(target, host).await
}

#[tokio::test]
async fn shows_its_configuration_and_what_to_try() -> Tested {
    let mut demo = Process::start(&["demo"]);
    let mut introduction = String::new();
    loop {
        let line = tokio::time::timeout(DEADLINE, demo.output.next_line()).await??.expect("more to say");
        introduction += &line;
        introduction.push('\n');
        if line.contains("(Ctrl-C") {
            break;
        }
    }
    for wanted in ["[pool.mango]", "health_check", "curl -H 'Host: www.mango.com'", "stop NAME", "slow 500ms"]
    {
        assert!(introduction.contains(wanted), "{wanted:?} is not in\n{introduction}");
    }
    // The configuration that it shows is one.
    let toml = introduction
        .split_once("The configuration that runs:\n")
        .and_then(|(_, rest)| rest.split_once("The balancer listens"))
        .map(|(toml, _)| toml.to_owned())
        .expect("a configuration");
    assert_eq!(crate::support::valid(&toml).routes.len(), 3);
    Ok(())
}

#[tokio::test]
async fn tells_of_each_request() -> Tested {
    let (mut demo, addr) = start().await;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let text = get(addr, "/", "www.mango.com").await?.body.text();
        assert!(text.starts_with("This is the mango application."), "{text}");
        let line = demo.says("GET www.mango.com/ -> mango").await;
        assert!(line.contains(" 200 in "), "{line}");
        seen.push(line.split("-> ").nth(1).and_then(|rest| rest.split(' ').next()).map(str::to_owned));
    }
    seen.sort();
    assert_eq!(seen, [Some("mango1".to_owned()), Some("mango2".to_owned())], "in turn");
    assert!(get(addr, "/", "www.apple.com").await?.body.text().starts_with("This is the apple"));
    demo.says("-> apple1 200").await;
    assert!(get(addr, "/mango", "any").await?.body.text().starts_with("This is the mango"));
    assert_eq!(get(addr, "/nowhere", "any").await?.status(), 404);
    demo.says("-> lb (no_route) 404").await;
    Ok(())
}

/// The walk: a backend dies, nobody notices, its checks find out, it comes back.
#[tokio::test]
async fn a_backend_dies_and_comes_back() -> Tested {
    let (mut demo, addr) = start().await;
    demo.type_line("stop mango1").await;
    demo.says("mango1 is stopped").await;
    for _ in 0..4 {
        let answer = get(addr, "/", "www.mango.com").await?;
        assert_eq!(answer.status(), 200, "{answer}");
    }
    demo.says("** mango: mango1 (127.0.0.1:").await;
    demo.type_line("start mango1").await;
    demo.says("mango1 is started").await;
    let line = demo.says("** mango: mango1").await;
    assert!(line.ends_with(" up"), "{line}");
    demo.type_line("start mango1").await;
    demo.says("mango1 is running").await;
    Ok(())
}

#[tokio::test]
async fn the_last_backend_dies_and_it_is_503() -> Tested {
    let (mut demo, addr) = start().await;
    demo.type_line("stop apple1").await;
    demo.says("** apple: apple1").await;
    assert_eq!(get(addr, "/", "www.apple.com").await?.status(), 503);
    demo.says("-> lb (no_healthy_backend) 503").await;
    Ok(())
}

#[tokio::test]
async fn a_backend_fails_is_slow_and_is_well_again() -> Tested {
    let (mut demo, addr) = start().await;
    demo.type_line("fail apple1").await;
    demo.says("apple1 answers 500").await;
    assert_eq!(get(addr, "/", "www.apple.com").await?.status(), 500);
    demo.type_line("slow 50ms apple1").await;
    demo.says("apple1 answers after 50ms").await;
    let began = std::time::Instant::now();
    assert_eq!(get(addr, "/", "www.apple.com").await?.status(), 200);
    assert!(began.elapsed() >= std::time::Duration::from_millis(50));
    demo.type_line("ok apple1").await;
    demo.says("apple1 answers as usual").await;
    // Without a name it is mango1 that fails; sooner or later it is ejected.
    demo.type_line("fail").await;
    demo.says("mango1 answers 500").await;
    for _ in 0..10 {
        get(addr, "/", "www.mango.com").await?;
    }
    demo.says("** mango: mango1").await;
    for _ in 0..4 {
        assert_eq!(get(addr, "/", "www.mango.com").await?.status(), 200);
    }
    Ok(())
}

#[rstest]
#[case("dance", "\"dance\" is not understood")]
#[case("stop", "say which: stop")]
#[case("stop durian", "no backend is called \"durian\"; there are apple1 | mango1 | mango2")]
#[case("slow", "say how slow")]
#[case("slow down", "say how slow")]
#[case("help", "Type:")]
#[tokio::test]
async fn says_what_it_does_not_understand(#[case] line: &str, #[case] said: &str) -> Tested {
    let (mut demo, addr) = start().await;
    demo.says("(Ctrl-C").await;
    demo.type_line(line).await;
    demo.says(said).await;
    assert_eq!(get(addr, "/", "www.mango.com").await?.status(), 200);
    Ok(())
}

#[rstest]
#[case::ctrl_c(Some(Signal::INT), true)]
#[case::ctrl_c_after_the_input_has_ended(Some(Signal::INT), false)]
#[case::term(Some(Signal::TERM), true)]
#[case::term_after_the_input_has_ended(Some(Signal::TERM), false)]
#[case::its_terminal_closes(Some(Signal::HUP), false)]
#[case::quit(None, true)]
#[tokio::test]
async fn ends_with_0(#[case] signal: Option<Signal>, #[case] input: bool) -> Tested {
    let (mut demo, addr) = start().await;
    if !input {
        demo.end_input();
    }
    assert_eq!(get(addr, "/", "www.mango.com").await?.status(), 200);
    demo.says("GET www.mango.com/").await;
    match signal {
        Some(signal) => demo.signal(signal),
        None => demo.type_line("quit").await,
    }
    assert_eq!(demo.ends().await, 0);
    assert!(RawClient::connect(addr).await.is_err());
    Ok(())
}

/// Right after it has said the first word, and twice while a request is in flight.
#[tokio::test]
async fn ctrl_c_works_from_the_start_and_a_second_one_does_not_wait() -> Tested {
    let mut demo = Process::start(&["demo"]);
    demo.says("The configuration that runs").await;
    demo.signal(Signal::INT);
    assert_eq!(demo.ends().await, 0);

    let (mut demo, addr) = start().await;
    demo.type_line("slow 3600s apple1").await;
    demo.says("apple1 answers after").await;
    let mut client = RawClient::connect(addr).await?;
    client.send("GET / HTTP/1.1\r\nHost: www.apple.com\r\n\r\n").await?;
    demo.signal(Signal::INT);
    demo.says("ending").await;
    demo.signal(Signal::INT);
    assert_eq!(demo.ends().await, 0);
    assert_eq!(client.closed().await?, b"");
    Ok(())
}

#[tokio::test]
async fn an_address_in_use_is_1() -> Tested {
    let port = lb_testkit::Port::free()?;
    let _taken = port.listen()?;
    let addr = port.addr().to_string();
    let (code, _, errors) = lb(&["demo", "--listen", &addr]).await;
    assert_eq!(code, 1);
    assert!(errors.contains(&format!("cannot listen on {addr}: ")), "{errors}");
    Ok(())
}

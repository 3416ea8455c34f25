//! Sticky sessions: what a client and the backends see of them.

use std::io::Write;

use lb_testkit::{Behaviour, Response};
use rstest::rstest;

use crate::support::{Lb, Setup, Tested, two};

const SECRET: &str = "secret = \"0123456789abcdef0123456789abcdef\"";

/// `GET /` with a cookie, on a connection of its own.
async fn get(lb: &Lb, cookie: Option<&str>) -> std::io::Result<Response> {
    let mut client = lb.client().await;
    let field = cookie.map_or(String::new(), |cookie| format!("Cookie: theme=dark; {cookie}\r\n"));
    client.send(format!("GET / HTTP/1.1\r\nHost: mango\r\n{field}\r\n")).await?;
    client.response().await
}

/// The cookie that an answer sets, without its attributes.
fn cookie(answer: &Response) -> Option<String> {
    let (pair, _) = answer.header("set-cookie")?.split_once("; ")?;
    Some(pair.to_owned())
}

/// Who answers so many requests with this cookie; none of the answers sets one.
async fn who_keeps(lb: &Lb, cookie: &str, requests: usize) -> std::io::Result<Vec<String>> {
    let before = lb.lines(0).await.len();
    for _ in 0..requests {
        let answer = get(lb, Some(cookie)).await?;
        assert_eq!((answer.status(), answer.header("set-cookie")), (200, None), "{answer}");
    }
    let lines = lb.lines(before + requests).await;
    Ok(lines[before..].iter().map(|line| line.backend.clone().unwrap_or_default()).collect())
}

/// A first request: the cookie, and who answered.
async fn first(lb: &Lb) -> std::io::Result<(String, String)> {
    let before = lb.lines(0).await.len();
    let answer = get(lb, None).await?;
    let lines = lb.lines(before + 1).await;
    let backend = lines[before].backend.clone().unwrap_or_default();
    Ok((cookie(&answer).expect("a cookie"), backend))
}

#[tokio::test]
async fn a_client_stays_where_it_was() -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).pool(&format!("sticky = {{ {SECRET} }}")).start();
    let answer = get(&lb, None).await?;
    let text = answer.header("set-cookie").expect("a cookie").to_owned();
    let (pair, attributes) = text.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Max-Age=3600; Path=/; HttpOnly; SameSite=Lax");
    assert!(pair.starts_with("lb_session=") && pair.len() == 11 + 64, "{pair}");
    assert!(!text.contains("127.0.0.1") && !text.contains(&a.addr().port().to_string()));
    let (second, other) = first(&lb).await?;
    assert_ne!(pair, second);
    assert_eq!(who_keeps(&lb, &second, 4).await?, vec![other; 4]);
    let kept = who_keeps(&lb, pair, 4).await?;
    assert_eq!(kept, vec![kept[0].clone(); 4]);
    // The backend gets the cookies as the client sent them.
    let seen =
        a.requests().into_iter().chain(b.requests()).filter_map(|r| r.header("cookie").map(str::to_owned));
    assert!(seen.into_iter().any(|cookies| cookies == format!("theme=dark; {pair}")));
    Ok(())
}

/// A cookie that somebody else made is none, and is replaced.
#[rstest]
#[case::garbage("lb_session=garbage")]
#[case::empty("lb_session=")]
#[case::forged(&format!("lb_session={}", "0".repeat(64)))]
#[tokio::test]
async fn a_forged_cookie_is_none(#[case] forged: &str) -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).pool(&format!("sticky = {{ {SECRET} }}")).start();
    let answer = get(&lb, Some(forged)).await?;
    assert_eq!(answer.status(), 200);
    assert!(cookie(&answer).is_some());
    Ok(())
}

#[tokio::test]
async fn a_session_moves_when_its_backend_is_gone() -> Tested {
    let [a, b] = two().await;
    let lb = Setup::over(&[&a, &b]).pool(&format!("sticky = {{ {SECRET} }}")).start();
    let (mine, backend) = first(&lb).await?;
    let (gone, left) = if backend == "a" { (&a, "b") } else { (&b, "a") };
    gone.stop().await;
    let before = lb.lines(0).await.len();
    let answer = get(&lb, Some(&mine)).await?;
    let moved = cookie(&answer).expect("the retry's backend is the session's from now on");
    assert_eq!(lb.lines(before + 1).await[before].to_string(), format!("200 - {left} 2"));
    assert_eq!(who_keeps(&lb, &moved, 3).await?, [left; 3]);
    Ok(())
}

/// A drained backend keeps its sessions and gets no new ones; in maintenance it keeps none.
#[tokio::test]
async fn a_drained_backend_keeps_its_sessions() -> Tested {
    let [a, b] = two().await;
    let setup = |state: &str| {
        Setup::default()
            .backend("a", a.addr(), &format!("state = \"{state}\""))
            .backend("b", b.addr(), "")
            .pool(&format!("sticky = {{ {SECRET} }}"))
            .toml()
    };
    let lb = Lb::start(&setup("ready"));
    let (mut mine, mut backend) = first(&lb).await?;
    if backend != "a" {
        (mine, backend) = first(&lb).await?;
    }
    assert_eq!(backend, "a");
    lb.reload(&setup("drain")).await.expect("a valid configuration");
    assert_eq!(who_keeps(&lb, &mine, 3).await?, ["a"; 3], "over a reload as well");
    for _ in 0..3 {
        assert_eq!(first(&lb).await?.1, "b");
    }
    lb.reload(&setup("maint")).await.expect("a valid configuration");
    assert!(cookie(&get(&lb, Some(&mine)).await?).is_some_and(|moved| moved != mine));
    Ok(())
}

/// Balancers with the same secret know each other's cookies; with a key of their own they do not, but a reload
/// keeps it.
#[tokio::test]
async fn who_knows_a_cookie() -> Tested {
    let [a, b] = two().await;
    let setup = |sticky: &str| Setup::over(&[&a, &b]).pool(&format!("sticky = {{ {sticky} }}"));
    let one = setup(SECRET).start();
    let (mine, backend) = first(&one).await?;
    let mut file = tempfile::NamedTempFile::new()?;
    writeln!(file, "0123456789abcdef0123456789abcdef")?;
    let other = setup(&format!("secret_file = {:?}", file.path())).start();
    assert_eq!(who_keeps(&other, &mine, 3).await?, vec![backend; 3]);

    let alone = setup("").start();
    assert!(cookie(&get(&alone, Some(&mine)).await?).is_some(), "not one of its own");
    let (own, backend) = first(&alone).await?;
    alone.reload(&setup("").toml()).await.expect("a valid configuration");
    assert_eq!(who_keeps(&alone, &own, 3).await?, vec![backend; 3]);
    Ok(())
}

#[tokio::test]
async fn a_key_that_cannot_be_read_changes_nothing() -> Tested {
    let [a, b] = two().await;
    let setup = Setup::over(&[&a, &b]);
    let lb = setup.start();
    let toml = setup.clone().pool("sticky = { secret_file = \"/nowhere/key\" }").toml();
    let refused = lb.reload(&toml).await.expect_err("no key");
    assert!(refused.to_string().contains("pool mango: /nowhere/key"), "{refused}");
    let toml = setup.clone().pool("sticky = { secret_env = \"LB_TEST_UNSET\" }").toml();
    let refused = lb.reload(&toml).await.expect_err("no key");
    assert!(refused.to_string().contains("LB_TEST_UNSET is not set"), "{refused}");
    assert_eq!(get(&lb, None).await?.header("set-cookie"), None);
    Ok(())
}

#[tokio::test]
async fn an_error_starts_no_session() -> Tested {
    let [a, b] = two().await;
    for backend in [&a, &b] {
        backend.behave(Behaviour::fail());
    }
    let lb = Setup::over(&[&a, &b]).pool(&format!("sticky = {{ {SECRET} }}")).start();
    let answer = get(&lb, None).await?;
    assert_eq!((answer.status(), answer.header("set-cookie")), (500, None));
    Ok(())
}

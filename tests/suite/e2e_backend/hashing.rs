//! Consistent hashing: what a request carries decides where it goes, and only that.

use rstest::rstest;

use crate::support::{Lb, Setup, Tested, backend};

/// Who answers the requests of so many users.
async fn homes(lb: &Lb, users: usize, more: &str) -> std::io::Result<Vec<String>> {
    let mut homes = Vec::new();
    for user in 0..users {
        let before = lb.lines(0).await.len();
        let mut client = lb.client().await;
        let request = format!(
            "GET /u{user}/{more}?user=u{user} HTTP/1.1\r\nHost: mango\r\nX-User: u{user}\r\n\
             Cookie: a=b; user=u{user}\r\nX-Other: {more}\r\n\r\n"
        );
        client.send(&request).await?;
        assert_eq!(client.response().await?.status(), 200);
        let lines = lb.lines(before + 1).await;
        homes.extend(lines.last().and_then(|line| line.backend.clone()));
    }
    Ok(homes)
}

/// Each user has a home whatever else the requests carry; a reload that turns the file around changes
/// nothing, and one that goes leaves the others where they are.
#[rstest]
#[case("ring_hash", "by = \"header\", name = \"X-User\"")]
#[case("maglev", "by = \"cookie\", name = \"user\"")]
#[case("rendezvous", "by = \"query\", name = \"user\"")]
#[tokio::test]
async fn users_have_homes(#[case] algorithm: &str, #[case] hash: &str) -> Tested {
    const USERS: usize = 24;
    let [a, b, c] = [backend("a").await, backend("b").await, backend("c").await];
    let pool = format!("algorithm = \"{algorithm}\"\nhash = {{ {hash} }}");
    let lb = Setup::over(&[&a, &b, &c]).pool(&pool).start();
    let before = homes(&lb, USERS, "first").await?;
    assert!(["a", "b", "c"].iter().all(|name| before.iter().any(|home| home == name)), "{before:?}");
    assert_eq!(homes(&lb, USERS, "second").await?, before);
    let turned = Setup::over(&[&c, &b, &a]).pool(&pool);
    lb.reload(&turned.toml()).await.expect("it is valid");
    assert_eq!(homes(&lb, USERS, "third").await?, before);
    let drained = Setup::default()
        .backend("a", a.addr(), "")
        .backend("b", b.addr(), "state = \"drain\"")
        .backend("c", c.addr(), "")
        .pool(&pool);
    lb.reload(&drained.toml()).await.expect("it is valid");
    let without_b = homes(&lb, USERS, "fourth").await?;
    assert!(
        before.iter().zip(&without_b).all(|(before, now)| now != "b" && (before == now || before == "b"))
    );
    Ok(())
}

/// A client is an address, so one client has one home.
#[tokio::test]
async fn a_client_has_one_home() -> Tested {
    let [a, b] = [backend("a").await, backend("b").await];
    let lb = Setup::over(&[&a, &b]).pool("algorithm = \"maglev\"").start();
    let homes = lb.who_answers(12).await?;
    assert!(homes.iter().all(|home| home == &homes[0]), "{homes:?}");
    Ok(())
}

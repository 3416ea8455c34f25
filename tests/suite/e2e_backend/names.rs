//! Backends written by name.

use lb_testkit::Port;

use crate::support::{Setup, Tested, backend};

#[tokio::test]
async fn a_name_is_resolved() -> Tested {
    let a = backend("a").await;
    let port = a.addr().port();
    let lb = Setup::default().backend("a", format!("localhost:{port}"), "").start();
    lb.changed("mango a added", 1).await;
    // Where localhost is ::1 as well nobody listens there, and the try goes on to 127.0.0.1.
    assert_eq!(lb.get("/").await?.status(), 200);
    Ok(())
}

/// A backend by name is asked for by its name where the client's Host is not kept.
#[tokio::test]
async fn the_name_is_the_host_where_host_is_removed() -> Tested {
    let a = backend("a").await;
    let address = format!("localhost:{}", a.addr().port());
    let lb = Setup::default()
        .backend("a", &address, "")
        .pool("health_check = { interval = \"50ms\" }")
        .route("request = { remove_headers = [\"Host\"] }")
        .start();
    lb.changed("mango a added", 1).await;
    assert_eq!(lb.get("/").await?.status(), 200);
    assert_eq!(a.requests()[0].header("host"), Some(address.as_str()));
    a.wait_for_health_checks(1).await?;
    assert_eq!(a.health_checks()[0].header("host"), Some(address.as_str()));
    Ok(())
}

#[tokio::test]
async fn a_name_that_cannot_be_resolved_does_not_stop_the_start() -> Tested {
    let a = backend("a").await;
    let lb = Setup::over(&[&a]).backend("nowhere", "nowhere.invalid:80", "").start();
    assert_eq!(lb.who_answers(4).await?, ["a"; 4]);
    Ok(())
}

#[tokio::test]
async fn with_nothing_but_unresolvable_names_it_is_503() -> Tested {
    let lb = Setup::default().backend("nowhere", "nowhere.invalid:80", "").start();
    let answer = lb.get("/").await?;
    assert_eq!(
        (answer.status(), answer.header("x-lb-reason")),
        (503, Some("no_healthy_backend")),
        "{answer}"
    );
    Ok(())
}

/// What is at the address may come later.
#[tokio::test]
async fn nobody_at_the_address_does_not_stop_the_start() -> Tested {
    let port = Port::free()?;
    let lb = Setup::default().backend("a", port.addr(), "").pool("retry = { tries = 1 }").start();
    assert_eq!(lb.get("/").await?.status(), 502);
    let a = lb_testkit::Backend::mango().listen(port.addr()).start().await?;
    assert_eq!(lb.get("/").await?.status(), 200);
    assert_eq!(a.requests().len(), 1);
    Ok(())
}

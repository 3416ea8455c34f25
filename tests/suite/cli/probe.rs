//! `lb probe`: what a container's health check runs.

use lb_testkit::{Backend, Behaviour, Port};
use rstest::rstest;

use crate::support::{Process, Tested, lb, lb_in};

fn config(bind: &str) -> String {
    format!(
        "[[listener]]\nbind = \"{bind}\"\n[pool.a]\nbackends = [\"127.0.0.1:81\"]\n[[route]]\npool = \"a\"\n"
    )
}

#[rstest]
#[case(Behaviour::own(), 0, "well: 200 from http://")]
#[case(Behaviour::fail(), 1, "status 500")]
#[case(Behaviour::hang(), 1, "no answer within 1s")]
#[tokio::test]
async fn a_url(#[case] behaviour: Behaviour, #[case] expected: i32, #[case] wanted: &str) -> Tested {
    let backend = Backend::mango().behaviour(behaviour).start().await?;
    let url = format!("http://{}/healthcheck", backend.addr());
    let (code, output, errors) = lb(&["probe", "--timeout", "1", &url]).await;
    let (said, silent) = if expected == 0 { (output, errors) } else { (errors, output) };
    assert_eq!((code, silent.as_str()), (expected, ""));
    assert!(said.contains(wanted) && said.contains(&url) && said.lines().count() == 1, "{said}");
    Ok(())
}

#[tokio::test]
async fn no_url_at_all() {
    let (code, _, errors) = lb(&["probe", "127.0.0.1:80"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("does not begin with http://"), "{errors}");
}

/// Every listener of the file is asked; none of them sees a request.
#[tokio::test]
async fn the_configured_listeners() -> Tested {
    let port = Port::free()?;
    let path = tempfile::tempdir()?;
    let text = config(&format!("0.0.0.0:{}", port.addr().port()));
    std::fs::write(path.path().join("lb.toml"), &text)?;
    let asked = |code: i32, wanted: String| {
        let path = path.path();
        async move {
            let (found, output, errors) = lb_in(path, &["probe"]).await;
            assert_eq!(found, code, "{output}{errors}");
            assert!((output + &errors).contains(&wanted), "{wanted}");
        }
    };
    asked(1, format!("not well: {}: no answer: ", port.addr())).await;

    let (mut running, addr) = Process::run(&text).await;
    assert_eq!(addr.port(), port.addr().port());
    asked(0, format!("well: {} takes connections", port.addr())).await;

    running.terminate().await;
    assert_eq!(running.output.next_line().await?, None, "an access log of a probe");
    Ok(())
}

#[tokio::test]
async fn a_listener_that_cannot_be_found() -> Tested {
    let directory = tempfile::tempdir()?;
    std::fs::write(directory.path().join("lb.toml"), config("127.0.0.1:0"))?;
    let (code, _, errors) = lb_in(directory.path(), &["probe"]).await;
    assert_eq!(code, 1);
    assert!(errors.contains("name a URL"), "{errors}");
    Ok(())
}

//! A plain request, seen from all three sides.

use lb_testkit::Backend;
use lb_tests::Setup;

#[tokio::test]
async fn a_request_is_forwarded_and_logged() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    let answer = stage.get("/a?b=c", "www.mango.com").await;
    assert_eq!(answer.status(), 200);
    let arrived = mango.requests();
    assert_eq!((arrived[0].method(), arrived[0].target()), ("GET", "/a?b=c"));
    let lines = stage.log.wait_for(1).await;
    assert_eq!((lines[0].status, lines[0].reason, lines[0].tries), (200, None, 1));
    assert_eq!((lines[0].host.as_str(), lines[0].target.as_str()), ("www.mango.com", "/a?b=c"));
    stage.assert_idle();
}

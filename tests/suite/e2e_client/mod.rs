//! What the balancer promises to its clients.

mod answers;
mod both_ways;
mod continues;
mod edits;
mod fields;
mod firewall;
mod framing;
mod leaving;
mod limits;
mod messages;
mod parking;
mod pipelining;
mod rate_limit;
mod timeouts;

use lb_core::reason::Reason;
use lb_testkit::{RawClient, Response};
use lb_tests::Line;

/// The balancer's own answer, for this reason.
fn assert_answer(answer: &Response, reason: Reason) {
    let found = (answer.status(), answer.header("x-lb-reason"));
    assert_eq!(found, (reason.status(), Some(reason.code())), "{answer}");
    assert_eq!(answer.body.text(), format!("{}\n", reason.text()));
    assert!(answer.body.is_complete() && answer.header("content-length").is_some());
    let retry_after = answer.header("retry-after").map(|value| value.parse::<u64>().unwrap_or(0));
    match reason.status() {
        429 | 503 => assert!(retry_after >= Some(1), "{retry_after:?}"),
        _ => assert_eq!(retry_after, None),
    }
}

/// The balancer's own answer, after which the connection ends.
async fn assert_last_answer(client: &mut RawClient, reason: Reason) {
    let answer = client.response().await.unwrap();
    assert_answer(&answer, reason);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(client.read_to_end().await.unwrap(), b"");
}

fn assert_line(line: &Line, reason: Reason) {
    assert_eq!((line.status, line.reason), (reason.status(), Some(reason)), "{line:?}");
}

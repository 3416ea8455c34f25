//! Request and response manipulation, as the backend and the client see it.

use lb_testkit::{Backend, Behaviour, Recorded};
use lb_tests::Setup;
use rstest::rstest;

/// What arrives of a `GET` for this target with these fields, through a route with these edits.
async fn arrived(edits: &str, target: &str, fields: &str) -> Recorded {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).route(&format!("request = {{ {edits} }}")).start();
    let mut client = stage.client().await;
    client.send(format!("GET {target} HTTP/1.1\r\nHost: www.mango.com\r\n{fields}\r\n")).await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    // The log has what the client asked for.
    assert_eq!(stage.log.wait_for(1).await[0].target, target);
    mango.requests().remove(0)
}

#[tokio::test]
async fn header_fields_are_removed_then_set_then_appended() {
    let edits = r#"
        remove_headers = ["X-Gone", "X-Both"],
        set_headers = { X-Set = "new", X-Both = "set", X-New = ["a", "b"] },
        append_headers = { X-Both = "appended", X-More = "2" }
    "#
    .replace('\n', " ");
    let fields =
        "X-Gone: 1\r\nx-gone: 2\r\nX-Set: old\r\nX-SET: older\r\nX-Both: old\r\nX-More: 1\r\nX-Kept: yes\r\n";
    let request = arrived(&edits, "/", fields).await;
    let all = |name| request.head.headers.all(name).collect::<Vec<_>>();
    assert_eq!(all("x-gone"), [""; 0]);
    assert_eq!(all("x-set"), ["new"]);
    assert_eq!(all("x-both"), ["set", "appended"]);
    assert_eq!(all("x-new"), ["a", "b"]);
    assert_eq!(all("x-more"), ["1", "2"]);
    assert_eq!(all("x-kept"), ["yes"]);
}

#[rstest]
#[case::set("host = \"internal.example\"", Some("internal.example"))]
#[case::kept("set_headers = { X-A = \"b\" }", Some("www.mango.com"))]
#[case::removed("remove_headers = [\"Host\"]", None)]
#[tokio::test]
async fn host_can_be_rewritten(#[case] edits: &str, #[case] expected: Option<&str>) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).route(&format!("request = {{ {edits} }}")).start();
    assert_eq!(stage.get("/", "www.mango.com").await.status(), 200);
    let request = &mango.requests()[0];
    let own = mango.addr().to_string();
    assert_eq!(request.head.headers.all("host").collect::<Vec<_>>(), [expected.unwrap_or(&own)]);
    assert_eq!(request.header("x-forwarded-host"), Some("www.mango.com"), "what the client asked for");
}

#[rstest]
#[case::set_where_it_stood(r#"set_query = { a = "1" }"#, "/?x=y&a=0&z", "/?x=y&a=1&z")]
#[case::set_new(r#"set_query = { a = "1" }"#, "/?x=y", "/?x=y&a=1")]
#[case::set_without_query(r#"set_query = { a = "1" }"#, "/", "/?a=1")]
#[case::set_the_first_of_many(r#"set_query = { a = "1" }"#, "/?a=0&b=2&a=3", "/?a=1&b=2")]
#[case::set_with_escapes(r#"set_query = { "a b" = "c&d" }"#, "/", "/?a%20b=c%26d")]
#[case::found_encoded(r#"set_query = { ab = "1" }"#, "/?%61b=0", "/?ab=1")]
#[case::append(r#"append_query = { a = "1" }"#, "/?a=0", "/?a=0&a=1")]
#[case::remove(r#"remove_query = ["a"]"#, "/?a=0&b=1&a", "/?b=1")]
#[case::remove_the_last(r#"remove_query = ["a"]"#, "/p?a=0", "/p")]
#[case::remove_encoded(r#"remove_query = ["a"]"#, "/?%61=0&b", "/?b")]
#[case::untouched_bytes(
    r#"remove_query = ["a"]"#,
    "/?b=%7e+%2F&&c==&%zz=[]'|&a=1",
    "/?b=%7e+%2F&&c==&%zz=[]'|"
)]
#[case::nothing_to_do(r#"remove_query = ["a"]"#, "/?b=%7e+%2F&&c==?/", "/?b=%7e+%2F&&c==?/")]
#[case::empty_query(r#"remove_query = ["a"]"#, "/?", "/?")]
#[tokio::test]
async fn queries_are_edited_and_keep_their_bytes(
    #[case] edits: &str,
    #[case] target: &str,
    #[case] expected: &str,
) {
    assert_eq!(arrived(edits, target, "").await.target(), expected);
}

#[rstest]
#[case::rewritten(r#"rewrite_path = "/x""#, "/a/b?q=/a", "/x?q=/a")]
#[case::rewritten_with_escapes(r#"rewrite_path = "/x%20y""#, "/a", "/x%20y")]
#[case::stripped(r#"strip_prefix = "/a""#, "/a/b", "/b")]
#[case::stripped_to_nothing(r#"strip_prefix = "/a""#, "/a", "/")]
#[case::stripped_whole_segments_only(r#"strip_prefix = "/a""#, "/ab", "/ab")]
#[case::stripped_in_disguise(r#"strip_prefix = "/a""#, "//x/../%61/b", "/b")]
#[case::added(r#"add_prefix = "/p""#, "/a?b", "/p/a?b")]
#[case::added_to_root(r#"add_prefix = "/p""#, "/", "/p/")]
#[case::replaced(r#"replace_path = { v1 = "v2" }"#, "/v1/a/v1/v10", "/v2/a/v2/v10")]
#[case::replaced_at_once(r#"replace_path = { a = "b", b = "a" }"#, "/a/b", "/b/a")]
#[case::all_together(r#"strip_prefix = "/s", replace_path = { a = "b" }, add_prefix = "/p""#, "/s/a", "/p/b")]
#[tokio::test]
async fn paths_are_rewritten(#[case] edits: &str, #[case] target: &str, #[case] expected: &str) {
    assert_eq!(arrived(edits, target, "").await.target(), expected);
}

/// Whatever is stripped, the target stays a path: it never becomes another host.
#[rstest]
#[case("/a//evil.example/x")]
#[case("/a/%2Fevil.example/x")]
#[case("/a/./%2e/evil.example/x")]
#[tokio::test]
async fn a_stripped_path_is_still_a_path(#[case] target: &str) {
    let request = arrived(r#"strip_prefix = "/a""#, target, "").await;
    assert!(request.target().starts_with('/') && !request.target().starts_with("//"), "{}", request.target());
    assert_eq!(request.header("host"), Some("www.mango.com"));
}

#[tokio::test]
async fn response_fields_are_edited() {
    let mango = Backend::mango().start().await.unwrap();
    let edits = r#"response = { remove_headers = ["Server", "X-Gone"], set_headers = { X-Set = "new" }, append_headers = { Vary = "Accept" } }"#;
    let stage = Setup::new(&[&mango]).route(edits).route(r#"match = { path_prefix = "/a" }"#).start();
    mango.behave(
        Behaviour::own()
            .header("Server", "x")
            .header("X-Gone", "1")
            .header("X-Set", "old")
            .header("Vary", "Cookie"),
    );
    let answer = stage.get("/a", "www.mango.com").await;
    let all = |name| answer.head.headers.all(name).collect::<Vec<_>>();
    assert_eq!((all("server"), all("x-gone")), (vec![], vec![]));
    assert_eq!((all("x-set"), all("vary")), (vec!["new"], vec!["Cookie", "Accept"]));
}

/// The body is not touched, and its length stays right.
#[tokio::test]
async fn edits_leave_bodies_alone() {
    let mango = Backend::mango().start().await.unwrap();
    let stage =
        Setup::new(&[&mango]).route(r#"request = { set_headers = { A = "b" }, add_prefix = "/p" }"#).start();
    let mut client = stage.client().await;
    client.send("PUT /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").await.unwrap();
    assert_eq!(client.response().await.unwrap().status(), 200);
    let request = &mango.requests()[0];
    assert_eq!((request.target(), request.header("content-length")), ("/p/a", Some("5")));
    assert_eq!(request.body.start, b"hello");
}

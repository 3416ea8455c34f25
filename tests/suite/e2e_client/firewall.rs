//! The firewall sees what the backend would see: it cannot be dodged by another spelling.

use lb_core::reason::Reason;
use lb_testkit::{Backend, RawClient};
use lb_tests::{Setup, Stage};
use rstest::rstest;

use super::{assert_answer, assert_line};

const DENIED: &[&str] = &[
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin?x",
    "/admin/../admin",
    "//admin",
    "///admin//",
    "/./admin",
    "/x/../admin",
    "/x/y/../../admin",
    "/../admin",
    "/../../admin/x",
    "/%61dmin",
    "/%61%64%6d%69%6E",
    "/%2e/admin",
    "/%2E%2e/admin",
    "/x/%2e%2E/admin",
    "/x/.%2e/admin",
    "/x//..//admin",
    "/admin/.",
    "/admin/x/..",
    "/admin//x",
    "/admin%2Fx",
    "/admin%2f",
    "/%2Fadmin",
    "/x%2F..%2Fadmin",
    "/x/..%2fadmin",
    "/x%2f%2e%2e/admin",
    "/admin;v=1",
    "/admin;/x",
    "/admin;v=1/x",
    "/;x/admin",
    "/..;/admin",
    "/x/..;a=b/admin",
    "/admin%3Bx",
    "/%2561dmin",
    "/%252561dmin",
    "/x/%252e%252e/admin",
    "/x%252f..%252fadmin",
    "/admin%5Cx",
    "/x%5C..%5Cadmin",
    "/admin%3Fx",
    "/admin%23x",
    "/secret%20place",
    "/secret%20place/x",
    "/x/../secret%20place",
    "http://a/admin",
    "http://a//admin",
    "http://a/x/../%61dmin",
    "http://other/admin",
];

/// Spellings of other paths, and what the backend gets.
const PASSED: &[(&str, &str)] = &[
    ("/", "/"),
    ("/administrator", "/administrator"),
    ("/x/admin", "/x/admin"),
    ("/ADMIN", "/ADMIN"),
    ("/admin/../x", "/x"),
    ("/a/./b/../c", "/a/c"),
    ("//a///b", "/a/b"),
    ("/a/", "/a/"),
    ("/a/.", "/a/"),
    ("/a/..", "/"),
    ("/../../a", "/a"),
    ("/%7Euser/%41", "/~user/A"),
    ("/a%2fb%c3%a4", "/a%2Fb%C3%A4"),
    ("/a%20b", "/a%20b"),
    ("/a?x=../..//%7e/admin&y=%zz", "/a?x=../..//%7e/admin&y=%zz"),
    ("//a/../b?//admin", "/b?//admin"),
    ("/a?", "/a?"),
    ("http://a//x/../b?c", "/b?c"),
];

#[rstest]
#[case::global("firewall = { deny_paths = [\"/admin\", \"/secret%20place\"] }", "", Reason::FirewallGlobal)]
#[case::of_a_route(
    "",
    "firewall = { deny_paths = [\"/admin/\", \"/secret%20place\"] }",
    Reason::FirewallRoute
)]
#[tokio::test]
async fn a_denied_path_is_denied_in_every_spelling(
    #[case] top: &str,
    #[case] route: &str,
    #[case] reason: Reason,
) {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).top(top).route(route).start();
    let mut client = stage.client().await;
    for (count, target) in DENIED.iter().enumerate() {
        let answer = client.get(target, "a").await.unwrap();
        assert_eq!((answer.status(), answer.header("x-lb-reason")), (403, Some(reason.code())), "{target}");
        assert_line(&stage.log.wait_for(count + 1).await[count], reason);
    }
    assert_eq!(mango.connections().total, 0);
    for (target, _) in PASSED {
        assert_eq!(client.get(target, "a").await.unwrap().status(), 200, "{target}");
    }
    // One space is written `%20` and nothing else.
    for target in ["/admin%00", "/%00/../admin", "/admin%", "/ad%6"] {
        let mut client = stage.client().await;
        assert_eq!(client.get(target, "a").await.unwrap().status(), 400, "{target}");
    }
    assert_eq!(mango.requests().len(), PASSED.len());
    stage.assert_idle();
}

#[tokio::test]
async fn the_backend_gets_the_path_that_was_judged() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).start();
    let mut client = stage.client().await;
    for (count, (target, expected)) in PASSED.iter().enumerate() {
        assert_eq!(client.get(target, "a").await.unwrap().status(), 200, "{target}");
        assert_eq!(mango.requests()[count].target(), *expected, "{target}");
    }
}

/// Routes are found by the same path.
#[tokio::test]
async fn routes_are_found_in_every_spelling() {
    let mango = Backend::text("mango").start().await.unwrap();
    let apple = Backend::text("apple").start().await.unwrap();
    let stage = Setup::new(&[&mango])
        .rest(&format!("[pool.apple]\nbackends = [\"{}\"]", apple.addr()))
        .rest("[[route]]\npool = \"apple\"\nmatch = { path_prefix = \"/apple\" }")
        .start();
    for target in ["/apple", "/apple/x", "//apple", "/x/../apple", "/%61pple/", "/apple?x"] {
        assert_eq!(stage.get(target, "a").await.body.text(), "apple", "{target}");
    }
    for target in ["/apples", "/apple/..", "/x/apple", "/apple/../x"] {
        assert_eq!(stage.get(target, "a").await.body.text(), "mango", "{target}");
    }
}

/// An allow list is left as soon as one reading leads out of it.
#[tokio::test]
async fn an_allowed_path_cannot_be_left() {
    let mango = Backend::mango().start().await.unwrap();
    let stage = Setup::new(&[&mango]).route("firewall = { allow_paths = [\"/public\"] }").start();
    for target in ["/public", "/public/x", "/x/../public", "/%70ublic"] {
        assert_eq!(stage.get(target, "a").await.status(), 200, "{target}");
    }
    let dodges = [
        "/",
        "/publicity",
        "/public/../x",
        "/public/%2e%2e/x",
        "/public%2F..%2Fx",
        "/public/..;/x",
        "/public/..%5Cx",
    ];
    for target in dodges {
        assert_answer(&stage.get(target, "a").await, Reason::FirewallRoute);
    }
    assert_eq!(mango.requests().len(), 4);
}

async fn send(stage: &Stage, head: &str) -> u16 {
    let mut client: RawClient = stage.client().await;
    client.send(format!("{head}\r\n\r\n")).await.unwrap();
    client.response().await.unwrap().status()
}

#[tokio::test]
async fn methods_and_fields_are_judged() {
    let mango = Backend::mango().start().await.unwrap();
    let rules = r#"firewall = { deny_methods = ["TRACE"], deny_headers = { X-Bad = "*", User-Agent = ["evil"] }, allow_headers = { X-Key = ["1", "2"] } }"#;
    let stage = Setup::new(&[&mango]).route(rules).start();
    let get = "GET / HTTP/1.1\r\nHost: a";
    for (head, status) in [
        (format!("{get}\r\nX-Key: 1"), 200),
        (format!("{get}\r\nx-KEY: 2"), 200),
        (get.to_owned(), 403),
        (format!("{get}\r\nX-Key: 3"), 403),
        (format!("{get}\r\nX-Key: 1\r\nX-Bad:"), 403),
        (format!("{get}\r\nX-Key: 1\r\nx-bad: x"), 403),
        (format!("{get}\r\nX-Key: 1\r\nUser-Agent: evil"), 403),
        (format!("{get}\r\nX-Key: 1\r\nUser-Agent: good"), 200),
        (format!("{get}\r\nX-Key: 1\r\nUser-Agent: good\r\nUser-Agent: evil"), 403),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nX-Key: 1".to_owned(), 403),
    ] {
        assert_eq!(send(&stage, &head).await, status, "{head}");
    }
    assert_eq!(mango.requests().len(), 3);
}

#[rstest]
#[case::denied(r#"deny_ips = ["127.0.0.0/8"]"#, "", "", 403)]
#[case::denied_whatever_it_says(r#"deny_ips = ["127.0.0.1"]"#, "", "X-Forwarded-For: 1.2.3.4\r\n", 403)]
#[case::not_allowed_whatever_it_says(r#"allow_ips = ["1.2.3.4"]"#, "", "X-Forwarded-For: 1.2.3.4\r\n", 403)]
#[case::behind_a_proxy(
    r#"deny_ips = ["1.2.3.0/24"]"#,
    r#"trusted_proxies = ["127.0.0.1"]"#,
    "X-Forwarded-For: 1.2.3.4\r\n",
    403
)]
#[case::right_most(
    r#"deny_ips = ["1.2.3.0/24"]"#,
    r#"trusted_proxies = ["127.0.0.1"]"#,
    "X-Forwarded-For: 9.9.9.9, 1.2.3.4\r\n",
    403
)]
#[case::in_v6_clothes(
    r#"deny_ips = ["1.2.3.0/24"]"#,
    r#"trusted_proxies = ["127.0.0.1"]"#,
    "X-Forwarded-For: ::ffff:1.2.3.4\r\n",
    403
)]
#[case::another(
    r#"deny_ips = ["1.2.3.0/24"]"#,
    r#"trusted_proxies = ["127.0.0.1"]"#,
    "X-Forwarded-For: 1.2.4.4\r\n",
    200
)]
#[tokio::test]
async fn addresses_are_judged(
    #[case] rule: &str,
    #[case] listener: &str,
    #[case] fields: &str,
    #[case] status: u16,
) {
    let mango = Backend::mango().start().await.unwrap();
    for (top, route) in [
        (format!("firewall = {{ {rule} }}"), String::new()),
        (String::new(), format!("firewall = {{ {rule} }}")),
    ] {
        let stage = Setup::new(&[&mango]).top(&top).listener(listener).route(&route).start();
        let mut client = stage.client().await;
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await.unwrap();
        assert_eq!(client.response().await.unwrap().status(), status);
    }
    assert_eq!(mango.requests().len(), if status == 200 { 2 } else { 0 });
}

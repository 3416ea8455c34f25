//! Backends of another make: wiremock's, which speak through hyper and say what they were asked for.

use lb_tests::{Stage, valid};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string, header, method, path, query_param, query_param_is_missing},
};

use crate::support::Tested;

/// A balancer before these servers, whose one route has these further keys.
fn before(servers: &[&MockServer], pool: &str, route: &str) -> Stage {
    let backends: Vec<String> = servers.iter().map(|server| server.address().to_string()).collect();
    let toml = format!(
        "[access_log]\nformat = \"off\"\n[[listener]]\nbind = \"127.0.0.1:0\"\n\
         [pool.mocks]\nbackends = {backends:?}\n{pool}\n[[route]]\npool = \"mocks\"\n{route}\n"
    );
    assert_eq!(valid(&toml).pools["mocks"].backends.len(), servers.len());
    Stage::start(&toml)
}

#[tokio::test]
async fn edits_arrive_as_the_route_says() -> Tested {
    let server = MockServer::start().await;
    Mock::given(method("GET"))
        .and(path("/inner/v2/cart"))
        .and(query_param("kept", "a b"))
        .and(query_param("added", "1&2"))
        .and(query_param_is_missing("gone"))
        .and(header("x-added", "yes"))
        .and(header("host", "inner.example"))
        .and(header("x-forwarded-for", "127.0.0.1"))
        .and(header("x-forwarded-host", "shop.example"))
        .respond_with(ResponseTemplate::new(200).set_body_string("found").insert_header("x-inner", "secret"))
        .expect(1)
        .mount(&server)
        .await;
    let stage = before(
        &[&server],
        "",
        "request = { strip_prefix = \"/shop\", add_prefix = \"/inner\", replace_path = { v1 = \"v2\" }, \
         host = \"inner.example\", set_headers = { X-Added = \"yes\" }, set_query = { added = \"1&2\" }, \
         remove_query = [\"gone\"] }\nresponse = { remove_headers = [\"X-Inner\"], set_headers = { X-Outer = \"told\" } }",
    );
    let answer = stage.get("/shop/v1/cart?gone=1&kept=a%20b", "shop.example").await;
    assert_eq!((answer.status(), answer.body.text().as_str()), (200, "found"));
    assert_eq!((answer.header("x-inner"), answer.header("x-outer")), (None, Some("told")));
    Ok(())
}

#[tokio::test]
async fn bodies_arrive_whole_in_both_framings() -> Tested {
    let server = MockServer::start().await;
    Mock::given(method("PUT"))
        .and(body_string("hello, world"))
        .respond_with(ResponseTemplate::new(201).set_body_string("stored"))
        .expect(2)
        .mount(&server)
        .await;
    let stage = before(&[&server], "", "");
    let mut client = stage.client().await;
    for message in [
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\nhello, world",
        "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nhello, \r\n5\r\nworld\r\n0\r\n\r\n",
    ] {
        client.send(message).await?;
        let answer = client.response().await?;
        assert_eq!((answer.status(), answer.body.text().as_str()), (201, "stored"));
    }
    Ok(())
}

#[tokio::test]
async fn a_listed_status_moves_the_request_to_the_other_one() -> Tested {
    let (failing, working) = (MockServer::start().await, MockServer::start().await);
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(503)).mount(&failing).await;
    Mock::given(method("GET")).respond_with(ResponseTemplate::new(200)).mount(&working).await;
    let stage = before(&[&failing, &working], "retry = { on_status = [503] }", "");
    for _ in 0..6 {
        assert_eq!(stage.get("/", "a").await.status(), 200);
    }
    let asked = |requests: Option<Vec<_>>| requests.map_or(0, |requests| requests.len());
    assert_eq!(asked(working.received_requests().await), 6);
    assert!(asked(failing.received_requests().await) > 0);
    Ok(())
}

//! Heads, as tables.

use bytes::BytesMut;
use http::HeaderMap;
use rstest::rstest;

use super::super::{
    body::BodyDecoder,
    reading::{Ending, all_fields, read},
    response::{
        BARE_LINE_FEED, CHUNKED_IN_10, EMPTY_LINE, HEAD_BYTES_MAX, HEAD_TOO_LONG, Head, Heads, Invalid,
        NOT_A_LENGTH, NOT_CHUNKED, SWITCH, TOO_MANY_FIELDS, TOO_MANY_INTERIM, TWO_FRAMINGS, TWO_LENGTHS,
    },
};

fn take_from(head: &[u8], to_head_request: bool) -> Result<Option<Head>, Invalid> {
    Heads::default().take(&mut BytesMut::from(head), to_head_request, true)
}

fn take(head: &str) -> Head {
    take_from(head.as_bytes(), false).expect("valid").expect("complete")
}

fn refusal(head: &[u8]) -> &'static str {
    match take_from(head, false) {
        Err(Invalid(why)) => why,
        Ok(head) => panic!("taken: {head:?}"),
    }
}

/// `name=value` of every field, sorted.
fn fields(headers: &HeaderMap) -> String {
    let mut fields: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    fields.sort_unstable();
    fields.join(" ")
}

#[rstest]
#[case::usual("HTTP/1.1 200 OK\r\n", 200)]
#[case::no_reason("HTTP/1.1 204\r\n", 204)]
#[case::empty_reason("HTTP/1.1 404 \r\n", 404)]
#[case::long_reason("HTTP/1.1 500 It's\tbroken: a, b\r\n", 500)]
#[case::reason_in_latin_1("HTTP/1.1 200 \u{e9}\r\n", 200)]
#[case::version_10("HTTP/1.0 301 Moved\r\n", 301)]
#[case::interim("HTTP/1.1 103 Early Hints\r\n", 103)]
#[case::unknown_status("HTTP/1.1 299 ?\r\n", 299)]
#[case::status_of_no_class("HTTP/1.1 999 ?\r\n", 999)]
#[case::smallest("HTTP/1.1 100 Continue\r\n", 100)]
fn status_lines(#[case] line: &str, #[case] status: u16) {
    assert_eq!(take(&format!("{line}Content-Length: 0\r\n\r\n")).status.as_u16(), status);
    assert_eq!(take(&format!("{line}\r\n")).status.as_u16(), status);
}

#[rstest]
#[case("HTTP/1.1 099 Low\r\n\r\n")]
#[case("HTTP/1.1 000 None\r\n\r\n")]
#[case("HTTP/1.1 20 OK\r\n\r\n")]
#[case("HTTP/1.1 2000 OK\r\n\r\n")]
#[case("HTTP/1.1 2x0 OK\r\n\r\n")]
#[case("HTTP/1.1 -20 OK\r\n\r\n")]
#[case("HTTP/1.1  200 OK\r\n\r\n")]
#[case("HTTP/1.1\t200 OK\r\n\r\n")]
#[case("HTTP/1.1\r\n\r\n")]
#[case(" HTTP/1.1 200 OK\r\n\r\n")]
#[case("http/1.1 200 OK\r\n\r\n")]
#[case("HTTP/1.2 200 OK\r\n\r\n")]
#[case("HTTP/2 200 OK\r\n\r\n")]
#[case("HTTP/2.0 200 OK\r\n\r\n")]
#[case("HTTP/0.9 200 OK\r\n\r\n")]
#[case("HTTP/1 200 OK\r\n\r\n")]
#[case("ICY 200 OK\r\n\r\n")]
#[case("<html>hello</html>\r\n\r\n")]
#[case("SSH-2.0-OpenSSH_9.6\r\n")]
#[case("\0")]
#[case("\x15\x03\x01\x00\x02\x02\x46")] // a TLS alert
#[case("HTTP/1.1 200 O\0K\r\n\r\n")]
#[case("HTTP/1.1 200 O\rK\r\n\r\n")]
fn bad_status_lines(#[case] head: &str) {
    let why = refusal(head.as_bytes());
    assert!(["the head is malformed", "the status is not one"].contains(&why), "{why}");
}

#[rstest]
#[case::name_with_a_space("X y: z")]
#[case::space_before_the_colon("X : y")]
#[case::tab_before_the_colon("Content-Length\t: 5")]
#[case::no_colon("X")]
#[case::no_name(": y")]
#[case::name_with_control("X\x01: y")]
#[case::name_in_latin_1("X\u{e9}: y")]
#[case::name_with_nul("X\0: y")]
#[case::nul_in_the_value("X: a\0b")]
#[case::control_in_the_value("X: a\x1bb")]
#[case::delete_in_the_value("X: a\x7fb")]
#[case::carriage_return_in_the_value("X: a\rb")]
#[case::carriage_return_at_the_end("X: a\r")]
#[case::carriage_return_in_the_name("X\r: a")]
#[case::folded("X: a\r\n b")]
#[case::folded_with_a_tab("X: a\r\n\tb")]
#[case::folded_length("Content-Length:\r\n 5")]
#[case::space_first(" X: y")]
fn bad_fields(#[case] field: &str) {
    for head in [
        format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n"),
        format!("HTTP/1.1 200 OK\r\nA: b\r\n{field}\r\nC: d\r\n\r\n"),
    ] {
        assert_eq!(refusal(head.as_bytes()), "the head is malformed", "{head:?}");
    }
}

#[rstest]
#[case("HTTP/1.1 200 OK\nA: b\r\n\r\n", BARE_LINE_FEED)]
#[case("HTTP/1.1 200 OK\r\nA: b\n\r\n", BARE_LINE_FEED)]
#[case("HTTP/1.1 200 OK\r\nA: b\nC: d\r\n\r\n", BARE_LINE_FEED)]
#[case("HTTP/1.1 200 OK\r\nA: b\r\n\n", BARE_LINE_FEED)]
#[case("HTTP/1.1 200 OK\r\nA:\n\r\n", BARE_LINE_FEED)]
#[case("HTTP/1.1 200 OK\n\n", BARE_LINE_FEED)]
#[case("HTTP/1.1 200\n\r\n", BARE_LINE_FEED)]
#[case("HTTP/1.1 200 OK\r\n\n", BARE_LINE_FEED)]
#[case("\r\nHTTP/1.1 200 OK\r\n\r\n", EMPTY_LINE)]
#[case("\nHTTP/1.1 200 OK\r\n\r\n", EMPTY_LINE)]
#[case("\r", EMPTY_LINE)]
fn bad_line_ends(#[case] head: &str, #[case] why: &'static str) {
    assert_eq!(refusal(head.as_bytes()), why);
}

#[test]
fn values_are_trimmed_and_may_be_empty_or_odd() {
    let head = take(
        "HTTP/1.1 200 OK\r\nA:\r\nB: \t \r\nC:c\r\nD: \t d\te  f \t\r\nX-|~: \u{e9}\r\na: again\r\n\r\n",
    );
    assert_eq!(fields(&all_fields(&head, false)), "a= a=again b= c=c d=d\te  f x-|~=\u{e9}");
}

#[test]
fn fields_go_on_as_they_came() {
    let head =
        take("HTTP/1.1 200 OK\r\nServer:a \r\nKeep-Alive: 5\r\ncontent-TYPE: \tb\r\nDATE: c\r\nA:\r\n\r\n");
    assert_eq!(head.fields.as_bytes(), b"Server:a \r\ncontent-TYPE: \tb\r\nDATE: c\r\nA:\r\n");
    assert!(head.fields.has_date());
    let named = take("HTTP/1.1 200 OK\r\nDate: a\r\nX-A: b\r\nConnection: date, x-a\r\nB: c\r\n\r\n");
    assert_eq!((named.fields.as_bytes(), named.fields.has_date()), (&b"B: c\r\n"[..], false));
}

#[rstest]
#[case::none("", BodyDecoder::UNTIL_CLOSE)]
#[case::zero("Content-Length: 0\r\n", BodyDecoder::length(0))]
#[case::number("content-length:5\r\n", BodyDecoder::length(5))]
#[case::leading_zeros("Content-Length: 0000000000000000000000005\r\n", BodyDecoder::length(5))]
#[case::largest("Content-Length: 9223372036854775807\r\n", BodyDecoder::length(i64::MAX as u64))]
#[case::twice_the_same("Content-Length: 5\r\nX: y\r\nContent-Length: 5\r\n", BodyDecoder::length(5))]
#[case::same_in_other_digits("Content-Length: 5\r\nContent-Length: 05\r\n", BodyDecoder::length(5))]
#[case::chunked("Transfer-Encoding: chunked\r\n", BodyDecoder::chunked())]
#[case::chunked_in_capitals("TRANSFER-ENCODING: \tCHUNKED \r\n", BodyDecoder::chunked())]
fn framings(#[case] fields: &str, #[case] body: BodyDecoder) {
    let head = take(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
    assert_eq!(head.body, body);
    // Both are written anew by whoever passes the body on.
    let passed_on = head.fields.to_map();
    assert!(!passed_on.contains_key("content-length") && !passed_on.contains_key("transfer-encoding"));
}

#[rstest]
#[case::empty("Content-Length: \r\n", NOT_A_LENGTH)]
#[case::plus("Content-Length: +5\r\n", NOT_A_LENGTH)]
#[case::minus("Content-Length: -5\r\n", NOT_A_LENGTH)]
#[case::hex("Content-Length: 0x5\r\n", NOT_A_LENGTH)]
#[case::fraction("Content-Length: 5.0\r\n", NOT_A_LENGTH)]
#[case::space_within("Content-Length: 5 5\r\n", NOT_A_LENGTH)]
#[case::list("Content-Length: 5, 5\r\n", NOT_A_LENGTH)]
#[case::comma("Content-Length: 5,\r\n", NOT_A_LENGTH)]
#[case::not_ascii("Content-Length: \u{0665}\r\n", NOT_A_LENGTH)]
#[case::beyond_a_file("Content-Length: 9223372036854775808\r\n", NOT_A_LENGTH)]
#[case::overflow("Content-Length: 18446744073709551616\r\n", NOT_A_LENGTH)]
#[case::overflow_to_five("Content-Length: 18446744073709551621\r\n", NOT_A_LENGTH)]
#[case::two("Content-Length: 5\r\nContent-Length: 6\r\n", TWO_LENGTHS)]
#[case::third_differs("Content-Length: 5\r\nContent-Length: 5\r\nContent-Length: 6\r\n", TWO_LENGTHS)]
#[case::both("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", TWO_FRAMINGS)]
#[case::both_the_other_way("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", TWO_FRAMINGS)]
#[case::length_and_another("Transfer-Encoding: identity\r\nContent-Length: 5\r\n", TWO_FRAMINGS)]
#[case::identity("Transfer-Encoding: identity\r\n", NOT_CHUNKED)]
#[case::no_coding("Transfer-Encoding:\r\n", NOT_CHUNKED)]
#[case::gzip_below("Transfer-Encoding: gzip, chunked\r\n", NOT_CHUNKED)]
#[case::gzip_above("Transfer-Encoding: chunked, gzip\r\n", NOT_CHUNKED)]
#[case::gzip_before("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", NOT_CHUNKED)]
#[case::twice("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", NOT_CHUNKED)]
#[case::thrice(
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    NOT_CHUNKED
)]
#[case::list("Transfer-Encoding: chunked, chunked\r\n", NOT_CHUNKED)]
#[case::comma("Transfer-Encoding: chunked,\r\n", NOT_CHUNKED)]
#[case::parameter("Transfer-Encoding: chunked;q=1\r\n", NOT_CHUNKED)]
#[case::quoted("Transfer-Encoding: \"chunked\"\r\n", NOT_CHUNKED)]
#[case::almost("Transfer-Encoding: xchunked\r\n", NOT_CHUNKED)]
#[case::vertical_tab("Transfer-Encoding: \u{a0}chunked\r\n", NOT_CHUNKED)]
fn bad_framings(
    #[case] fields: &str,
    #[case] why: &'static str,
    #[values("200 OK", "204 No Content", "304 Not Modified", "103 Hints")] status: &str,
) {
    // Also where there is no body: whoever sends this cannot be trusted with the next response.
    assert_eq!(refusal(format!("HTTP/1.1 {status}\r\n{fields}\r\n").as_bytes()), why);
}

#[test]
fn chunked_is_not_of_http_10() {
    assert_eq!(refusal(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), CHUNKED_IN_10);
}

#[rstest]
#[case::no_content("204 No Content", false, "")]
#[case::not_modified("304 Not Modified", false, "content-length=5")]
#[case::to_head("200 OK", true, "content-length=5")]
#[case::error_to_head("404 Not Found", true, "content-length=5")]
#[case::interim("103 Early Hints", false, "")]
fn responses_without_a_body(#[case] status: &str, #[case] to_head_request: bool, #[case] kept: &str) {
    let head = |fields: &str| {
        let head = format!("HTTP/1.1 {status}\r\n{fields}\r\n");
        take_from(head.as_bytes(), to_head_request).expect("valid").expect("complete")
    };
    let with_length = head("Content-Length: 5\r\n");
    assert_eq!((with_length.body, with_length.keep_alive), (BodyDecoder::EMPTY, true));
    assert_eq!(fields(&with_length.fields.to_map()), kept);
    for other in [head("Transfer-Encoding: chunked\r\n"), head("")] {
        assert_eq!((other.body, other.keep_alive), (BodyDecoder::EMPTY, true));
        assert!(other.fields.as_bytes().is_empty());
    }
}

#[rstest]
#[case("1.1", "", true)]
#[case("1.1", "Connection: keep-alive\r\n", true)]
#[case("1.1", "Connection: close\r\n", false)]
#[case("1.1", "Connection: CLOSE\r\n", false)]
#[case("1.1", "Connection: keep-alive, close\r\n", false)]
#[case("1.1", "Connection: x,\tClose ,y\r\n", false)]
#[case("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false)]
#[case("1.1", "Connection: closed\r\n", true)]
#[case("1.1", "Proxy-Connection: close\r\n", true)]
#[case("1.0", "", false)]
#[case("1.0", "Connection: keep-alive\r\n", true)]
#[case("1.0", "Connection: x\r\nConnection: Keep-Alive\r\n", true)]
#[case("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false)]
#[case("1.0", "Keep-Alive: timeout=5\r\n", false)]
fn keeping_alive(#[case] version: &str, #[case] fields: &str, #[case] keeps: bool) {
    let head = take(&format!("HTTP/{version} 200 OK\r\nContent-Length: 1\r\n{fields}\r\n"));
    assert_eq!(head.keep_alive, keeps);
    let until_close = take(&format!("HTTP/{version} 200 OK\r\n{fields}\r\n"));
    assert!(!until_close.keep_alive, "its end is the connection's");
}

#[test]
fn fields_of_the_connection_do_not_cross() {
    let head = take(
        "HTTP/1.1 200 OK\r\nX-Hop: 1\r\nConnection: keep-alive, x-hop ,, @\r\nConnection: X-Other, content-length\r\n\
         X-Other: 2\r\nKeep-Alive: timeout=5\r\nProxy-Connection: a\r\nUpgrade: h2c\r\nTE: b\r\n\
         Proxy-Authenticate: c\r\nTrailer: x-sum\r\nx-hop: 3\r\nServer: s\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(fields(&all_fields(&head, false)), "content-length=0 server=s trailer=x-sum");
}

#[test]
fn a_head_has_a_largest_size_and_a_largest_count_of_fields() {
    let of_size = |size: usize| {
        let rest = "HTTP/1.1 200 OK\r\nX: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(size - rest)).into_bytes()
    };
    assert!(take_from(&of_size(HEAD_BYTES_MAX), false).expect("fits").is_some());
    assert_eq!(refusal(&of_size(HEAD_BYTES_MAX + 1)), HEAD_TOO_LONG);
    let of_fields =
        |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(count)).into_bytes();
    assert_eq!(
        take_from(&of_fields(128), false).expect("fits").expect("complete").fields.to_map().len(),
        128
    );
    assert_eq!(refusal(&of_fields(129)), TOO_MANY_FIELDS);
}

#[test]
fn a_head_that_never_ends_is_refused_while_it_grows() {
    let mut heads = Heads::default();
    let mut buffer = BytesMut::from("HTTP/1.1 200 OK\r\nX: ");
    let refused = loop {
        match heads.take(&mut buffer, false, false) {
            Err(Invalid(why)) => break why,
            Ok(taken) => assert!(taken.is_none()),
        }
        buffer.extend_from_slice(&[b'y'; 1000]);
        assert!(buffer.len() <= HEAD_BYTES_MAX + 1000);
    };
    assert_eq!(refused, HEAD_TOO_LONG);
}

#[test]
fn interim_responses_come_in_order_and_before_the_final_one() {
    let stream =
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\nContent-Length: 9\r\n\r\n\
        HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let reading = read([&stream[..]], false);
    let told: Vec<String> = reading
        .interim
        .iter()
        .map(|(status, headers)| format!("{} {}", status.as_u16(), fields(headers)))
        .collect();
    assert_eq!(told, ["100 ", "103 link=a", "102 "]);
    assert_eq!((reading.end, &reading.body[..]), (Ending::Complete, &b"hi"[..]));
}

#[rstest]
#[case::as_many_as_may_be("HTTP/1.1 102 P\r\n\r\n", 128, Ending::Complete)]
#[case::one_more("HTTP/1.1 102 P\r\n\r\n", 129, Ending::Refused(TOO_MANY_INTERIM))]
#[case::large(&format!("HTTP/1.1 103 E\r\nLink: {}\r\n\r\n", "x".repeat(50_000)), 2, Ending::Complete)]
#[case::too_large(
    &format!("HTTP/1.1 103 E\r\nLink: {}\r\n\r\n", "x".repeat(50_000)), 3, Ending::Refused(TOO_MANY_INTERIM)
)]
#[case::switch(
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    1,
    Ending::Refused(SWITCH)
)]
fn interim_responses_are_bounded(#[case] interim: &str, #[case] count: usize, #[case] end: Ending) {
    let stream = interim.repeat(count) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(read([stream.as_bytes()], false).end, end);
}

use http::{HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::request_head::Places;

pub(super) const LIMITS: ScanLimits = ScanLimits { head_bytes: 400, fields: 6, uri_bytes: 60 };
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn scan(stream: &[u8]) -> (Scanner, Result<(), Refusal>) {
    let mut scanner = Scanner::new(LIMITS);
    let result = scanner.scan(stream);
    (scanner, result)
}

#[rstest]
#[case::nothing("", 0, Position::Between)]
#[case::plain(GET, 1, Position::Between)]
#[case::version_10("GET / HTTP/1.0\r\n\r\n", 1, Position::Between)]
#[case::leading_empty_lines("\r\n\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n\r\n", 1, Position::Between)]
#[case::half_an_empty_line("GET / HTTP/1.0\r\n\r\n\r", 1, Position::Between)]
#[case::in_the_request_line("G", 0, Position::Head)]
#[case::in_the_last_line("GET / HTTP/1.0\r\n\r", 0, Position::Head)]
#[case::pipelined("GET / HTTP/1.0\r\n\r\nGET / HTTP/1.0\r\n\r\nG", 2, Position::Head)]
#[case::length("POST / HTTP/1.0\r\ncontent-length:  3 \t\r\n\r\nabc", 1, Position::Between)]
#[case::length_incomplete("POST / HTTP/1.0\r\nContent-Length: 03\r\n\r\nab", 1, Position::Body)]
#[case::length_zero("POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\nG", 1, Position::Head)]
#[case::body_like_a_head("POST / HTTP/1.0\r\nContent-Length: 4\r\n\r\n\0\r\n\nG", 1, Position::Head)]
#[case::chunks(&format!("{CHUNKED}5\r\nab\r\nc\r\nA;x=\"y\"\r\n0123456789\r\n000\r\n\r\nG"), 1, Position::Head)]
#[case::chunk_of_16_digits(&format!("{CHUNKED}0000000000000001\r\n"), 1, Position::Body)]
#[case::trailers(&format!("{CHUNKED}0\r\nX: y\r\nZ:\r\n\r\n"), 1, Position::Between)]
#[case::trailers_incomplete(&format!("{CHUNKED}0\r\nX: y\r\n"), 1, Position::Body)]
#[case::chunked_in_capitals(
    "PUT / HTTP/1.1\r\nhOST:a\r\nTRANSFER-ENCODING:\tCHUNKED\r\n\r\n",
    1,
    Position::Body
)]
#[case::star("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 1, Position::Between)]
#[case::absolute("GET http://a.b:80/c?d HTTP/1.1\r\nHost: a.b\r\n\r\n", 1, Position::Between)]
#[case::absolute_without_path("GET HTTPS://a.b?c HTTP/1.1\r\nHost: a.b\r\n\r\n", 1, Position::Between)]
#[case::connect("CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n", 1, Position::Between)]
#[case::ipv6_host("GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", 1, Position::Between)]
#[case::host_with_an_empty_port("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", 1, Position::Between)]
#[case::odd_but_legal(
    "M-#!$ /~a|b{}\"^\\;%zz?`?/ HTTP/1.1\r\nHost: a_b\r\nX|~: a\tb  c\u{e9}\r\n\r\n",
    1,
    Position::Between
)]
fn follows(#[case] stream: &str, #[case] heads: u64, #[case] position: Position) {
    let (scanner, result) = scan(stream.as_bytes());
    assert_eq!(result, Ok(()));
    assert_eq!((scanner.heads(), scanner.position()), (heads, position));
}

/// What is refused of a head that comes after two good messages, and in which words.
#[rstest]
// Line ends and control bytes.
#[case("GET / HTTP/1.1\nHost: a\r\n\r\n", "bare LF")]
#[case("GET / HTTP/1.1\r\nHost: a\n\r\n", "bare LF")]
#[case("GET / HTTP/1.1\r\nHost: a\r\n\n", "bare LF")]
#[case("\nGET / HTTP/1.1\r\n", "bare LF")]
#[case("GET / HTTP/1.1\r\nHost: a\r\rX: b\r\n", "bare CR")]
#[case("GET / HTTP/1.1\r\nHost: a\rX: b\r\n", "bare CR")]
#[case("GET / HTTP/1.1\r\nHost: a\r\n\rX", "bare CR")]
#[case("\rGET / HTTP/1.1\r\n", "bare CR")]
#[case("GET / HTTP/1.1\r\nX: a\0b\r\n", "control byte")]
#[case("GET / HTTP/1.1\r\nX: a\x0bb\r\n", "control byte")]
#[case("GET / HTTP/1.1\r\nX: a\x7fb\r\n", "control byte")]
#[case("GET /\0 HTTP/1.1\r\n", "control byte")]
#[case("\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\n", "too many empty lines before a request")]
// Request lines.
#[case("\x16\x03\x01\x02", "control byte")]
#[case(" GET / HTTP/1.1\r\n", "method is not a token")]
#[case("G(T / HTTP/1.1\r\n", "method is not a token")]
#[case("GET\t/ HTTP/1.1\r\n", "method is not a token")]
#[case("GET\r\n", "request line without a target")]
#[case("GET \r\n", "request line without a version")]
#[case("GET /\r\n", "request line without a version")]
#[case("GET  / HTTP/1.1\r\n", "request line with an empty target")]
#[case("GET  HTTP/1.1\r\n", "request line with an empty target")]
#[case("GET /a b HTTP/1.1\r\n", "unknown HTTP version")]
#[case("GET /  HTTP/1.1\r\n", "unknown HTTP version")]
#[case("GET / \r\n", "unknown HTTP version")]
#[case("GET / HTTP/1.\r\n", "unknown HTTP version")]
#[case("GET / HTTP/1.2\r\n", "unknown HTTP version")]
#[case("GET / http/1.1\r\n", "unknown HTTP version")]
#[case("GET / HTTP/1.1 \r\n", "request line goes on after the version")]
#[case("GET / HTTP/1.10\r\n", "request line goes on after the version")]
#[case("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2 is not spoken on this listener")]
// Targets.
#[case("GET /\u{e9} HTTP/1.1\r\n", "target with a byte that must be percent-encoded")]
#[case("GET /\t HTTP/1.1\r\n", "target with a byte that must be percent-encoded")]
#[case("GET /a<b HTTP/1.1\r\n", "target with a byte that must be percent-encoded")]
#[case("GET /?a\"b HTTP/1.1\r\n", "target with a byte that must be percent-encoded")]
#[case("GET /a#b HTTP/1.1\r\n", "target with a fragment")]
#[case("GET http://a/#b HTTP/1.1\r\n", "target with a fragment")]
#[case("GET * HTTP/1.1\r\n", "target * with a method other than OPTIONS")]
#[case("GET a/b HTTP/1.1\r\n", "target is neither a path nor a URI")]
#[case("GET ?a HTTP/1.1\r\n", "target is neither a path nor a URI")]
#[case("GET a:80 HTTP/1.1\r\n", "target is neither a path nor a URI")]
#[case("GET ftp://a/ HTTP/1.1\r\n", "target with a scheme other than http and https")]
#[case("GET http:///a HTTP/1.1\r\n", "empty or impossible host")]
#[case("GET http://u:p@a/ HTTP/1.1\r\n", "host with an impossible byte or port")]
#[case("GET http://a/b<c HTTP/1.1\r\n", "target is not a URI")]
#[case("CONNECT a@b:443 HTTP/1.1\r\n", "host with an impossible byte or port")]
// Field lines.
#[case("GET / HTTP/1.1\r\nHost : a\r\n", "whitespace before a field's colon")]
#[case("GET / HTTP/1.1\r\nHost\t: a\r\n", "whitespace before a field's colon")]
#[case("GET / HTTP/1.1\r\n Host: a\r\n", "folded field line")]
#[case("GET / HTTP/1.1\r\nX: a\r\n\tb\r\n", "folded field line")]
#[case("GET / HTTP/1.1\r\nX: a\r\n \r\n", "folded field line")]
#[case("GET / HTTP/1.1\r\n: a\r\n", "empty field name")]
#[case("GET / HTTP/1.1\r\nX\r\n", "field line without a colon")]
#[case("GET / HTTP/1.1\r\nX\u{e9}: a\r\n", "field name is not a token")]
#[case("GET / HTTP/1.1\r\nX(: a\r\n", "field name is not a token")]
#[case("GET / HTTP/1.1\r\n\"X\": a\r\n", "field name is not a token")]
// Host.
#[case("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 without Host")]
#[case("GET http://a/ HTTP/1.1\r\n\r\n", "HTTP/1.1 without Host")]
#[case("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n", "more than one Host")]
#[case("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", "more than one Host")]
#[case("GET / HTTP/1.1\r\nHost:\r\n", "empty or impossible host")]
#[case("GET / HTTP/1.1\r\nHost: :80\r\n", "empty or impossible host")]
#[case("GET / HTTP/1.1\r\nHost: a b\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: a,b\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: a/b\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: a@b\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: a%2eb\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: a:65536\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: a:+80\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: a:80:80\r\n", "host with an impossible byte or port")]
#[case("GET / HTTP/1.1\r\nHost: [::1\r\n", "host with a broken IPv6 address")]
#[case("GET / HTTP/1.1\r\nHost: [::1%25lo]\r\n", "empty or impossible host")]
#[case("GET / HTTP/1.1\r\nHost: [::1]a\r\n", "host with an impossible byte or port")]
// Lengths and codings.
#[case("GET / HTTP/1.1\r\nContent-Length:\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: +5\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: -0\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: 0x5\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: 5 5\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: 5, 5\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: 9223372036854775808\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: 18446744073709551621\r\n", "Content-Length is not a number")]
#[case("GET / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n", "more than one Content-Length")]
#[case("GET / HTTP/1.1\r\nContent-Length: 0\r\ncontent-length: 5\r\n", "more than one Content-Length")]
#[case(
    "GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length with Transfer-Encoding"
)]
#[case(
    "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Content-Length with Transfer-Encoding"
)]
#[case("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding on HTTP/1.0")]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding: identity\r\n", "Transfer-Encoding other than one chunked")]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding:\r\n", "Transfer-Encoding other than one chunked")]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n", "Transfer-Encoding other than one chunked")]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding other than one chunked")]
#[case(
    "GET / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding other than one chunked"
)]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding: chunked,\r\n", "Transfer-Encoding other than one chunked")]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding: \"chunked\"\r\n", "Transfer-Encoding other than one chunked")]
#[case("GET / HTTP/1.1\r\nTransfer-Encoding: chunked;a=b\r\n", "Transfer-Encoding other than one chunked")]
#[case(
    "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding other than one chunked"
)]
#[case(
    "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding other than one chunked"
)]
fn refuses_heads(#[case] head: &str, #[case] detail: &str) {
    let before = format!("{CHUNKED}1\r\nx\r\n0\r\n\r\n{GET}");
    let (mut scanner, result) = scan(format!("{before}{head}").as_bytes());
    let skipped = if detail.starts_with("too many empty lines") { 8 } else { 0 };
    let expected = Refusal {
        deliverable: before.len() + skipped,
        reason: Reason::MalformedRequest,
        detail: result.expect_err("refused").detail,
    };
    assert_eq!(result, Err(expected));
    assert_eq!(expected.detail, detail);
    assert_eq!(scanner.heads(), 2);
    assert_eq!(scanner.scan(GET.as_bytes()), Err(Refusal { deliverable: 0, ..expected }), "it is final");
}

/// The good beginning of a body, what follows it, and why that is refused.
#[rstest]
#[case("", "\r\n", "chunk without a size")]
#[case("", ";a\r\n", "chunk size is not hexadecimal")]
#[case("", "+1\r\n", "chunk size is not hexadecimal")]
#[case("", "-1\r\n", "chunk size is not hexadecimal")]
#[case("", "0x1\r\n", "chunk size is not hexadecimal")]
#[case("", " 1\r\n", "chunk size is not hexadecimal")]
#[case("", "1 \r\n", "chunk size is not hexadecimal")]
#[case("", "1\t;a\r\n", "chunk size is not hexadecimal")]
#[case("", "g\r\n", "chunk size is not hexadecimal")]
#[case("", "1_0\r\n", "chunk size is not hexadecimal")]
#[case("", "00000000000000001", "chunk size with too many digits")]
#[case("", "8000000000000000\r\n", "chunk size too large")]
#[case("", "FFFFFFFFFFFFFFFF\r\n", "chunk size too large")]
#[case("", "1\n", "bare LF")]
#[case("", "1\rX", "bare CR")]
#[case("", "1;a\n", "bare LF")]
#[case("", "1;a\0\r\n", "control byte")]
#[case("", "1;\u{e9}\r\n", "chunk extension with an impossible byte")]
#[case("1\r\nx", "y\r\n", "chunk longer than its size")]
#[case("1\r\nx", "\n", "bare LF")]
#[case("1\r\nx", "\r1", "bare CR")]
#[case("1\r\nx", "0\r\n\r\n", "chunk longer than its size")]
#[case("1\r\nx\r\n0\r\n", "X : y\r\n", "whitespace before a field's colon")]
#[case("1\r\nx\r\n0\r\n", "X\r\n", "field line without a colon")]
#[case("1\r\nx\r\n0\r\n", "GET / HTTP/1.1\r\n", "whitespace before a field's colon")]
#[case("0\r\nA: b\r\n", " c\r\n", "folded field line")]
#[case("0\r\n", "\n", "bare LF")]
#[case("0\r\n", "\rX", "bare CR")]
#[case("0\r\nA: b\r\n", "Content-Length: 5\r\n", "framing field among the trailers")]
#[case("0\r\n", "transfer-encoding: chunked\r\n", "framing field among the trailers")]
#[case("0\r\n", "Host: b\r\n", "framing field among the trailers")]
fn refuses_bodies(#[case] good: &str, #[case] bad: &str, #[case] detail: &'static str) {
    let before = format!("{CHUNKED}{good}");
    let (_, result) = scan(format!("{before}{bad}").as_bytes());
    let expected = Refusal { deliverable: before.len(), reason: Reason::MalformedBody, detail };
    assert_eq!(result, Err(expected));
}

#[rstest]
#[case(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(59)), None)]
#[case(format!("GET /{} HTTP/1.1\r\n", "a".repeat(60)), Some(Reason::UriTooLong))]
#[case(format!("GET /{}", "a".repeat(60)), Some(Reason::UriTooLong))]
#[case(format!("GET /{}", "a".repeat(9999)), Some(Reason::UriTooLong))]
#[case("A".repeat(401), Some(Reason::HeadTooLarge))]
#[case(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(368)), None)]
#[case(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(369)), Some(Reason::HeadTooLarge))]
#[case(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(999)), Some(Reason::HeadTooLarge))]
#[case(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(5)), None)]
#[case(format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: a\r\n".repeat(6)), Some(Reason::HeadTooLarge))]
#[case(format!("{CHUNKED}0\r\n{}\r\n", "X: a\r\n".repeat(6)), None)]
#[case(format!("{CHUNKED}0\r\n{}\r\n", "X: a\r\n".repeat(7)), Some(Reason::HeadTooLarge))]
#[case(format!("{CHUNKED}0\r\nX: {}\r\n", "a".repeat(400)), Some(Reason::HeadTooLarge))]
#[case(format!("{CHUNKED}0000000000000001;{}\r\n", "a".repeat(1023)), None)]
#[case(format!("{CHUNKED}0000000000000001;{}\r\n", "a".repeat(1024)), Some(Reason::MalformedBody))]
#[case(format!("{CHUNKED}1;{}", "a".repeat(9999)), Some(Reason::MalformedBody))]
#[case(format!("{CHUNKED}{}", format!("1;{}\r\nx\r\n", "a".repeat(1023)).repeat(15)), None)]
#[case(format!("{CHUNKED}{}", format!("1;{}\r\nx\r\n", "a".repeat(1023)).repeat(16)), Some(Reason::MalformedBody))]
fn keeps_to_its_bounds(#[case] stream: String, #[case] reason: Option<Reason>) {
    let (scanner, result) = scan(stream.as_bytes());
    assert_eq!(result.err().map(|refusal| refusal.reason), reason, "{result:?}");
    assert!(scanner.carry.len() <= 1100);
    let mut bytewise = Scanner::new(LIMITS);
    let first = stream.as_bytes().chunks(1).find_map(|byte| bytewise.scan(byte).err());
    let detail = |refusal: Refusal| (refusal.reason, refusal.detail);
    assert_eq!(first.map(detail), result.err().map(detail));
}

#[test]
fn names_of_fields_are_bounded() {
    let mut scanner = Scanner::new(ScanLimits { head_bytes: 9999, ..LIMITS });
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{}: b\r\n", "x".repeat(1024));
    assert_eq!(scanner.scan(head.as_bytes()), Ok(()));
    let refusal = scanner.scan("x".repeat(1025).as_bytes()).expect_err("refused");
    assert_eq!((refusal.deliverable, refusal.reason), (0, Reason::HeadTooLarge));
}

#[test]
fn no_long_line_is_remembered_when_it_has_ended() {
    let mut scanner = Scanner::new(ScanLimits { head_bytes: 1 << 16, ..LIMITS });
    for piece in [GET[..25].to_owned(), format!("X: {}", "a".repeat(60_000)), "\r\n\r\n".to_owned()] {
        assert_eq!(scanner.scan(piece.as_bytes()), Ok(()));
    }
    assert_eq!(scanner.heads(), 1);
    assert!(scanner.carry.capacity() <= 1024, "{}", scanner.carry.capacity());
}

/// Streams that are good, or nearly so.
pub(super) fn streams() -> impl Strategy<Value = Vec<u8>> {
    let message = prop::sample::select(vec![
        GET,
        CHUNKED,
        "GET / HTTP/1.0\r\n\r\n",
        "\r\nPOST /a?b HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello",
        "POST http://a/b HTTP/1.1\r\nX: y \t\r\nHost: [::1]\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0A\r\n0123456789\r\n0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    ]);
    let nasty = prop::sample::select(vec![
        "\r",
        "\n",
        "\r\n",
        "\0",
        "\t",
        " ",
        ":",
        ";",
        ",",
        "#",
        "?",
        "@",
        "%",
        "0",
        "9",
        "\x7f",
        "\u{e9}",
        "\x0b",
        "Host: b\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "0\r\n\r\n",
        "ffffffffffffffff",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ]);
    let edit = (any::<prop::sample::Index>(), 0usize..3, nasty);
    (prop::collection::vec(message, 1..4), prop::collection::vec(edit, 0..3)).prop_map(|(messages, edits)| {
        let mut stream = messages.concat().into_bytes();
        for (place, removed, added) in edits {
            let at = place.index(stream.len() + 1);
            let end = (at + removed).min(stream.len());
            stream.splice(at..end, added.bytes());
        }
        stream
    })
}

/// What is not exactly one plain head is left to the HTTP library.
#[rstest]
#[case::plain("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true)]
#[case::no_body_by_length("POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", true)]
#[case::a_body("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", false)]
#[case::a_body_and_all_of_it("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na", false)]
#[case::chunks("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", false)]
#[case::old("GET / HTTP/1.0\r\nHost: a\r\n\r\n", false)]
#[case::an_empty_line_before("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", false)]
#[case::an_empty_line_behind("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n", false)]
#[case::half_a_line_behind("GET / HTTP/1.1\r\nHost: a\r\n\r\n\r", false)]
#[case::a_byte_behind("GET / HTTP/1.1\r\nHost: a\r\n\r\nG", false)]
#[case::two("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", false)]
#[case::not_whole("GET / HTTP/1.1\r\nHost: a\r\n\r", false)]
#[case::connect("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", false)]
#[case::absolute("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", false)]
#[case::asterisk("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", false)]
#[case::expects("GET / HTTP/1.1\r\nHost: a\r\nEXPECT: x\r\n\r\n", false)]
#[case::upgrades("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n", false)]
fn plain_heads(#[case] stream: &str, #[case] expected: bool) {
    let (mut scanner, mut places) = (Scanner::new(LIMITS), Places::into(Vec::new()));
    let is_whole = scanner.scan_first(stream.as_bytes(), &mut places).expect("well-formed");
    assert_eq!(is_whole && places.is_plain(), expected);
    // What came before decides as well.
    let mut scanner = Scanner::new(LIMITS);
    scanner.scan(b"\r").expect("may be the beginning of an empty line");
    if stream.starts_with('\r') {
        return;
    }
    assert!(!matches!(scanner.scan_first(stream.as_bytes(), &mut Places::default()), Ok(true)));
}

/// Heads that are good, or nearly so, most of them without a body.
pub(super) fn heads() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec![
        "GET / HTTP/1.1",
        "HEAD /a/b?c=%20&d=e?f HTTP/1.1",
        "DELETE //x/../y;z?? HTTP/1.1",
        "OPTIONS /{|}~\"' HTTP/1.1",
        "M-Y /? HTTP/1.1",
        "GET / HTTP/1.0",
        "GET http://b:1/c HTTP/1.1",
        "CONNECT /a HTTP/1.1",
    ]);
    let field = prop_oneof![
        8 => prop::sample::select(vec![
            "Host: a",
            "host:\ta:80 ",
            "Accept: */*",
            "X-Empty:",
            "X-Blank: \t ",
            "x-twice: 1",
            "X-Twice: \t2 2\t",
            "Connection: keep-alive",
            "CONNECTION: close, X-Twice",
            "Content-Length: 0",
            "Content-Length: 1",
            "TE: trailers",
            "X-Forwarded-For: 1.2.3.4",
            "Content_Length: 7",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "Transfer-Encoding: chunked",
            "Cookie: a=b; c=\"d\"",
            "X-Latin: \u{e9}",
        ]).prop_map(str::to_owned),
        1 => "[!-~]{1,6}:[ -~\t]{0,9}",
    ];
    let nasty =
        prop::sample::select(vec!["\r", "\n", "\r\n", "\0", "\t", " ", ":", "\x7f", "\r\n ", "?", "#"]);
    let edit = (any::<prop::sample::Index>(), 0usize..2, nasty);
    let edits = prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(edit, 1..3)];
    (line, prop::collection::vec(field, 0..7), any::<bool>(), edits).prop_map(
        |(line, mut fields, has_host, edits)| {
            if has_host {
                fields.retain(|field| !field.to_lowercase().starts_with("host"));
                fields.push("Host: a".to_owned());
            }
            let mut head = format!("{line}\r\n{}\r\n\r\n", fields.join("\r\n")).into_bytes();
            for (place, removed, added) in edits {
                let at = place.index(head.len() + 1);
                let end = (at + removed).min(head.len());
                head.splice(at..end, added.bytes());
            }
            head
        },
    )
}

/// How many complete heads httparse and http find in `stream`, and whether it ends between messages.
/// Bodies are followed in the plainest way that a lax recipient would.
fn heads_by_httparse(mut stream: &[u8]) -> Result<(u64, bool), String> {
    let mut heads = 0;
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(stream).map_err(|error| error.to_string())? {
            httparse::Status::Partial => {
                return Ok((heads, stream.iter().all(|byte| b"\r\n".contains(byte))));
            }
            httparse::Status::Complete(end) => stream = &stream[end..],
        }
        heads += 1;
        Method::from_bytes(request.method.unwrap_or_default().as_bytes())
            .map_err(|error| error.to_string())?;
        Uri::try_from(request.path.unwrap_or_default()).map_err(|error| error.to_string())?;
        let (mut length, mut is_chunked) = (0, false);
        for field in &*request.headers {
            HeaderName::from_bytes(field.name.as_bytes()).map_err(|error| error.to_string())?;
            HeaderValue::from_bytes(field.value).map_err(|error| error.to_string())?;
            let value = String::from_utf8_lossy(field.value);
            match &*field.name.to_ascii_lowercase() {
                "content-length" => length = value.parse().map_err(|_| "content-length".to_owned())?,
                "transfer-encoding" => is_chunked = true,
                _ => {}
            }
        }
        let rest = if is_chunked { after_chunks(stream)? } else { stream.get(length..) };
        let Some(rest) = rest else { return Ok((heads, false)) };
        stream = rest;
    }
}

/// What follows a chunked body; None if it is not complete.
fn after_chunks(mut stream: &[u8]) -> Result<Option<&[u8]>, String> {
    loop {
        let (start, size) = match httparse::parse_chunk_size(stream) {
            Err(_) => return Err("chunk size".into()),
            Ok(httparse::Status::Partial) => return Ok(None),
            Ok(httparse::Status::Complete(found)) => found,
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size == 0 {
            let mut fields = [httparse::EMPTY_HEADER; 16];
            return match httparse::parse_headers(&stream[start..], &mut fields) {
                Err(error) => Err(error.to_string()),
                Ok(httparse::Status::Partial) => Ok(None),
                Ok(httparse::Status::Complete((end, _))) => Ok(Some(&stream[start + end..])),
            };
        }
        let Some(rest) = stream.get(start.saturating_add(size)..) else { return Ok(None) };
        if !b"\r\n".starts_with(&rest[..rest.len().min(2)]) {
            return Err("chunk end".into());
        }
        let Some(next) = rest.get(2..) else { return Ok(None) };
        stream = next;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn cuts_change_neither_the_verdict_nor_what_is_delivered(
        stream in streams(),
        cuts in prop_oneof![
            Just(None),
            prop::collection::vec(any::<prop::sample::Index>(), 0..8).prop_map(Some)
        ],
    ) {
        let (whole, verdict) = scan(&stream);
        let mut cuts: Vec<usize> = match cuts {
            Some(cuts) => cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect(),
            None => (0..stream.len()).collect(),
        };
        cuts.push(stream.len());
        cuts.sort_unstable();
        let (mut scanner, mut start, mut result) = (Scanner::new(LIMITS), 0, Ok(()));
        for cut in cuts {
            result = scanner.scan(&stream[start..cut]);
            if result.is_err() {
                break;
            }
            start = cut;
        }
        let expected = verdict.map_err(|refusal| Refusal {
            deliverable: refusal.deliverable.saturating_sub(start), ..refusal
        });
        prop_assert_eq!(result, expected);
        prop_assert_eq!((scanner.heads(), scanner.position()), (whole.heads(), whole.position()));
    }

    #[test]
    fn every_beginning_of_what_is_delivered_is_sound_for_httparse(stream in streams()) {
        let mut scanner = Scanner::new(LIMITS);
        for end in 0..stream.len() {
            let piece = &stream[end..=end];
            match scanner.scan(piece) {
                Ok(()) => {
                    let expected = (scanner.heads(), scanner.position() == Position::Between);
                    prop_assert_eq!(heads_by_httparse(&stream[..=end]), Ok(expected), "after {} bytes", end + 1);
                }
                Err(refusal) => {
                    prop_assert_eq!(refusal.deliverable, 0);
                    break;
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..5)) {
        let mut scanner = Scanner::new(LIMITS);
        for piece in pieces {
            if let Err(refusal) = scanner.scan(&piece) {
                prop_assert!(refusal.deliverable <= piece.len());
            }
        }
    }
}

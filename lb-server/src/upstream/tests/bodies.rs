//! Bodies, as tables.

use rstest::rstest;

use super::super::{
    body::{EXTENSIONS, SIZE_TOO_LONG, TRAILERS_TOO_LONG},
    reading::{Ending, Reading, read},
    response::BARE_LINE_FEED,
};

const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const UNTIL_CLOSE: &str = "HTTP/1.1 200 OK\r\n\r\n";
const NOT_A_SIZE: &str = "a chunk's size is not one";
const MALFORMED_TRAILERS: &str = "the trailers are malformed";

fn body(head: &str, body: impl AsRef<[u8]>) -> Reading {
    read([head.as_bytes(), body.as_ref()], false)
}

fn trailers(reading: &Reading) -> String {
    let fields = reading.trailers.iter().flatten();
    let mut fields: Vec<String> =
        fields.map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value.as_bytes()))).collect();
    fields.sort_unstable();
    fields.join(" ")
}

#[rstest]
#[case::length(LENGTH, "hello", "hello", 0)]
#[case::length_and_more(LENGTH, "helloHTTP/1.1 200", "hello", 12)]
#[case::until_close(UNTIL_CLOSE, "a\r\n\0\r\n\r\n", "a\r\n\0\r\n\r\n", 0)]
#[case::until_close_empty(UNTIL_CLOSE, "", "", 0)]
#[case::chunks(CHUNKED, "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world", 0)]
#[case::no_chunk(CHUNKED, "0\r\n\r\n", "", 0)]
#[case::many_zeros(CHUNKED, "000\r\n\r\n", "", 0)]
#[case::hex(CHUNKED, "a\r\n0123456789\r\n0B\r\n0123456789-\r\n0\r\n\r\n", "01234567890123456789-", 0)]
#[case::sixteen_digits(CHUNKED, "0000000000000002\r\nhi\r\n0\r\n\r\n", "hi", 0)]
#[case::line_ends_in_data(CHUNKED, "4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", 0)]
#[case::more_behind(CHUNKED, "1\r\nx\r\n0\r\n\r\n\r\n", "x", 2)]
#[case::extension(CHUNKED, "1;a\r\nx\r\n0;b=c;d=\"e f\"\r\n\r\n", "x", 0)]
#[case::space_before_an_extension(CHUNKED, "1 \t;a = b\r\nx\r\n0\r\n\r\n", "x", 0)]
#[case::space_behind_the_size(CHUNKED, "1 \r\nx\r\n0\t\r\n\r\n", "x", 0)]
#[case::extension_with_obs_text(CHUNKED, "1;\u{e9}\r\nx\r\n0\r\n\r\n", "x", 0)]
fn good(#[case] head: &str, #[case] bytes: &str, #[case] expected: &str, #[case] left: usize) {
    let reading = body(head, bytes);
    assert_eq!(reading.end, Ending::Complete);
    assert_eq!((String::from_utf8_lossy(&reading.body).as_ref(), reading.left), (expected, left));
    assert_eq!(reading.trailers, None);
}

#[rstest]
#[case::no_size("\r\nx\r\n", NOT_A_SIZE)]
#[case::no_size_but_an_extension(";a\r\nx\r\n", NOT_A_SIZE)]
#[case::space_first(" 1\r\nx\r\n", NOT_A_SIZE)]
#[case::plus("+1\r\nx\r\n", NOT_A_SIZE)]
#[case::minus("-1\r\nx\r\n", NOT_A_SIZE)]
#[case::prefix("0x1\r\nx\r\n", NOT_A_SIZE)]
#[case::no_hex("g\r\n", NOT_A_SIZE)]
#[case::two_numbers("1 1\r\nx\r\n", NOT_A_SIZE)]
#[case::underscore("1_0\r\n", NOT_A_SIZE)]
#[case::bare_line_feed("1\nx\r\n", NOT_A_SIZE)]
#[case::bare_line_feed_behind_an_extension("1;a\nx\r\n", NOT_A_SIZE)]
#[case::two_carriage_returns("1\r\r\nx\r\n", NOT_A_SIZE)]
#[case::form_feed("1\x0c\r\nx\r\n", NOT_A_SIZE)]
#[case::nul("1\0\r\nx\r\n", NOT_A_SIZE)]
#[case::carriage_return_in_an_extension("1;a\rb\r\nx\r\n", EXTENSIONS)]
#[case::nul_in_an_extension("1;\0\r\nx\r\n", EXTENSIONS)]
#[case::seventeen_digits("00000000000000001\r\nx\r\n", SIZE_TOO_LONG)]
#[case::seventeen_digits_and_no_size("00000000000000001H", SIZE_TOO_LONG)]
#[case::overflow("10000000000000000\r\nx\r\n", SIZE_TOO_LONG)]
#[case::longer_than_said("1\r\nxy\r\n", "a chunk is longer than its size")]
#[case::line_feed_behind_data("1\r\nx\n", "a chunk is longer than its size")]
#[case::carriage_return_behind_data("1\r\nx\rx", "a chunk is longer than its size")]
#[case::shorter_than_said("3\r\nx\r\n0\r\n\r\n", "a chunk is longer than its size")]
#[case::bare_line_feed_at_the_end("0\r\n\n", BARE_LINE_FEED)]
#[case::bare_line_feed_in_trailers("0\r\na: b\n\r\n", BARE_LINE_FEED)]
#[case::bare_line_feed_between_trailers("0\r\na: b\nc: d\r\n\r\n", BARE_LINE_FEED)]
#[case::bare_line_feed_behind_trailers("0\r\na: b\r\n\n", BARE_LINE_FEED)]
#[case::trailer_without_colon("0\r\na\r\n\r\n", MALFORMED_TRAILERS)]
#[case::trailer_with_space("0\r\na : b\r\n\r\n", MALFORMED_TRAILERS)]
#[case::folded_trailer("0\r\na: b\r\n c\r\n\r\n", MALFORMED_TRAILERS)]
#[case::nul_in_a_trailer("0\r\na: \0\r\n\r\n", MALFORMED_TRAILERS)]
#[case::carriage_return_in_a_trailer("0\r\na: b\rc\r\n\r\n", MALFORMED_TRAILERS)]
#[case::response_instead_of_trailers("0\r\nHTTP/1.1 200 OK\r\n\r\n", MALFORMED_TRAILERS)]
fn bad_chunks(#[case] bytes: &str, #[case] why: &'static str) {
    assert_eq!(body(CHUNKED, bytes).end, Ending::Refused(why));
    let reading = body(CHUNKED, format!("2\r\nhi\r\n{bytes}"));
    assert_eq!((reading.end, &reading.body[..2]), (Ending::Refused(why), &b"hi"[..]));
}

#[test]
fn the_largest_chunk_size_is_waited_for() {
    let reading = body(CHUNKED, "ffffffffffffffff\r\nabc");
    assert_eq!((reading.end, &reading.body[..]), (Ending::Truncated, &b"abc"[..]));
}

#[test]
fn trailers_come_behind_the_body_but_not_those_that_change_its_meaning() {
    let reading = body(
        CHUNKED,
        "1\r\nx\r\n0\r\nX-Sum: 1\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\nHost: a\r\nSet-Cookie: b\r\n\
         Connection: close\r\nKeep-Alive: c\r\nTE: d\r\nTrailer: e\r\nAuthorization: f\r\nContent-Type: g\r\n\
         X-Forwarded-For: h\r\nx-sum: 2\r\nServer-Timing: i\r\n\r\n",
    );
    assert_eq!(
        (reading.end, trailers(&reading).as_str()),
        (Ending::Complete, "server-timing=i x-sum=1 x-sum=2")
    );
    let none_left = body(CHUNKED, "0\r\nHost: a\r\n\r\nrest");
    assert_eq!((none_left.end, none_left.trailers, none_left.left), (Ending::Complete, None, 4));
}

#[rstest]
#[case::fields("a: b\r\n".repeat(64), Ending::Complete)]
#[case::too_many_fields("a: b\r\n".repeat(65), Ending::Refused(TRAILERS_TOO_LONG))]
#[case::bytes(format!("a: {}\r\n", "b".repeat(32_761)), Ending::Complete)]
#[case::too_many_bytes(format!("a: {}\r\n", "b".repeat(32_762)), Ending::Refused(TRAILERS_TOO_LONG))]
fn trailers_are_bounded(#[case] fields: String, #[case] end: Ending) {
    assert_eq!(body(CHUNKED, format!("0\r\n{fields}\r\n")).end, end);
}

#[rstest]
#[case::one_line(format!("1;{}\r\nx\r\n", "y".repeat(4092)), Ending::Truncated)]
#[case::too_long_a_line(format!("1;{}\r\nx\r\n", "y".repeat(4093)), Ending::Refused(EXTENSIONS))]
#[case::many_lines(format!("1;{}\r\nx\r\n", "y".repeat(1023)).repeat(16), Ending::Truncated)]
#[case::too_many_lines(format!("1;{}\r\nx\r\n", "y".repeat(1023)).repeat(17), Ending::Refused(EXTENSIONS))]
fn extensions_are_bounded(#[case] chunks: String, #[case] end: Ending) {
    assert_eq!(body(CHUNKED, chunks).end, end);
}

#[rstest]
#[case::length(&format!("{LENGTH}hello"))]
#[case::chunks(&format!("{CHUNKED}5;a\r\nhello\r\n0a\r\n0123456789\r\n0\r\n\r\n"))]
#[case::trailers(&format!("{CHUNKED}1\r\nx\r\n0\r\nA: b\r\nC: d\r\n\r\n"))]
#[case::after_interim(&format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 E\r\nA: b\r\n\r\n{LENGTH}hello"))]
#[case::no_body("HTTP/1.1 204 No Content\r\nServer: a\r\n\r\n")]
fn a_truncated_response_is_never_complete(#[case] stream: &str) {
    for end in 0..stream.len() {
        assert_eq!(read([&stream.as_bytes()[..end]], false).end, Ending::Truncated, "after {end} bytes");
    }
    assert_eq!(read([stream.as_bytes()], false).end, Ending::Complete);
}

//! What texts must look like, by RFC 9110 (fields, methods), RFC 3986 (paths, hosts) and common sense.

use alloc::{format, string::String, vec::Vec};
use core::net::Ipv6Addr;

use super::{
    key::listed,
    suggest,
    values::{Wrong, is_host_name, port_number},
};
use crate::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};

type Checked = Result<(), Wrong>;

/// The methods that clients commonly send.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];

/// Fields that concern one connection or frame the message (RFC 9110 7.6.1, 8.6; RFC 9112 6). The balancer
/// writes them itself.
const NOT_EDITABLE: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
];

/// A name of something in the configuration.
pub(super) fn name(text: &str) -> Checked {
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Wrong::expected(format!("a name of 1 to {NAME_BYTES_MAX} bytes without control characters")))
}

/// RFC 9110 5.6.2
fn is_token(text: &str) -> bool {
    let is_mark = |byte| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}

/// The name of a cookie that the balancer sets (RFC 6265 4.1.1). The prefixes that browsers tie to attributes would need those.
pub(super) fn session_cookie_name(text: &str) -> Checked {
    let is_bound =
        ["__secure-", "__host-"].iter().any(|prefix| text.to_ascii_lowercase().starts_with(prefix));
    if is_token(text) && text.len() <= NAME_BYTES_MAX && !is_bound {
        return Ok(());
    }
    Err(Wrong::expected("the name of a cookie: letters, digits, - and _, without __Secure- and __Host-"))
}

/// A method; they are case-sensitive.
pub(super) fn method(text: &str) -> Checked {
    let upper = text.to_ascii_uppercase();
    let is_slip = upper != text && METHODS.contains(&upper.as_str());
    if is_token(text) && !is_slip {
        return Ok(());
    }
    let nearest = suggest::nearest(text, METHODS).map(Into::into);
    Err(Wrong::expected(r#"a method in upper case, such as "GET""#).nearest(nearest))
}

/// A method that a request which is forwarded can have.
pub(super) fn routed_method(text: &str) -> Checked {
    if text == "CONNECT" {
        Err(Wrong::expected("a method other than CONNECT, which is never forwarded"))
    } else {
        method(text)
    }
}

/// The name of a header field.
pub(super) fn header_name(text: &str) -> Checked {
    if is_token(text) {
        return Ok(());
    }
    let bare = text.trim().trim_end_matches(':').replace(' ', "-");
    let nearest = is_token(&bare).then_some(bare);
    Err(Wrong::expected("the name of a header: letters, digits and -, without spaces and colon")
        .nearest(nearest))
}

/// The name of a cookie (RFC 6265 4.1.1).
pub(super) fn cookie_name(text: &str) -> Checked {
    if is_token(text) {
        return Ok(());
    }
    Err(Wrong::expected("the name of a cookie: letters, digits, - and _, without spaces and ="))
}

/// The name of a field that may be set, appended and removed.
pub(super) fn editable_header(text: &str) -> Checked {
    header_name(text)?;
    if NOT_EDITABLE.iter().any(|name| name.eq_ignore_ascii_case(text)) {
        let list = listed(NOT_EDITABLE);
        return Err(Wrong::expected(format!("a header other than {list}, which the balancer writes itself")));
    }
    Ok(())
}

/// A value that is written into a field: the part of RFC 9110 5.5 that all software agrees on.
pub(super) fn header_value(text: &str) -> Checked {
    let is_visible = |byte: u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t');
    if text.bytes().all(is_visible) && text.trim() == text {
        return Ok(());
    }
    let nearest = Some(text.trim()).filter(|trimmed| trimmed.bytes().all(is_visible));
    Err(Wrong::expected("ASCII text without control characters, and without space at its ends")
        .nearest(nearest.map(Into::into)))
}

/// A value that fields are compared with.
pub(super) fn compared_value(text: &str) -> Checked {
    if !text.chars().any(|letter| letter.is_control() && letter != '\t') && text.trim() == text {
        return Ok(());
    }
    Err(Wrong::expected(
        "text without control characters, and without space at its ends, for no header has these",
    ))
}

/// A path as it stands in a request: absolute, percent-encoded, without dot segments and empty ones.
pub(super) fn path(text: &str) -> Checked {
    if is_path(text) {
        return Ok(());
    }
    let expected = match text {
        _ if text.len() > PATH_BYTES_MAX => format!("a path of at most {PATH_BYTES_MAX} bytes"),
        _ if !text.starts_with('/') => r#"a path that begins with "/""#.into(),
        _ if text.contains('?') || text.contains('#') => r##"a path alone, without "?" and "#""##.into(),
        _ if !has_good_escapes(text) => {
            r#"a path in which "%" is followed by two hex digits, and not by 00"#.into()
        }
        _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
            "a path with its special characters percent-encoded".into()
        }
        _ => r#"a path without empty segments and without the segments "." and "..""#.into(),
    };
    let nearest = intended_path(text).filter(|path| is_path(path));
    Err(Wrong::expected(expected).nearest(nearest))
}

fn is_path(text: &str) -> bool {
    let is_good = |segment: &str| is_plain_segment(segment);
    text.len() <= PATH_BYTES_MAX
        && text.strip_prefix('/').is_some_and(|rest| {
            let segments = rest.strip_suffix('/').unwrap_or(rest);
            rest.is_empty() || segments.split('/').all(is_good)
        })
}

/// A path and, after "?", a query: what a health check asks for.
pub(super) fn target(text: &str) -> Checked {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return self::path(path);
    }
    Err(Wrong::expected("a path with its special characters percent-encoded"))
}

/// One segment of a path, percent-encoded.
pub(super) fn segment(text: &str) -> Checked {
    if is_plain_segment(text) {
        return Ok(());
    }
    let bare = text.trim_matches('/');
    let nearest = Some(percent_encoded(bare)).filter(|segment| is_plain_segment(segment));
    Err(Wrong::expected(r#"one segment of a path, percent-encoded and without "/""#).nearest(nearest))
}

fn is_plain_segment(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'?' | b'#' | b'\\');
    let dots = text.replace("%2e", ".").replace("%2E", ".");
    !text.is_empty()
        && !matches!(dots.as_str(), "." | "..")
        && text.bytes().all(is_allowed)
        && has_good_escapes(text)
}

fn has_good_escapes(text: &str) -> bool {
    text.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && digits != b"00")
    })
}

/// `text` with a slash before it, without query, empty and dot segments, and percent-encoded.
fn intended_path(text: &str) -> Option<String> {
    let path = text.trim().split(['?', '#']).next().filter(|path| path.len() <= PATH_BYTES_MAX)?;
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let slash = if path.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    Some(percent_encoded(&format!("/{}{slash}", segments.join("/"))))
}

/// `text` with all bytes percent-encoded that are not visible ASCII; escapes stay.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'\\' {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// The host of a route, in the form that [`Config::validate`](super::Config::validate) gives it: a name,
/// an address, or `*.` and a name.
pub(super) fn host_pattern(text: &str) -> Checked {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_good = is_host_name(name) || (name == text && is_bracketed(text));
    if is_good && (name == text || !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')) {
        return Ok(());
    }
    let expected = match text {
        "*" | "" => r#"a host; leave the key out to match every host"#,
        _ => r#"a host name without port, such as "www.example.org" or "*.example.org""#,
    };
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest);
    let bare = bare.split('/').next().unwrap_or(bare);
    let bare =
        bare.rsplit_once(':').filter(|(_, port)| port_number(port).is_some()).map_or(bare, |(host, _)| host);
    let bare = bare.strip_prefix('.').map_or_else(|| String::from(bare), |parent| format!("*.{parent}"));
    let is_better = bare != text && bare != "*" && host_pattern(&bare).is_ok();
    Err(Wrong::expected(expected).nearest(is_better.then_some(bare)))
}

/// The Host that is sent to a backend: a name or an address, with a port or without.
pub(super) fn host_sent(text: &str) -> Checked {
    let is_host = |host: &str| is_host_name(host) || is_bracketed(host);
    let is_good = is_host(text)
        || text.rsplit_once(':').is_some_and(|(host, port)| is_host(host) && port_number(port).is_some());
    if is_good {
        return Ok(());
    }
    let bare = text.split_once("://").map_or(text, |(_, rest)| rest).split('/').next().unwrap_or(text);
    let nearest = (bare != text && host_sent(bare).is_ok()).then(|| bare.into());
    Err(Wrong::expected(r#"a host, with a port or without, such as "www.example.org""#).nearest(nearest))
}

/// An IPv6 address in brackets.
fn is_bracketed(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
}

/// The name of a query parameter.
pub(super) fn parameter(text: &str) -> Checked {
    if text.is_empty() { Err(Wrong::expected("the name of a query parameter")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/")]
    #[case("/a")]
    #[case("/a/b/")]
    #[case("/%C3%A9/a;b=c")]
    #[case("/v1.2/...")]
    fn paths(#[case] text: &str) {
        assert_eq!(path(text), Ok(()));
    }

    #[rstest]
    #[case("a/b", Some("/a/b"))]
    #[case("", Some("/"))]
    #[case("/a//b/./c/../d/", Some("/a/b/d/"))]
    #[case("/a/%2e%2E/b", None)]
    #[case("/a?b=c", Some("/a"))]
    #[case("/caf\u{e9} 1", Some("/caf%C3%A9%201"))]
    #[case("/100%", None)]
    #[case("/a%00", None)]
    #[case("/a\\b", Some("/a%5Cb"))]
    fn no_paths(#[case] text: &str, #[case] nearest: Option<&str>) {
        assert_eq!(path(text).unwrap_err().nearest.as_deref(), nearest);
    }

    #[rstest]
    #[case("www.mango.com")]
    #[case("*.mango.com")]
    #[case("localhost")]
    #[case("my_service")]
    #[case("127.0.0.1")]
    #[case("[::1]")]
    fn host_patterns(#[case] text: &str) {
        assert_eq!(host_pattern(text), Ok(()));
    }

    #[rstest]
    #[case("www.mango.com:8080", Some("www.mango.com"))]
    #[case("http://www.mango.com/", Some("www.mango.com"))]
    #[case(".mango.com", Some("*.mango.com"))]
    #[case("*", None)]
    #[case("*mango.com", None)]
    #[case("www.*.com", None)]
    #[case("1.2.3", None)]
    #[case("*.0.0.1", None)]
    #[case("a..b", None)]
    #[case("::1", None)]
    fn no_host_patterns(#[case] text: &str, #[case] nearest: Option<&str>) {
        assert_eq!(host_pattern(text).unwrap_err().nearest.as_deref(), nearest);
    }

    #[rstest]
    #[case("get", Some("GET"))]
    #[case("GETT", None)]
    #[case("G T", Some("GET"))]
    fn methods(#[case] text: &str, #[case] nearest: Option<&str>) {
        assert_eq!(method(text).err().and_then(|wrong| wrong.nearest).as_deref(), nearest);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_and_what_is_suggested_is_valid(text in r"[ -~é\t\n]{0,24}") {
            for check in [path, segment, host_pattern, host_sent, header_name, header_value, method] {
                if let Err(Wrong { nearest: Some(nearest), .. }) = check(&text) {
                    proptest::prop_assert_eq!(check(&nearest), Ok(()), "{} for {}", nearest, text);
                }
            }
        }
    }
}

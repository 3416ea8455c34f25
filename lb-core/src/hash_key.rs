//! What a request is placed by: the key of consistent hashing, out of its address, path, query or
//! header fields.
//!
//! Keys are hashed without a secret, for all balancers in front of the same backends must agree on where
//! a request goes. Whoever chooses keys can send them all to one backend; a bound on the load
//! (`balance_factor`) limits what that does.

use core::net::IpAddr;

use crate::{
    config::HashKey,
    hash::hash,
    query,
    request::{Headers, RequestView},
};

/// The key of a request whose normalised path is `path`; none if it lacks what `source` looks at, or has
/// it empty.
#[must_use]
pub fn of(source: &HashKey, view: &RequestView<'_>, path: &str) -> Option<u64> {
    let key = |bytes: &[u8]| (!bytes.is_empty()).then(|| hash(bytes));
    match source {
        HashKey::Client => match view.client.to_canonical() {
            IpAddr::V4(address) => key(&address.octets()),
            IpAddr::V6(address) => key(&address.octets()),
        },
        HashKey::Path => key(path.as_bytes()),
        HashKey::Header(name) => first(view.headers, name, |value| key(value.trim_ascii())),
        HashKey::Cookie(name) => first(view.headers, "cookie", |value| key(cookie(value, name)?)),
        HashKey::Query(name) => key(&query::value(view.query?, name)?),
    }
}

/// What `read` makes of the first field of this name that it makes something of.
fn first<T>(headers: &dyn Headers, name: &str, read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
    let mut found = None;
    headers.visit(name, &mut |value| {
        if found.is_none() {
            found = read(value);
        }
    });
    found
}

/// The value of the first cookie called `name` in a Cookie field (RFC 6265, section 4.2.1).
fn cookie<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    field.split(|&byte| byte == b';').find_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        let (written, value) = (pair.get(..equals)?, pair.get(equals + 1..)?);
        (written.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEADERS: [(&str, &str); 5] = [
        ("X-User", " mango "),
        ("x-user", "apple"),
        ("Cookie", "a=1; session = s7 ; empty=; session=other"),
        ("cookie", "b=2; broken; a=3"),
        ("X-Empty", ""),
    ];

    fn view(headers: &dyn Headers) -> RequestView<'_> {
        RequestView {
            method: "GET",
            authority: Some("x"),
            path: "/as/received",
            query: Some("&u=a%20b&u=c&flag&none="),
            headers,
            client: "::ffff:192.0.2.1".parse().unwrap(),
        }
    }

    #[rstest]
    #[case::path(HashKey::Path, Some("/normal"))]
    #[case::first_field(HashKey::Header("x-user".into()), Some("mango"))]
    #[case::no_field(HashKey::Header("x-other".into()), None)]
    #[case::empty_field(HashKey::Header("x-empty".into()), None)]
    #[case::first_cookie(HashKey::Cookie("session".into()), Some("s7"))]
    #[case::cookie_of_a_later_field(HashKey::Cookie("b".into()), Some("2"))]
    #[case::cookie_of_the_first_field(HashKey::Cookie("a".into()), Some("1"))]
    #[case::cookies_are_case_sensitive(HashKey::Cookie("Session".into()), None)]
    #[case::empty_cookie(HashKey::Cookie("empty".into()), None)]
    #[case::no_cookie(HashKey::Cookie("broken".into()), None)]
    #[case::decoded_parameter(HashKey::Query("u".into()), Some("a b"))]
    #[case::parameter_without_value(HashKey::Query("flag".into()), None)]
    #[case::empty_parameter(HashKey::Query("none".into()), None)]
    #[case::no_parameter(HashKey::Query("v".into()), None)]
    fn keys(#[case] source: HashKey, #[case] value: Option<&str>) {
        let headers = &HEADERS[..];
        assert_eq!(of(&source, &view(&headers), "/normal"), value.map(|value| hash(value.as_bytes())));
    }

    #[test]
    fn a_client_is_its_address() {
        let headers = &HEADERS[..];
        assert_eq!(of(&HashKey::Client, &view(&headers), "/"), Some(hash(&[192, 0, 2, 1])));
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        let view = RequestView { client: v6, ..view(&headers) };
        assert_ne!(of(&HashKey::Client, &view, "/"), Some(hash(&[192, 0, 2, 1])));
    }

    #[test]
    fn without_a_query_there_is_no_parameter() {
        let headers = &HEADERS[..];
        let view = RequestView { query: None, ..view(&headers) };
        assert_eq!(of(&HashKey::Query("u".into()), &view, "/"), None);
    }
}

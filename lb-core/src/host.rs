//! The host of an authority, in the one form in which hosts are compared.

use alloc::{borrow::Cow, format, string::String};
use core::{fmt, net::Ipv6Addr};

use crate::limits::HOST_BYTES_MAX;

/// Why an authority has no host that could be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostError {
    /// Nothing stands before the port.
    Empty,
    /// Longer than [`HOST_BYTES_MAX`].
    TooLong,
    /// A byte that no host name has: a space, `@`, `/`, `%`, one outside of ASCII and so on.
    BadByte,
    /// Two dots in a row, or one at the beginning.
    EmptyLabel,
    /// Not a number up to 65535.
    BadPort,
    /// What stands between brackets is not an IPv6 address.
    BadAddress,
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the host is empty",
            Self::TooLong => "the host is too long",
            Self::BadByte => "the host has a character that no host name has",
            Self::EmptyLabel => "the host has an empty label",
            Self::BadPort => "the port is not a number up to 65535",
            Self::BadAddress => "the host is not an IPv6 address in brackets",
        })
    }
}

/// The host of `host[:port]`: lower case, without the port and without a trailing dot; an IPv6 literal
/// keeps its brackets and takes the form of RFC 5952. Borrows where nothing had to be changed.
///
/// Stricter than RFC 3986, section 3.2.2, which would allow sub-delims and percent-encoding that no
/// name in use has: the fewer spellings, the fewer ways around a rule.
///
/// # Errors
/// See [`HostError`]. User information (`user@host`) is one.
///
/// ```
/// use lb_core::host::normalise;
/// assert_eq!(normalise("WWW.Mango.com.:8000").unwrap(), "www.mango.com");
/// assert_eq!(normalise("[0:0::1]:80").unwrap(), "[::1]");
/// assert!(normalise("a@b").is_err());
/// ```
pub fn normalise(authority: &str) -> Result<Cow<'_, str>, HostError> {
    if authority.starts_with('[') {
        return literal(authority);
    }
    let normal = normal_name(authority.as_bytes());
    let end = normal.or_else(|| authority.find(':')).unwrap_or(authority.len());
    let (name, rest) = authority.split_at(end);
    if let Some(port) = rest.strip_prefix(':') {
        check_port(port)?;
    }
    if normal.is_some() {
        return Ok(Cow::Borrowed(name));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if check_name(name.as_bytes())? {
        Ok(Cow::Owned(name.to_ascii_lowercase()))
    } else {
        Ok(Cow::Borrowed(name))
    }
}

/// Where the name that begins an authority ends, if that name is in normal form, as nearly all are: a look into
/// a table for each byte.
fn normal_name(authority: &[u8]) -> Option<usize> {
    let (mut pairs, mut before) = (0, DOT);
    let mut end = authority.len();
    for (at, &byte) in authority.iter().enumerate() {
        let class = CLASSES[usize::from(byte)];
        if class == OTHER {
            end = at;
            break;
        }
        // A dot behind a dot, or at the beginning.
        pairs |= class & before;
        before = class;
    }
    let ends = matches!(authority.get(end), None | Some(b':'));
    (ends && pairs != DOT && before != DOT && end <= HOST_BYTES_MAX).then_some(end)
}

const DOT: u8 = 1;
/// Neither a dot nor a byte of a label in normal form.
const OTHER: u8 = 2;

static CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0u8;
    while byte < 0x80 {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => 0,
            b'.' => DOT,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};

/// Whether the name has upper case letters.
fn check_name(name: &[u8]) -> Result<bool, HostError> {
    if name.is_empty() {
        return Err(HostError::Empty);
    }
    if name.len() > HOST_BYTES_MAX {
        return Err(HostError::TooLong);
    }
    let (mut upper, mut before) = (false, b'.');
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => upper = true,
            b'.' if before == b'.' => return Err(HostError::EmptyLabel),
            b'.' => {}
            _ => return Err(HostError::BadByte),
        }
        before = byte;
    }
    // One trailing dot has been taken off; a second one ends an empty label.
    if before == b'.' { Err(HostError::EmptyLabel) } else { Ok(upper) }
}

/// RFC 3986 allows a port of no digits.
fn check_port(port: &str) -> Result<(), HostError> {
    let digits = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (port.is_empty() || port.parse::<u16>().is_ok()) { Ok(()) } else { Err(HostError::BadPort) }
}

fn literal(authority: &str) -> Result<Cow<'_, str>, HostError> {
    let Some((inside, rest)) = authority[1..].split_once(']') else { return Err(HostError::BadAddress) };
    match rest.strip_prefix(':') {
        Some(port) => check_port(port)?,
        None if rest.is_empty() => {}
        None => return Err(HostError::BadPort),
    }
    let address: Ipv6Addr = inside.parse().map_err(|_| HostError::BadAddress)?;
    Ok(Cow::Owned(format!("[{address}]")))
}

/// The form in which a host of the configuration is compared; also takes an IPv6 address without
/// brackets. What is no host stays as it is, in lower case, and matches nothing.
pub(crate) fn of_config(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => normalise(host).map_or_else(|_| host.to_ascii_lowercase(), Cow::into_owned),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("www.mango.com", "www.mango.com")]
    #[case("WWW.Mango.COM", "www.mango.com")]
    #[case("www.mango.com:8000", "www.mango.com")]
    #[case("www.mango.com.", "www.mango.com")]
    #[case("www.mango.com.:80", "www.mango.com")]
    #[case("localhost:", "localhost")]
    #[case("127.0.0.1:65535", "127.0.0.1")]
    #[case("my_host-1", "my_host-1")]
    #[case("[::1]", "[::1]")]
    #[case("[2001:DB8:0:0::1]:8080", "[2001:db8::1]")]
    fn one_form_for_all_spellings(#[case] authority: &str, #[case] host: &str) {
        assert_eq!(normalise(authority).unwrap(), host);
    }

    #[rstest]
    #[case("", HostError::Empty)]
    #[case(":80", HostError::Empty)]
    #[case(".", HostError::Empty)]
    #[case("..", HostError::EmptyLabel)]
    #[case("a..", HostError::EmptyLabel)]
    #[case(".a", HostError::EmptyLabel)]
    #[case("a..b", HostError::EmptyLabel)]
    #[case("a b", HostError::BadByte)]
    #[case(" a", HostError::BadByte)]
    #[case("user@a", HostError::BadByte)]
    #[case("a/b", HostError::BadByte)]
    #[case("a\\b", HostError::BadByte)]
    #[case("a%2e", HostError::BadByte)]
    #[case("a,b", HostError::BadByte)]
    #[case("*.a", HostError::BadByte)]
    #[case("a\0", HostError::BadByte)]
    #[case("m\u{e4}ngo", HostError::BadByte)]
    #[case("a:65536", HostError::BadPort)]
    #[case("a:000080", HostError::BadPort)]
    #[case("a:+80", HostError::BadPort)]
    #[case("a:80 ", HostError::BadPort)]
    #[case("a:80:80", HostError::BadPort)]
    #[case("::1", HostError::BadPort)]
    #[case("[::1", HostError::BadAddress)]
    #[case("[]", HostError::BadAddress)]
    #[case("[::1%eth0]", HostError::BadAddress)]
    #[case("[127.0.0.1]", HostError::BadAddress)]
    #[case("[::1]80", HostError::BadPort)]
    #[case("[::1].", HostError::BadPort)]
    fn what_is_no_host_is_refused(#[case] authority: &str, #[case] error: HostError) {
        assert_eq!(normalise(authority), Err(error));
    }

    #[test]
    fn a_host_has_a_bound() {
        let longest = "a".repeat(HOST_BYTES_MAX);
        assert!(normalise(&longest).is_ok());
        assert_eq!(normalise(&(longest + "a")), Err(HostError::TooLong));
    }

    #[test]
    fn a_normal_host_is_borrowed() {
        assert!(matches!(normalise("www.mango.com:8000"), Ok(Cow::Borrowed("www.mango.com"))));
    }

    proptest! {
        #[test]
        fn what_is_normal_is_left_as_it_is(name in "[a-zA-C0-9._\\PC-]{0,6}", port in "(:[0-9]{0,2})?") {
            prop_assume!(!name.contains(':'));
            let is_normal = check_name(name.as_bytes()) == Ok(false);
            let authority = name.clone() + &port;
            prop_assert_eq!(normal_name(authority.as_bytes()), is_normal.then_some(name.len()));
        }

        #[test]
        fn normalising_twice_changes_nothing(authority in "[A-Za-z0-9._:@\\[\\]-]{0,12}|\\PC{0,8}") {
            if let Ok(once) = normalise(&authority) {
                let twice = normalise(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
            }
        }
    }
}

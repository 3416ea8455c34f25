//! Sticky sessions without state: a cookie that says which backend, signed so that nobody else can.
//!
//! A cookie's value is 32 bytes in hexadecimal digits:
//!
//! ```text
//! handle (8) | expires (8, seconds of the Unix epoch, big-endian) | signature (16)
//! ```
//!
//! The handle is a keyed hash of the backend's address: it names a backend to whoever has the key and tells
//! nobody else anything. The signature is the first half of HMAC-SHA-256 (RFC 2104) over both. Keys are bound
//! to a pool, so that a cookie of one pool means nothing to another; a comparison takes the same time
//! wherever the difference is. All balancers with the same secret, and the same one after a restart, read
//! each other's cookies.

use alloc::{format, string::String};
use core::{
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::config::Sticky;

const HANDLE_BYTES: usize = 8;
const PAYLOAD_BYTES: usize = HANDLE_BYTES + 8;
const SIGNATURE_BYTES: usize = 16;
const COOKIE_BYTES: usize = PAYLOAD_BYTES + SIGNATURE_BYTES;
/// What keys are derived for; another format would have another number.
const PURPOSE: &[u8] = b"lb sticky session 1\0";

/// Names a backend's address within a pool, by a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(u64);

/// What an authentic cookie says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The backend that it is for.
    pub handle: Handle,
    /// When it ends, in seconds of the Unix epoch.
    pub expires: u64,
}

/// Writes and reads the cookies of one pool.
#[derive(Clone)]
pub struct Signer(Hmac<Sha256>);

/// Without the key.
impl core::fmt::Debug for Signer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// The signer of the pool called `pool`, by a secret of at least
    /// [`STICKY_KEY_BYTES_MIN`](crate::limits::STICKY_KEY_BYTES_MIN) bytes.
    #[must_use]
    pub fn new(secret: &[u8], pool: &str) -> Self {
        let mut derived = keyed(secret);
        derived.update(PURPOSE);
        derived.update(pool.as_bytes());
        Self(keyed(&derived.finalize().into_bytes()))
    }

    /// The handle of the backend at `addr`.
    #[must_use]
    pub fn handle(&self, addr: SocketAddr) -> Handle {
        let ip = match addr.ip().to_canonical() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let mut mac = self.0.clone();
        mac.update(b"backend");
        mac.update(&ip.octets());
        mac.update(&addr.port().to_be_bytes());
        Handle(first_number(&mac.finalize().into_bytes()))
    }

    /// The cookie's value for a session.
    #[must_use]
    pub fn write(&self, session: Session) -> String {
        let payload = payload(session);
        let signature = self.signature(&payload).finalize().into_bytes();
        let mut text = String::with_capacity(2 * COOKIE_BYTES);
        for byte in payload.iter().chain(&signature[..SIGNATURE_BYTES]) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// What a cookie's value says, if it is one of ours and has not expired at `now`, in seconds of the Unix
    /// epoch.
    #[must_use]
    pub fn read(&self, value: &[u8], now: u64) -> Option<Session> {
        let bytes = from_hex(value)?;
        let (payload, signature) = bytes.split_at(PAYLOAD_BYTES);
        self.signature(payload).verify_truncated_left(signature).ok()?;
        let (handle, expires) = payload.split_at(HANDLE_BYTES);
        let session = Session { handle: Handle(first_number(handle)), expires: first_number(expires) };
        (now < session.expires).then_some(session)
    }

    /// The session among the values of a `Cookie` field: the first authentic cookie of this name.
    #[must_use]
    pub fn find(&self, field: &[u8], name: &str, now: u64) -> Option<Session> {
        field.split(|&byte| byte == b';').find_map(|pair| {
            let value = pair.trim_ascii_start().strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            self.read(value.trim_ascii_end(), now)
        })
    }

    fn signature(&self, payload: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"session");
        mac.update(payload);
        mac
    }
}

/// What the answer of the backend with `handle` has to say in `Set-Cookie`: nothing while the client's
/// `session` is for that backend and has more than half of its time left.
///
/// `renews` is asked when less is left: a backend that is being drained lets its sessions run out.
#[must_use]
pub fn set_cookie(
    config: &Sticky,
    signer: &Signer,
    session: Option<Session>,
    handle: Handle,
    renews: impl FnOnce() -> bool,
    now: u64,
) -> Option<String> {
    let ttl = config.ttl.as_secs().max(1);
    if let Some(session) = session.filter(|session| session.handle == handle) {
        let is_young = session.expires.saturating_sub(now) > ttl / 2;
        if is_young || !renews() {
            return None;
        }
    }
    let value = signer.write(Session { handle, expires: now.saturating_add(ttl) });
    let secure = if config.secure { "; Secure" } else { "" };
    Some(format!("{}={value}; Max-Age={ttl}; Path=/; HttpOnly; SameSite=Lax{secure}", config.cookie))
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length; the other arm is for algorithms that do not.
    match Hmac::new_from_slice(key) {
        Ok(mac) => mac,
        Err(_) => Hmac::new(&Default::default()),
    }
}

fn payload(session: Session) -> [u8; PAYLOAD_BYTES] {
    let mut payload = [0; PAYLOAD_BYTES];
    payload[..HANDLE_BYTES].copy_from_slice(&session.handle.0.to_be_bytes());
    payload[HANDLE_BYTES..].copy_from_slice(&session.expires.to_be_bytes());
    payload
}

/// The number in the first eight of `bytes`, of which there are as many at least.
fn first_number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Lower-case digits only: a session has one spelling.
fn from_hex(text: &[u8]) -> Option<[u8; COOKIE_BYTES]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * COOKIE_BYTES {
        return None;
    }
    let mut bytes = [0; COOKIE_BYTES];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_000_000;

    fn signer() -> Signer {
        Signer::new(SECRET, "mango")
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn session(expires: u64) -> Session {
        Session { handle: signer().handle(addr("10.0.0.1:80")), expires }
    }

    /// Cookies outlive a restart and an upgrade: the format is pinned.
    #[test]
    fn the_format_is_pinned() {
        let text = signer().write(session(NOW));
        assert_eq!(text, "80be5846c46e894300000000000f4240926bd759cb395d34d19531f374836eee");
    }

    #[test]
    fn a_session_ends_when_its_time_is_up() {
        let text = signer().write(session(NOW));
        assert_eq!(signer().read(text.as_bytes(), NOW - 1), Some(session(NOW)));
        assert_eq!(signer().read(text.as_bytes(), NOW), None);
    }

    #[test]
    fn another_key_and_another_pool_do_not_read_it() {
        let text = signer().write(session(NOW));
        assert_eq!(Signer::new(b"another secret of 32 bytes......", "mango").read(text.as_bytes(), 0), None);
        assert_eq!(Signer::new(SECRET, "apple").read(text.as_bytes(), 0), None);
        assert_ne!(Signer::new(SECRET, "apple").handle(addr("10.0.0.1:80")), session(0).handle);
    }

    #[test]
    fn a_cookie_names_no_address() {
        let text = signer().write(session(NOW));
        for part in ["0a000001", "10.0.0.1", "0050"] {
            assert!(!text[..16].contains(part), "{text}");
        }
        let mapped = signer().handle(addr("[::ffff:10.0.0.1]:80"));
        assert_eq!(mapped, session(0).handle, "one backend, one handle");
        assert_ne!(signer().handle(addr("10.0.0.1:81")), mapped);
    }

    #[rstest]
    #[case("lb={}", true)]
    #[case("a=b; lb={} ; c=d", true)]
    #[case("a=b;lb={}", true)]
    #[case("lb=; lb={}", true)]
    #[case("lb=00; LB=1; lb={}", true)]
    #[case("xlb={}", false)]
    #[case("LB={}", false)]
    #[case("lb={}x", false)]
    #[case("lb=\"{}\"", false)]
    #[case("", false)]
    fn found_among_others(#[case] field: &str, #[case] found: bool) {
        let field = field.replace("{}", &signer().write(session(NOW)));
        assert_eq!(signer().find(field.as_bytes(), "lb", 0).is_some(), found);
    }

    #[rstest]
    #[case::no_session(None, true, true)]
    #[case::another_backend(Some(("10.0.0.2:80", 3600)), true, true)]
    #[case::young(Some(("10.0.0.1:80", 1801)), true, false)]
    #[case::half_gone(Some(("10.0.0.1:80", 1800)), true, true)]
    #[case::half_gone_at_a_backend_that_drains(Some(("10.0.0.1:80", 1800)), false, false)]
    #[case::moved_to_one_that_drains(Some(("10.0.0.2:80", 10)), false, true)]
    fn when_a_cookie_is_written(
        #[case] seen: Option<(&str, u64)>,
        #[case] renews: bool,
        #[case] written: bool,
    ) {
        let seen = seen.map(|(at, left)| Session { handle: signer().handle(addr(at)), expires: NOW + left });
        let text = set_cookie(&Sticky::default(), &signer(), seen, session(0).handle, || renews, NOW);
        assert_eq!(text.is_some(), written);
        if let Some(text) = text {
            assert_eq!(signer().find(text.as_bytes(), "lb_session", NOW), Some(session(NOW + 3600)));
        }
    }

    #[rstest]
    #[case(false, "Max-Age=3600; Path=/; HttpOnly; SameSite=Lax")]
    #[case(true, "Max-Age=3600; Path=/; HttpOnly; SameSite=Lax; Secure")]
    fn attributes(#[case] secure: bool, #[case] expected: &str) {
        let config = Sticky { secure, ..Sticky::default() };
        let text = set_cookie(&config, &signer(), None, session(0).handle, || true, NOW).unwrap();
        assert_eq!(text.split_once("; ").unwrap().1, expected);
    }

    proptest! {
        #[test]
        fn nothing_but_what_was_written_is_read(
            handle: u64, expires in 1u64.., byte in 0usize..64, other in "[0-9a-f]", noise: Vec<u8>,
        ) {
            let session = Session { handle: Handle(handle), expires };
            let text = signer().write(session);
            prop_assert_eq!(signer().read(text.as_bytes(), expires - 1), Some(session));
            let mut forged = text.clone();
            forged.replace_range(byte..=byte, &other);
            prop_assert_eq!(signer().read(forged.as_bytes(), 0).is_some(), forged == text);
            prop_assert_eq!(signer().read(text.to_uppercase().as_bytes(), 0).is_some(), text == text.to_uppercase());
            prop_assert_eq!(signer().read(&noise, 0), None);
            prop_assert_eq!(signer().find(&noise, "lb", 0), None);
        }
    }
}

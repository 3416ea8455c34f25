//! A request as the core sees it: borrowed, without knowing which library parsed it.

use core::net::IpAddr;

/// Access to header fields. Implemented here for slices of pairs (tests, simulations); the server
/// implements it for its HTTP library's map.
pub trait Headers {
    /// Calls `visit` with each value of the field called `name`, in the order of their arrival.
    ///
    /// `name` is in lower case; names of fields are compared without regard to case.
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8]));

    /// The first value of `name` that satisfies `predicate` exists.
    fn any(&self, name: &str, predicate: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut found = false;
        self.visit(name, &mut |value| found = found || predicate(value));
        found
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> Headers for [(N, V)] {
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        for (field, value) in self {
            if field.as_ref().eq_ignore_ascii_case(name) {
                visit(value.as_ref());
            }
        }
    }
}

/// So that a slice, which has no size that is known, can stand behind `&dyn Headers`.
impl<H: Headers + ?Sized> Headers for &H {
    fn visit(&self, name: &str, visit: &mut dyn FnMut(&[u8])) {
        (**self).visit(name, visit);
    }
}

/// What a decision is taken on. Nothing in it is owned, and nothing in it is normalised: that is the
/// core's work.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The method, case-sensitive as RFC 9110 has it.
    pub method: &'a str,
    /// The target's authority, or the Host field: `host[:port]` as received. None on HTTP/1.0 without
    /// a Host.
    pub authority: Option<&'a str>,
    /// The target's path as received, percent-encoding and all; `*` for `OPTIONS *`.
    pub path: &'a str,
    /// What stands after the first `?`, without it, as received.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a dyn Headers,
    /// The client's address, after trusted proxies have been looked through
    /// (see `client_addr`).
    pub client: IpAddr,
}

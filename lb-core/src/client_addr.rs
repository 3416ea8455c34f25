//! Whose request it is when proxies stand in between.

use core::net::{IpAddr, SocketAddr};

use crate::{ip_set::IpSet, request::Headers};

/// The client's address, a v4-mapped one as its v4 address.
///
/// A peer that is not trusted is the client itself, whatever it claims. Otherwise `X-Forwarded-For` is
/// walked from its right end, where our own proxies have appended: the first entry that is not trusted
/// is the client, and the left-most one if all are. An entry that is no address ends the walk, and the
/// last one before it counts, for what stands to its left was vouched for by nobody.
///
/// Takes time linear in the length of the fields and allocates nothing.
///
/// ```
/// use lb_core::{client_addr::client_addr, ip_set::IpSet};
/// let trusted = IpSet::new(&["127.0.0.0/8".parse().unwrap()]);
/// let headers: &[(&str, &str)] = &[("x-forwarded-for", "1.1.1.1, 55.55.55.55, 127.0.0.9")];
/// let client = client_addr("127.0.0.1".parse().unwrap(), &trusted, &headers);
/// assert_eq!(client.to_string(), "55.55.55.55");
/// ```
#[must_use]
pub fn client_addr(peer: IpAddr, trusted: &IpSet, headers: &dyn Headers) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    // The walk from the right, folded from the left: what it gives for the entries seen so far.
    let mut client = None;
    headers.visit("x-forwarded-for", &mut |field| {
        for entry in field.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if !entry.is_empty() {
                client = match (address(entry), client) {
                    (None, _) => None,
                    (Some(entry), Some(further)) if trusted.contains(entry) => Some(further),
                    (Some(entry), _) => Some(entry),
                };
            }
        }
    });
    client.unwrap_or(peer)
}

/// `ip`, `v4:port`, `[v6]` or `[v6]:port`.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let bare = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(with_port).or_else(bare)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use alloc::{string::String, vec::Vec};

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn trusted() -> IpSet {
        IpSet::new(&["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().unwrap()))
    }

    fn ask(peer: &str, fields: &[&str]) -> String {
        use alloc::string::ToString;
        let fields: Vec<_> = fields.iter().map(|value| ("X-Forwarded-For", *value)).collect();
        client_addr(peer.parse().unwrap(), &trusted(), &&fields[..]).to_string()
    }

    #[rstest]
    #[case::no_field("10.0.0.1", &[], "10.0.0.1")]
    #[case::peer_not_trusted("9.9.9.9", &["1.1.1.1"], "9.9.9.9")]
    #[case::one("10.0.0.1", &["1.1.1.1"], "1.1.1.1")]
    #[case::right_most_untrusted("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"], "1.1.1.1")]
    #[case::several_fields("10.0.0.1", &["6.6.6.6", "1.1.1.1,10.0.0.3", "10.0.0.2"], "1.1.1.1")]
    #[case::all_trusted("10.0.0.1", &["10.0.0.9, 10.0.0.8"], "10.0.0.9")]
    #[case::garbage_at_the_right("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1")]
    #[case::garbage_in_the_middle("10.0.0.1", &["1.1.1.1, <script>, 10.0.0.7, 10.0.0.2"], "10.0.0.7")]
    #[case::garbage_behind_the_client("10.0.0.1", &["x, 1.1.1.1"], "1.1.1.1")]
    #[case::empty_elements("10.0.0.1", &[" , 1.1.1.1 ,, ", ""], "1.1.1.1")]
    #[case::v4_with_port("10.0.0.1", &["1.1.1.1:4711"], "1.1.1.1")]
    #[case::v6("10.0.0.1", &["2001:db8::1"], "2001:db8::1")]
    #[case::v6_bracketed("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1")]
    #[case::v6_with_port("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1")]
    #[case::bad_port("10.0.0.1", &["1.1.1.1:99999"], "10.0.0.1")]
    #[case::leading_zeros("10.0.0.1", &["010.1.1.1"], "10.0.0.1")]
    #[case::zone("10.0.0.1", &["fe80::1%eth0"], "10.0.0.1")]
    #[case::mapped_entry("10.0.0.1", &["1.1.1.1, ::ffff:10.0.0.2"], "1.1.1.1")]
    #[case::mapped_peer("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1")]
    #[case::trusted_v6_proxy("fd00::1", &["1.1.1.1, [fd00::2]:80"], "1.1.1.1")]
    #[case::mapped_peer_not_trusted("::ffff:9.9.9.9", &["1.1.1.1"], "9.9.9.9")]
    fn the_client_behind_proxies(#[case] peer: &str, #[case] fields: &[&str], #[case] client: &str) {
        assert_eq!(ask(peer, fields), client);
    }

    proptest! {
        /// The fold equals the walk that the documentation describes.
        #[test]
        fn equals_the_walk_from_the_right(entries in proptest::collection::vec("10\\.0\\.0\\.[1-9]|[1-3]\\.1\\.1\\.1|x", 0..8)) {
            let peer = IpAddr::from([10, 0, 0, 200]);
            let mut expected = peer;
            for entry in entries.iter().rev() {
                let Ok(address) = entry.parse() else { break };
                expected = address;
                if !trusted().contains(address) {
                    break;
                }
            }
            let field = entries.join(", ");
            let headers: &[(&str, &str)] = &[("x-forwarded-for", &field)];
            prop_assert_eq!(client_addr(peer, &trusted(), &headers), expected);
        }
    }
}

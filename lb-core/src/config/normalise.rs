//! One form for what may be written in several: lower case where case means nothing, networks without
//! bits of the host, v4 addresses as such.

use alloc::string::String;
use core::net::{IpAddr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net};

use super::{BackendAddress, Config, Firewall, HashKey, HeaderEdits};

impl Config {
    /// Brings everything into its normal form. Doing it again changes nothing.
    pub(super) fn normalise(&mut self) {
        self.firewall.normalise();
        for listener in &mut self.listeners {
            nets(&mut listener.trusted_proxies);
        }
        for pool in self.pools.values_mut() {
            if let HashKey::Header(name) = &mut pool.hash {
                name.make_ascii_lowercase();
            }
        }
        for backend in self.pools.values_mut().flat_map(|pool| &mut pool.backends) {
            match &mut backend.address {
                BackendAddress::Ip(address) => {
                    address.set_ip(address.ip().to_canonical());
                }
                BackendAddress::Name { host, .. } => host.make_ascii_lowercase(),
            }
        }
        for route in &mut self.routes {
            if let Some(host) = &mut route.matches.host {
                self::host(host);
            }
            for (name, _) in &mut route.matches.headers {
                name.make_ascii_lowercase();
            }
            route.firewall.normalise();
            route.request.headers.normalise();
            route.response.normalise();
        }
    }
}

impl Firewall {
    fn normalise(&mut self) {
        nets(&mut self.allow_ips);
        nets(&mut self.deny_ips);
        for (name, _) in self.allow_headers.iter_mut().chain(&mut self.deny_headers) {
            name.make_ascii_lowercase();
        }
    }
}

impl HeaderEdits {
    fn normalise(&mut self) {
        let names = self.set.iter_mut().chain(&mut self.append).map(|(name, _)| name);
        for name in names.chain(&mut self.remove) {
            name.make_ascii_lowercase();
        }
    }
}

fn nets(nets: &mut [IpNet]) {
    for net in nets {
        *net = self::net(*net);
    }
}

/// A network without bits of the host; one of v4-mapped addresses (`::ffff:a.b.c.d`, RFC 4291 2.5.5.2)
/// becomes the v4 network.
fn net(net: IpNet) -> IpNet {
    let v4 = match net.trunc() {
        IpNet::V6(v6) => {
            let length = v6.prefix_len().checked_sub(96);
            v6.network().to_ipv4_mapped().zip(length).and_then(|(ip, length)| Ipv4Net::new(ip, length).ok())
        }
        IpNet::V4(v4) => Some(v4),
    };
    v4.map_or(net.trunc(), IpNet::V4)
}

/// Lower case, without the dot of the root; an IPv6 address in its canonical text.
fn host(host: &mut String) {
    host.make_ascii_lowercase();
    if host.len() > 1 && host.ends_with('.') {
        host.pop();
    }
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(ip) = inner.and_then(|ip| ip.parse::<Ipv6Addr>().ok()) {
        *host = alloc::format!("[{}]", IpAddr::V6(ip));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[rstest::rstest]
    #[case("10.1.2.3/8", "10.0.0.0/8")]
    #[case("::ffff:10.1.2.3/104", "10.0.0.0/8")]
    #[case("::ffff:10.1.2.3/128", "10.1.2.3/32")]
    #[case("::/0", "::/0")]
    #[case("2001:db8::1/32", "2001:db8::/32")]
    fn of_nets(#[case] written: &str, #[case] normal: &str) {
        assert_eq!(net(written.parse().unwrap()).to_string(), normal);
    }

    #[rstest::rstest]
    #[case("WWW.Mango.COM.", "www.mango.com")]
    #[case("[0:0::1]", "[::1]")]
    #[case(".", ".")]
    fn of_hosts(#[case] written: &str, #[case] normal: &str) {
        let mut text = written.to_string();
        host(&mut text);
        assert_eq!(text, normal);
    }
}

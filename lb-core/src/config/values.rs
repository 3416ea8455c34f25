//! Values that are written as text: durations, sizes, addresses, networks, statuses.

use alloc::{
    format,
    string::{String, ToString},
};
use core::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;

use super::{BackendAddress, StatusRange};

/// Why a text is not a value of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Reads after "expected".
    pub(super) expected: String,
    pub(super) nearest: Option<String>,
}

impl Wrong {
    pub(super) fn expected(expected: impl Into<String>) -> Self {
        Self { expected: expected.into(), nearest: None }
    }

    pub(super) fn nearest(self, nearest: Option<String>) -> Self {
        Self { nearest, ..self }
    }
}

pub(super) const DURATION: &str = r#"a duration such as "250ms", "10s" or "1m30s""#;
pub(super) const SIZE: &str = r#"a size such as "512B", "64KiB" or "10MB""#;
const BACKEND: &str = r#"IP:port or host:port, such as "10.0.0.1:8080""#;
const BIND: &str = r#"IP:port, such as "0.0.0.0:8000" or "[::]:8000""#;
const NET: &str = r#"an address or a network, such as "10.0.0.1" or "10.0.0.0/8""#;

/// Units of time with their lengths in milliseconds, in the order in which they may be written.
const TIMES: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A duration: numbers with units, the larger unit first: `10s`, `1m30s`.
pub(super) fn duration(text: &str) -> Result<Duration, Wrong> {
    let wrong = || Wrong::expected(DURATION).nearest(intended_duration(text));
    let (mut rest, mut total, mut units) = (text, 0u64, &TIMES[..]);
    while !rest.is_empty() {
        let (count, after) = leading_number(rest).ok_or_else(wrong)?;
        let unit = &after[..after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len())];
        let place = units.iter().position(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let millis = count.checked_mul(units[place].1).and_then(|part| total.checked_add(part));
        total = millis.ok_or_else(wrong)?;
        (rest, units) = (&after[unit.len()..], &units[place + 1..]);
    }
    if text.is_empty() { Err(wrong()) } else { Ok(Duration::from_millis(total)) }
}

/// What `text` would be with the spelling put right: `10` (seconds, as elsewhere), `10 sec`, `5min`.
fn intended_duration(text: &str) -> Option<String> {
    let (count, after) = leading_number(text.trim())?;
    let unit = match after.trim().to_ascii_lowercase().as_str() {
        "" | "s" | "sec" | "secs" | "second" | "seconds" => "s",
        "ms" | "msec" | "millis" | "millisecond" | "milliseconds" => "ms",
        "m" | "min" | "mins" | "minute" | "minutes" => "m",
        "h" | "hour" | "hours" => "h",
        "d" | "day" | "days" => return Some(format!("{}h", count.checked_mul(24)?)),
        _ => return None,
    };
    Some(format!("{count}{unit}"))
}

/// How this format writes a duration; the inverse of [`duration`] for whole milliseconds.
pub(super) fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, length) in TIMES {
        if rest >= length {
            text.push_str(&format!("{}{name}", rest / length));
            rest %= length;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// Units of size with their lengths in bytes; the first spelling of each length is ours.
const SIZES: [(&str, u64); 10] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1000),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// A size in bytes: a whole number and a unit: `64KiB`, `10MB`.
pub(super) fn size(text: &str) -> Result<u64, Wrong> {
    let wrong = || Wrong::expected(SIZE).nearest(intended_size(text));
    let (count, unit) = leading_number(text).ok_or_else(wrong)?;
    let (_, length) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    count.checked_mul(*length).ok_or_else(wrong)
}

/// What `text` would be with the spelling put right: `64k`, `1 MiB`, `4096`.
fn intended_size(text: &str) -> Option<String> {
    let (count, unit) = leading_number(text.trim())?;
    let name = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => "B",
        "k" | "ki" | "kib" => "KiB",
        "m" | "mi" | "mib" => "MiB",
        "g" | "gi" | "gib" => "GiB",
        "t" | "ti" | "tib" => "TiB",
        "kb" => "KB",
        "mb" => "MB",
        "gb" => "GB",
        "tb" => "TB",
        _ => return None,
    };
    let length = SIZES.iter().find(|(known, _)| *known == name)?.1;
    count.checked_mul(length).map(|_| format!("{count}{name}"))
}

/// How this format writes a size, in the largest unit that leaves a whole number.
pub(super) fn size_text(bytes: u64) -> String {
    let fits = |(_, length): &&(&str, u64)| bytes >= *length && bytes.is_multiple_of(*length);
    let (name, length) = SIZES.iter().filter(fits).max_by_key(|(_, length)| *length).unwrap_or(&SIZES[0]);
    format!("{}{name}", bytes / length)
}

/// The decimal number that `text` begins with, and what follows it.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let (digits, rest) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    Some((digits.parse().ok()?, rest))
}

/// A listener's address and port.
pub(super) fn bind(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let port = text.strip_prefix('*').unwrap_or(text);
        let port = port.strip_prefix(':').unwrap_or(port);
        let nearest = match (text.strip_prefix("localhost:"), port.parse::<u16>()) {
            (Some(port), _) => port.parse::<u16>().ok().map(|port| format!("127.0.0.1:{port}")),
            (None, Ok(port)) => Some(format!("0.0.0.0:{port}")),
            (None, Err(_)) => without_brackets(text).or_else(|| portless(text)),
        };
        Wrong::expected(BIND).nearest(nearest)
    })
}

/// A backend's address: `IP:port` or `host:port`.
pub(super) fn backend(text: &str) -> Result<BackendAddress, Wrong> {
    backend_address(text).ok_or_else(|| Wrong::expected(BACKEND).nearest(intended_backend(text)))
}

fn backend_address(text: &str) -> Option<BackendAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(BackendAddress::Ip(address)).filter(|_| address.port() != 0);
    }
    let (host, port) = text.rsplit_once(':').filter(|(host, _)| is_host_name(host))?;
    Some(BackendAddress::Name { host: host.to_ascii_lowercase(), port: port_number(port)? })
}

/// What `text` would be without a scheme and a path, with brackets, and with the port of its scheme.
fn intended_backend(text: &str) -> Option<String> {
    let (rest, port) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
        (Some(rest), _) => (rest, 80),
        (_, Some(rest)) => (rest, 443),
        _ => (text, 8080),
    };
    let authority = rest.split('/').next().unwrap_or(rest);
    let bracketed = without_brackets(authority).or_else(|| portless(authority));
    let candidates = [Some(authority.into()), bracketed, Some(format!("{authority}:{port}"))];
    candidates.into_iter().flatten().find(|candidate: &String| backend_address(candidate).is_some())
}

/// `::1:80` as it is meant: `[::1]:80`.
fn without_brackets(text: &str) -> Option<String> {
    let (ip, port) = text.rsplit_once(':')?;
    let ip: core::net::Ipv6Addr = ip.parse().ok()?;
    Some(format!("[{ip}]:{}", port_number(port)?))
}

/// An IP without a port, with the port that most examples have.
fn portless(text: &str) -> Option<String> {
    let ip: IpAddr = text.trim_matches(['[', ']']).parse().ok()?;
    Some(SocketAddr::new(ip, 8080).to_string())
}

/// 1 to 65535, in plain digits.
pub(super) fn port_number(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&port| is_plain && port != 0)
}

/// Whether `text` is a name that can be resolved (RFC 1123, and `_`, which container networks use), or
/// an IPv4 address; a trailing dot is allowed. What ends in digits only must be a whole IPv4 address.
pub(super) fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = name.rsplit('.').next().unwrap_or(name);
    let is_address = last.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= 253
        && name.split('.').all(is_label)
        && (!is_address || name.parse::<core::net::Ipv4Addr>().is_ok())
}

/// An address or a CIDR; bits of the host are cut off by [`Config::validate`](super::Config::validate).
pub(super) fn net(text: &str) -> Result<IpNet, Wrong> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse::<IpNet>()
        .ok()
        .or_else(address)
        .ok_or_else(|| Wrong::expected(NET).nearest(intended_net(text)))
}

/// `10.0.0` and `10.1/16` with the missing zeros; `10.0.0.*`; `1.2.3.4:80` without the port.
fn intended_net(text: &str) -> Option<String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_string());
    }
    let (ip, length) = text.split_once('/').map_or((text, None), |(ip, length)| (ip, Some(length)));
    let numbers: alloc::vec::Vec<&str> = ip.trim_end_matches(".*").trim_end_matches('.').split('.').collect();
    if numbers.len() > 3 || !numbers.iter().all(|number| number.parse::<u8>().is_ok()) {
        return None;
    }
    let length = length.map_or(Some(numbers.len() as u8 * 8), |length| length.parse().ok())?;
    let zeros = ".0".repeat(4 - numbers.len());
    (length <= 32).then(|| format!("{}{zeros}/{length}", numbers.join(".")))
}

/// A range of statuses: `"200-299"`, or a single one: `"204"`.
pub(super) fn statuses(text: &str) -> Result<StatusRange, Wrong> {
    let wrong = || {
        let class = text.strip_suffix("xx").filter(|class| matches!(*class, "1" | "2" | "3" | "4" | "5"));
        let nearest = class.map(|class| format!("{class}00-{class}99"));
        Wrong::expected(r#"a status such as 200, or a range such as "200-299""#).nearest(nearest)
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    Ok(StatusRange { first: number(first).ok_or_else(wrong)?, last: number(last).ok_or_else(wrong)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("10s", 10_000)]
    #[case("250ms", 250)]
    #[case("1m", 60_000)]
    #[case("1h", 3_600_000)]
    #[case("1m30s", 90_000)]
    #[case("1h2m3s4ms", 3_723_004)]
    #[case("0s", 0)]
    fn durations(#[case] text: &str, #[case] millis: u64) {
        assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
    }

    #[rstest]
    #[case("10", Some("10s"))]
    #[case("10 s", Some("10s"))]
    #[case("5min", Some("5m"))]
    #[case("2d", Some("48h"))]
    #[case("30s1m", None)]
    #[case("1.5s", None)]
    #[case("-1s", None)]
    #[case("", None)]
    #[case("99999999999999999999s", None)]
    #[case("18446744073709551615h", None)]
    fn no_durations(#[case] text: &str, #[case] nearest: Option<&str>) {
        let wrong = duration(text).unwrap_err();
        assert_eq!(wrong.nearest.filter(|text| duration(text).is_ok()).as_deref(), nearest);
    }

    #[rstest]
    #[case("512B", 512)]
    #[case("64KiB", 65_536)]
    #[case("1MiB", 1 << 20)]
    #[case("10MB", 10_000_000)]
    #[case("1kB", 1000)]
    fn sizes(#[case] text: &str, #[case] bytes: u64) {
        assert_eq!(size(text), Ok(bytes));
    }

    #[rstest]
    #[case("64k", Some("64KiB"))]
    #[case("1 MiB", Some("1MiB"))]
    #[case("4096", Some("4096B"))]
    #[case("1.5MiB", None)]
    #[case("lots", None)]
    #[case("99999999TiB", None)]
    fn no_sizes(#[case] text: &str, #[case] nearest: Option<&str>) {
        assert_eq!(size(text).unwrap_err().nearest.as_deref(), nearest);
    }

    #[rstest]
    #[case("http://10.0.0.1:80/x", Some("10.0.0.1:80"))]
    #[case("http://mango", Some("mango:80"))]
    #[case("::1:8080", Some("[::1]:8080"))]
    #[case("::1", Some("[::1]:8080"))]
    #[case("mango", Some("mango:8080"))]
    #[case("10.0.0.256:80", None)]
    #[case("10.0.0.1:0", None)]
    #[case("mango:+80", None)]
    #[case("ma ngo:80", None)]
    #[case(":80", None)]
    fn no_backends(#[case] text: &str, #[case] nearest: Option<&str>) {
        assert_eq!(backend(text).unwrap_err().nearest.as_deref(), nearest);
    }

    #[rstest]
    #[case("8000", Some("0.0.0.0:8000"))]
    #[case(":8000", Some("0.0.0.0:8000"))]
    #[case("*:8000", Some("0.0.0.0:8000"))]
    #[case("localhost:8000", Some("127.0.0.1:8000"))]
    #[case("127.0.0.1", Some("127.0.0.1:8080"))]
    #[case("example.org:80", None)]
    fn no_binds(#[case] text: &str, #[case] nearest: Option<&str>) {
        assert_eq!(bind(text).unwrap_err().nearest.as_deref(), nearest);
    }

    #[rstest]
    #[case("10.0.0", Some("10.0.0.0/24"))]
    #[case("10.0.0.*", Some("10.0.0.0/24"))]
    #[case("10.1/16", Some("10.1.0.0/16"))]
    #[case("10.0.0.1:80", Some("10.0.0.1"))]
    #[case("10.0.0.0/33", None)]
    #[case("::1/129", None)]
    fn no_nets(#[case] text: &str, #[case] nearest: Option<&str>) {
        assert_eq!(net(text).unwrap_err().nearest.as_deref(), nearest);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(millis in 0..1u64 << 40, bytes: u64) {
            let time = Duration::from_millis(millis);
            prop_assert_eq!(duration(&duration_text(time)), Ok(time));
            prop_assert_eq!(size(&size_text(bytes)), Ok(bytes));
        }

        #[test]
        fn nothing_panics_and_what_is_suggested_is_valid(text in r"[0-9a-zA-Z:./\[\]* é-]{0,24}") {
            let _ = duration(&text).map_err(|wrong| wrong.nearest.map(|text| duration(&text).unwrap()));
            let _ = size(&text).map_err(|wrong| wrong.nearest.map(|text| size(&text).unwrap()));
            let _ = bind(&text).map_err(|wrong| wrong.nearest.map(|text| bind(&text).unwrap()));
            let _ = backend(&text).map_err(|wrong| wrong.nearest.map(|text| backend(&text).unwrap()));
            let _ = net(&text).map_err(|wrong| wrong.nearest.map(|text| net(&text).unwrap()));
            let _ = statuses(&text).map_err(|wrong| wrong.nearest.map(|text| statuses(&text).unwrap()));
        }
    }
}

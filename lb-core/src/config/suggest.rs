//! The valid name that a wrong one was probably meant to be.

use alloc::vec::Vec;
use core::mem;

/// Longest word, in characters, that suggestions are looked for.
const WORD_CHARS_MAX: usize = 64;

/// Words of other balancers, and ours for the same thing. Of several, the first that is valid where the
/// word was found.
const ALIASES: &[(&str, &[&str])] = &[
    ("add_header", &["append_headers", "set_headers"]),
    ("add_headers", &["append_headers"]),
    ("addr", &["address", "bind"]),
    ("address", &["bind"]),
    ("allow", &["allow_ips"]),
    ("attempts", &["tries"]),
    ("authority", &["host"]),
    ("backend", &["backends", "pool"]),
    ("balance", &["algorithm"]),
    ("blacklist", &["deny_ips"]),
    ("check", &["health_check"]),
    ("client_max_body_size", &["body"]),
    ("cluster", &["pool"]),
    ("clusters", &["pool"]),
    ("delete_headers", &["remove_headers"]),
    ("deny", &["deny_ips"]),
    ("domain", &["host"]),
    ("down", &["maint"]),
    ("endpoints", &["backends"]),
    ("entrypoint", &["listener"]),
    ("entrypoints", &["listener"]),
    ("fails", &["fall"]),
    ("frontend", &["listener"]),
    ("health", &["health_check"]),
    ("healthcheck", &["health_check"]),
    ("healthy_threshold", &["rise"]),
    ("hosts", &["host"]),
    ("http", &["listener"]),
    ("lb_policy", &["algorithm"]),
    ("least_conn", &["least_request"]),
    ("least_connections", &["least_request"]),
    ("leastconn", &["least_request"]),
    ("listen", &["listener", "bind"]),
    ("load_balancing_policy", &["algorithm"]),
    ("location", &["route"]),
    ("max_connections", &["connections"]),
    ("max_fails", &["fall", "consecutive_failures"]),
    ("maxconn", &["connections"]),
    ("method", &["algorithm"]),
    ("nbthread", &["workers"]),
    ("nodes", &["backends"]),
    ("outlier_detection", &["outlier"]),
    ("passes", &["rise"]),
    ("paths", &["path"]),
    ("policy", &["algorithm"]),
    ("power_of_two", &["p2c"]),
    ("prefix", &["path_prefix"]),
    ("proxy_connect_timeout", &["connect"]),
    ("rate", &["requests"]),
    ("retries", &["retry", "tries"]),
    ("rewrite", &["rewrite_path"]),
    ("router", &["route"]),
    ("routers", &["route"]),
    ("rr", &["round_robin"]),
    ("rule", &["match"]),
    ("rules", &["route"]),
    ("server", &["backends", "listener", "pool"]),
    ("server_name", &["host"]),
    ("servers", &["backends", "pool"]),
    ("service", &["pool"]),
    ("services", &["pool"]),
    ("set_real_ip_from", &["trusted_proxies"]),
    ("slowstart", &["slow_start"]),
    ("strategy", &["algorithm"]),
    ("successes", &["rise"]),
    ("targets", &["backends"]),
    ("threads", &["workers"]),
    ("unhealthy_threshold", &["fall"]),
    ("up", &["ready"]),
    ("upstream", &["pool", "backends"]),
    ("upstreams", &["pool", "backends"]),
    ("uri", &["path"]),
    ("url", &["address", "path"]),
    ("vhost", &["host"]),
    ("weighted_round_robin", &["round_robin"]),
    ("whitelist", &["allow_ips"]),
    ("worker_processes", &["workers"]),
    ("wrr", &["round_robin"]),
];

/// The candidate that `word` was probably meant to be: another balancer's word for it, or the one that is
/// fewest typing errors away (and few enough for the length of the word).
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = letters(word)?;
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let alias = ALIASES.iter().find(|(alias, _)| alias.chars().eq(word.iter().copied()));
    let meant = alias.and_then(|(_, names)| {
        names.iter().find_map(|name| candidates.iter().copied().find(|candidate| candidate == name))
    });
    meant.or_else(|| {
        let near = |candidate: &&'a str| {
            let letters = letters(candidate)?;
            let allowed = 1.max(word.len().max(letters.len()) / 3);
            (word.len().abs_diff(letters.len()) <= allowed)
                .then(|| distance(&word, &letters))
                .filter(|&distance| distance <= allowed && distance < letters.len())
        };
        let scored = candidates.iter().filter_map(|candidate| Some((near(candidate)?, *candidate)));
        scored.min().map(|(_, candidate)| candidate)
    })
}

/// Lower case, with `-` as `_`; none for what is too long to be a slip of the fingers.
fn letters(word: &str) -> Option<Vec<char>> {
    let fold = |letter: char| if letter == '-' { '_' } else { letter.to_ascii_lowercase() };
    let letters: Vec<char> = word.chars().take(WORD_CHARS_MAX + 1).map(fold).collect();
    (letters.len() <= WORD_CHARS_MAX).then_some(letters)
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b` (optimal string
/// alignment).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i);
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("round_robbin", Some("round_robin"))]
    #[case("RoundRobin", Some("round_robin"))]
    #[case("round-robin", Some("round_robin"))]
    #[case("leastconn", Some("least_request"))]
    #[case("p2", Some("p2c"))]
    #[case("wrr", Some("round_robin"))]
    #[case("sticky", None)]
    #[case("", None)]
    fn of_the_algorithms(#[case] word: &str, #[case] expected: Option<&str>) {
        assert_eq!(nearest(word, ["random", "round_robin", "least_request", "p2c"]), expected);
    }

    #[test]
    fn an_alias_counts_only_where_its_name_is_valid() {
        assert_eq!(nearest("server", ["listener", "pool", "route"]), Some("listener"));
        assert_eq!(nearest("server", ["algorithm", "backends"]), Some("backends"));
        assert_eq!(nearest("server", ["rise", "fall"]), None);
    }

    #[test]
    fn aliases_are_sorted_and_are_not_our_own_typing_errors() {
        assert!(ALIASES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }

    proptest::proptest! {
        #[test]
        fn distance_is_symmetric_and_zero_only_for_equals(a in "[a-d]{0,8}", b in "[a-d]{0,8}") {
            let (x, y): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            proptest::prop_assert_eq!(distance(&x, &y), distance(&y, &x));
            proptest::prop_assert_eq!(distance(&x, &y) == 0, a == b);
            proptest::prop_assert!(distance(&x, &y) <= x.len().max(y.len()));
        }

        #[test]
        fn never_panics(word in ".*", name in ".*") {
            let _ = nearest(&word, [name.as_str()]);
        }
    }
}

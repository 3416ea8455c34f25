//! Valid configurations, and how a person would write them.

mod resilience;

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt::Debug, time::Duration};

use ipnet::IpNet;
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

use self::resilience::{resilience, resilience_keys};
use crate::config::{
    AdminState, Algorithm, Backend, BackendAddress, Config, Firewall, HashKey, HeaderEdits, HealthCheck,
    InitialHealth, Listener, LogFormat, Maglev, Match, Outlier, P2c, PathMatch, PeakEwma, Pool, RateLimit,
    RateLimitKey, RequestEdits, Retry, RingHash, Route, StatusRange,
    values::{duration_text, size_text},
};

/// A valid file, and what it means.
pub(super) fn file() -> impl Strategy<Value = (String, Config)> {
    config().prop_map(|config| (written(&config), config))
}

/// Pieces of which files are made, well or badly.
pub(super) fn token() -> impl Strategy<Value = &'static str> {
    select(
        &[
            "\n",
            " ",
            "=",
            " = ",
            ".",
            ",",
            "[",
            "]",
            "[[",
            "]]",
            "{",
            "}",
            "\"",
            "'",
            "\"\"\"",
            "'''",
            "#",
            "\\",
            "\r\n",
            "\r",
            "\u{feff}",
            "\u{0}",
            "é",
            "\t",
            "1",
            "-1",
            "0x",
            "1.5",
            "1979-05-27",
            "true",
            "inf",
            "\"10s\"",
            "\"64KiB\"",
            "\"x\"",
            "\"/x\"",
            "\"GET\"",
            "\"10.0.0.1:80\"",
            "\"mango\"",
            "workers",
            "[[listener]]\n",
            "bind",
            "[pool.mango]\n",
            "[pool.mango.retry]\n",
            "backends",
            "weight",
            "tries",
            "timeouts",
            "limits",
            "[[route]]\n",
            "[route.request]\n",
            "[route.firewall]\n",
            "deny_headers",
            "set_headers",
            "match",
            "host",
            "path",
            "pool",
            "name",
            "rate_limit",
            "listener",
            "route",
            "x",
        ][..],
    )
}

fn timeout() -> impl Strategy<Value = Duration> {
    (10..100_000_000u64).prop_map(Duration::from_millis)
}

fn net() -> impl Strategy<Value = IpNet> {
    let nets = ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::1/128", "0.0.0.0/0", "::/0"];
    select(nets.map(|net| net.parse().unwrap()).to_vec())
}

/// Text that needs care when it is written.
fn value() -> impl Strategy<Value = String> {
    "([!-~]([ -~]{0,6}[!-~])?)?"
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    btree_map("[a-z][a-z-]{0,5}", value(), 0..3)
        .prop_map(|pairs| pairs.into_iter().filter(|(name, _)| is_free(name)).collect())
}

fn is_free(name: &str) -> bool {
    crate::config::check::editable_header(name).is_ok() && name != "host"
}

fn path() -> impl Strategy<Value = String> {
    "(/([a-z0-9._~!]|%2[0-9A-F]){1,6}x){1,3}/?"
}

prop_compose! {
    fn listener()(
        port in 1..u16::MAX, trusted_proxies in vec(net(), 0..3), reason_header: bool, head in timeout(),
        request_head in 256..1u64 << 24, headers in 1..500u32, body in 0..1u64 << 60,
    ) -> Listener {
        let mut listener = Listener::at(([127, 0, 0, 1], port).into());
        listener.trusted_proxies = trusted_proxies;
        listener.reason_header = reason_header;
        listener.timeouts.request_head = head;
        (listener.limits.request_head, listener.limits.headers, listener.limits.body) = (request_head, headers, body);
        listener
    }
}

prop_compose! {
    fn backend()(
        ip: [u8; 4], port in 1..=u16::MAX, host in option::of("[a-z][a-z0-9_]{0,8}x(\\.[a-z]{1,5})?"), weight in 0..=1_000_000u32, priority in 0..=127u32,
        max_in_flight in option::of(0..100u32),
        state in select(&[AdminState::Ready, AdminState::Drain, AdminState::Maint][..]), name in option::of("[ -~é]{1,9}"),
    ) -> Backend {
        let ip = BackendAddress::Ip((ip, port).into());
        let address = host.map_or(ip, |host| BackendAddress::Name { host, port });
        let name = name.unwrap_or_else(|| address_text(&address));
        Backend { weight, priority, max_in_flight, state, ..Backend::at(address, name) }
    }
}

prop_compose! {
    fn health_check()(
        path in path(), interval in timeout(), jitter_percent in 0..=100u32, timeout in timeout(), rise in 1..9u32, fall in 1..9u32,
        expect_status in vec((100..=599u16, 0..100u16), 1..3), host in option::of("[a-z]{1,9}(:80)?"), is_up: bool,
    ) -> HealthCheck {
        let range = |(first, more): (u16, u16)| StatusRange { first, last: (first + more).min(599) };
        let expect_status = expect_status.into_iter().map(range).collect();
        let initial = if is_up { InitialHealth::Up } else { InitialHealth::Down };
        HealthCheck { path, interval, jitter_percent, timeout, rise, fall, expect_status, host, initial }
    }
}

prop_compose! {
    fn pool()(
        algorithm in select(&Algorithm::NAMED[..]), options in options(),
        mut backends in vec(backend(), 1..4), health_check in option::of(health_check()), connect in timeout(),
        failures in 0..9u32, base in timeout(), more in timeout(), tries in 1..=16u32, on_status in vec(500..=599u16, 0..3),
        resilience in resilience(),
    ) -> Pool {
        for index in (1..backends.len()).rev() {
            let (before, rest) = backends.split_at(index);
            if before.iter().any(|other| other.name == rest[0].name || other.address == rest[0].address) {
                backends.remove(index);
            }
        }
        let outlier = Outlier { consecutive_failures: failures, base_ejection: base, max_ejection: base + more, ..resilience.outlier };
        let retry = Retry { tries, on_status, ..resilience.retry };
        let mut pool = Pool { backends, health_check, outlier, retry, ..resilience };
        pool.timeouts.connect = connect;
        choose(&mut pool, algorithm.1, options);
        pool
    }
}

prop_compose! {
    /// A pool of which only the options of algorithms mean something.
    fn options()(
        key in 0..5usize, name in "[a-z]{1,9}", choices in 1..=16u32, decay in timeout(), error_latency in timeout(),
        points in 1..999u32, table_size in select(&[2, 65_537, 5_000_011][..]), balance_factor in option::of(101..=10_000u32),
    ) -> Pool {
        let decay = decay + Duration::from_millis(10);
        let hash = [HashKey::Client, HashKey::Path, HashKey::Header(name.clone()), HashKey::Cookie(name.clone()), HashKey::Query(name)];
        Pool {
            hash: hash[key].clone(),
            p2c: P2c { choices },
            peak_ewma: PeakEwma { choices, decay, error_latency, reprobe: decay },
            ring_hash: RingHash { points, balance_factor },
            maglev: Maglev { table_size, balance_factor },
            ..Pool::default()
        }
    }
}

/// A file has options of the algorithm that is used, and of no other.
fn choose(pool: &mut Pool, algorithm: Algorithm, options: Pool) {
    pool.algorithm = algorithm;
    if algorithm.hashes() {
        pool.hash = options.hash;
    }
    match algorithm {
        Algorithm::P2c => pool.p2c = options.p2c,
        Algorithm::PeakEwma => pool.peak_ewma = options.peak_ewma,
        Algorithm::RingHash => pool.ring_hash = options.ring_hash,
        Algorithm::Maglev if options.maglev.table_size as usize >= pool.backends.len() => {
            pool.maglev = options.maglev;
        }
        _ => {}
    }
}

prop_compose! {
    fn firewall()(
        allow_ips in vec(net(), 0..2), deny_ips in vec(net(), 0..2), deny_paths in vec(path(), 0..3),
        allow_methods in vec(select(&["GET", "PURGE"][..]), 0..2), headers in pairs(),
    ) -> Firewall {
        let deny_headers = headers.into_iter().map(|(name, value)| (name, [value, "*".into()].into())).collect();
        let allow_methods = allow_methods.into_iter().map(Into::into).collect();
        Firewall { allow_ips, deny_ips, deny_paths, allow_methods, deny_headers, ..Firewall::default() }
    }
}

prop_compose! {
    fn request()(
        set in pairs(), append in pairs(), host in option::of("[a-z]{1,9}(:80)?"), set_query in pairs(), append_query in pairs(),
        remove_query in vec("[ -~]{1,5}", 0..3), whole in option::of(path()), prefix in path(), segments in pairs(),
    ) -> RequestEdits {
        let headers = HeaderEdits { remove: ["x-a".into()].into(), set, append };
        let mut edits = RequestEdits { headers, host, set_query, append_query, remove_query, ..RequestEdits::default() };
        if whole.is_some() {
            edits.rewrite_path = whole;
        } else {
            (edits.strip_prefix, edits.add_prefix) = (Some(prefix.clone()), Some(prefix));
            edits.replace_path = segments.into_iter().map(|(from, _)| (from.clone(), from)).collect();
        }
        edits
    }
}

prop_compose! {
    fn route()(
        timeout in option::of(timeout()), per in timeout(), path in path(), is_exact: bool, method in option::of(select(&["GET", "POST"][..])), headers in pairs(),
        query in pairs(), firewall in firewall(), limit in option::of((1..100u32, 1..100u32, any::<bool>())), request in request(),
        response in pairs(),
    ) -> Route {
        let path = if is_exact { PathMatch::Exact(path) } else { PathMatch::Prefix(path) };
        let methods = method.into_iter().map(Into::into).collect();
        let matches = Match { host: None, path, methods, headers, query };
        let rate_limit = limit.map(|(requests, burst, by_client)| RateLimit {
            requests, burst, per, by: if by_client { RateLimitKey::Client } else { RateLimitKey::Route },
        });
        let response = HeaderEdits { set: response, ..HeaderEdits::default() };
        Route { timeout, matches, firewall, rate_limit, request, response, ..Route::to("") }
    }
}

prop_compose! {
    fn config()(
        workers in option::of(1..=1024u32), shutdown in timeout(), format in select(&[LogFormat::Json, LogFormat::Combined, LogFormat::Off][..]),
        firewall in firewall(), listeners in btree_map(0..9u8, listener(), 1..3), pools in btree_map("[ -~é]{1,9}", pool(), 1..4),
        routes in vec((route(), any::<usize>()), 1..4),
    ) -> Config {
        let names: Vec<String> = pools.keys().cloned().collect();
        let mut config = Config { workers, firewall, pools, ..Config::default() };
        config.shutdown_timeout.0 = shutdown;
        config.access_log.format = format;
        for (number, mut listener) in listeners {
            listener.bind.set_ip([127, 0, 0, number].into());
            config.listeners.push(listener);
        }
        for (index, (mut route, pool)) in routes.into_iter().enumerate() {
            route.pool.clone_from(&names[pool % names.len()]);
            route.name = if index == 1 { "route-2".into() } else { format!("r {index}") };
            route.matches.host = Some(format!("*.h{index}.org"));
            config.routes.push(route);
        }
        config
    }
}

fn address_text(address: &BackendAddress) -> String {
    match address {
        BackendAddress::Ip(address) => address.to_string(),
        BackendAddress::Name { host, port } => format!("{host}:{port}"),
    }
}

/// A basic string of TOML.
fn text(text: impl ToString) -> String {
    format!("\"{}\"", text.to_string().replace('\\', "\\\\").replace('"', "\\\""))
}

fn time(duration: Duration) -> String {
    text(duration_text(duration))
}

/// The variant's name in the spelling of the format.
fn word(variant: impl Debug) -> String {
    let name = format!("{variant:?}");
    let spaced = name
        .char_indices()
        .map(|(at, c)| if at > 0 && c.is_ascii_uppercase() { format!("_{c}") } else { c.to_string() });
    text(spaced.collect::<String>().to_lowercase())
}

fn array<T>(items: &[T], write: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(write).collect::<Vec<_>>().join(", "))
}

fn texts<T: ToString>(items: &[T]) -> String {
    array(items, |item| text(item.to_string()))
}

fn table(pairs: &[(String, String)]) -> String {
    inline(pairs.iter().map(|(name, value)| (text(name), text(value))))
}

fn inline<K: ToString>(pairs: impl IntoIterator<Item = (K, String)>) -> String {
    let pairs = pairs.into_iter().map(|(name, value)| format!("{} = {value}", name.to_string()));
    format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
}

fn written(config: &Config) -> String {
    let mut file = String::new();
    if let Some(workers) = config.workers {
        file.push_str(&format!("workers = {workers}\n"));
    }
    file.push_str(&format!("shutdown_timeout = {}\n", time(config.shutdown_timeout.0)));
    file.push_str(&format!("access_log.format = {}\n", word(config.access_log.format)));
    file.push_str(&format!("firewall = {}\n", firewall_text(&config.firewall)));
    config.listeners.iter().for_each(|listener| file.push_str(&listener_text(listener)));
    config.pools.iter().for_each(|(name, pool)| file.push_str(&pool_text(name, pool)));
    config.routes.iter().for_each(|route| file.push_str(&route_text(route)));
    file
}

fn section(header: &str, keys: &[(&str, String)]) -> String {
    let keys = keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
    format!("{header}\n{}", keys.collect::<String>())
}

fn listener_text(listener: &Listener) -> String {
    let limits = [
        ("request_head", text(size_text(listener.limits.request_head))),
        ("headers", listener.limits.headers.to_string()),
        ("body", text(size_text(listener.limits.body))),
    ];
    section(
        "[[listener]]",
        &[
            ("bind", text(listener.bind)),
            ("trusted_proxies", texts(&listener.trusted_proxies)),
            ("reason_header", listener.reason_header.to_string()),
            ("timeouts", inline([("request_head", time(listener.timeouts.request_head))])),
            ("limits", inline(limits)),
        ],
    )
}

fn backend_text(backend: &Backend) -> String {
    let address = text(address_text(&backend.address));
    if *backend == Backend::at(backend.address.clone(), address_text(&backend.address)) {
        return address;
    }
    let (weight, state) = (backend.weight.to_string(), word(backend.state));
    let max = backend.max_in_flight.map(|max| ("max_in_flight", max.to_string()));
    let keys = [
        ("address", address),
        ("name", text(&backend.name)),
        ("weight", weight),
        ("priority", backend.priority.to_string()),
        ("state", state),
    ];
    inline(keys.into_iter().chain(max))
}

fn pool_text(name: &str, pool: &Pool) -> String {
    let mut keys = [
        ("algorithm", word(pool.algorithm)),
        ("backends", array(&pool.backends, backend_text)),
        ("timeouts.connect", time(pool.timeouts.connect)),
        ("outlier.consecutive_failures", pool.outlier.consecutive_failures.to_string()),
        ("outlier.base_ejection", time(pool.outlier.base_ejection)),
        ("outlier.max_ejection", time(pool.outlier.max_ejection)),
        ("retry.tries", pool.retry.tries.to_string()),
        ("retry.on_status", array(&pool.retry.on_status, ToString::to_string)),
    ]
    .to_vec();
    keys.extend(resilience_keys(pool));
    keys.extend(options_text(pool));
    if let Some(check) = &pool.health_check {
        let range = |range: &StatusRange| match range.first == range.last {
            true => range.first.to_string(),
            false => text(format!("{}-{}", range.first, range.last)),
        };
        keys.extend([
            ("health_check.path", text(&check.path)),
            ("health_check.interval", time(check.interval)),
            ("health_check.jitter_percent", check.jitter_percent.to_string()),
            ("health_check.timeout", time(check.timeout)),
            ("health_check.rise", check.rise.to_string()),
            ("health_check.fall", check.fall.to_string()),
            ("health_check.expect_status", array(&check.expect_status, range)),
            ("health_check.initial", word(check.initial)),
        ]);
        keys.extend(check.host.iter().map(|host| ("health_check.host", text(host))));
    }
    section(&format!("[pool.{}]", text(name)), &keys)
}

fn options_text(pool: &Pool) -> Vec<(&'static str, String)> {
    let mut keys = Vec::new();
    let mut balance_factor = None;
    match pool.algorithm {
        Algorithm::P2c => keys.push(("p2c.choices", pool.p2c.choices.to_string())),
        Algorithm::PeakEwma => keys.extend([
            ("peak_ewma.choices", pool.peak_ewma.choices.to_string()),
            ("peak_ewma.decay", time(pool.peak_ewma.decay)),
            ("peak_ewma.error_latency", time(pool.peak_ewma.error_latency)),
            ("peak_ewma.reprobe", time(pool.peak_ewma.reprobe)),
        ]),
        Algorithm::RingHash => {
            keys.push(("ring_hash.points", pool.ring_hash.points.to_string()));
            balance_factor =
                pool.ring_hash.balance_factor.map(|percent| ("ring_hash.balance_factor", percent));
        }
        Algorithm::Maglev => {
            keys.push(("maglev.table_size", pool.maglev.table_size.to_string()));
            balance_factor = pool.maglev.balance_factor.map(|percent| ("maglev.balance_factor", percent));
        }
        _ => {}
    }
    keys.extend(balance_factor.map(|(key, percent)| (key, percent.to_string())));
    if pool.algorithm.hashes() {
        let (by, name) = match &pool.hash {
            HashKey::Client => ("client", None),
            HashKey::Path => ("path", None),
            HashKey::Header(name) => ("header", Some(name)),
            HashKey::Cookie(name) => ("cookie", Some(name)),
            HashKey::Query(name) => ("query", Some(name)),
        };
        keys.push(("hash.by", text(by)));
        keys.extend(name.map(|name| ("hash.name", text(name))));
    }
    keys
}

fn firewall_text(firewall: &Firewall) -> String {
    let rules = firewall.deny_headers.iter().map(|(name, values)| (name, texts(values)));
    let mut keys = BTreeMap::from([
        ("deny_ips", texts(&firewall.deny_ips)),
        ("deny_paths", texts(&firewall.deny_paths)),
        ("deny_headers", inline(rules)),
    ]);
    if !firewall.allow_ips.is_empty() {
        keys.insert("allow_ips", texts(&firewall.allow_ips));
    }
    if !firewall.allow_methods.is_empty() {
        keys.insert("allow_methods", texts(&firewall.allow_methods));
    }
    inline(keys)
}

fn route_text(route: &Route) -> String {
    let matches = &route.matches;
    let mut conditions = [("header", table(&matches.headers)), ("query", table(&matches.query))].to_vec();
    conditions.extend(matches.host.iter().map(|host| ("host", text(host))));
    match &matches.path {
        PathMatch::Any => {}
        PathMatch::Exact(path) => conditions.push(("path", text(path))),
        PathMatch::Prefix(path) => conditions.push(("path_prefix", text(path))),
    }
    conditions.extend(matches.methods.iter().map(|method| ("method", text(method))));
    let mut keys = [
        ("pool", text(&route.pool)),
        ("match", inline(conditions)),
        ("firewall", firewall_text(&route.firewall)),
        ("request", request_text(&route.request)),
        ("response", inline([("set_headers", table(&route.response.set))])),
    ]
    .to_vec();
    keys.extend(route.timeout.map(|timeout| ("timeout", time(timeout))));
    if route.name != "route-2" {
        keys.push(("name", text(&route.name)));
    }
    if let Some(limit) = &route.rate_limit {
        let (requests, burst) = (limit.requests.to_string(), limit.burst.to_string());
        let limit =
            [("requests", requests), ("per", time(limit.per)), ("burst", burst), ("by", word(limit.by))];
        keys.push(("rate_limit", inline(limit)));
    }
    section("[[route]]", &keys)
}

fn request_text(edits: &RequestEdits) -> String {
    let mut keys = [
        ("set_headers", table(&edits.headers.set)),
        ("append_headers", table(&edits.headers.append)),
        ("remove_headers", texts(&edits.headers.remove)),
        ("set_query", table(&edits.set_query)),
        ("append_query", table(&edits.append_query)),
        ("remove_query", texts(&edits.remove_query)),
        ("replace_path", table(&edits.replace_path)),
    ]
    .to_vec();
    let single = [
        ("host", &edits.host),
        ("rewrite_path", &edits.rewrite_path),
        ("strip_prefix", &edits.strip_prefix),
        ("add_prefix", &edits.add_prefix),
    ];
    keys.extend(single.into_iter().filter_map(|(name, value)| Some((name, text(value.as_ref()?)))));
    inline(keys)
}

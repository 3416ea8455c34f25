//! Routes and firewalls.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use super::{duration, integer, key, text};
use crate::{
    config::{
        Config, Firewall, HeaderEdits, Match, PathMatch, RateLimit, RequestEdits, Route, bounds, check,
        key::{Path, listed, quoted},
        report::{Finding, Report},
        values::{Wrong, duration_text},
    },
    time::nanos,
};

pub(super) fn routes(report: &Report, path: &Path, config: &Config) {
    if config.routes.is_empty() {
        report.add(Finding::absent(path.clone(), r#"at least one section [[route]] with pool = "NAME""#));
    }
    let mut names = BTreeMap::new();
    let mut taken = Taken::default();
    for (index, route) in config.routes.iter().enumerate() {
        let path = path.index(index);
        let name = path.name("name");
        text(report, &name, &route.name, check::name);
        if let Some(first) = names.insert(&route.name, name.clone()) {
            let again = format!("{} again", quoted(&route.name));
            report.add(Finding::new(name, again, "a name of its own").first_in(first));
        }
        if let Some(first) = taken.take(index, &route.matches) {
            let again = "conditions that an earlier route has, so that this one is never reached";
            let first = Path::root().name("route").index(first).name("match");
            report.add(Finding::new(path.name("match"), again, "conditions of its own").first_in(first));
        }
        self::pool(report, &path.name("pool"), config, route);
        self::route(report, &path, route);
    }
}

fn pool(report: &Report, path: &Path, config: &Config, route: &Route) {
    const SHOWN_MAX: usize = 10;
    if config.pools.contains_key(&route.pool) {
        return;
    }
    let names = || config.pools.keys().map(String::as_str);
    let expected = match config.pools.len() {
        0 => "the name of a pool; there is no section [pool.NAME]".into(),
        count if count > SHOWN_MAX => "the name of a pool".into(),
        _ => format!("one of the pools {}", listed(names().map(quoted))),
    };
    let nearest = report.suggest(&route.pool, names());
    let unknown = Finding::new(path.clone(), quoted(&route.pool), expected).nearest(nearest);
    report.add(unknown.resting_on(Path::root().name("pool")));
}

fn route(report: &Report, path: &Path, route: &Route) {
    matches(report, &path.name("match"), &route.matches);
    if let Some(timeout) = route.timeout {
        duration(report, &path.name("timeout"), timeout, &bounds::TIMEOUT);
    }
    firewall(report, &path.name("firewall"), &route.firewall);
    if let Some(limit) = &route.rate_limit {
        rate_limit(report, &path.name("rate_limit"), limit);
    }
    request(report, &path.name("request"), &route.request);
    header_edits(report, &path.name("response"), &route.response);
}

fn matches(report: &Report, path: &Path, matches: &Match) {
    if let Some(host) = &matches.host {
        text(report, &path.name("host"), host, check::host_pattern);
    }
    match &matches.path {
        PathMatch::Any => {}
        PathMatch::Exact(exact) => text(report, &path.name("path"), exact, check::path),
        PathMatch::Prefix(prefix) => text(report, &path.name("path_prefix"), prefix, check::path),
    }
    list(report, &path.name("method"), &matches.methods, check::routed_method);
    for (name, value) in &matches.headers {
        let path = path.name("header").name(name);
        key(report, &path, name, check::header_name);
        text(report, &path, value, check::compared_value);
    }
    for (name, _) in &matches.query {
        key(report, &path.name("query").name(name), name, check::parameter);
    }
}

/// Reports the elements that `check` does not take. Where a single value was written in place of a list,
/// the path of an element finds that.
fn list(report: &Report, path: &Path, values: &[String], check: fn(&str) -> Result<(), Wrong>) {
    for (index, value) in values.iter().enumerate() {
        text(report, &path.index(index), value, check);
    }
}

pub(super) fn firewall(report: &Report, path: &Path, firewall: &Firewall) {
    list(report, &path.name("allow_paths"), &firewall.allow_paths, check::path);
    list(report, &path.name("deny_paths"), &firewall.deny_paths, check::path);
    list(report, &path.name("allow_methods"), &firewall.allow_methods, check::method);
    list(report, &path.name("deny_methods"), &firewall.deny_methods, check::method);
    for (rules, headers) in
        [("allow_headers", &firewall.allow_headers), ("deny_headers", &firewall.deny_headers)]
    {
        for (name, values) in headers {
            let path = path.name(rules).name(name);
            key(report, &path, name, check::header_name);
            if values.is_empty() {
                report.add(Finding::new(path.clone(), "no values", r#"at least one, or "*" for any"#));
            }
            list(report, &path, values, check::compared_value);
        }
    }
}

fn rate_limit(report: &Report, path: &Path, limit: &RateLimit) {
    integer(report, &path.name("requests"), limit.requests, &bounds::COUNT);
    integer(report, &path.name("burst"), limit.burst, &bounds::COUNT);
    duration(report, &path.name("per"), limit.per, &bounds::TIMEOUT);
    // The limiter counts in whole nanoseconds between two requests.
    if u64::from(limit.requests) > nanos(limit.per) && bounds::TIMEOUT.contains(&limit.per) {
        let expected = format!("at most {} in {}", nanos(limit.per), duration_text(limit.per));
        report.add(Finding::new(path.name("requests"), limit.requests.to_string(), expected));
    }
}

fn request(report: &Report, path: &Path, edits: &RequestEdits) {
    header_edits(report, path, &edits.headers);
    if let Some(host) = &edits.host {
        text(report, &path.name("host"), host, check::host_sent);
        if let Some(index) = edits.headers.remove.iter().position(|name| name == "host") {
            let both = Finding::new(
                path.name("remove_headers").index(index),
                r#""Host" next to host = ..."#,
                "one of the two",
            );
            report.add(both);
        }
    }
    for (name, pairs) in [("set_headers", &edits.headers.set), ("append_headers", &edits.headers.append)] {
        if let Some((host, _)) = pairs.iter().find(|(name, _)| name == "host") {
            let instead = Finding::new(
                path.name(name).name(host),
                "the Host as a header",
                r#"host = "..." in its place"#,
            );
            report.add(instead.at_key());
        }
    }
    once_each(report, &path.name("set_query"), &edits.set_query, "each parameter once");
    for (name, pairs) in [("set_query", &edits.set_query), ("append_query", &edits.append_query)] {
        for (parameter, _) in pairs {
            key(report, &path.name(name).name(parameter), parameter, check::parameter);
        }
    }
    list(report, &path.name("remove_query"), &edits.remove_query, check::parameter);
    path_edits(report, path, edits);
}

fn path_edits(report: &Report, path: &Path, edits: &RequestEdits) {
    let paths = [
        ("rewrite_path", &edits.rewrite_path),
        ("strip_prefix", &edits.strip_prefix),
        ("add_prefix", &edits.add_prefix),
    ];
    for (name, value) in paths {
        if let Some(value) = value {
            text(report, &path.name(name), value, check::path);
        }
    }
    for (from, to) in &edits.replace_path {
        let path = path.name("replace_path").name(from);
        key(report, &path, from, check::segment);
        text(report, &path, to, check::segment);
    }
    once_each(report, &path.name("replace_path"), &edits.replace_path, "each segment once");
    let others = [
        ("strip_prefix", edits.strip_prefix.is_some()),
        ("replace_path", !edits.replace_path.is_empty()),
        ("add_prefix", edits.add_prefix.is_some()),
    ];
    for (name, is_set) in others {
        if is_set && edits.rewrite_path.is_some() {
            let found = format!("{name} next to rewrite_path, which replaces the whole path");
            report.add(Finding::new(path.name(name), found, "one of the two").at_key());
        }
    }
}

fn header_edits(report: &Report, path: &Path, edits: &HeaderEdits) {
    for (name, pairs) in [("set_headers", &edits.set), ("append_headers", &edits.append)] {
        for (header, value) in pairs {
            let path = path.name(name).name(header);
            key(report, &path, header, check::editable_header);
            text(report, &path, value, check::header_value);
        }
    }
    once_each(report, &path.name("set_headers"), &edits.set, "each header once");
    list(report, &path.name("remove_headers"), &edits.remove, check::editable_header);
}

/// Reports the names that come more than once, which a file cannot do.
fn once_each(report: &Report, path: &Path, pairs: &[(String, String)], expected: &str) {
    let mut names: Vec<&String> = pairs.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        report.add(Finding::new(path.name(pair[0]), format!("{} again", quoted(pair[0])), expected));
    }
}

/// Which routes get the requests under given conditions. Of routes with equal conditions the first in the
/// file gets all, so that a later one is in vain if an earlier one has all of its methods as well.
#[derive(Default)]
struct Taken<'a>(BTreeMap<Conditions<'a>, BTreeMap<&'a str, usize>>);

/// All conditions but the methods, of which only matters here whether there are any: a route with methods
/// goes before one without.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Conditions<'a> {
    host: Option<&'a str>,
    exact: Option<&'a str>,
    prefix: Option<&'a str>,
    headers: Vec<&'a (String, String)>,
    query: Vec<&'a (String, String)>,
    has_methods: bool,
}

impl<'a> Taken<'a> {
    /// The earlier route because of which the one at `index` is never reached, if there is one.
    fn take(&mut self, index: usize, matches: &'a Match) -> Option<usize> {
        let (exact, prefix) = match &matches.path {
            PathMatch::Any => (None, None),
            PathMatch::Exact(path) => (Some(path.as_str()), None),
            PathMatch::Prefix(path) => (None, Some(path.as_str())),
        };
        let host = matches.host.as_deref();
        let (headers, query) = (sorted(&matches.headers), sorted(&matches.query));
        let has_methods = !matches.methods.is_empty();
        let routes =
            self.0.entry(Conditions { host, exact, prefix, headers, query, has_methods }).or_default();
        let methods = || matches.methods.iter().map(String::as_str).chain((!has_methods).then_some(""));
        let first = methods()
            .all(|method| routes.contains_key(method))
            .then(|| methods().find_map(|method| routes.get(method)));
        let first = first.flatten().copied();
        for method in methods() {
            routes.entry(method).or_insert(index);
        }
        first
    }
}

fn sorted(pairs: &[(String, String)]) -> Vec<&(String, String)> {
    let mut sorted: Vec<_> = pairs.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    sorted
}

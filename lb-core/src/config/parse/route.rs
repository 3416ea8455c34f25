//! `[[route]]`, what stands in it, and firewalls.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::time::Duration;

use crate::config::{
    Firewall, HeaderEdits, Match, PathMatch, RateLimit, RateLimitKey, RequestEdits, Route, bounds, check,
    read::{Node, Table},
    report::Finding,
    values::Wrong,
};

const KEYS: [(&str, RateLimitKey); 2] = [("client", RateLimitKey::Client), ("route", RateLimitKey::Route)];

pub(super) fn route(mut table: Table<'_>, index: usize) -> Route {
    let mut route = Route::to("");
    route.name = Route::default_name(index);
    table.set("name", &mut route.name, |node| node.string("a name"));
    table.set("match", &mut route.matches, matches);
    if let Some(node) = table.required("pool", r#"the name of a pool, such as pool = "mango""#) {
        route.pool = node.string("the name of a pool").unwrap_or_default();
    }
    table.set("timeout", &mut route.timeout, |node| node.duration(&bounds::TIMEOUT).map(Some));
    table.set("firewall", &mut route.firewall, firewall);
    table.set("rate_limit", &mut route.rate_limit, |node| Some(rate_limit(node)));
    table.set("request", &mut route.request, request);
    table.set("response", &mut route.response, |node| {
        let mut table = node.table("a table: [route.response]")?;
        let mut edits = HeaderEdits::default();
        header_edits(&mut table, &mut edits);
        table.finish();
        Some(edits)
    });
    table.finish();
    route
}

fn matches(node: &Node<'_>) -> Option<Match> {
    let mut table = node.table(r#"a table, such as match = { host = "www.example.org" }"#)?;
    let mut matches = Match::default();
    table.set("host", &mut matches.host, |node| node.string("one host; one route for each host").map(Some));
    let exact = table.get("path");
    let prefix = table.get("path_prefix");
    if exact.is_some()
        && let Some(prefix) = &prefix
    {
        let both = Finding::new(prefix.path.clone(), "path and path_prefix", "one of the two");
        prefix.report(both.at_key());
    }
    if let Some(path) = exact.and_then(|node| node.string("a path")) {
        matches.path = PathMatch::Exact(path);
    } else if let Some(path) = prefix.and_then(|node| node.string("a path")) {
        matches.path = PathMatch::Prefix(path);
    }
    table.set("method", &mut matches.methods, methods);
    table.set("header", &mut matches.headers, |node| conditions(node, true));
    table.set("query", &mut matches.query, |node| conditions(node, false));
    table.finish();
    Some(matches)
}

/// `{ NAME = "value" }`
fn conditions(node: &Node<'_>, are_headers: bool) -> Option<Vec<(String, String)>> {
    let entries = node.entries(r#"a table, such as { Name = "value" }"#)?;
    if are_headers {
        report_repeats(&entries);
    }
    let pair = |(name, node): &(&str, Node<'_>)| Some(((*name).to_string(), node.string("text in quotes")?));
    Some(entries.iter().filter_map(pair).collect())
}

/// Reports header names that differ in case only; the others are found when the checks are made.
fn report_repeats(entries: &[(&str, Node<'_>)]) {
    let mut seen: alloc::collections::BTreeMap<String, &Node<'_>> = alloc::collections::BTreeMap::new();
    for (name, node) in entries {
        if let Some(first) = seen.insert(name.to_ascii_lowercase(), node) {
            let again = Finding::new(node.path.clone(), "the same header again", "each header once");
            node.report(again.at_key().first_in(first.path.clone()));
        }
    }
}

fn methods(node: &Node<'_>) -> Option<Vec<String>> {
    let items = node.one_or_more(r#"a method or an array of methods, such as ["GET", "HEAD"]"#)?;
    Some(items.iter().map(|item| item.string("a method").unwrap_or_default()).collect())
}

fn strings(node: &Node<'_>, expected: &str) -> Option<Vec<String>> {
    node.list(expected, |item| item.string("text in quotes"))
}

/// The entries of an allow list. An empty one would allow everything, which is not what it looks like.
fn allow_list<T>(node: &Node<'_>, read: fn(&Node<'_>) -> Option<Vec<T>>) -> Option<Vec<T>> {
    if node.is_empty() {
        node.report(node.wrong("at least one entry; leave the key out to allow everything"));
    }
    read(node)
}

fn paths(node: &Node<'_>) -> Option<Vec<String>> {
    strings(node, r#"an array of paths, such as ["/admin"]"#)
}

pub(super) fn firewall(node: &Node<'_>) -> Option<Firewall> {
    let mut table = node.table("a table")?;
    let mut firewall = Firewall::default();
    table.set("allow_ips", &mut firewall.allow_ips, |node| allow_list(node, super::nets));
    table.set("deny_ips", &mut firewall.deny_ips, super::nets);
    table.set("allow_paths", &mut firewall.allow_paths, |node| allow_list(node, paths));
    table.set("deny_paths", &mut firewall.deny_paths, paths);
    table.set("allow_methods", &mut firewall.allow_methods, |node| allow_list(node, methods));
    table.set("deny_methods", &mut firewall.deny_methods, methods);
    table.set("allow_headers", &mut firewall.allow_headers, header_rules);
    table.set("deny_headers", &mut firewall.deny_headers, header_rules);
    table.finish();
    Some(firewall)
}

/// `{ NAME = "value", OTHER = ["a", "b"], ANY = "*" }`
fn header_rules(node: &Node<'_>) -> Option<Vec<(String, Vec<String>)>> {
    let entries = node.entries(r#"a table, such as { Name = ["value", "other"], Other = "*" }"#)?;
    report_repeats(&entries);
    let values = |node: &Node<'_>| {
        Some(one_or_more_texts(node)?.iter().filter_map(Node::as_str).map(ToString::to_string).collect())
    };
    Some(entries.iter().filter_map(|(name, node)| Some(((*name).to_string(), values(node)?))).collect())
}

/// A text or an array of texts that is not empty.
fn one_or_more_texts<'a>(node: &Node<'a>) -> Option<Vec<Node<'a>>> {
    const EXPECTED: &str = "text in quotes, or an array of such";
    if node.is_empty() {
        node.report(node.wrong("at least one value"));
    }
    let mut texts = node.one_or_more(EXPECTED)?;
    texts.retain(|item| item.string(EXPECTED).is_some());
    Some(texts)
}

/// None if it cannot be read, which was reported then.
fn rate_limit(node: &Node<'_>) -> Option<RateLimit> {
    let mut table = node.table("a table: [route.rate_limit]")?;
    let requests =
        table.required("requests", "how many requests are allowed in each `per`, such as requests = 100");
    let requests = requests.and_then(|node| node.integer(&bounds::COUNT)).unwrap_or(1);
    let mut limit =
        RateLimit { requests, per: Duration::from_secs(1), burst: requests, by: RateLimitKey::Client };
    table.set("per", &mut limit.per, |node| node.duration(&bounds::TIMEOUT));
    table.set("burst", &mut limit.burst, |node| node.integer(&bounds::COUNT));
    table.set("by", &mut limit.by, |node| node.word(&KEYS));
    table.finish();
    Some(limit)
}

fn request(node: &Node<'_>) -> Option<RequestEdits> {
    let mut table = node.table("a table: [route.request]")?;
    let mut edits = RequestEdits::default();
    header_edits(&mut table, &mut edits.headers);
    table.set("host", &mut edits.host, |node| node.string("a host").map(Some));
    let parameters = |node: &Node<'_>| pairs(node, |_| Ok(()));
    (edits.set_query, edits.append_query) =
        set_and_append(&mut table, ["set_query", "append_query"], parameters);
    table.set("remove_query", &mut edits.remove_query, |node| {
        strings(node, r#"an array of parameters, such as ["utm_source"]"#)
    });
    table.set("rewrite_path", &mut edits.rewrite_path, |node| node.string("a path").map(Some));
    table.set("strip_prefix", &mut edits.strip_prefix, |node| node.string("a path").map(Some));
    table.set("replace_path", &mut edits.replace_path, |node| {
        let entries = node.entries(r#"a table of segments, such as { v1 = "v2" }"#)?;
        let pair =
            |(name, node): (&str, Node<'_>)| Some((name.to_string(), node.string("one segment of a path")?));
        Some(entries.into_iter().filter_map(pair).collect())
    });
    table.set("add_prefix", &mut edits.add_prefix, |node| node.string("a path").map(Some));
    table.finish();
    Some(edits)
}

fn header_edits(table: &mut Table<'_>, edits: &mut HeaderEdits) {
    let headers = |node: &Node<'_>| {
        let pairs = pairs(node, check::header_value)?;
        report_repeats(&node.entries("")?);
        Some(pairs)
    };
    (edits.set, edits.append) = set_and_append(table, ["set_headers", "append_headers"], headers);
    table.set("remove_headers", &mut edits.remove, |node| {
        strings(node, r#"an array of header names, such as ["Cookie"]"#)
    });
}

type Texts = Vec<(String, String)>;

/// What to set and what to append. Setting several values is setting the first and appending the others.
fn set_and_append(
    table: &mut Table<'_>,
    names: [&'static str; 2],
    read: impl Fn(&Node<'_>) -> Option<(Texts, Texts)>,
) -> (Texts, Texts) {
    let mut read = |name| table.get(name).as_ref().and_then(&read).unwrap_or_default();
    let (set, mut append) = read(names[0]);
    let (first, further) = read(names[1]);
    append.extend(first);
    append.extend(further);
    (set, append)
}

/// `{ NAME = "value", OTHER = ["a", "b"] }`: each name with its first value, and each with the further
/// values that it has. Only these are checked here, for the others are when the whole is validated.
fn pairs(node: &Node<'_>, check: fn(&str) -> Result<(), Wrong>) -> Option<(Texts, Texts)> {
    let (mut first, mut further) = (Texts::new(), Texts::new());
    for (name, node) in node.entries(r#"a table, such as { Name = "value" }"#)? {
        for (place, item) in one_or_more_texts(&node).unwrap_or_default().iter().enumerate() {
            let value = item.as_str().unwrap_or_default();
            let list = if place == 0 { &mut first } else { &mut further };
            match check(value) {
                Err(wrong) if place > 0 => item.report(item.wrong(wrong.expected).nearest(wrong.nearest)),
                _ => list.push((name.to_string(), value.to_string())),
            }
        }
    }
    Some((first, further))
}

//! From TOML to a [`Config`]: what each key is called and what type it has.
//!
//! The file is read by hand rather than by serde, so that a wrong value does not end the reading: its key
//! gets its default and the next one is read. Whether the values make sense together is not asked here but
//! in `validate`, which also serves configurations that were built in code.

mod pool;
mod resilience;
mod route;

use alloc::{collections::BTreeMap, format, string::ToString, vec::Vec};

use ipnet::IpNet;
use toml::de::DeTable;

use super::{
    AccessLog, Config, Listener, LogFormat, Problems, Valid, bounds,
    key::Path,
    problem::Problem,
    read::{Node, Placeholder, Table},
    report::Report,
    source::Source,
    syntax::{self, Syntax},
    validate, values,
};
use crate::limits::CONFIG_BYTES_MAX;

const ADDRESSES: &str = r#"an array of addresses and networks, such as ["10.0.0.1", "10.0.0.0/8"]"#;

impl Config {
    /// Reads and checks a file in TOML.
    ///
    /// # Errors
    /// All problems at once, in the order of the file: of syntax, of types, of names and of meaning. Those
    /// that are only consequences of others are left out.
    pub fn load(text: &str) -> Result<Valid, Problems> {
        if let Some(problem) = unreadable(text) {
            return Err(Problems { list: [problem].into(), omitted: 0 });
        }
        let (root, errors) = DeTable::parse_recoverable(text);
        let source = Source::new(text, root.get_ref());
        let syntax = Syntax::of(&errors, &source);
        let report = Report::default();
        let mut config = file(Table::new(Path::root(), root.get_ref(), &report));
        config.normalise();
        let meaning = Report::default();
        validate::config(&config, &meaning);
        report.add_independent(meaning);
        if !syntax.problems.is_empty() {
            report.keep_reliable(&source, &syntax.lines, syntax.lost_from);
        }
        match report.into_problems(syntax.problems, Some(&source)) {
            Some(problems) => Err(problems),
            None => Ok(Valid(config)),
        }
    }
}

/// What keeps a text from being looked at at all.
fn unreadable(text: &str) -> Option<Problem> {
    if text.len() <= CONFIG_BYTES_MAX {
        return syntax::overlong_key(text);
    }
    Some(Problem {
        position: None,
        key: "".into(),
        found: format!("a file of {} bytes", text.len()),
        expected: format!("at most {}", values::size_text(CONFIG_BYTES_MAX as u64)),
        nearest: None,
    })
}

fn file(mut table: Table<'_>) -> Config {
    let mut config = Config::default();
    table.set("workers", &mut config.workers, |node| Some(node.integer(&bounds::WORKERS)));
    table.set("shutdown_timeout", &mut config.shutdown_timeout.0, |node| node.duration(&bounds::DELAY));
    table.set("access_log", &mut config.access_log, access_log);
    table.set("firewall", &mut config.firewall, route::firewall);
    table.set("listener", &mut config.listeners, |node| sections(node, "listener", listener));
    table.set("pool", &mut config.pools, pools);
    table.set("route", &mut config.routes, |node| sections(node, "route", route::route));
    table.finish();
    config
}

/// An array of tables; each is given its index.
fn sections<T: Placeholder>(node: &Node<'_>, name: &str, read: fn(Table<'_>, usize) -> T) -> Option<Vec<T>> {
    let expected = format!("sections that begin with [[{name}]]");
    if node.is_table() {
        node.report(node.wrong(format!("{expected}, with two brackets")));
        return None;
    }
    let tables = node.items(&expected)?;
    let section = |(index, node): (usize, &Node<'_>)| node.table("a table").map(|table| read(table, index));
    let sections = tables.iter().enumerate().map(|place| section(place).unwrap_or_else(T::placeholder));
    Some(sections.collect())
}

fn access_log(node: &Node<'_>) -> Option<AccessLog> {
    let mut table = node.table("a table: [access_log]")?;
    let mut log = AccessLog::default();
    let formats = [("json", LogFormat::Json), ("combined", LogFormat::Combined), ("off", LogFormat::Off)];
    table.set("format", &mut log.format, |node| node.word(&formats));
    table.set("path", &mut log.path, |node| node.string(r#"the name of a file, or "-" for standard output"#));
    table.finish();
    Some(log)
}

fn listener(mut table: Table<'_>, _index: usize) -> Listener {
    let bind = table.required("bind", r#"an address to listen on, such as bind = "0.0.0.0:8000""#);
    let bind = bind.and_then(|node| node.parsed(values::bind));
    let mut listener = bind.map_or_else(Listener::placeholder, Listener::at);
    table.set("trusted_proxies", &mut listener.trusted_proxies, nets);
    table.set("reason_header", &mut listener.reason_header, |node| node.boolean());
    if let Some(mut table) = table.get("timeouts").and_then(|node| node.table("a table: timeouts = { ... }"))
    {
        let timeouts = &mut listener.timeouts;
        table.set("request_head", &mut timeouts.request_head, |node| node.duration(&bounds::TIMEOUT));
        table.set("body_idle", &mut timeouts.body_idle, |node| node.duration(&bounds::TIMEOUT));
        table.set("keep_alive", &mut timeouts.keep_alive, |node| node.duration(&bounds::TIMEOUT));
        table.finish();
    }
    if let Some(mut table) = table.get("limits").and_then(|node| node.table("a table: limits = { ... }")) {
        let limits = &mut listener.limits;
        table.set("request_head", &mut limits.request_head, |node| node.size(&bounds::HEAD_SIZE));
        table.set("headers", &mut limits.headers, |node| node.integer(&bounds::HEADER_FIELDS));
        table.set("uri", &mut limits.uri, |node| node.size(&bounds::URI_SIZE));
        table.set("body", &mut limits.body, |node| node.size(&bounds::BODY_SIZE));
        table.set("connections", &mut limits.connections, |node| node.integer(&bounds::COUNT));
        table.finish();
    }
    table.finish();
    listener
}

fn pools(node: &Node<'_>) -> Option<BTreeMap<alloc::string::String, super::Pool>> {
    let pools = node.entries("sections that begin with [pool.NAME]")?;
    Some(pools.into_iter().map(|(name, node)| (name.to_string(), pool::pool(name, &node))).collect())
}

fn nets(node: &Node<'_>) -> Option<Vec<IpNet>> {
    node.list(ADDRESSES, |item| item.parsed(values::net))
}

//! The course's own configuration file, in YAML, made into the TOML of `lb`.
//!
//! ```yaml
//! hosts:
//!   - host: www.mango.com
//!     servers: [localhost:8081, localhost:8082]
//! paths:
//!   - path: /mango
//!     servers:
//!       - localhost:8081
//! ```

use std::{fmt, net::SocketAddr};

use lb_core::config::Config;

use super::{
    route,
    routing::path_route,
    yaml::{self, Mistake, Node, Value},
};

/// Why a file was not converted: a line for each mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotConverted {
    /// The line of the YAML file, from 1; none for what no single line is to blame for.
    pub line: Option<usize>,
    /// What is wrong, and what was expected.
    pub what: String,
}

/// `12: expected ...`: after the name of the file and a colon it makes a message.
impl fmt::Display for NotConverted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{line}: {}", self.what),
            None => write!(f, " {}", self.what),
        }
    }
}

impl From<Mistake> for NotConverted {
    fn from(Mistake { line, what }: Mistake) -> Self {
        Self { line: Some(line), what }
    }
}

const KINDS: [(&str, &str); 2] = [("hosts", "host"), ("paths", "path")];

/// Converts a file of `hosts: [{host, servers}]` and `paths: [{path, servers}]` for a balancer that listens
/// at `listen`. As in the course, the choice among servers is random and a path rule's backend sees `/`.
///
/// # Errors
/// The first thing that is wrong, with its line; nothing is left out in silence.
///
/// ```
/// let yaml = "hosts:\n- host: www.mango.com\n  servers: [localhost:8081]\n";
/// let toml = lb_testkit::course::convert(yaml, "127.0.0.1:8000".parse().unwrap()).unwrap();
/// assert!(toml.contains("match = { host = \"www.mango.com\" }"));
///
/// let wrong = lb_testkit::course::convert("hosts:\n- hots: www.mango.com\n", ([127, 0, 0, 1], 8000).into());
/// assert_eq!(wrong.unwrap_err().line, Some(2));
/// ```
pub fn convert(text: &str, listen: SocketAddr) -> Result<String, NotConverted> {
    let document = yaml::parse(text)?;
    let mut toml = format!("# Converted from the course's YAML.\n[[listener]]\nbind = \"{listen}\"\n\n");
    let mut rules = 0;
    for (section, node) in entries(&document, "the file")? {
        let Some((_, name)) = KINDS.iter().find(|(kind, _)| kind == section) else {
            return wrong(node.line, format!("`{section}` is not known here; known are `hosts` and `paths`"));
        };
        for rule in items(node, section)? {
            rules += 1;
            toml += &convert_rule(rule, name, rules)?;
        }
    }
    if rules == 0 {
        return Err(NotConverted {
            line: None,
            what: "it has no rule, neither in `hosts` nor in `paths`".into(),
        });
    }
    let invalid = |problems: lb_core::config::Problems| {
        let problems = problems.in_file("the converted file");
        NotConverted { line: None, what: format!("the result is not valid:\n{problems}") }
    };
    Config::load(&toml).map_err(invalid)?;
    Ok(toml)
}

/// A pool and a route to it; `name` is `host` or `path`.
fn convert_rule(rule: &Node, name: &str, number: usize) -> Result<String, NotConverted> {
    let (mut wanted, mut servers) = (None, None);
    for (key, node) in entries(rule, &format!("a rule of `{name}s`"))? {
        match key.as_str() {
            "servers" => servers = Some(list_of_servers(node)?),
            key if key == name => wanted = Some(scalar(node, name)?),
            _ => {
                let what = format!("`{key}` has no conversion; known are `{name}` and `servers`");
                return wrong(node.line, what);
            }
        }
    }
    let Some(wanted) = wanted else { return wrong(rule.line, format!("this rule has no `{name}`")) };
    let Some(servers) = servers else { return wrong(rule.line, format!("`{wanted}` has no `servers`")) };
    let words = wanted.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let pool = words.chain([&*number.to_string()]).collect::<Vec<_>>().join("-");
    let route = if name == "path" {
        path_route(wanted, &pool)
    } else {
        route(&pool, &format!("host = \"{wanted}\""), &pool)
    };
    Ok(format!("[pool.{pool}]\nalgorithm = \"random\"\nbackends = {servers:?}\n\n{route}"))
}

fn list_of_servers(node: &Node) -> Result<Vec<&str>, NotConverted> {
    let servers = items(node, "servers")?.iter().map(|server| scalar(server, "a server"));
    let servers: Vec<_> = servers.collect::<Result<_, _>>()?;
    if servers.is_empty() { wrong(node.line, "`servers` is empty") } else { Ok(servers) }
}

fn wrong<T>(line: usize, what: impl Into<String>) -> Result<T, NotConverted> {
    Err(NotConverted { line: Some(line), what: what.into() })
}

fn entries<'a>(node: &'a Node, what: &str) -> Result<&'a [(String, Node)], NotConverted> {
    match &node.value {
        Value::Map(pairs) => Ok(pairs),
        Value::Nothing => Ok(&[]),
        _ => wrong(node.line, format!("{what} must consist of `key: value`")),
    }
}

fn items<'a>(node: &'a Node, what: &str) -> Result<&'a [Node], NotConverted> {
    match &node.value {
        Value::List(nodes) => Ok(nodes),
        Value::Nothing => Ok(&[]),
        _ => wrong(node.line, format!("`{what}` must be a list (`- ...` for each item)")),
    }
}

/// Text that stands in TOML as it is.
fn scalar<'a>(node: &'a Node, what: &str) -> Result<&'a str, NotConverted> {
    match &node.value {
        Value::Scalar(text) if text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\')) => {
            Ok(text)
        }
        Value::Scalar(text) => {
            wrong(node.line, format!("{text:?}: only visible ASCII without quotes makes sense"))
        }
        _ => wrong(node.line, format!("{what} must be plain text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const LISTEN: fn() -> SocketAddr = || ([127, 0, 0, 1], 8000).into();

    #[test]
    fn every_rule_of_the_course_comes_through() {
        let yaml = "hosts:\n  - host: www.mango.com\n    servers:\n      - localhost:8081\n      - localhost:8082\n\
                    \x20 - host: www.apple.com\n    servers: [localhost:9081]\n\
                    paths:\n  - path: /mango\n    servers: [localhost:8081]\n";
        let config = Config::load(&convert(yaml, LISTEN()).unwrap()).unwrap();
        assert_eq!(config.routes.len(), 3);
        let backends: Vec<_> = config.pools.values().map(|pool| pool.backends.len()).collect();
        assert_eq!(backends.iter().sum::<usize>(), 4);
    }

    #[rstest]
    #[case::empty("", None, "no rule")]
    #[case::section("host:\n- host: a\n", Some(2), "`host` is not known here; known are `hosts` and `paths`")]
    #[case::later_chapter(
        "hosts:\n- host: a\n  firewall_rules: x\n  servers: [b:1]",
        Some(3),
        "`firewall_rules` has no conversion"
    )]
    #[case::no_servers("hosts:\n- host: a", Some(2), "`a` has no `servers`")]
    #[case::empty_servers("hosts:\n- host: a\n  servers: []", Some(3), "`servers` is empty")]
    #[case::no_host("hosts:\n- servers: [a:1]", Some(2), "no `host`")]
    #[case::no_list("hosts:\n  host: a", Some(2), "`hosts` must be a list")]
    #[case::quotes("hosts:\n- host: a\"b\n  servers: [a:1]", Some(2), "visible ASCII")]
    #[case::bad_server("hosts:\n- host: a\n  servers: ['no port']", Some(3), "visible ASCII")]
    #[case::no_port("hosts:\n- host: a\n  servers: [localhost]", None, "not valid:")]
    #[case::bad_yaml("hosts: {}", Some(1), "braces")]
    fn mistakes_are_told(#[case] yaml: &str, #[case] line: Option<usize>, #[case] words: &str) {
        let error = convert(yaml, LISTEN()).unwrap_err();
        assert_eq!(error.line, line, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

//! Finding the route without looking at all of them.

use alloc::{vec, vec::Vec};
use core::cmp::Reverse;

use super::{Conditions, HostPattern, PathPattern, RouteId};
use crate::{
    path::Reading,
    table::{Prefixes, Table},
};

/// All routes, by host and then by path. What is left to be tried one by one are those routes that have
/// both in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    exact: Table<ByPath>,
    /// By what follows `*.`
    wildcard: Table<ByPath>,
    /// Length of the longest key of `wildcard`.
    wildcard_longest: usize,
    any: ByPath,
}

/// The form of the paths that an index is built of and asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As forwarded.
    Normal,
    /// As [`Reading`] has them.
    Loose,
}

/// The routes of one host. Lists are sorted by precedence.
#[derive(Clone, Debug, Default)]
struct ByPath {
    exact: Table<Vec<RouteId>>,
    prefix: Prefixes<Vec<RouteId>>,
    any: Vec<RouteId>,
    /// With [`Form::Loose`] only: all of them, by their path without a trailing slash.
    all: Vec<(Vec<u8>, RouteId)>,
}

impl Index {
    pub(crate) fn new<'a>(routes: impl Iterator<Item = &'a Conditions>, form: Form) -> Self {
        let mut index = Self::default();
        // Sorted first, so that each list comes out sorted.
        let mut routes: Vec<(RouteId, &Conditions)> = (0..).map(RouteId).zip(routes).collect();
        routes.sort_by_key(|(id, conditions)| {
            let Conditions { methods, headers, query, .. } = conditions;
            (methods.is_empty(), Reverse(headers.len()), Reverse(query.len()), *id)
        });
        for (id, conditions) in routes {
            index.by_host(&conditions.host).add(id, &conditions.path, form);
        }
        index
    }

    fn by_host(&mut self, host: &HostPattern) -> &mut ByPath {
        match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(host) => self.exact.entry(host.as_bytes()),
            HostPattern::Wildcard(suffix) => {
                self.wildcard_longest = self.wildcard_longest.max(suffix.len());
                self.wildcard.entry(suffix.as_bytes())
            }
        }
    }

    /// The first route in the order of precedence whose host and path match, and that `accept` takes.
    pub(crate) fn find(
        &self,
        host: Option<&str>,
        path: &[u8],
        mut accept: impl FnMut(RouteId) -> bool,
    ) -> Option<RouteId> {
        self.by_path(host).find_map(|routes| routes.find(path, &mut accept))
    }

    /// All routes whose host matches and whose path may match one that begins with these segments. Asks
    /// each route of the host; only an index of readings knows them.
    pub(crate) fn compatible<'a>(
        &'a self,
        host: Option<&'a str>,
        beginning: &'a [u8],
    ) -> impl Iterator<Item = RouteId> + 'a {
        let all = self.by_path(host).flat_map(|routes| &routes.all);
        all.filter(move |(path, _)| are_compatible(path, beginning)).map(|&(_, id)| id)
    }

    /// The routes of all hosts that match, the most specific host first.
    fn by_path<'a>(&'a self, host: Option<&'a str>) -> impl Iterator<Item = &'a ByPath> {
        let exact = host.and_then(|host| self.exact.get(host.as_bytes()));
        let wildcards = host.into_iter().flat_map(|host| self.wildcards(host));
        exact.into_iter().chain(wildcards).chain([&self.any])
    }

    /// The routes of the wildcards that match, the longest first.
    fn wildcards<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a ByPath> {
        let host = if self.wildcard.is_empty() { &[] } else { host.as_bytes() };
        let suffixes =
            host.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(dot, _)| &host[dot + 1..]);
        suffixes
            .filter(|suffix| suffix.len() <= self.wildcard_longest)
            .filter_map(|suffix| self.wildcard.get(suffix))
    }
}

impl ByPath {
    fn add(&mut self, id: RouteId, path: &PathPattern, form: Form) {
        let path = match path {
            PathPattern::Any => {
                self.any.push(id);
                vec![]
            }
            PathPattern::Exact(path) => {
                let path = form.of(path);
                self.exact.entry(&path).push(id);
                path
            }
            PathPattern::Prefix(path) => {
                let path = form.of(path);
                self.prefix.entry(&path).push(id);
                path
            }
        };
        if form == Form::Loose {
            self.all.push((path.strip_suffix(b"/").unwrap_or(&path).to_vec(), id));
        }
    }

    fn find(&self, path: &[u8], accept: &mut impl FnMut(RouteId) -> bool) -> Option<RouteId> {
        let mut first = |list: &Vec<RouteId>| list.iter().copied().find(|&id| accept(id));
        let exact = self.exact.get(path).and_then(&mut first);
        exact.or_else(|| self.prefix.walk(path, &mut first)).or_else(|| first(&self.any))
    }
}

impl Form {
    fn of(self, path: &str) -> Vec<u8> {
        match self {
            Self::Normal => path.as_bytes().to_vec(),
            // The root as a prefix is empty, and has no readings.
            Self::Loose if path.is_empty() => vec![],
            Self::Loose => Reading::of_rule(path),
        }
    }
}

/// Whether one is the other or whole segments at its beginning.
fn are_compatible(one: &[u8], other: &[u8]) -> bool {
    let (short, long) = if one.len() <= other.len() { (one, other) } else { (other, one) };
    long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

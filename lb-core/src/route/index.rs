//! Finding the route without looking at all of them.

use alloc::{vec, vec::Vec};
use core::cmp::Reverse;

use super::{Conditions, HostPattern, PathPattern, RouteId};
use crate::{
    path::Readings,
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
    /// As [`Readings`] have them.
    Loose,
}

/// The routes of one host. Lists are sorted by precedence.
#[derive(Clone, Debug, Default)]
struct ByPath {
    exact: Table<Vec<RouteId>>,
    prefix: Prefixes<Vec<RouteId>>,
    any: Vec<RouteId>,
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
            let by_path = index.by_host(&conditions.host);
            match &conditions.path {
                PathPattern::Any => by_path.any.push(id),
                PathPattern::Exact(path) => by_path.exact.entry(&form.of(path)).push(id),
                PathPattern::Prefix(path) => by_path.prefix.entry(&form.of(path)).push(id),
            }
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
        let mut by_path = |routes: &ByPath| routes.find(path, &mut accept);
        let by_host = host.and_then(|host| {
            let exact = self.exact.get(host.as_bytes()).and_then(&mut by_path);
            exact.or_else(|| self.wildcards(host).find_map(&mut by_path))
        });
        by_host.or_else(|| by_path(&self.any))
    }

    /// The routes of the wildcards that match, the longest first.
    fn wildcards(&self, host: &str) -> impl Iterator<Item = &ByPath> {
        let host = if self.wildcard.is_empty() { &[] } else { host.as_bytes() };
        let suffixes =
            host.iter().enumerate().filter(|(_, byte)| **byte == b'.').map(|(dot, _)| &host[dot + 1..]);
        suffixes
            .filter(|suffix| suffix.len() <= self.wildcard_longest)
            .filter_map(|suffix| self.wildcard.get(suffix))
    }
}

impl ByPath {
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
            Self::Loose => Readings::of_rule(path),
        }
    }
}

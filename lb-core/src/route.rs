//! Which route a request takes.
//!
//! Routes are ordered by how specific they are: an exact host before a wildcard (the longer one first)
//! before none; an exact path before a prefix (the longer one first) before none; then one with a
//! condition on the method, more conditions on header fields, more on query parameters, and at last the
//! place in the file. Of all routes that match, the first in this order is taken. These are the rules
//! of the Kubernetes Gateway API, stretched over hosts.

use alloc::{borrow::ToOwned, string::String, vec::Vec};

use crate::{
    config::{Match, PathMatch},
    host,
    path::{self, as_prefix, below},
    query,
    request::RequestView,
};

mod index;

pub(crate) use index::{Form, Index};

/// The place of a route in its [`crate::plan::Plan`], which is that in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteId(pub u32);

impl RouteId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Why a route was not taken: its first condition, in the order of precedence, that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost<'a> {
    /// Another host.
    Host,
    /// Another path.
    Path,
    /// Another method.
    Method,
    /// This field is missing, or has another value.
    Header(&'a str),
    /// This parameter is missing, or has another value.
    Query(&'a str),
    /// It matches, but the route that was taken comes first.
    Precedence,
}

/// `match`, in the form in which requests are compared with it.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    host: HostPattern,
    path: PathPattern,
    methods: Vec<String>,
    headers: Vec<(String, String)>,
    query: Vec<(String, String)>,
}

#[derive(Clone, Debug)]
enum HostPattern {
    Any,
    Exact(String),
    /// What follows `*.`
    Wildcard(String),
}

#[derive(Clone, Debug)]
enum PathPattern {
    Any,
    Exact(String),
    /// Without a trailing slash.
    Prefix(String),
}

impl Conditions {
    pub(crate) fn compile(matches: &Match) -> Self {
        let host = match matches.host.as_deref() {
            None | Some("*") => HostPattern::Any,
            Some(host) => match host.strip_prefix("*.") {
                Some(suffix) => HostPattern::Wildcard(host::of_config(suffix)),
                None => HostPattern::Exact(host::of_config(host)),
            },
        };
        let path = match &matches.path {
            PathMatch::Any => PathPattern::Any,
            PathMatch::Exact(path) => PathPattern::Exact(path::of_config(path)),
            PathMatch::Prefix(path) => PathPattern::Prefix(as_prefix(&path::of_config(path)).to_owned()),
        };
        let headers = matches.headers.iter();
        Self {
            host,
            path,
            methods: matches.methods.clone(),
            headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
            query: matches.query.clone(),
        }
    }

    /// The first condition besides those on host and path that does not hold.
    pub(crate) fn mismatch<'a>(&'a self, view: &RequestView<'_>) -> Option<Lost<'a>> {
        if !self.methods.is_empty() && self.methods.iter().all(|method| method != view.method) {
            return Some(Lost::Method);
        }
        for (name, value) in &self.headers {
            if !view.headers.any(name, &mut |other| other == value.as_bytes()) {
                return Some(Lost::Header(name));
            }
        }
        for (name, value) in &self.query {
            if !view.query.is_some_and(|query| query::has(query, name, value)) {
                return Some(Lost::Query(name));
            }
        }
        None
    }

    /// Why this route, which was not taken, lost. Only explanations ask: decisions go by [`Index`].
    pub(crate) fn lost<'a>(&'a self, host: Option<&str>, path: &str, view: &RequestView<'_>) -> Lost<'a> {
        let host_matches = match (&self.host, host) {
            (HostPattern::Any, _) => true,
            (_, None) => false,
            (HostPattern::Exact(own), Some(host)) => own == host,
            (HostPattern::Wildcard(own), Some(host)) => {
                host.strip_suffix(&**own).is_some_and(|labels| labels.ends_with('.'))
            }
        };
        let path_matches = match &self.path {
            PathPattern::Any => true,
            PathPattern::Exact(own) => own == path,
            PathPattern::Prefix(own) => path.starts_with('/') && below(path, own).is_some(),
        };
        match (host_matches, path_matches) {
            (false, _) => Lost::Host,
            (_, false) => Lost::Path,
            _ => self.mismatch(view).unwrap_or(Lost::Precedence),
        }
    }
}

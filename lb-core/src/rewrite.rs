//! What the backend gets instead of what the client sent.

use alloc::{borrow::Cow, string::String, vec::Vec};

use crate::{
    config::{HeaderEdits, RequestEdits},
    path::{self, as_prefix, below},
    query::QueryEdits,
};

/// The edits of a route's requests, prepared once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestRewrite {
    path: PathRewrite,
    query: QueryEdits,
    host: Option<String>,
    removes_host: bool,
    headers: HeaderEdits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum PathRewrite {
    Whole(String),
    Parts {
        /// Without a trailing slash; empty for none.
        strip: String,
        /// A segment, and what takes its place without a slash at either end; both in normal form.
        replace: Vec<(String, String)>,
        /// Without a trailing slash; empty for none.
        add: String,
    },
}

impl Default for PathRewrite {
    fn default() -> Self {
        Self::Parts { strip: String::new(), replace: Vec::new(), add: String::new() }
    }
}

/// The Host that a backend gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostEdit<'a> {
    /// The client's.
    Keep,
    /// The backend's own address as written.
    Backend,
    /// This one.
    Set(&'a str),
}

/// A request target, rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// In normal form, beginning with exactly one `/`; `*` stays `*`.
    pub path: Cow<'a, str>,
    /// What follows `?`; none is a target without one.
    pub query: Option<Cow<'a, str>>,
}

impl Target<'_> {
    /// Appends the target as it stands in a request line.
    pub fn write_to(&self, out: &mut String) {
        out.push_str(&self.path);
        if let Some(query) = &self.query {
            out.push('?');
            out.push_str(query);
        }
    }
}

impl RequestRewrite {
    /// Prepares edits. Paths may be written plainly: what must be percent-encoded is.
    #[must_use]
    pub fn new(edits: &RequestEdits) -> Self {
        let mut headers = edits.headers.clone();
        let is_host = |name: &str| name.eq_ignore_ascii_case("host");
        let removes_host = headers.remove.iter().any(|name| is_host(name));
        let set_host = headers.set.iter().rfind(|(name, _)| is_host(name)).map(|(_, value)| value.clone());
        headers.remove.retain(|name| !is_host(name));
        headers.set.retain(|(name, _)| !is_host(name));
        headers.append.retain(|(name, _)| !is_host(name));
        Self {
            path: PathRewrite::new(edits),
            query: QueryEdits::new(&edits.set_query, &edits.append_query, &edits.remove_query),
            host: edits.host.clone().or(set_host),
            removes_host,
            headers,
        }
    }

    /// What the backend is asked for. `path` is in normal form, as `Decision::Forward`
    /// gives it; borrows what is not changed.
    #[must_use]
    pub fn target<'a>(&'a self, path: &'a str, query: Option<&'a str>) -> Target<'a> {
        Target { path: self.path.apply(path), query: self.query.apply(query) }
    }

    /// Whether any target can come out changed.
    #[must_use]
    pub fn changes_target(&self) -> bool {
        self.path != PathRewrite::default() || !self.query.is_empty()
    }

    /// The Host that the backend gets.
    #[must_use]
    pub fn host(&self) -> HostEdit<'_> {
        match &self.host {
            Some(host) => HostEdit::Set(host),
            None if self.removes_host => HostEdit::Backend,
            None => HostEdit::Keep,
        }
    }

    /// The edits of all fields but Host.
    #[must_use]
    pub fn headers(&self) -> &HeaderEdits {
        &self.headers
    }
}

impl PathRewrite {
    fn new(edits: &RequestEdits) -> Self {
        if let Some(whole) = &edits.rewrite_path {
            return Self::Whole(path::of_config(whole));
        }
        let prefix = |text: &Option<String>| {
            let normal = text.as_deref().map(path::of_config);
            normal.map(|normal| as_prefix(&normal).into()).unwrap_or_default()
        };
        let inner = |text: &String| String::from(path::of_config(text).trim_matches('/'));
        let replace = edits.replace_path.iter().map(|(from, to)| (inner(from), inner(to))).collect();
        Self::Parts { strip: prefix(&edits.strip_prefix), replace, add: prefix(&edits.add_prefix) }
    }

    fn apply<'a>(&'a self, path: &'a str) -> Cow<'a, str> {
        if path == "*" {
            return Cow::Borrowed(path);
        }
        let (strip, replace, add) = match self {
            Self::Whole(whole) => return Cow::Borrowed(whole),
            Self::Parts { strip, replace, add } => (strip, replace, add),
        };
        let path = match below(path, strip) {
            Some("") => "/",
            Some(rest) => rest,
            None => path,
        };
        let replaces = path.split('/').any(|segment| replacement(replace, segment).is_some());
        if !replaces && add.is_empty() {
            return Cow::Borrowed(path);
        }
        let mut out = String::with_capacity(add.len() + path.len() + 16);
        out.push_str(add);
        if replaces {
            replace_segments(path, replace, &mut out);
        } else {
            out.push_str(path);
        }
        Cow::Owned(out)
    }
}

/// The first entry for a segment counts.
fn replacement<'a>(replace: &'a [(String, String)], segment: &str) -> Option<&'a str> {
    replace.iter().find(|(from, _)| !from.is_empty() && from == segment).map(|(_, to)| &**to)
}

/// Appends the path with its segments replaced; one that is replaced by nothing takes its slash along.
fn replace_segments(path: &str, replace: &[(String, String)], out: &mut String) {
    let begin = out.len();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // Only the last segment of a path in normal form can be empty: that is its trailing slash.
        let trailing_slash = segment.is_empty() && segments.peek().is_none();
        let segment = replacement(replace, segment).unwrap_or(segment);
        if trailing_slash || !segment.is_empty() {
            out.push('/');
            out.push_str(segment);
        }
    }
    if out.len() == begin {
        out.push('/');
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString, vec};

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn some(text: &str) -> Option<String> {
        (!text.is_empty()).then(|| text.to_string())
    }

    fn parts(strip: &str, replace: &[(&str, &str)], add: &str) -> RequestRewrite {
        let replace = replace.iter().map(|(from, to)| (from.to_string(), to.to_string())).collect();
        RequestRewrite::new(&RequestEdits {
            strip_prefix: some(strip),
            replace_path: replace,
            add_prefix: some(add),
            ..RequestEdits::default()
        })
    }

    #[rstest]
    #[case("/a", "/a", "/")]
    #[case("/a", "/a/", "/")]
    #[case("/a", "/a/b", "/b")]
    #[case("/a/", "/a/b", "/b")]
    #[case("/a", "/ab", "/ab")]
    #[case("/a", "/b/a", "/b/a")]
    #[case("/a b", "/a%20b/c", "/c")]
    #[case("/", "/a", "/a")]
    #[case("/a", "*", "*")]
    fn stripping_a_prefix(#[case] strip: &str, #[case] path: &str, #[case] expected: &str) {
        assert_eq!(parts(strip, &[], "").target(path, None).path, expected);
    }

    #[rstest]
    #[case("/p", "/", "/p/")]
    #[case("/p/", "/a", "/p/a")]
    #[case("p q", "/a/", "/p%20q/a/")]
    #[case("/", "/a", "/a")]
    #[case("//p//", "/a", "/p/a")]
    #[case("/p", "*", "*")]
    fn adding_a_prefix(#[case] add: &str, #[case] path: &str, #[case] expected: &str) {
        assert_eq!(parts("", &[], add).target(path, None).path, expected);
    }

    #[rstest]
    #[case("/v1", "/v2")]
    #[case("/v1/v1/", "/v2/v2/")]
    #[case("/v2", "/v1")]
    #[case("/v1/v2", "/v2/v1")]
    #[case("/v10/av1", "/v10/av1")]
    #[case("/x/y/b", "/y/b")]
    #[case("/gone", "/")]
    #[case("/gone/", "/")]
    #[case("/a/gone/b", "/a/b")]
    #[case("/a/gone", "/a")]
    #[case("/deep", "/d/e%20f")]
    #[case("/up/a", "/a")]
    #[case("/caf%C3%A9", "/tea")]
    #[case("/", "/")]
    fn replacing_segments(#[case] path: &str, #[case] expected: &str) {
        let replace = [
            ("v1", "v2"),
            ("v2", "v1"),
            ("x", ""),
            ("gone", ""),
            ("deep", "/d/e f/"),
            ("up", ".."),
            ("caf\u{e9}", "tea"),
            ("", "never"),
            ("a/b", "never"),
        ];
        assert_eq!(parts("", &replace, "").target(path, None).path, expected);
    }

    #[test]
    fn strip_then_replace_then_add() {
        let rewrite = parts("/api", &[("v1", "v2"), ("api", "never")], "/inner");
        assert_eq!(rewrite.target("/api/v1/x", None).path, "/inner/v2/x");
        assert!(rewrite.changes_target());
    }

    #[test]
    fn a_rewritten_path_replaces_the_whole() {
        let edits = RequestEdits { rewrite_path: some("/new path/?x"), ..RequestEdits::default() };
        let rewrite = RequestRewrite::new(&edits);
        let mut line = String::new();
        rewrite.target("/mango", Some("a=%20&b")).write_to(&mut line);
        assert_eq!(line, "/new%20path/%3Fx?a=%20&b");
    }

    #[test]
    fn no_edits_borrow_everything() {
        let rewrite = RequestRewrite::new(&RequestEdits::default());
        let target = rewrite.target("/a/b", Some("c"));
        assert!(matches!(target, Target { path: Cow::Borrowed("/a/b"), query: Some(Cow::Borrowed("c")) }));
        assert!(!rewrite.changes_target());
        assert_eq!(rewrite.host(), HostEdit::Keep);
    }

    #[test]
    fn host_is_taken_out_of_the_headers() {
        let mut edits = RequestEdits::default();
        edits.headers.remove = vec!["Host".into(), "x-a".into()];
        edits.headers.set = vec![("x-b".into(), "1".into())];
        let rewrite = RequestRewrite::new(&edits);
        assert_eq!(rewrite.host(), HostEdit::Backend);
        assert_eq!(rewrite.headers().remove, ["x-a"]);
        edits.headers.set.push(("host".into(), "set.example".into()));
        let rewrite = RequestRewrite::new(&edits);
        assert_eq!(rewrite.host(), HostEdit::Set("set.example"), "set comes after remove");
        assert_eq!(rewrite.headers().set, [("x-b".to_string(), "1".to_string())]);
        edits.host = some("host.example");
        assert_eq!(RequestRewrite::new(&edits).host(), HostEdit::Set("host.example"));
    }

    fn text() -> impl Strategy<Value = String> {
        "([ab/.%?#;\u{e9} ]|\\.\\.|%2e|%2f){0,5}"
    }

    /// The edits on a list of segments.
    fn oracle(path: &str, strip: &[&str], replace: &[(String, String)], add: &[&str]) -> Vec<String> {
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let segments = segments.strip_prefix(strip).unwrap_or(&segments);
        let replaced = segments.iter().flat_map(|segment| {
            let found = replace.iter().find(|(from, _)| from == segment).map(|(_, to)| &**to);
            found.unwrap_or(segment).split('/').filter(|segment| !segment.is_empty())
        });
        add.iter().copied().chain(replaced).map(String::from).collect()
    }

    proptest! {
        #[test]
        fn a_rewritten_path_is_what_the_edits_say_and_in_normal_form(
            path in text(), (strip, add) in (text(), text()), whole in proptest::option::of(text()),
            replace in proptest::collection::vec((text(), text()), 0..3),
        ) {
            let edits = RequestEdits {
                rewrite_path: whole.clone(),
                strip_prefix: Some(strip.clone()), add_prefix: Some(add.clone()), replace_path: replace.clone(),
                ..RequestEdits::default()
            };
            let path = path::of_config(&path);
            let rewrite = RequestRewrite::new(&edits);
            let target = rewrite.target(&path, None);
            let again = path::normalise(&target.path).map(Cow::into_owned);
            prop_assert_eq!(again, Ok(target.path.to_string()));

            let normal = |text: &String| path::of_config(text).trim_matches('/').to_string();
            let list = |text: &String| -> Vec<String> {
                normal(text).split('/').filter(|segment| !segment.is_empty()).map(String::from).collect()
            };
            if whole.is_none() {
                let (strip, add) = (list(&strip), list(&add));
                let strip: Vec<&str> = strip.iter().map(|segment| &**segment).collect();
                let add: Vec<&str> = add.iter().map(|segment| &**segment).collect();
                let replace: Vec<_> = replace.iter().map(|(from, to)| (normal(from), normal(to))).collect();
                let expected = oracle(&path, &strip, &replace, &add);
                let got: Vec<String> =
                    target.path.split('/').filter(|segment| !segment.is_empty()).map(String::from).collect();
                prop_assert_eq!(got, expected, "{}", format!("{path} -> {}", target.path));
            }
        }
    }
}

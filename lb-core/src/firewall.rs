//! Who may pass: verdicts by address, path, method and header.

use alloc::{string::String, vec::Vec};

use crate::{
    config,
    ip_set::IpSet,
    path::{self, Certain, Reading},
    request::RequestView,
    table::Prefixes,
};

/// The list that refused a request: a key of `[firewall]` or `[route.firewall]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FirewallList {
    /// `allow_ips` is not empty, and the client is not in it.
    AllowIps,
    /// `deny_ips` has the client.
    DenyIps,
    /// `allow_methods` is not empty, and the method is not in it.
    AllowMethods,
    /// `deny_methods` has the method.
    DenyMethods,
    /// `allow_paths` is not empty, and a reading of the path is not in it.
    AllowPaths,
    /// `deny_paths` has a reading of the path.
    DenyPaths,
    /// A field of `allow_headers` is missing, or has none of its values.
    AllowHeaders,
    /// A field of `deny_headers` is there, with one of its values.
    DenyHeaders,
}

impl FirewallList {
    /// The list's key in the configuration.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::AllowIps => "allow_ips",
            Self::DenyIps => "deny_ips",
            Self::AllowMethods => "allow_methods",
            Self::DenyMethods => "deny_methods",
            Self::AllowPaths => "allow_paths",
            Self::DenyPaths => "deny_paths",
            Self::AllowHeaders => "allow_headers",
            Self::DenyHeaders => "deny_headers",
        }
    }
}

/// What is judged: a request, its path in normal form and, where there is doubt, what else a backend
/// may take that path for.
#[derive(Clone, Copy)]
pub(crate) struct Judged<'a> {
    pub(crate) view: &'a RequestView<'a>,
    pub(crate) path: &'a str,
    pub(crate) reading: Option<&'a Reading>,
}

/// The rules of one `[firewall]`, prepared.
#[derive(Clone, Debug)]
pub(crate) struct Firewall {
    allow_ips: IpSet,
    deny_ips: IpSet,
    allow_methods: Vec<String>,
    deny_methods: Vec<String>,
    allow_paths: Paths,
    deny_paths: Paths,
    allow_headers: Vec<HeaderRule>,
    deny_headers: Vec<HeaderRule>,
}

impl Firewall {
    /// None for a firewall that lets everything pass.
    pub(crate) fn compile(rules: &config::Firewall) -> Option<Self> {
        if *rules == config::Firewall::default() {
            return None;
        }
        let headers = |rules: &[(String, Vec<String>)]| rules.iter().map(HeaderRule::new).collect();
        Some(Self {
            allow_ips: IpSet::new(&rules.allow_ips),
            deny_ips: IpSet::new(&rules.deny_ips),
            allow_methods: rules.allow_methods.clone(),
            deny_methods: rules.deny_methods.clone(),
            allow_paths: Paths::new(&rules.allow_paths),
            deny_paths: Paths::new(&rules.deny_paths),
            allow_headers: headers(&rules.allow_headers),
            deny_headers: headers(&rules.deny_headers),
        })
    }

    /// Whether the path makes a difference.
    pub(crate) fn judges_paths(&self) -> bool {
        !self.allow_paths.plain.is_empty() || !self.deny_paths.plain.is_empty()
    }

    /// The cheapest questions come first.
    pub(crate) fn judge(&self, judged: &Judged<'_>) -> Result<(), FirewallList> {
        let RequestView { client, method, .. } = *judged.view;
        let verdicts = [
            (FirewallList::DenyIps, !self.deny_ips.contains(client)),
            (FirewallList::AllowIps, self.allow_ips.is_empty() || self.allow_ips.contains(client)),
            (FirewallList::DenyMethods, !self.denies_method(method)),
            (FirewallList::AllowMethods, self.allows_method(method)),
        ];
        if let Some(&(list, _)) = verdicts.iter().find(|(_, passes)| !passes) {
            return Err(list);
        }
        if self.deny_paths.may_have(judged) {
            return Err(FirewallList::DenyPaths);
        }
        if !self.allow_paths.plain.is_empty() && !self.allow_paths.must_have(judged) {
            return Err(FirewallList::AllowPaths);
        }
        if self.deny_headers.iter().any(|rule| rule.holds(judged.view)) {
            return Err(FirewallList::DenyHeaders);
        }
        if !self.allow_headers.iter().all(|rule| rule.holds(judged.view)) {
            return Err(FirewallList::AllowHeaders);
        }
        Ok(())
    }

    /// Methods are case-sensitive, but not for every backend: what is denied is denied in any case.
    fn denies_method(&self, method: &str) -> bool {
        self.deny_methods.iter().any(|other| other.eq_ignore_ascii_case(method))
    }

    fn allows_method(&self, method: &str) -> bool {
        self.allow_methods.is_empty() || self.allow_methods.iter().any(|other| other == method)
    }
}

/// Paths with all below them.
#[derive(Clone, Debug)]
struct Paths {
    plain: Prefixes<()>,
    /// The same as readings.
    loose: Prefixes<()>,
    /// The keys of `loose`, sorted.
    sorted: Vec<Vec<u8>>,
}

impl Paths {
    fn new(rules: &[String]) -> Self {
        let (mut plain, mut loose) = (Prefixes::default(), Prefixes::default());
        let mut sorted = Vec::with_capacity(rules.len());
        for rule in rules {
            let rule = path::of_config(rule);
            plain.entry(rule.as_bytes());
            let reading = Reading::of_rule(&rule);
            loose.entry(&reading);
            sorted.push(reading);
        }
        sorted.sort_unstable();
        Self { plain, loose, sorted }
    }

    /// Whether some program could take the path for one of these.
    fn may_have(&self, judged: &Judged<'_>) -> bool {
        self.plain.covers(judged.path.as_bytes())
            || judged.reading.is_some_and(|reading| match reading.certain() {
                Certain::All(path) => self.loose.covers(path),
                Certain::Beginning(path) => self.covers_beginning(path) || self.has_below(path),
            })
    }

    /// Whether every program takes the path for one of these.
    fn must_have(&self, judged: &Judged<'_>) -> bool {
        self.plain.covers(judged.path.as_bytes())
            && judged.reading.is_none_or(|reading| match reading.certain() {
                Certain::All(path) => self.loose.covers(path),
                Certain::Beginning(path) => self.covers_beginning(path),
            })
    }

    fn covers_beginning(&self, path: &[u8]) -> bool {
        self.loose.covers(if path.is_empty() { b"/" } else { path })
    }

    fn has_below(&self, path: &[u8]) -> bool {
        let begins = [path, b"/"].concat();
        let at = self.sorted.partition_point(|rule| *rule < begins);
        self.sorted.get(at).is_some_and(|rule| rule.starts_with(&begins))
    }
}

/// A field, and the values that count.
#[derive(Clone, Debug)]
struct HeaderRule {
    name: String,
    /// None for any.
    values: Option<Vec<String>>,
}

impl HeaderRule {
    fn new((name, values): &(String, Vec<String>)) -> Self {
        let any = values.iter().any(|value| value == "*");
        Self { name: name.to_ascii_lowercase(), values: (!any).then(|| values.clone()) }
    }

    fn holds(&self, view: &RequestView<'_>) -> bool {
        view.headers.any(&self.name, &mut |value| match &self.values {
            None => true,
            Some(values) => values.iter().any(|other| other.as_bytes() == value.trim_ascii()),
        })
    }
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec};

    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::path::backend::{backend, dodges};

    fn strings(items: &[&str]) -> Vec<String> {
        items.iter().map(ToString::to_string).collect()
    }

    /// The verdict on a request as it came in.
    fn judge(rules: &config::Firewall, view: &RequestView<'_>) -> Result<(), FirewallList> {
        let path = path::normalise(view.path).unwrap();
        let reading = (path::doubt(&path) != path::Doubt::None).then(|| Reading::of(&path));
        let judged = Judged { view, path: &path, reading: reading.as_ref() };
        Firewall::compile(rules).map_or(Ok(()), |firewall| firewall.judge(&judged))
    }

    const NO_HEADERS: &[(&str, &str)] = &[];

    fn view(path: &str) -> RequestView<'_> {
        RequestView {
            method: "GET",
            authority: None,
            path,
            query: None,
            headers: &NO_HEADERS,
            client: "55.55.55.55".parse().unwrap(),
        }
    }

    #[rstest]
    #[case("55.55.55.55", None)]
    #[case("10.192.0.1", Some(FirewallList::DenyIps))]
    #[case("::ffff:10.192.0.1", Some(FirewallList::DenyIps))]
    #[case("10.192.1.77", Some(FirewallList::DenyIps))]
    #[case("10.192.2.1", None)]
    #[case("2001:db8::1", Some(FirewallList::DenyIps))]
    #[case("2001:db9::1", Some(FirewallList::AllowIps))]
    fn addresses(#[case] client: &str, #[case] refused_by: Option<FirewallList>) {
        let nets = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        let rules = config::Firewall {
            deny_ips: nets(&["10.192.0.1/32", "10.192.1.0/24", "2001:db8::/32"]),
            allow_ips: nets(&["0.0.0.0/0"]),
            ..Default::default()
        };
        let view = RequestView { client: client.parse().unwrap(), ..view("/") };
        assert_eq!(judge(&rules, &view).err(), refused_by);
    }

    #[rstest]
    #[case("/pictures", true)]
    #[case("/messagesx", true)]
    #[case("/x/messages", true)]
    #[case("/messages", false)]
    #[case("/messages/", false)]
    #[case("/messages/1", false)]
    #[case("//messages", false)]
    #[case("/./messages", false)]
    #[case("/x/../messages", false)]
    #[case("/x/%2e%2E/messages", false)]
    #[case("/%6Dessages", false)]
    #[case("/%256Dessages", false)]
    #[case("/%2Fmessages", false)]
    #[case("/messages%2F1", false)]
    #[case("/x/..%2Fmessages", false)]
    #[case("/x%2f..%2fmessages", false)]
    #[case("/x/%252e%252e/messages", false)]
    #[case("/x/%252e%252e%252fmessages", false)]
    #[case("/x/..\\messages", false)]
    #[case("/x%5c..%5cmessages", false)]
    #[case("/messages;jsessionid=1", false)]
    #[case("/messages;x/1", false)]
    #[case("/;x/messages", false)]
    #[case("/x/..;/messages", false)]
    #[case::parameters_up_to_a_plain_slash("/;%2Fx/messages", false)]
    #[case::parameters_up_to_any_slash("/;x%2Fmessages", false)]
    #[case::parameters_up_to_a_slash_decoded_once("/;%252Fx%2Fmessages", false)]
    #[case::parameters_that_leave_everything_else_open("/x;y%2Fmessages", true)]
    #[case::parameters_that_leave_what_is_denied_open("/a;y%2Fz", true)]
    #[case("/messages%3Fx", false)]
    #[case("/%C0%AFmessages", false)]
    #[case("/caf%C3%A9", false)]
    #[case("/caf%c3%a9/x", false)]
    #[case("/a&b", false)]
    #[case("/a%26b", false)]
    fn denied_paths_cannot_be_dodged(#[case] path: &str, #[case] passes: bool) {
        let rules = config::Firewall {
            deny_paths: strings(&["/messages", "/caf\u{e9}/", "/a%26b", "/a&b"]),
            ..Default::default()
        };
        assert_eq!(judge(&rules, &view(path)).is_ok(), passes);
    }

    #[rstest]
    #[case("/public", true)]
    #[case("/public/a%20b/c;d", true)]
    #[case("/public/a%2Fb", true)]
    #[case("/private", false)]
    #[case("/public/../private", false)]
    #[case("/public/..%2fprivate", false)]
    #[case("/public/..;/private", false)]
    #[case("/public/%252e%252e/private", false)]
    #[case("/public/..\\private", false)]
    #[case("/private/..%2fpublic", false)]
    #[case("/", false)]
    fn allowed_paths_hold_in_all_readings(#[case] path: &str, #[case] passes: bool) {
        let rules = config::Firewall { allow_paths: strings(&["/public"]), ..Default::default() };
        assert_eq!(judge(&rules, &view(path)).is_ok(), passes);
    }

    #[test]
    fn the_root_stands_for_everything() {
        let rules = config::Firewall { deny_paths: strings(&["/"]), ..Default::default() };
        assert_eq!(judge(&rules, &view("/a")), Err(FirewallList::DenyPaths));
    }

    #[rstest]
    #[case("GET", None)]
    #[case("DELETE", Some(FirewallList::DenyMethods))]
    #[case("delete", Some(FirewallList::DenyMethods))]
    #[case("get", Some(FirewallList::AllowMethods))]
    #[case("PUT", Some(FirewallList::AllowMethods))]
    fn methods(#[case] method: &str, #[case] refused_by: Option<FirewallList>) {
        let rules = config::Firewall {
            deny_methods: strings(&["DELETE"]),
            allow_methods: strings(&["GET", "DELETE"]),
            ..Default::default()
        };
        assert_eq!(judge(&rules, &RequestView { method, ..view("/") }).err(), refused_by);
    }

    #[rstest]
    #[case(&[("X-Key", "1")], None)]
    #[case(&[], Some(FirewallList::AllowHeaders))]
    #[case(&[("x-key", "3")], Some(FirewallList::AllowHeaders))]
    #[case(&[("x-key", "3"), ("X-KEY", " 2 ")], None)]
    #[case(&[("x-key", "1"), ("x-bad", "")], Some(FirewallList::DenyHeaders))]
    #[case(&[("x-key", "1"), ("User-Agent", "ok"), ("user-agent", "a")], Some(FirewallList::DenyHeaders))]
    fn header_fields(#[case] headers: &[(&str, &str)], #[case] refused_by: Option<FirewallList>) {
        let rules = config::Firewall {
            allow_headers: vec![("x-key".into(), strings(&["1", "2"]))],
            deny_headers: vec![
                ("x-bad".into(), strings(&["*"])),
                ("user-agent".into(), strings(&["a", "b"])),
            ],
            ..Default::default()
        };
        assert_eq!(judge(&rules, &RequestView { headers: &headers, ..view("/") }).err(), refused_by);
    }

    #[test]
    fn no_rules_are_no_firewall() {
        assert!(Firewall::compile(&config::Firewall::default()).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1024))]

        /// Whatever program stands behind: what reaches it was not denied, and was allowed, or the path
        /// is one that the plan refuses because of its hidden dot segments.
        #[test]
        fn no_backend_reads_what_is_denied(path in dodges(), backend in backend()) {
            let Ok(normal) = path::normalise(&path) else { return Ok(()) };
            if path::doubt(&normal) == path::Doubt::Structure && Reading::of(&normal).dots {
                return Ok(());
            }
            let deny = config::Firewall { deny_paths: strings(&["/m"]), ..Default::default() };
            let allow = config::Firewall { allow_paths: strings(&["/m"]), ..Default::default() };
            let against = if backend.reads_m(&normal) { deny } else { allow };
            prop_assert!(judge(&against, &view(&path)).is_err(), "{:?}", normal);
        }
    }
}

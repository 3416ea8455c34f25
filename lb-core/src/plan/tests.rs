use alloc::{
    format,
    string::{String, ToString},
    vec,
};
use core::cmp::Reverse;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    config::{Match, PathMatch, RequestEdits, Route},
    path::backend::{backend, dodges},
};

fn route(name: &str, matches: Match) -> Route {
    Route {
        name: name.into(),
        timeout: None,
        matches,
        pool: "mango".into(),
        firewall: config::Firewall::default(),
        rate_limit: None,
        request: RequestEdits::default(),
        response: HeaderEdits::default(),
    }
}

fn on(host: &str, path: PathMatch) -> Match {
    Match { host: (!host.is_empty()).then(|| host.into()), path, ..Match::default() }
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.into())
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.into())
}

fn deny_paths(paths: &[&str]) -> config::Firewall {
    config::Firewall { deny_paths: paths.iter().map(ToString::to_string).collect(), ..Default::default() }
}

fn deny_everyone() -> config::Firewall {
    let everyone = ["0.0.0.0/0", "::/0"].map(|net| net.parse().unwrap());
    config::Firewall { deny_ips: everyone.into(), ..Default::default() }
}

fn config(routes: impl IntoIterator<Item = Route>) -> Config {
    let pools = ["mango", "apple"].map(|name| (name.to_string(), config::Pool::default()));
    Config { pools: pools.into(), routes: routes.into_iter().collect(), ..Config::default() }
}

fn plan(routes: impl IntoIterator<Item = Route>) -> Plan {
    Plan::of(&config(routes))
}

const NO_HEADERS: &[(&str, &str)] = &[];

/// `[METHOD ]host/path[?query]`; no host before the path is no authority.
fn view(request: &str) -> RequestView<'_> {
    let (method, target) = request.split_once(' ').unwrap_or(("GET", request));
    let (target, query) =
        target.split_once('?').map_or((target, None), |(target, query)| (target, Some(query)));
    let (host, path) = target.split_at(target.find(['/', '*']).unwrap_or(target.len()));
    RequestView {
        method,
        authority: (!host.is_empty()).then_some(host),
        path,
        query,
        headers: &NO_HEADERS,
        client: "55.55.55.55".parse().unwrap(),
    }
}

/// The name of the route, or the reason's code.
fn outcome(plan: &Plan, view: &RequestView<'_>) -> String {
    match plan.decide(view) {
        Decision::Forward { route, .. } => plan.route(route).name.to_string(),
        Decision::Refuse { reason, .. } => reason.code().to_string(),
    }
}

#[rstest]
#[case("www.mango.com/", "mango")]
#[case("WWW.MANGO.COM:8000/any/path", "mango")]
#[case("www.mango.com./", "mango")]
#[case("www.apple.com/mango", "apple")]
#[case("www.notmango.com/", "no_route")]
#[case("mango.com/", "no_route")]
#[case("localhost/mango", "mango-path")]
#[case("/mango", "mango-path")]
#[case("localhost//x/../%6dango", "mango-path")]
#[case("localhost/mango/", "no_route")]
#[case("localhost/notmango", "no_route")]
#[case("/", "no_route")]
#[case("a@www.mango.com/", "malformed_request")]
#[case("www.mango.com:x/", "malformed_request")]
#[case("www.mango.com/%", "malformed_request")]
#[case("www.mango.com*", "malformed_request")]
#[case("OPTIONS www.mango.com*", "mango")]
#[case("CONNECT www.mango.com", "method_not_implemented")]
fn the_course(#[case] request: &str, #[case] expected: &str) {
    let plan = plan([
        route("mango", on("www.mango.com", PathMatch::Any)),
        route("apple", on("www.apple.com", PathMatch::Any)),
        route("mango-path", on("", exact("/mango"))),
    ]);
    assert_eq!(outcome(&plan, &view(request)), expected);
}

#[rstest]
#[case("a.x.y/", "one.x.y")]
#[case("b.x.y/", "*.x.y")]
#[case("c.b.x.y/", "*.b.x.y")]
#[case("d.c.b.x.y/", "*.b.x.y")]
#[case("x.y/", "any")]
#[case("ax.y/", "any")]
#[case("a.x.y/only", "*.x.y exact")]
#[case("c.b.x.y/only", "*.b.x.y")]
#[case("a.x.y/p/q/r", "one.x.y")]
#[case("z/p/q/r", "/p/q")]
#[case("z/p/qr", "/p")]
#[case("z/p/", "/p")]
#[case("z/p", "/p")]
#[case("z/px", "any")]
#[case("POST z/p", "POST /p")]
#[case("z/p?a=1", "/p?a")]
#[case("POST z/p?a=1", "POST /p")]
#[case("z/t/u", "/t/")]
#[case("z/t", "/t/")]
#[case("OPTIONS z*", "any")]
fn the_most_specific_route_is_taken(#[case] request: &str, #[case] expected: &str) {
    let method = |method: &str, matches: Match| Match { methods: vec![method.into()], ..matches };
    let query = |matches: Match| Match { query: vec![("a".into(), "1".into())], ..matches };
    let plan = plan([
        route("any", Match::default()),
        route("root", on("", prefix("/root"))),
        route("/p?a", query(on("", prefix("/p")))),
        route("/p", on("", prefix("/p"))),
        route("/p again", on("", prefix("/p"))),
        route("/p/q", on("", prefix("/p/q"))),
        route("POST /p", method("POST", on("", prefix("/p")))),
        route("/t/", on("", prefix("/t/"))),
        route("*.x.y", on("*.X.y", prefix("/"))),
        route("*.x.y exact", on("*.x.y", exact("/only"))),
        route("*.b.x.y", on("*.b.x.y", PathMatch::Any)),
        route("one.x.y", on("a.x.y", prefix("/p"))),
        route("one.x.y", on("A.x.y.", exact("/"))),
    ]);
    assert_eq!(outcome(&plan, &view(request)), expected);
}

#[test]
fn the_normal_path_is_what_is_forwarded() {
    let plan = plan([route("all", Match::default())]);
    let request = view("a/x/..//%6dessages%2fb");
    let Decision::Forward { path, .. } = plan.decide(&request) else { panic!() };
    assert_eq!(path, "/messages%2Fb");
    let request = view("a/b?c");
    assert!(matches!(plan.decide(&request), Decision::Forward { path: Cow::Borrowed("/b"), .. }));
}

#[rstest]
#[case("a=1", true)]
#[case("a=%20%zz&&", true)]
#[case("a=1 HTTP/1.1", false)]
#[case("a=1\r\nX: y", false)]
#[case("a=\0", false)]
#[case("a=\x7f", false)]
fn queries_that_could_end_the_request_line_are_malformed(#[case] query: &str, #[case] passes: bool) {
    let plan = plan([route("all", Match::default())]);
    let view = RequestView { query: Some(query), ..view("a/") };
    assert_eq!(outcome(&plan, &view), if passes { "all" } else { "malformed_request" });
}

#[test]
fn the_global_firewall_comes_first() {
    let config =
        Config { firewall: deny_paths(&["/messages"]), ..config([route("a", on("a", PathMatch::Any))]) };
    let plan = Plan::of(&config);
    assert_eq!(outcome(&plan, &view("a/messages")), "firewall_global");
    assert_eq!(outcome(&plan, &view("unknown/messages")), "firewall_global");
    assert_eq!(outcome(&plan, &view("a/x/..%2fmessages")), "firewall_global");
    assert_eq!(outcome(&plan, &view("a/pictures")), "a");
}

#[rstest]
#[case("a/pictures", "all")]
#[case("a/admin", "firewall_route")]
#[case("a/admin/x", "firewall_route")]
#[case("a/%61dmin", "firewall_route")]
#[case("a//admin", "firewall_route")]
#[case("a/public/../admin", "firewall_route")]
#[case::escaped_slash("a/admin%2Fx", "firewall_route")]
#[case::escaped_slash_before("a/%2Fadmin", "firewall_route")]
#[case::parameters("a/admin;x", "firewall_route")]
#[case::backslash("a/admin\\x", "firewall_route")]
#[case::twice_encoded("a/%2561dmin", "firewall_route")]
#[case::hidden_dots("a/public/..%2Fadmin", "firewall_route")]
#[case::hidden_dots_by_parameters("a/public/..;/admin", "firewall_route")]
#[case::hidden_dots_elsewhere("a/public/..%2Fpictures", "malformed_request")]
#[case::harmless_escapes("a/public%20admin%2Fx;y", "all")]
#[case::open_parameters("a/;%2Fx/admin", "firewall_route")]
#[case::open_parameters_below("a/admin;%2Fx", "firewall_route")]
#[case::open_parameters_elsewhere("a/proxy/http:%2F%2Fhost%3Fq=a%2Fb", "all")]
fn a_route_with_a_firewall_cannot_be_avoided(#[case] request: &str, #[case] expected: &str) {
    let admin = Route { firewall: deny_everyone(), ..route("admin", on("", prefix("/admin"))) };
    let plan = plan([route("all", Match::default()), admin]);
    assert_eq!(outcome(&plan, &view(request)), expected);
}

/// Without any firewall, leaving a path without a route is how it is kept from the world.
#[test]
fn a_path_without_a_route_cannot_be_reached_by_hidden_dots() {
    let plan = plan([route("public", on("", prefix("/public")))]);
    assert_eq!(outcome(&plan, &view("a/public/a%2Fb")), "public");
    assert_eq!(outcome(&plan, &view("a/public/..%2Fadmin")), "malformed_request");
    assert_eq!(outcome(&plan, &view("a/public/..;/admin")), "malformed_request");
    assert_eq!(outcome(&plan, &view("a/public/%252e%252e/admin")), "malformed_request");
    assert_eq!(outcome(&plan, &view("a/public/../admin")), "no_route");
}

#[test]
fn a_refusal_names_the_route_whose_firewall_it_was() {
    let admin = Route { firewall: deny_everyone(), ..route("admin", on("", prefix("/admin"))) };
    let plan = plan([route("all", Match::default()), admin]);
    let refused = Decision::Refuse { reason: Reason::FirewallRoute, route: Some(RouteId(1)) };
    assert_eq!(plan.decide(&view("a/admin")), refused);
    assert_eq!(plan.decide(&view("a/admin%2F")), refused);
}

#[test]
fn ids_are_places_and_names_lead_to_them() {
    let plan = plan([route("first", on("a", PathMatch::Any)), route("second", Match::default())]);
    let names: Vec<&str> = plan.pools().iter().map(|pool| &*pool.name).collect();
    assert_eq!(names, ["apple", "mango"]);
    assert_eq!(plan.pool_named("mango"), Some(PoolId(1)));
    assert_eq!(plan.pool_named("orange"), None);
    assert_eq!(&*plan.pool(plan.route(RouteId(1)).pool).name, "mango");
    assert_ne!(plan.routes()[0].limiter_key, plan.routes()[1].limiter_key);
}

#[test]
fn the_explanation_tells_all() {
    let method = Match { methods: vec!["POST".into()], ..Match::default() };
    let header = Match { headers: vec![("x-a".into(), "1".into())], ..Match::default() };
    let query = Match { query: vec![("q".into(), "1".into())], ..Match::default() };
    let guarded = Route { firewall: deny_paths(&["/p"]), ..route("taken", on("a", prefix("/p"))) };
    let plan = plan([
        route("host", on("b", PathMatch::Any)),
        route("path", on("a", exact("/x"))),
        route("method", method),
        route("header", header),
        route("query", query),
        route("any", on("*.a", PathMatch::Any)),
        route("less", Match::default()),
        guarded,
    ]);
    let mut told = Vec::new();
    let decision = plan.decide_with(&view("A:80/p/./q"), &mut |event: Event<'_>| {
        told.push(match event {
            Event::Lost { route, why } => format!("{}: {why:?}", plan.route(route).name),
            Event::Taken { route } => format!("{}: taken", plan.route(route).name),
            Event::Refused { list, .. } => list.key().to_string(),
            event => format!("{event:?}"),
        });
    });
    assert_eq!(decision, Decision::Refuse { reason: Reason::FirewallRoute, route: Some(RouteId(7)) });
    let expected = [
        "Normal { host: Some(\"a\"), path: \"/p/q\" }",
        "host: Host",
        "path: Path",
        "method: Method",
        "header: Header(\"x-a\")",
        "query: Query(\"q\")",
        "any: Host",
        "less: Precedence",
        "taken: taken",
        "deny_paths",
    ];
    assert_eq!(told, expected);
}

#[test]
fn ten_thousand_hosts_find_their_routes() {
    let hosts = (0..10_000).map(|n| route(&format!("r{n}"), on(&format!("h{n}.example.com"), prefix("/"))));
    let wild = (0..100).map(|n| route(&format!("w{n}"), on(&format!("*.w{n}.example.com"), PathMatch::Any)));
    let plan = plan(hosts.chain(wild));
    for n in (0..10_000).step_by(97) {
        assert_eq!(outcome(&plan, &view(&format!("H{n}.example.com:80/a/b"))), format!("r{n}"));
    }
    assert_eq!(outcome(&plan, &view("a.w77.example.com/")), "w77");
    assert_eq!(outcome(&plan, &view("h10000.example.com/")), "no_route");
}

/// How specific a condition on the host is that matches; none for one that does not.
fn host_rank(pattern: Option<&str>, host: &str) -> Option<usize> {
    match pattern {
        None => Some(0),
        Some(pattern) if pattern == host => Some(usize::MAX),
        Some(pattern) => {
            let suffix = pattern.strip_prefix('*')?;
            (host.ends_with(suffix) && host.len() > suffix.len()).then_some(suffix.len())
        }
    }
}

fn path_rank(pattern: &PathMatch, path: &str) -> Option<usize> {
    match pattern {
        PathMatch::Any => Some(0),
        PathMatch::Exact(exact) => (exact == path).then_some(usize::MAX),
        PathMatch::Prefix(prefix) => {
            let prefix = format!("{}/", prefix.trim_end_matches('/'));
            format!("{path}/").starts_with(&prefix).then_some(prefix.len())
        }
    }
}

/// The greatest of all routes that match, looked at one by one.
fn brute_force(routes: &[Route], view: &RequestView<'_>) -> Option<usize> {
    let ranks = routes.iter().enumerate().filter_map(|(place, route)| {
        let Match { host, path, methods, headers, query } = &route.matches;
        let host = host_rank(host.as_deref(), view.authority.unwrap_or(""))?;
        let path = path_rank(path, view.path)?;
        let method = methods.is_empty() || methods.iter().any(|method| method == view.method);
        let header =
            headers.iter().all(|(name, value)| view.headers.any(name, &mut |v| v == value.as_bytes()));
        let parameters: Vec<&str> = view.query.unwrap_or("").split('&').collect();
        let parameter = query.iter().all(|(name, value)| parameters.contains(&&*format!("{name}={value}")));
        let rank = (host, path, !methods.is_empty(), headers.len(), query.len(), Reverse(place));
        (method && header && parameter).then_some(rank)
    });
    ranks.max().map(|(.., Reverse(place))| place)
}

fn a_host() -> impl Strategy<Value = String> {
    "([ab]\\.){0,2}[ab]"
}

fn a_pattern() -> impl Strategy<Value = Option<String>> {
    prop_oneof![Just(None), a_host().prop_map(Some), a_host().prop_map(|host| Some(format!("*.{host}")))]
}

fn a_path() -> impl Strategy<Value = String> {
    "(/[ab]{1,2}){0,3}/?".prop_map(|path| if path.is_empty() { "/".into() } else { path })
}

fn a_path_match() -> impl Strategy<Value = PathMatch> {
    prop_oneof![
        Just(PathMatch::Any),
        a_path().prop_map(PathMatch::Exact),
        a_path().prop_map(PathMatch::Prefix)
    ]
}

fn some_pairs(most: usize) -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::vec(("[xy]", "[12]"), 0..=most)
}

prop_compose! {
    fn a_match()(
        host in a_pattern(), path in a_path_match(), methods in proptest::collection::vec("GET|POST", 0..2),
        headers in some_pairs(1), query in some_pairs(1),
    ) -> Match {
        Match { host, path, methods, headers, query }
    }
}

proptest! {
    #[test]
    fn routing_equals_a_brute_force_scan(
        matches in proptest::collection::vec(a_match(), 0..24),
        requests in proptest::collection::vec(
            ("GET|POST", proptest::option::of(a_host()), a_path(), some_pairs(2), some_pairs(2)), 16,
        ),
    ) {
        let routes = (0..).zip(matches).map(|(n, matches): (u32, _)| route(&format!("r{n}"), matches));
        let config = config(routes);
        let plan = Plan::of(&config);
        for (method, host, path, headers, query) in &requests {
            let query = query.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
            let headers = &headers[..];
            let view = RequestView {
                method, authority: host.as_deref(), path, query: Some(&query), headers: &headers,
                client: "55.55.55.55".parse().unwrap(),
            };
            let mut best = None;
            let decision = plan.decide_with(&view, &mut |event: Event<'_>| {
                if let Event::Taken { route } = event {
                    assert_eq!(best.replace(route), None);
                }
            });
            let expected = brute_force(&config.routes, &view);
            prop_assert_eq!(best.map(|route| route.index()), expected);
            prop_assert_eq!(&decision, &plan.decide(&view));
            prop_assert_eq!(matches!(decision, Decision::Forward { .. }), expected.is_some());
        }
    }

    /// What matched but lost, and what did not match, are told apart by the same rules.
    #[test]
    fn explanations_are_of_one_mind_with_decisions(
        matches in proptest::collection::vec(a_match(), 0..12), host in a_host(), path in a_path(),
    ) {
        let routes = (0..).zip(matches).map(|(n, matches): (u32, _)| route(&format!("r{n}"), matches));
        let config = config(routes);
        let plan = Plan::of(&config);
        let view = RequestView { authority: Some(&host), path: &path, ..view("/") };
        let mut lost_by_precedence = Vec::new();
        let _ = plan.decide_with(&view, &mut |event: Event<'_>| {
            if let Event::Lost { route, why: Lost::Precedence } = event {
                lost_by_precedence.push(route.index());
            }
        });
        let mut rest = config.routes;
        let mut expected = Vec::new();
        let mut places: Vec<usize> = (0..rest.len()).collect();
        while let Some(best) = brute_force(&rest, &view) {
            rest.remove(best);
            expected.push(places.remove(best));
        }
        let mut expected: Vec<usize> = expected.into_iter().skip(1).collect();
        expected.sort_unstable();
        prop_assert_eq!(lost_by_precedence, expected);
    }

    /// Whatever program stands behind: it is not led to `/m` but by the route that guards it, and not
    /// out of the only path that has a route.
    #[test]
    fn no_backend_is_led_around_a_guarded_route(path in dodges(), backend in backend()) {
        let guarded = Route { firewall: deny_everyone(), ..route("guarded", on("", prefix("/m"))) };
        let guards = plan([route("all", Match::default()), guarded]);
        if let Decision::Forward { path, .. } = guards.decide(&view(&path)) {
            prop_assert!(!backend.reads_m(&path), "{:?}", path);
        }
        let path = format!("/public{path}");
        let only = plan([route("public", on("", prefix("/public")))]);
        if let Decision::Forward { path, .. } = only.decide(&view(&path)) {
            prop_assert!(!backend.reads_m(&path), "{:?}", path);
        }
    }

    #[test]
    fn nothing_that_a_client_sends_panics(method in "\\PC{0,4}", authority in ".{0,20}", path in ".{0,20}", query in ".{0,20}") {
        let admin = Route { firewall: deny_everyone(), ..route("admin", on("*.a", prefix("/admin"))) };
        let config = Config { firewall: deny_paths(&["/messages"]), ..config([route("all", Match::default()), admin]) };
        let view = RequestView {
            method: &method, authority: Some(&authority), path: &path, query: Some(&query), headers: &NO_HEADERS,
            client: "::1".parse().unwrap(),
        };
        let _ = Plan::of(&config).decide(&view);
    }
}

#[test]
fn a_request_has_the_key_that_its_pool_hashes() {
    let mut config = config([route("all", Match::default())]);
    let view = view("x/a/../b?u=1");
    let key = |config: &Config| {
        let plan = Plan::of(config);
        let Decision::Forward { route, path } = plan.decide(&view) else { unreachable!() };
        plan.key(route, &view, &path)
    };
    for (hashed, expected) in [
        (config::HashKey::Path, Some(hash(b"/b"))),
        (config::HashKey::Query("u".into()), Some(hash(b"1"))),
        (config::HashKey::Cookie("u".into()), None),
    ] {
        let mango = config.pools.get_mut("mango").unwrap();
        (mango.algorithm, mango.hash) = (config::Algorithm::Maglev, hashed);
        assert_eq!(key(&config), expected);
        config.pools.get_mut("mango").unwrap().algorithm = config::Algorithm::P2c;
        assert_eq!(key(&config), None, "nobody would use it");
    }
}

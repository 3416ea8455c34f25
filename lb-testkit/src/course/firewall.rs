//! Chapter 7: the intelligent firewall.

use super::{Cast, Kind, Miss, Role, Stage, Verdict, case::cases, pool, route};

pub(super) const ROLES: &[Role] = &[
    Role { name: "mango1", kind: Kind::App("mango"), port: 8081 },
    Role { name: "mango2", kind: Kind::App("mango"), port: 8082 },
    Role { name: "apple1", kind: Kind::App("apple"), port: 9082 },
];

cases! { Firewall:
    addresses_are_rejected = "Requests from 10.192.0.1 and 10.192.0.2 get 403 `Forbidden`.",
    other_addresses_pass = "55.55.55.55 passes with 200.",
    paths_are_rejected = "`/messages` and `/apps` get 403 `Forbidden`.",
    other_paths_pass = "`/pictures` passes with 200.",
    rules_are_the_routes_own = "Per route: what www.mango.com rejects, www.apple.com serves.",
    it_runs_before_the_choice = "The firewall runs before a backend is chosen.",
}

const REJECTED: [&str; 2] = ["10.192.0.1", "10.192.0.2"];
const FORBIDDEN: [&str; 2] = ["/messages", "/apps"];
const IP_HINT: &str =
    "The client's address comes in X-Forwarded-For here, from a proxy that the file says to trust.";
const PATH_HINT: &str = "Compare the path with the route's list before anything is forwarded.";

pub(super) fn config(cast: &Cast) -> String {
    let rules = format!("[route.firewall]\ndeny_ips = {REJECTED:?}\ndeny_paths = {FORBIDDEN:?}\n\n");
    [
        pool(cast, "mango", "random", &["mango1", "mango2"]),
        pool(cast, "apple", "random", &["apple1"]),
        route("mango", "host = \"www.mango.com\"", "mango"),
        rules,
        route("apple", "host = \"www.apple.com\"", "apple"),
    ]
    .concat()
}

async fn addresses_are_rejected(stage: &Stage) -> Verdict {
    for ip in REJECTED {
        let ask = stage.get("/").host("www.mango.com").header("X-Forwarded-For", ip);
        ask.send().await.contains(403, "Forbidden", IP_HINT)?;
    }
    Ok(())
}

async fn other_addresses_pass(stage: &Stage) -> Verdict {
    let ask = stage.get("/").host("www.mango.com").header("X-Forwarded-For", "55.55.55.55");
    ask.send().await.contains(200, "mango", IP_HINT)
}

async fn paths_are_rejected(stage: &Stage) -> Verdict {
    for path in FORBIDDEN {
        stage.get(path).host("www.mango.com").send().await.contains(403, "Forbidden", PATH_HINT)?;
    }
    Ok(())
}

async fn other_paths_pass(stage: &Stage) -> Verdict {
    stage.get("/pictures").host("www.mango.com").send().await.contains(200, "mango", PATH_HINT)
}

async fn rules_are_the_routes_own(stage: &Stage) -> Verdict {
    let hint = "Keep the rules with their route, and ask those of the route that the request takes.";
    let ask = stage.get("/messages").host("www.apple.com").header("X-Forwarded-For", REJECTED[0]);
    ask.send().await.contains(200, "apple", hint)
}

async fn it_runs_before_the_choice(stage: &Stage) -> Verdict {
    let hint =
        "Route, then firewall, then the choice of a backend: a rejected request costs no backend anything.";
    let mangos = [stage.cast.the("mango1")?, stage.cast.the("mango2")?];
    let ask = stage.get("/apps").host("www.mango.com");
    for _ in 0..5 {
        ask.send().await.contains(403, "Forbidden", hint)?;
    }
    for mango in mangos {
        if let Some(target) = mango.targets().await?.first() {
            let got = format!("a request for {target} at {}", mango.endpoint());
            return Err(Miss::failed(ask.to_string(), "no backend to see it", got, hint));
        }
        mango.stop().await?;
    }
    // With nobody to choose from, a choice made first would show.
    ask.send().await.contains(403, "Forbidden", hint)
}

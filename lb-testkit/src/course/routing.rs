//! Chapter 2: routing.

use super::{Cast, Kind, Role, Stage, Verdict, case::cases, pool, route};

pub(super) const ROLES: &[Role] = &[
    Role { name: "mango1", kind: Kind::App("mango"), port: 8081 },
    Role { name: "mango2", kind: Kind::App("mango"), port: 8082 },
    Role { name: "apple1", kind: Kind::App("apple"), port: 9081 },
    Role { name: "apple2", kind: Kind::App("apple"), port: 9082 },
];

cases! { Routing:
    a_host_reaches_mango = "`Host: www.mango.com` reaches a mango backend.",
    another_host_reaches_apple = "`Host: www.apple.com` reaches an apple backend.",
    an_unknown_host_is_not_found = "Any other host gets 404 with a body containing `Not Found`.",
    an_implicit_host_counts = "Explicit and implicit Host both count.",
    a_port_in_host_changes_nothing = "A port in Host does not change the match.",
    case_in_host_changes_nothing = "Case does not matter.",
    a_path_reaches_mango = "`/mango` reaches mango, whatever the Host.",
    another_path_reaches_apple = "`/apple` reaches apple, whatever the Host.",
    the_backend_sees_the_root = "With a path rule, the backend sees `/`.",
    an_unknown_path_is_not_found = "`/notmango` gets 404 `Not Found`.",
    hosts_come_before_paths = "Host rules come before path rules.",
    the_choice_is_random = "The choice among a pool's backends is random.",
}

pub(super) const MANGO: &str = "This is the mango application.";
pub(super) const APPLE: &str = "This is the apple application.";
const HOST_HINT: &str = "Look at the request's Host field and choose a backend of the pool that it names.";
const PATH_HINT: &str = "When no host rule matches, compare the path with the path rules.";

pub(super) fn config(cast: &Cast) -> String {
    [
        pool(cast, "mango", "random", &["mango1", "mango2"]),
        pool(cast, "apple", "random", &["apple1", "apple2"]),
        route("mango", "host = \"www.mango.com\"", "mango"),
        route("apple", "host = \"www.apple.com\"", "apple"),
        path_route("/mango", "mango"),
        path_route("/apple", "apple"),
    ]
    .concat()
}

/// A path rule of the course: the backend sees `/`.
pub(super) fn path_route(path: &str, pool: &str) -> String {
    let route = route(&format!("{pool}-path"), &format!("path = \"{path}\""), pool);
    format!("{}\n[route.request]\nrewrite_path = \"/\"\n\n", route.trim_end())
}

async fn a_host_reaches_mango(stage: &Stage) -> Verdict {
    stage.get("/").host("www.mango.com").send().await.contains(200, MANGO, HOST_HINT)
}

async fn another_host_reaches_apple(stage: &Stage) -> Verdict {
    stage.get("/").host("www.apple.com").send().await.contains(200, APPLE, HOST_HINT)
}

async fn an_unknown_host_is_not_found(stage: &Stage) -> Verdict {
    let hint =
        "A host that no rule names, and a path that no rule names: answer 404 with the text Not Found.";
    for host in ["www.notmango.com", "mango.com", "www.mango.com.evil.test"] {
        stage.get("/").host(host).send().await.contains(404, "Not Found", hint)?;
    }
    stage.get("/").send().await.contains(404, "Not Found", hint)
}

async fn an_implicit_host_counts(stage: &Stage) -> Verdict {
    let hint =
        "A client that is given http://www.mango.com:PORT/ makes the Host from the URL, port included.";
    let host = format!("www.mango.com:{}", stage.balancer.port());
    stage.get("/").host(&host).send().await.contains(200, MANGO, hint)
}

async fn a_port_in_host_changes_nothing(stage: &Stage) -> Verdict {
    let hint = "Cut the port off the Host before you compare.";
    for host in ["www.apple.com:80", "www.apple.com:8000", "www.apple.com:5000"] {
        stage.get("/").host(host).send().await.contains(200, APPLE, hint)?;
    }
    Ok(())
}

async fn case_in_host_changes_nothing(stage: &Stage) -> Verdict {
    let hint = "Host names have no case: compare them in lower case.";
    for host in ["WWW.MANGO.COM", "Www.Mango.Com"] {
        stage.get("/").host(host).send().await.contains(200, MANGO, hint)?;
    }
    Ok(())
}

async fn a_path_reaches_mango(stage: &Stage) -> Verdict {
    stage.get("/mango").send().await.contains(200, MANGO, PATH_HINT)?;
    stage.get("/mango").host("www.notmango.com").send().await.contains(200, MANGO, PATH_HINT)
}

async fn another_path_reaches_apple(stage: &Stage) -> Verdict {
    stage.get("/apple").send().await.contains(200, APPLE, PATH_HINT)?;
    stage.get("/apple").host("www.notapple.com").send().await.contains(200, APPLE, PATH_HINT)
}

async fn the_backend_sees_the_root(stage: &Stage) -> Verdict {
    let hint = "The path chose the backend; what you forward is a request for /.";
    for (path, names) in [("/mango", ["mango1", "mango2"]), ("/apple", ["apple1", "apple2"])] {
        let answer = stage.get(path).send().await;
        answer.must(answer.status() == Some(200), "200", hint)?;
        let mut seen = Vec::new();
        for name in names {
            seen.extend(stage.cast.the(name)?.targets().await?);
        }
        if seen != ["/"] {
            let got = format!("requests for {seen:?} at its backends");
            return Err(super::Miss::failed(answer.sent, "one request, for /, at a backend", got, hint));
        }
    }
    Ok(())
}

async fn an_unknown_path_is_not_found(stage: &Stage) -> Verdict {
    stage.get("/notmango").send().await.contains(404, "Not Found", "No rule names this path.")
}

async fn hosts_come_before_paths(stage: &Stage) -> Verdict {
    let hint = "Look for a host rule first, and at the paths only when there is none.";
    stage.get("/apple").host("www.mango.com").send().await.contains(200, MANGO, hint)?;
    stage.get("/mango").host("www.apple.com").send().await.contains(200, APPLE, hint)
}

async fn the_choice_is_random(stage: &Stage) -> Verdict {
    let hint = "Draw a backend of the pool for each request, each with the same chance.";
    let ask = stage.get("/").host("www.mango.com");
    stage.served_by(&ask, &["mango1", "mango2"], 40, hint).await?;
    stage.served_by(&ask.host("www.apple.com"), &["apple1", "apple2"], 40, hint).await
}

//! Chapter 4: health checks.

use super::{
    Answer, Cast, CheckUp, Kind, Role, Stage, Tempo, Verdict, case::cases, pool, route, routing::path_route,
};

pub(super) const ROLES: &[Role] = &[
    Role { name: "mango1", kind: Kind::App("mango"), port: 8081 },
    Role { name: "mango2", kind: Kind::App("mango"), port: 8082 },
    Role { name: "mango3", kind: Kind::App("mango"), port: 9081 },
    Role { name: "apple1", kind: Kind::App("apple"), port: 9082 },
    Role { name: "nobody1", kind: Kind::Nobody, port: 9999 },
    Role { name: "nobody2", kind: Kind::Nobody, port: 8888 },
    Role { name: "orange1", kind: Kind::Nobody, port: 1111 },
    Role { name: "orange2", kind: Kind::Nobody, port: 1212 },
];

cases! { Health:
    each_backend_is_probed = "Each backend is probed on a path, again and again.",
    a_2xx_is_healthy = "2xx is healthy.",
    another_status_is_not = "Another status is not healthy: only the other backends are picked.",
    a_refused_connection_is_not = "A refused connection is not healthy: only the other backends are picked.",
    a_timeout_is_not = "A timeout is not healthy: only the other backends are picked.",
    a_backend_that_recovers_is_picked_again = "A backend whose probes pass again is picked again.",
    none_healthy_is_unavailable = "A pool with none answers 503 `No Backends servers available`.",
    none_healthy_is_said_in_json = "A client whose Accept prefers JSON gets `{\"error\": \"No healthy backends\"}`.",
    the_one_that_is_up_answers = "www.apple.com with one server up and two down always answers from the one.",
    nobody_at_all_is_unavailable = "www.orange.com always answers 503.",
}

const ALL: [&str; 3] = ["mango1", "mango2", "mango3"];
const OTHERS: [&str; 2] = ["mango2", "mango3"];
const PATH: &str = "/healthcheck";
const HINT: &str = "Probe every backend at the interval that the file gives, in the background, and pick \
                    only among those whose last probe was answered with 2xx in time.";
pub(super) const NONE_HINT: &str = "When no backend of the pool is healthy, answer yourself: 503.";

pub(super) fn config(cast: &Cast, tempo: Tempo) -> String {
    [
        pool(cast, "mango", "random", &ALL),
        tempo.sections("mango", PATH),
        pool(cast, "apple", "random", &["apple1", "nobody1", "nobody2"]),
        tempo.sections("apple", PATH),
        pool(cast, "orange", "random", &["orange1", "orange2"]),
        tempo.sections("orange", PATH),
        route("mango", "host = \"www.mango.com\"", "mango"),
        route("apple", "host = \"www.apple.com\"", "apple"),
        route("orange", "host = \"www.orange.com\"", "orange"),
        path_route("/mango", "mango"),
        path_route("/apple", "apple"),
    ]
    .concat()
}

/// Waits until all three mangos are picked, whatever a case before this one did to them.
async fn settled(stage: &Stage) -> Verdict {
    stage.soon_served_by(&stage.get("/").host("www.mango.com"), &ALL, HINT).await
}

/// All that are not `mango1` serve, soon.
async fn soon_without_mango1(stage: &Stage) -> Verdict {
    stage.soon_served_by(&stage.get("/").host("www.mango.com"), &OTHERS, HINT).await
}

async fn each_backend_is_probed(stage: &Stage) -> Verdict {
    for name in ["mango1", "mango2", "mango3", "apple1"] {
        let backend = stage.cast.the(name)?;
        stage.probed_twice(name, HINT).await?;
        if let Some(other) = backend.checks().await?.iter().find(|path| *path != PATH) {
            let expected = format!("probes of {PATH}");
            return Err(super::Miss::failed("nothing", expected, format!("{other} at {name}"), HINT));
        }
    }
    Ok(())
}

async fn a_2xx_is_healthy(stage: &Stage) -> Verdict {
    settled(stage).await?;
    let mango1 = stage.cast.the("mango1")?;
    for status in [201, 204, 299] {
        mango1.check_up(CheckUp::Status(status)).await?;
        stage.probed_twice("mango1", HINT).await?;
        stage.served_by(&stage.get("/").host("www.mango.com"), &ALL, 40, HINT).await?;
    }
    Ok(())
}

async fn another_status_is_not(stage: &Stage) -> Verdict {
    for status in [500, 404, 302] {
        settled(stage).await?;
        stage.cast.the("mango1")?.check_up(CheckUp::Status(status)).await?;
        soon_without_mango1(stage).await?;
        stage.cast.the("mango1")?.check_up(CheckUp::Normal).await?;
    }
    Ok(())
}

async fn a_refused_connection_is_not(stage: &Stage) -> Verdict {
    settled(stage).await?;
    stage.cast.the("mango1")?.stop().await?;
    soon_without_mango1(stage).await
}

async fn a_timeout_is_not(stage: &Stage) -> Verdict {
    settled(stage).await?;
    stage.cast.the("mango1")?.check_up(CheckUp::Hang).await?;
    soon_without_mango1(stage).await
}

async fn a_backend_that_recovers_is_picked_again(stage: &Stage) -> Verdict {
    settled(stage).await?;
    let mango1 = stage.cast.the("mango1")?;
    mango1.check_up(CheckUp::Status(500)).await?;
    soon_without_mango1(stage).await?;
    mango1.check_up(CheckUp::Normal).await?;
    settled(stage).await?;
    mango1.stop().await?;
    soon_without_mango1(stage).await?;
    mango1.start().await?;
    settled(stage).await
}

/// Takes all mangos away and waits until the balancer has noticed.
async fn none_left(stage: &Stage) -> Verdict {
    settled(stage).await?;
    for name in ALL {
        stage.cast.the(name)?.stop().await?;
    }
    soon_unavailable(stage, "www.mango.com").await
}

/// Soon there are ten answers of 503 in a row.
pub(super) async fn soon_unavailable(stage: &Stage, host: &str) -> Verdict {
    let mut patience = stage.patience();
    let ask = stage.get("/").host(host);
    let mut row = 0;
    while row < 10 {
        let answer = ask.send().await;
        if answer.status() == Some(503) {
            row += 1;
        } else {
            row = 0;
            patience.again(answer.miss("503", NONE_HINT)).await?;
        }
    }
    Ok(())
}

async fn none_healthy_is_unavailable(stage: &Stage) -> Verdict {
    none_left(stage).await?;
    let said = |answer: &Answer| answer.contains(503, "No Backends servers available", NONE_HINT);
    stage.soon(&stage.get("/").host("www.mango.com"), said).await?;
    stage.soon(&stage.get("/mango"), said).await
}

async fn none_healthy_is_said_in_json(stage: &Stage) -> Verdict {
    none_left(stage).await?;
    let ask = stage.get("/").host("www.mango.com");
    stage.soon(&ask.header("Accept", "application/json"), said_in_json).await
}

/// The guide's words, however they are spaced.
pub(super) fn said_in_json(answer: &Answer) -> Verdict {
    let hint = "The client's Accept field names application/json and not text/plain: answer in JSON.";
    let text: String =
        answer.text().split_whitespace().collect::<Vec<_>>().join(" ").replace("\":\"", "\": \"");
    let is_json = answer.came.as_ref().is_ok_and(|response| {
        response
            .header("content-type")
            .is_some_and(|content_type| content_type.starts_with("application/json"))
    });
    let holds = answer.status() == Some(503) && text == "{\"error\": \"No healthy backends\"}" && is_json;
    answer.must(holds, "503 {\"error\": \"No healthy backends\"} with Content-Type: application/json", hint)
}

async fn the_one_that_is_up_answers(stage: &Stage) -> Verdict {
    let ask = stage.get("/").host("www.apple.com");
    stage.soon_served_by(&ask, &["apple1"], HINT).await?;
    stage.served_by(&ask, &["apple1"], 100, HINT).await
}

async fn nobody_at_all_is_unavailable(stage: &Stage) -> Verdict {
    soon_unavailable(stage, "www.orange.com").await?;
    for _ in 0..20 {
        stage.get("/").host("www.orange.com").send().await.contains(503, "", NONE_HINT)?;
    }
    Ok(())
}

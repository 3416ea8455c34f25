//! The one-page guide: round robin and health checks.

use super::{Cast, Kind, Role, Stage, Tempo, Verdict, case::cases, health, pool};

pub(super) const ROLES: &[Role] = &[
    Role { name: "backend1", kind: Kind::Guide, port: 8001 },
    Role { name: "backend2", kind: Kind::Guide, port: 8002 },
];

cases! { Guide:
    backends_greet_in_turns = "Two backends answer in turns: `Hello from backend1`, `Hello from backend2`.",
    health_is_probed = "`/health` is probed at each backend, every interval.",
    a_stopped_backend_gets_nothing = "Stop backend1: within one interval every request goes to backend2.",
    a_started_backend_serves_again = "Start it again: within one interval both serve.",
    no_request_fails_meanwhile = "With passive detection and retries no request fails meanwhile.",
    none_healthy_is_said_in_json = "With no backend left, `{\"error\": \"No healthy backends\"}` and 503.",
}

const BOTH: [&str; 2] = ["backend1", "backend2"];
const HINT: &str = "Probe /health in the background, keep the list of those that answered, and go round it.";

pub(super) fn config(cast: &Cast, tempo: Tempo) -> String {
    let pool = pool(cast, "guide", "round_robin", &BOTH);
    let health = tempo.sections("guide", "/health");
    format!("{pool}{health}[[route]]\nname = \"everything\"\npool = \"guide\"\n")
}

/// Waits until both serve, whatever a case before this one did to them.
async fn settled(stage: &Stage) -> Verdict {
    stage.soon_served_by(&stage.get("/"), &BOTH, HINT).await
}

async fn backends_greet_in_turns(stage: &Stage) -> Verdict {
    settled(stage).await?;
    let mut last = None;
    for _ in 0..20 {
        let answer = stage.get("/").send().await;
        let name = stage.who(&answer);
        answer.must(name.is_some() && name != last, "200 from the other backend than before", HINT)?;
        answer.is(200, &format!("{{\"message\": \"Hello from {}\"}}", name.unwrap_or_default()), HINT)?;
        last = name;
    }
    Ok(())
}

async fn health_is_probed(stage: &Stage) -> Verdict {
    for name in BOTH {
        stage.probed_twice(name, HINT).await?;
    }
    Ok(())
}

async fn a_stopped_backend_gets_nothing(stage: &Stage) -> Verdict {
    settled(stage).await?;
    stage.cast.the("backend1")?.stop().await?;
    stage.soon_served_by(&stage.get("/"), &["backend2"], HINT).await
}

async fn a_started_backend_serves_again(stage: &Stage) -> Verdict {
    settled(stage).await?;
    let backend1 = stage.cast.the("backend1")?;
    backend1.stop().await?;
    stage.soon_served_by(&stage.get("/"), &["backend2"], HINT).await?;
    backend1.start().await?;
    settled(stage).await
}

async fn no_request_fails_meanwhile(stage: &Stage) -> Verdict {
    settled(stage).await?;
    for (stopped, other) in [("backend1", "backend2"), ("backend2", "backend1")] {
        let backend = stage.cast.the(stopped)?;
        backend.stop().await?;
        always_200_until(stage, &[other]).await?;
        backend.start().await?;
        always_200_until(stage, &BOTH).await?;
    }
    Ok(())
}

/// Sends requests, every one of which must be answered with 200, until twenty in a row came from exactly
/// `names`.
async fn always_200_until(stage: &Stage, names: &[&str]) -> Verdict {
    let hint = "When a backend refuses a connection, try another one for the same request.";
    let mut patience = stage.patience();
    let mut row = Vec::new();
    loop {
        let answer = stage.get("/").send().await;
        let name = stage.who(&answer).filter(|_| answer.status() == Some(200));
        let Some(name) = name else { return Err(answer.miss("200 from one of the two", hint)) };
        if names.contains(&name) {
            row.push(name);
        } else {
            row.clear();
        }
        let recent = &row[row.len().saturating_sub(20)..];
        if recent.len() == 20 && names.iter().all(|name| recent.contains(name)) {
            return Ok(());
        }
        patience
            .again(answer.miss(format!("answers from {} and nobody else", names.join(" and ")), HINT))
            .await?;
    }
}

async fn none_healthy_is_said_in_json(stage: &Stage) -> Verdict {
    settled(stage).await?;
    for name in BOTH {
        stage.cast.the(name)?.stop().await?;
    }
    health::soon_unavailable(stage, &stage.balancer.to_string()).await?;
    stage.soon(&stage.get("/").header("Accept", "application/json"), health::said_in_json).await
}

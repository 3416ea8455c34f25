//! Chapter 1: theory and a skeleton.

use super::{Cast, Kind, Role, Stage, Verdict, case::cases, pool};

pub(super) const ROLES: &[Role] = &[Role { name: "hello", kind: Kind::Text("hello, world"), port: 8081 }];

cases! { Skeleton:
    the_skeleton_says_hello = "The skeleton answers `GET /` with a body containing `hello`.",
}

pub(super) fn config(cast: &Cast) -> String {
    let pool = pool(cast, "hello", "round_robin", &["hello"]);
    format!("{pool}[[route]]\nname = \"everything\"\npool = \"hello\"\n")
}

async fn the_skeleton_says_hello(stage: &Stage) -> Verdict {
    let hint = "Listen at the address that you are given and answer GET / with the word hello; \
                no backend is needed for it yet.";
    stage.get("/").send().await.contains(200, "hello", hint)
}

//! Chapter 3: configuration.

use super::{
    Cast, FileGiven, Kind, Launched, Miss, Role, Stage, Tempo, Verdict,
    case::cases,
    pool, route,
    routing::{APPLE, MANGO, path_route},
};

pub(super) const ROLES: &[Role] = &[
    Role { name: "mango1", kind: Kind::App("mango"), port: 8081 },
    Role { name: "mango2", kind: Kind::App("mango"), port: 8082 },
    Role { name: "apple1", kind: Kind::App("apple"), port: 9081 },
    Role { name: "apple2", kind: Kind::App("apple"), port: 9082 },
];

cases! { Configuration:
    hosts_come_from_the_file = "Nothing about hosts stays in code: a file gives them.",
    paths_come_from_the_file = "Nothing about paths stays in code: a file gives them.",
    backends_come_from_the_file = "Nothing about backends stays in code: a file gives them.",
    nothing_else_is_known = "What the file does not name is not found, whatever earlier chapters had.",
    a_missing_file_stops_the_start = "A file that cannot be read stops the start with a message that names it.",
    a_broken_file_stops_the_start = "A file that is no TOML stops the start; the message names file and line.",
    an_invalid_file_stops_the_start =
        "A file that does not validate stops the start with a message that names file, line and key.",
}

const HINT: &str = "Read hosts, paths and their backends from the file that you are started with. \
                    The names in this chapter's file are new at every run.";

/// Names that no code can know: they are made of the ports that this cast happens to have.
fn fresh(cast: &Cast) -> (String, String) {
    (
        format!("www.kiwi-{}.com", cast.address("mango1").port()),
        format!("/plum-{}", cast.address("apple1").port()),
    )
}

pub(super) fn config(cast: &Cast) -> String {
    let (host, path) = fresh(cast);
    [
        pool(cast, "mango", "random", &["mango1", "mango2"]),
        pool(cast, "apple", "random", &["apple1", "apple2"]),
        route("kiwi", &format!("host = \"{host}\""), "mango"),
        path_route(&path, "apple"),
    ]
    .concat()
}

async fn hosts_come_from_the_file(stage: &Stage) -> Verdict {
    let (host, _) = fresh(&stage.cast);
    stage.get("/").host(&host).send().await.contains(200, MANGO, HINT)
}

async fn paths_come_from_the_file(stage: &Stage) -> Verdict {
    let (_, path) = fresh(&stage.cast);
    stage.get(&path).send().await.contains(200, APPLE, HINT)
}

async fn backends_come_from_the_file(stage: &Stage) -> Verdict {
    let (host, path) = fresh(&stage.cast);
    stage.served_by(&stage.get("/").host(&host), &["mango1", "mango2"], 40, HINT).await?;
    stage.served_by(&stage.get(&path), &["apple1", "apple2"], 40, HINT).await
}

async fn nothing_else_is_known(stage: &Stage) -> Verdict {
    for host in ["www.mango.com", "www.apple.com"] {
        stage.get("/").host(host).send().await.contains(404, "Not Found", HINT)?;
    }
    stage.get("/mango").send().await.contains(404, "Not Found", HINT)
}

async fn a_missing_file_stops_the_start(stage: &Stage) -> Verdict {
    let launched = launch(stage, FileGiven::Missing).await?;
    refused(&launched, "a file that is not there", &[&launched.file])
}

async fn a_broken_file_stops_the_start(stage: &Stage) -> Verdict {
    check_invalid(stage, "[[route]]", "[[route]", None).await
}

async fn an_invalid_file_stops_the_start(stage: &Stage) -> Verdict {
    check_invalid(stage, "algorithm = \"random\"", "algorithm = \"rendom\"", Some("algorithm")).await?;
    check_invalid(stage, "algorithm = \"random\"", "algorithm = 5", Some("algorithm")).await?;
    check_invalid(stage, "algorithm = ", "algorythm = ", Some("algorythm")).await?;
    check_invalid(stage, "pool = \"mango\"", "pool = \"mongo\"", Some("pool")).await?;
    check_invalid(stage, "127.0.0.1:", "127.0.0.1.7:", Some("backends")).await
}

/// Puts a mistake into the pools and routes of the chapter's file, and expects to be told where it is.
async fn check_invalid(stage: &Stage, right: &str, wrong: &str, key: Option<&str>) -> Verdict {
    let listen = ([127, 0, 0, 1], 0).into();
    let text = super::Chapter::Configuration.config(listen, &stage.cast, Tempo::default());
    // The listener's part stays as it is.
    let pools = text.find("[pool").unwrap_or_default();
    let (head, tail) = text.split_at(pools);
    let text = format!("{head}{}", tail.replacen(right, wrong, 1));
    let line = 1 + text.lines().take_while(|line| !line.contains(wrong)).count();
    let launched = launch(stage, FileGiven::Text(&text)).await?;
    let mut named = vec![launched.file.clone(), line.to_string()];
    named.extend(key.map(str::to_owned));
    let named: Vec<_> = named.iter().map(String::as_str).collect();
    refused(&launched, &format!("a file whose line {line} has `{wrong}`"), &named)
}

fn refused(launched: &Launched, given: &str, named: &[&str]) -> Verdict {
    let hint = "Check the whole file before you listen; on a problem say where it is and exit with a code \
                other than 0.";
    let stopped = launched.exit_code.is_some_and(|code| code != 0);
    if stopped && named.iter().all(|part| launched.message.contains(part)) {
        return Ok(());
    }
    let got = match launched.exit_code {
        None => "it serves".into(),
        Some(code) => format!("exit code {code} and the message {:?}", launched.message),
    };
    let expected = format!("an exit code other than 0 and a message that names {}", named.join(", "));
    Err(Miss::failed(format!("a start with {given}"), expected, got, hint))
}

async fn launch(stage: &Stage, file: FileGiven<'_>) -> Result<Launched, Miss> {
    let Some(launcher) = &stage.launcher else {
        return Err(Miss::Skipped(
            "the suite was not told how to start this balancer with another file".into(),
        ));
    };
    let cannot = |error| Miss::failed("a start of the balancer", "it to be possible", format!("{error}"), "");
    launcher.launch(file).await.map_err(cannot)
}

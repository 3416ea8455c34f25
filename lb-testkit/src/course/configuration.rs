//! Chapter 3: configuration.

use std::net::SocketAddr;

use super::{
    Came, Cast, Chapter, FileGiven, Kind, Launched, Miss, Role, Stage, Tempo, Texts, Verdict,
    case::cases,
    convert, free_listen_address, pool, route,
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
    a_course_file_is_converted = "The course's own YAML file can be converted, and the balancer serves it.",
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
    let launched = launch(stage, free_listen_address()?, FileGiven::Missing).await?;
    let (toml, json) = (launched.toml_file.clone(), launched.json_file.clone());
    refused(&launched, "a file that is not there", &[vec![toml], vec![json]])
}

/// A mistake: what is right in the chapter's file, in either form, and what stands there instead.
struct Mistake {
    toml: [String; 2],
    json: [String; 2],
    /// The key that a message must name; none where the file as such is broken.
    key: Option<&'static str>,
}

/// `key = value`, with a value that is written alike in both forms, and what stands there instead.
fn pair(right: [&str; 2], wrong: [&'static str; 2]) -> Mistake {
    Mistake {
        toml: [right, wrong].map(|[key, value]| format!("{key} = {value}")),
        json: [right, wrong].map(|[key, value]| format!("\"{key}\": {value}")),
        key: Some(wrong[0]),
    }
}

async fn a_broken_file_stops_the_start(stage: &Stage) -> Verdict {
    let toml = ["[[route]]", "[[route]"].map(str::to_owned);
    let json = ["\"route\":", "\"route:"].map(str::to_owned);
    check_mistake(stage, &Mistake { toml, json, key: None }).await
}

async fn an_invalid_file_stops_the_start(stage: &Stage) -> Verdict {
    let mango1 = stage.cast.address("mango1");
    let address = [format!("\"{mango1}\""), format!("\"{}.7:{}\"", mango1.ip(), mango1.port())];
    let mistakes = [
        pair(["algorithm", "\"random\""], ["algorithm", "\"rendom\""]),
        pair(["algorithm", "\"random\""], ["algorithm", "5"]),
        pair(["algorithm", ""], ["algorythm", ""]),
        pair(["pool", "\"mango\""], ["pool", "\"mongo\""]),
        Mistake { toml: address.clone(), json: address, key: Some("backends") },
    ];
    for mistake in &mistakes {
        check_mistake(stage, mistake).await?;
    }
    Ok(())
}

/// Puts a mistake into the pools and routes of the chapter's file, and expects to be told where it is:
/// in the TOML file or in the JSON file, whichever the balancer reads.
async fn check_mistake(stage: &Stage, mistake: &Mistake) -> Verdict {
    let listen = free_listen_address()?;
    let mut texts = Texts::of(Chapter::Configuration.config(listen, &stage.cast, Tempo::default()))?;
    // The listener's part stays as it is.
    let toml_line = spoil(&mut texts.toml, "[pool", &mistake.toml);
    let json_line = spoil(&mut texts.json, "\"pool\"", &mistake.json);
    let launched = launch(stage, listen, FileGiven::Text(&texts)).await?;
    let [mut toml, mut json] = [(&launched.toml_file, toml_line), (&launched.json_file, json_line)]
        .map(|(file, line)| vec![file.clone(), line.to_string()]);
    toml.extend(mistake.key.map(str::to_owned));
    json.extend(mistake.key.map(str::to_owned));
    let given = format!("a file whose line {toml_line} has `{}`", mistake.toml[1]);
    refused(&launched, &given, &[toml, json])
}

/// Replaces the first `right` after `start`; gives the line where that is.
fn spoil(text: &mut String, start: &str, [right, wrong]: &[String; 2]) -> usize {
    let (head, tail) = text.split_at(text.find(start).unwrap_or_default());
    let before = tail.find(right.as_str()).map_or(tail, |at| &tail[..at]);
    let line = 1 + head.matches('\n').count() + before.matches('\n').count();
    *text = format!("{head}{}", tail.replacen(right.as_str(), wrong, 1));
    line
}

/// Whether a message has this word in it; a number counts only as a whole.
fn names(message: &str, word: &str) -> bool {
    let mut numbers = message.split(|c: char| !c.is_ascii_digit());
    if word.bytes().all(|byte| byte.is_ascii_digit()) {
        numbers.any(|number| number == word)
    } else {
        message.contains(word)
    }
}

/// It must have ended with a message that has all words of one of these sets.
fn refused(launched: &Launched, given: &str, named: &[Vec<String>]) -> Verdict {
    let hint = "Check the whole file before you listen; on a problem say where it is and exit with a code \
                other than 0.";
    let got = match &launched.came {
        Came::Ended { exit_code, message } => {
            let all_of = |words: &Vec<String>| words.iter().all(|word| names(message, word));
            if exit_code.is_some_and(|code| code != 0) && named.iter().any(all_of) {
                return Ok(());
            }
            let code = exit_code.map_or_else(|| "no exit code".into(), |code| format!("exit code {code}"));
            format!("{code} and the message {message:?}")
        }
        Came::Serves(_) => "it serves".into(),
    };
    let named: Vec<_> = named.iter().map(|words| words.join(", ")).collect();
    let expected = format!("an exit code other than 0 and a message that names {}", named.join("; or "));
    Err(Miss::failed(format!("a start with {given}"), expected, got, hint))
}

async fn launch(stage: &Stage, listen: SocketAddr, file: FileGiven<'_>) -> Result<Launched, Miss> {
    let Some(launcher) = &stage.launcher else {
        return Err(Miss::Skipped(
            "the suite was not told how to start this balancer with another file".into(),
        ));
    };
    let hint = "Started with a file, a balancer ends with a message or listens at the address in it.";
    let cannot =
        |error| Miss::failed("a start of the balancer", "it to end or to listen", format!("{error}"), hint);
    launcher.launch(listen, file).await.map_err(cannot)
}

async fn a_course_file_is_converted(stage: &Stage) -> Verdict {
    let hint = "This starts your balancer anew, with a file that was made from the course's YAML by \
                `cargo xtask course convert`.";
    let (host, path) = fresh(&stage.cast);
    let [mango1, mango2, apple1] = ["mango1", "mango2", "apple1"].map(|name| stage.cast.address(name));
    let yaml = format!(
        "hosts:\n  - host: {host}\n    servers:\n      - {mango1}\n      - {mango2}\n\
         paths:\n  - path: {path}\n    servers: [{apple1}]\n"
    );
    let listen = free_listen_address()?;
    let converted = convert(&yaml, listen).map_err(|error| std::io::Error::other(error.to_string()))?;
    let launched = launch(stage, listen, FileGiven::Text(&Texts::of(converted)?)).await?;
    if let Came::Ended { exit_code, message } = &launched.came {
        let got = format!("exit code {exit_code:?} and the message {message:?}");
        return Err(Miss::failed("a start with the converted file", "it to serve", got, hint));
    }
    let (by_host, by_path) = (stage.get("/").host(&host).at(listen), stage.get(&path).at(listen));
    stage.served_by(&by_host, &["mango1", "mango2"], 40, hint).await?;
    stage.served_by(&by_path, &["apple1"], 10, hint).await?;
    stage.get("/").at(listen).send().await.contains(404, "Not Found", hint)
}

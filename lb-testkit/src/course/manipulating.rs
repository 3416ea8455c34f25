//! Chapter 5: manipulating the request.

use super::{Answer, Cast, Kind, Miss, Role, Stage, Verdict, case::cases, pool, route};

pub(super) const ROLES: &[Role] = &[
    Role { name: "mango1", kind: Kind::App("mango"), port: 8081 },
    Role { name: "mango2", kind: Kind::App("mango"), port: 8082 },
    Role { name: "mango3", kind: Kind::App("mango"), port: 9081 },
    Role { name: "apple1", kind: Kind::App("apple"), port: 9082 },
];

cases! { Manipulating:
    a_header_is_added = "www.mango.com adds `MyCustomHeader: Test`.",
    a_header_is_removed = "It removes `Host`: the backend then sees its own host:port as Host.",
    a_parameter_is_added = "It adds the parameter `MyCustomParam=Test`.",
    a_parameter_is_removed = "It removes the parameter `RemoveMe`.",
    all_at_once = "`/` with `?RemoveMe=Remove` answers with everything in one sentence.",
    other_parameters_stay = "What no rule names stays as it came.",
    a_path_is_replaced = "It replaces `v1` by `v2` in the path: `/v1` answers `This is V2`.",
    no_rules_change_nothing = "www.apple.com, with no rules, answers with None, its own Host, and None.",
    paths_answer_with_the_endpoint = "`/mango` and `/apple` answer with the endpoint as Host.",
}

const RULES: &str = r#"[route.request]
set_headers = { MyCustomHeader = "Test" }
remove_headers = ["Host"]
set_query = { MyCustomParam = "Test" }
remove_query = ["RemoveMe"]
replace_path = { v1 = "v2" }

"#;
const PATH_RULES: &str = "[route.request]\nremove_headers = [\"Host\"]\nrewrite_path = \"/\"\n\n";
const HINT: &str = "Change the request after the route is chosen and before it is sent on, as its rules say.";

pub(super) fn config(cast: &Cast) -> String {
    [
        &*pool(cast, "mango", "random", &["mango1", "mango2", "mango3"]),
        &*pool(cast, "apple", "random", &["apple1"]),
        &*route("mango", "host = \"www.mango.com\"", "mango"),
        RULES,
        &*route("apple", "host = \"www.apple.com\"", "apple"),
        &*route("mango-path", "path = \"/mango\"", "mango"),
        PATH_RULES,
        &*route("apple-path", "path = \"/apple\"", "apple"),
        PATH_RULES,
    ]
    .concat()
}

async fn mango(stage: &Stage, target: &str) -> Answer {
    stage.get(target).host("www.mango.com").send().await
}

/// The endpoint of the backend that answered.
fn endpoint(stage: &Stage, answer: &Answer) -> Result<String, Miss> {
    let actor = stage.who(answer).and_then(|name| stage.cast.get(name));
    let endpoint = actor.map(|actor| actor.endpoint().to_owned());
    endpoint.ok_or_else(|| answer.miss("the sentence of one of the chapter's backends", HINT))
}

async fn a_header_is_added(stage: &Stage) -> Verdict {
    mango(stage, "/").await.contains(200, "Custom Header: Test", HINT)?;
    let ask = stage.get("/").host("www.mango.com").header("MyCustomHeader", "Other");
    ask.send().await.contains(
        200,
        "Custom Header: Test",
        "The rule sets the field: a client's own value goes.",
    )
}

async fn a_header_is_removed(stage: &Stage) -> Verdict {
    let hint = "Without the client's Host, send the Host that belongs to the backend's address.";
    let answer = mango(stage, "/").await;
    answer.contains(200, &format!("Host Header: {},", endpoint(stage, &answer)?), hint)
}

async fn a_parameter_is_added(stage: &Stage) -> Verdict {
    mango(stage, "/").await.contains(200, "Custom Param: Test", HINT)?;
    mango(stage, "/?a=b").await.contains(200, "Custom Param: Test", HINT)
}

/// The targets that the mangos have seen.
async fn targets(stage: &Stage) -> Result<Vec<String>, Miss> {
    let mut targets = Vec::new();
    for name in ["mango1", "mango2", "mango3"] {
        targets.extend(stage.cast.the(name)?.targets().await?);
    }
    Ok(targets)
}

async fn a_parameter_is_removed(stage: &Stage) -> Verdict {
    let answer = mango(stage, "/?RemoveMe=Remove").await;
    answer.must(answer.status() == Some(200), "200", HINT)?;
    let targets = targets(stage).await?;
    if targets.len() == 1 && !targets[0].contains("RemoveMe") {
        return Ok(());
    }
    let got = format!("backends saw {targets:?}");
    Err(Miss::failed(answer.sent, "a backend that sees no RemoveMe", got, HINT))
}

async fn all_at_once(stage: &Stage) -> Verdict {
    let answer = mango(stage, "/?RemoveMe=Remove").await;
    let endpoint = endpoint(stage, &answer)?;
    let sentence = format!(
        "This is the mango application. Serving on {endpoint}. Custom Header: Test, Host Header: {endpoint}, \
         Custom Param: Test"
    );
    answer.is(200, &sentence, HINT)
}

async fn other_parameters_stay(stage: &Stage) -> Verdict {
    let answer = mango(stage, "/?a=1&RemoveMe=x&b=%41%2f&RemoveMe=y&c").await;
    answer.must(answer.status() == Some(200), "200", HINT)?;
    let targets = targets(stage).await?;
    let query = targets.first().and_then(|target| target.split_once('?')).map(|(_, query)| query);
    let mut pairs: Vec<_> = query.unwrap_or_default().split('&').collect();
    pairs.retain(|pair| *pair != "MyCustomParam=Test");
    if pairs == ["a=1", "b=%41%2f", "c"] {
        return Ok(());
    }
    let hint = "Take the query apart at its `&`, drop and add what the rules say, and leave all else alone.";
    let expected = "a backend that sees a=1, b=%41%2f and c, in this order, besides MyCustomParam=Test";
    Err(Miss::failed(answer.sent, expected, format!("backends saw {targets:?}"), hint))
}

async fn a_path_is_replaced(stage: &Stage) -> Verdict {
    mango(stage, "/v1").await.is(200, "This is V2", HINT)
}

async fn no_rules_change_nothing(stage: &Stage) -> Verdict {
    let answer = stage.get("/").host("www.apple.com").send().await;
    let sentence = format!(
        "This is the apple application. Serving on {}. Custom Header: None, Host Header: www.apple.com, \
         Custom Param: None",
        endpoint(stage, &answer)?
    );
    answer.is(200, &sentence, "A route without rules passes the request on as it came, Host included.")?;
    stage.get("/v1").host("www.apple.com").send().await.is(200, "This is V1", HINT)
}

async fn paths_answer_with_the_endpoint(stage: &Stage) -> Verdict {
    for (path, app) in [("/mango", "mango"), ("/apple", "apple")] {
        let answer = stage.get(path).send().await;
        let endpoint = endpoint(stage, &answer)?;
        answer.contains(200, &format!("This is the {app} application."), HINT)?;
        answer.contains(200, &format!("Host Header: {endpoint},"), HINT)?;
    }
    Ok(())
}

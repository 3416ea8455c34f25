//! What the applications of the course say.

use bytes::Bytes;

use crate::Head;

/// An application: which answers a backend gives by itself.
#[derive(Clone, Debug)]
pub(crate) enum App {
    /// Mango, apple and the like: one sentence about themselves and the request.
    Sentence { name: String, bare: bool },
    /// The guide's: a greeting in JSON.
    Greeting { name: String },
    /// Always this text.
    Text(String),
}

pub(crate) struct Said {
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
}

impl App {
    /// What it says to a request; `endpoint` is what it calls itself.
    pub(crate) fn answer(&self, request: &Head, endpoint: &str) -> Said {
        let target = request.word(1);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match (self, path) {
            (_, "/health") => json("{\"status\":\"ok\"}".into()),
            (_, "/healthcheck") => text("OK".into()),
            (Self::Sentence { .. }, "/v1") => text("This is V1".into()),
            (Self::Sentence { .. }, "/v2") => text("This is V2".into()),
            (Self::Sentence { name, bare: true }, _) => text(format!("This is the {name} application.")),
            (Self::Sentence { name, bare: false }, _) => text(sentence(name, endpoint, request, query)),
            (Self::Greeting { name }, _) => json(format!("{{\"message\": \"Hello from {name}\"}}")),
            (Self::Text(said), _) => text(said.clone()),
        }
    }
}

fn sentence(name: &str, endpoint: &str, request: &Head, query: &str) -> String {
    let header = request.headers.get("MyCustomHeader").unwrap_or("None");
    let host = request.headers.get("Host").unwrap_or("None");
    let param = parameter(query, "MyCustomParam").unwrap_or_else(|| "None".into());
    format!(
        "This is the {name} application. Serving on {endpoint}. Custom Header: {header}, \
         Host Header: {host}, Custom Param: {param}"
    )
}

fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(key, value)| (decoded(key), decoded(value)))
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

/// Percent-decoded, `+` as a space; a broken escape stays as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match tail {
            [high, low, ..] if *first == b'%' => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => bytes.push(high << 4 | low),
            None => bytes.push(if *first == b'+' { b' ' } else { *first }),
        }
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn text(body: String) -> Said {
    Said { content_type: "text/plain; charset=utf-8", body: body.into() }
}

fn json(body: String) -> Said {
    Said { content_type: "application/json", body: body.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANGO: fn() -> App = || App::Sentence { name: "mango".into(), bare: false };

    fn check(app: &App, head: &str, expected: &str) {
        let head = Head::parse(format!("{head}\r\n\r\n").into_bytes());
        assert_eq!(app.answer(&head, "localhost:8081").body, expected.as_bytes());
    }

    #[test]
    fn mango_says_what_the_course_says() {
        let say = |header: &str, host: &str, param: &str| {
            format!(
                "This is the mango application. Serving on localhost:8081. Custom Header: {header}, \
                 Host Header: {host}, Custom Param: {param}"
            )
        };
        check(&MANGO(), "GET / HTTP/1.1\r\nHost: x:1", &say("None", "x:1", "None"));
        check(&MANGO(), "GET /any HTTP/1.1\r\nMYCUSTOMHEADER: Test", &say("Test", "None", "None"));
        let query = "GET /?a&MyCustomParam=%54e+s%zz HTTP/1.1\r\nHost: x";
        check(&MANGO(), query, &say("None", "x", "Te s%zz"));
        check(&MANGO(), "GET /v1?a HTTP/1.1", "This is V1");
        check(&MANGO(), "GET /v2 HTTP/1.1", "This is V2");
        check(&MANGO(), "GET /healthcheck HTTP/1.1", "OK");
        check(&MANGO(), "GET /health HTTP/1.1", "{\"status\":\"ok\"}");
        let bare = App::Sentence { name: "apple".into(), bare: true };
        check(&bare, "GET / HTTP/1.1", "This is the apple application.");
    }

    #[test]
    fn the_guides_backends_greet() {
        let app = App::Greeting { name: "backend1".into() };
        check(&app, "GET / HTTP/1.1", "{\"message\": \"Hello from backend1\"}");
        check(&app, "GET /health HTTP/1.1", "{\"status\":\"ok\"}");
    }
}

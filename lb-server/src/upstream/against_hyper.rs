//! The same bytes before hyper's client: both must see the same response, or both none.
//!
//! Where we refuse what hyper takes, that is on purpose and stands in [`STRICTER`]. There is nothing
//! that hyper refuses and we take.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{
    body::{EXTENSIONS, SIZE_TOO_LONG, TRAILERS_TOO_LONG, may_trail},
    reading::{Ending, Reading, read},
    response::{
        BARE_LINE_FEED, CHUNKED_IN_10, EMPTY_LINE, HEAD_TOO_LONG, NOT_A_LENGTH, NOT_CHUNKED, SWITCH,
        TOO_MANY_FIELDS, TOO_MANY_INTERIM, TWO_FRAMINGS, TWO_LENGTHS,
    },
};
use crate::forwarded::{Kind, kind, may_be_named, options};

/// Where we are stricter than hyper: our words for it, and what hyper does instead.
///
/// Two more are not refusals: a repeated equal Content-Length is passed on once, and Content-Length
/// is dropped from 1xx and 204; hyper passes on what came.
pub(super) const STRICTER: [(&str, &str); 14] = [
    (BARE_LINE_FEED, "takes LF for CRLF in heads and within trailers"),
    (EMPTY_LINE, "skips any number of empty lines before a head"),
    (SWITCH, "hands the connection over"),
    (TOO_MANY_INTERIM, "skips 1xx responses without end"),
    (HEAD_TOO_LONG, "takes heads of up to 400 KiB"),
    (TOO_MANY_FIELDS, "takes 100 unless told otherwise; here it is told the same number"),
    (NOT_A_LENGTH, "takes lists of equal numbers and what no file can hold; looks only where a body is"),
    (TWO_LENGTHS, "looks only where a body is expected and there is no Transfer-Encoding"),
    (TWO_FRAMINGS, "believes Transfer-Encoding"),
    (NOT_CHUNKED, "takes any list that ends in chunked, undoing that only; reads others until the end"),
    (CHUNKED_IN_10, "looks only where a body is expected"),
    (SIZE_TOO_LONG, "takes any number of leading zeros"),
    (EXTENSIONS, "takes control characters in them, and 16 KiB in one line"),
    (TRAILERS_TOO_LONG, "takes 100 fields"),
];

/// What hyper's client makes of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    interim: Vec<(StatusCode, HeaderMap)>,
    head: Option<(StatusCode, HeaderMap)>,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
    complete: bool,
}

/// Fails with a description where the two differ without a reason that [`STRICTER`] knows.
pub(super) fn compare(stream: &[u8], to_head_request: bool) -> Result<Reading, String> {
    let ours = read([stream], to_head_request);
    if let Ending::Refused(why) = ours.end
        && STRICTER.iter().any(|(known, _)| *known == why)
    {
        return Ok(ours);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let theirs = runtime.block_on(by_hyper(stream, to_head_request))?;
    let ours_alike = Seen {
        interim: ours.interim.clone(),
        head: ours.head.clone().map(|(status, headers, _)| (status, headers)),
        body: ours.body.clone(),
        trailers: ours.trailers.clone(),
        complete: ours.end == Ending::Complete,
    };
    // How much of a broken body was seen before it broke is not compared.
    let agree = match (ours_alike.complete, theirs.complete) {
        (true, true) => ours_alike == theirs,
        (false, false) => ours_alike.head == theirs.head && ours_alike.interim == theirs.interim,
        _ => false,
    };
    if agree { Ok(ours) } else { Err(format!("ours: {ours:?}\nhyper's: {theirs:?}")) }
}

/// Whether hyper sees a whole response in `stream`.
#[cfg(test)]
pub(super) fn hyper_takes(stream: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(by_hyper(stream, false)).is_ok_and(|seen| seen.complete)
}

async fn by_hyper(stream: &[u8], to_head_request: bool) -> Result<Seen, String> {
    let (client, server) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) = http1::Builder::new()
        .max_headers(128)
        .handshake(TokioIo::new(client))
        .await
        .map_err(|error| error.to_string())?;
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = if to_head_request { Method::HEAD } else { Method::GET };
    // hyper wants `Send`, though all of this is one thread's.
    let interim = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let heard = std::sync::Arc::clone(&interim);
    hyper::ext::on_informational(&mut request, move |response| {
        if let Ok(mut heard) = heard.lock() {
            heard.push((response.status(), response.headers().clone()));
        }
    });
    let seen = Rc::new(RefCell::new(Seen::default()));
    let asking = async {
        let Ok(response) = sender.send_request(request).await else { return };
        let (head, mut body) = response.into_parts();
        seen.borrow_mut().head = Some((head.status, passed_on(head.status, head.headers)));
        loop {
            match body.frame().await {
                None => break,
                Some(Err(_)) => return,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => seen.borrow_mut().body.extend_from_slice(&data),
                    Err(frame) => seen.borrow_mut().trailers = frame.into_trailers().ok().and_then(filtered),
                },
            }
        }
        seen.borrow_mut().complete = true;
    };
    let ((), _, ()) = tokio::join!(asking, connection, answer(server, stream));
    let mut seen = seen.take();
    if let Ok(mut interim) = interim.lock() {
        seen.interim =
            interim.drain(..).map(|(status, headers)| (status, passed_on(status, headers))).collect();
    }
    Ok(seen)
}

/// Answers the first request with `stream`, then ends.
async fn answer(mut server: DuplexStream, stream: &[u8]) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if server.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    // An error is a client that has seen enough.
    let _ = server.write_all(stream).await;
    let _ = server.shutdown().await;
    let _ = server.read_to_end(&mut request).await;
}

/// What a proxy passes on of these fields.
fn passed_on(status: StatusCode, mut headers: HeaderMap) -> HeaderMap {
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| kind(name.as_str().as_bytes()) == Kind::HopByHop).cloned().collect();
    let said: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    let named = said.iter().flat_map(|value| options(value.as_bytes())).filter(|name| may_be_named(name));
    for name in named.filter_map(|name| HeaderName::from_bytes(name).ok()).chain(names) {
        headers.remove(name);
    }
    if let Some(length) = headers.remove(header::CONTENT_LENGTH)
        && !status.is_informational()
        && status != StatusCode::NO_CONTENT
    {
        headers.insert(header::CONTENT_LENGTH, without_zeros(length));
    }
    headers
}

/// A length is written anew.
fn without_zeros(length: HeaderValue) -> HeaderValue {
    let number = length.to_str().ok().and_then(|digits| digits.parse::<u64>().ok());
    number.map_or(length, HeaderValue::from)
}

fn filtered(trailers: HeaderMap) -> Option<HeaderMap> {
    let mut kept = HeaderMap::new();
    for (name, value) in &trailers {
        if may_trail(name) {
            kept.append(name, value.clone());
        }
    }
    (!kept.is_empty()).then_some(kept)
}

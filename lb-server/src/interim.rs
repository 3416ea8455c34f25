//! Interim responses (1xx) of a backend, on their way to the client.

use std::{
    rc::Rc,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

use http::{Request, StatusCode};

use crate::{forwarded, front::Front, request_body::RequestBody, snapshot::lock};

/// Most bytes of interim responses that are kept for a client; further ones are dropped.
const INTERIM_BYTES_MAX: usize = 64 << 10;

/// Hears a try's interim responses.
pub(crate) struct Interim {
    heard: Arc<Heard>,
    body: Option<Rc<RequestBody>>,
}

/// hyper's callback must be `Send`, hence the mutex; it is never contended.
#[derive(Default)]
struct Heard(Mutex<State>);

#[derive(Default)]
struct State {
    go_on: bool,
    /// Interim responses other than 100, as bytes on the wire.
    bytes: Vec<u8>,
    waker: Option<Waker>,
}

impl Interim {
    /// Listens for the interim responses to this request.
    pub(crate) fn listen<B>(request: &mut Request<B>, body: Option<Rc<RequestBody>>) -> Self {
        let heard = Arc::new(Heard::default());
        let teller = Arc::clone(&heard);
        hyper::ext::on_informational(request, move |response| {
            let mut state = lock(&teller.0);
            if response.status() == StatusCode::CONTINUE {
                state.go_on = true;
            } else if state.bytes.len() < INTERIM_BYTES_MAX {
                let mut headers = response.headers().clone();
                forwarded::strip_hop_by_hop(&mut headers);
                write_head(&mut state.bytes, response.status(), &headers);
            }
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        });
        Self { heard, body }
    }

    /// Does what was heard since the last call, and wakes the task when there is more.
    pub(crate) fn pass_on(&self, cx: &Context<'_>, front: &Front) {
        let mut state = lock(&self.heard.0);
        if std::mem::take(&mut state.go_on)
            && let Some(body) = &self.body
        {
            // Reading the body makes hyper tell the client to go on.
            body.release();
        }
        if !state.bytes.is_empty() {
            front.inject(&std::mem::take(&mut state.bytes));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

fn write_head(bytes: &mut Vec<u8>, status: StatusCode, headers: &http::HeaderMap) {
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    bytes.extend_from_slice(status.canonical_reason().unwrap_or("Interim").as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
}

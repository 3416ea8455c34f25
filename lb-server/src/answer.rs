//! An answer to a request, a backend's or our own, before it is known who writes it: hyper, or the
//! connection's task itself.

use http::{HeaderMap, HeaderValue, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::ext::ReasonPhrase;

use crate::{front::Front, response_body::ResponseBody, upstream::FieldLines};

/// An answer on its way to the client.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The fields but those that frame the body or concern the connection.
    pub(crate) fields: FieldLines,
    /// The values of `Trailer`.
    pub(crate) trailer: Vec<HeaderValue>,
    /// The connection ends with this answer.
    pub(crate) close: bool,
    pub(crate) body: ResponseBody,
}

impl Answer {
    /// The answer as hyper gets it: told of what it has to see to, while all other fields go past it. The
    /// map is an empty one.
    pub(crate) fn into_librarys(
        self,
        front: &Front,
        version: Version,
        mut headers: HeaderMap,
    ) -> Response<ResponseBody> {
        let Self { status, fields, trailer, close, body } = self;
        front.answers_with(fields.into_bytes());
        headers.extend(trailer.into_iter().map(|value| (header::TRAILER, value)));
        if close {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let ends_with_connection = version == Version::HTTP_10 && body.size_hint().exact().is_none();
        let mut response = Response::new(body);
        if ends_with_connection {
            // hyper would say that it keeps it.
            *response.version_mut() = Version::HTTP_10;
        }
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        if status.canonical_reason().is_none() {
            // hyper would make one up.
            response.extensions_mut().insert(ReasonPhrase::from_static(b""));
        }
        response
    }
}

//! A stream of responses read as a [`Call`](super::Call) reads it, but out of pieces of memory: for
//! tests and fuzzing.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};

use super::{
    body::{BodyDecoder, Taken},
    response::{Head, Heads, Invalid},
};

/// The fields of a head with all that goes out with it: what is announced, and the length of its body.
pub(super) fn all_fields(head: &Head, to_head_request: bool) -> HeaderMap {
    let mut headers = head.fields.to_map();
    for value in &head.trailer {
        headers.append(header::TRAILER, value.clone());
    }
    let has_body = !(to_head_request
        || head.status.is_informational()
        || [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED].contains(&head.status));
    if let Some(length) = head.body.remaining().filter(|_| has_body) {
        headers.append(header::CONTENT_LENGTH, length.into());
    }
    headers
}

/// What was read of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) interim: Vec<(StatusCode, HeaderMap)>,
    /// The final head, and whether it lets the connection be used again.
    pub(super) head: Option<(StatusCode, HeaderMap, bool)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<HeaderMap>,
    pub(super) end: Ending,
    /// Bytes behind the end of a whole response.
    pub(super) left: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Complete,
    /// The stream ended too early.
    #[default]
    Truncated,
    Refused(&'static str),
}

/// Reads a response that arrives in these pieces, behind which the stream ends.
pub(super) fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, to_head_request: bool) -> Reading {
    let mut source = Source { buffer: BytesMut::new(), pieces: pieces.into_iter(), ended: false };
    let mut reading = Reading::default();
    reading.end = match reading.follow(&mut source, to_head_request) {
        Ok(end) => end,
        Err(Invalid(why)) => Ending::Refused(why),
    };
    if reading.end == Ending::Complete {
        reading.left = source.buffer.len() + source.pieces.map(<[u8]>::len).sum::<usize>();
    }
    reading
}

struct Source<I> {
    buffer: BytesMut,
    pieces: I,
    ended: bool,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Source<I> {
    /// Whether there was another piece.
    fn fill(&mut self) -> bool {
        match self.pieces.next() {
            Some(piece) => self.buffer.extend_from_slice(piece),
            None => self.ended = true,
        }
        !self.ended
    }
}

impl Reading {
    fn follow<'a>(
        &mut self,
        source: &mut Source<impl Iterator<Item = &'a [u8]>>,
        to_head_request: bool,
    ) -> Result<Ending, Invalid> {
        let mut heads = Heads::default();
        let head = loop {
            match heads.take(&mut source.buffer, to_head_request, source.ended)? {
                Some(head) if head.status.is_informational() => {
                    self.interim.push((head.status, all_fields(&head, to_head_request)));
                }
                Some(head) => break head,
                None if source.ended => return Ok(Ending::Truncated),
                None => {
                    source.fill();
                }
            }
        };
        self.head = Some((head.status, all_fields(&head, to_head_request), head.keep_alive));
        let mut decoder = head.body;
        loop {
            match decoder.take(&mut source.buffer)? {
                Taken::Frame(frame) => match frame.into_data() {
                    Ok(data) => self.push(&data),
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Taken::End => return Ok(Ending::Complete),
                Taken::More if source.fill() => {}
                Taken::More if decoder.may_end_here() => decoder = BodyDecoder::EMPTY,
                Taken::More => return Ok(Ending::Truncated),
            }
        }
    }

    fn push(&mut self, data: &Bytes) {
        assert!(!data.is_empty(), "an empty piece would end a chunked body too early");
        self.body.extend_from_slice(data);
    }
}

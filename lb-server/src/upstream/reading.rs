//! A stream of responses read as a [`Call`](super::Call) reads it, but out of pieces of memory: for
//! tests and fuzzing.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::{
    body::{BodyDecoder, Taken},
    response::{Head, Heads, Invalid},
};

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
        let Head { status, headers, body: mut decoder, keep_alive } = loop {
            match heads.take(&mut source.buffer, to_head_request, source.ended)? {
                Some(head) if head.status.is_informational() => {
                    self.interim.push((head.status, head.headers))
                }
                Some(head) => break head,
                None if source.ended => return Ok(Ending::Truncated),
                None => {
                    source.fill();
                }
            }
        };
        self.head = Some((status, headers, keep_alive));
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

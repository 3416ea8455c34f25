//! What the fuzz targets call: the reading of a backend's bytes, which must hold whatever they are.

use super::{against_hyper, reading::read};

/// Reads `stream` whole and in pieces of `step` bytes: nothing panics, and both see the same.
pub fn cuts(stream: &[u8], step: usize, to_head_request: bool) {
    let in_pieces = read(stream.chunks(step.max(1)), to_head_request);
    assert_eq!(in_pieces, read([stream], to_head_request));
}

/// Reads `stream` beside hyper's client.
pub fn beside_hyper(stream: &[u8], to_head_request: bool) {
    if let Err(difference) = against_hyper::compare(stream, to_head_request) {
        panic!("{difference}");
    }
}

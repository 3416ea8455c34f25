//! How much is read at once of what a backend sends.
//!
//! Large bodies in large pieces: each piece is two system calls and wakes two peers. But a piece is held in
//! memory until its client has taken it, so that a client that makes it wait gets smaller ones next.

use bytes::BytesMut;

/// Less room than this is not worth a read.
const READ_BYTES_MIN: usize = 1 << 10;
/// For a head and a small body.
const HEAD_BYTES: usize = 8 << 10;
/// More than a response's body may come in one read with its head.
const HEAD_BYTES_MORE: usize = 1 << 10;
/// For the first reads of a large body.
const BODY_BYTES: usize = 64 << 10;
/// For a body whose client makes it wait.
const BODY_BYTES_MIN: usize = 32 << 10;
/// For a body whose reads fill what they get: a quarter less CPU time for 1 MiB than with half of it, and as much as
/// with twice of it.
const BODY_BYTES_MAX: usize = 256 << 10;
/// Where nobody says how much is to come.
const UNTOLD_BYTES: usize = 16 << 10;

/// Room for a head and what comes with it, on a connection whose last response had a body of so many bytes: where
/// the next one has as many, they come in one read.
pub(super) fn for_head(last_bytes: usize) -> usize {
    last_bytes.saturating_add(HEAD_BYTES_MORE).clamp(HEAD_BYTES, BODY_BYTES_MAX)
}

/// The room that a body's reads get.
#[derive(Debug)]
pub(super) struct BodyRoom {
    bytes: usize,
    held_up: bool,
}

impl BodyRoom {
    /// Behind a head that was read with so much room.
    pub(super) fn behind(head_room: usize) -> Self {
        Self { bytes: head_room.max(BODY_BYTES), held_up: false }
    }

    /// For the next read, where so many bytes are to come.
    pub(super) fn next(&self, expected: Option<u64>) -> usize {
        let expected = expected.map_or(UNTOLD_BYTES, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        self.bytes.min(expected.max(HEAD_BYTES))
    }

    /// The client did not take at once what it was given since the last read.
    pub(super) fn held_up(&mut self) {
        self.held_up = true;
    }

    /// A read brought so many bytes.
    pub(super) fn filled(&mut self, bytes: usize) {
        if std::mem::take(&mut self.held_up) {
            self.bytes = (self.bytes / 2).max(BODY_BYTES_MIN);
        } else if bytes >= self.bytes {
            self.bytes = (self.bytes * 2).min(BODY_BYTES_MAX);
        }
    }
}

/// Makes room for about `room` bytes in `buffer`. Memory whose bytes nobody has any more is used again first.
pub(super) fn make(buffer: &mut BytesMut, room: usize) {
    let spare = buffer.capacity() - buffer.len();
    if spare >= room / 2 || buffer.try_reclaim(room) || spare >= READ_BYTES_MIN {
        return;
    }
    if buffer.is_empty() {
        *buffer = BytesMut::with_capacity(room);
    } else {
        buffer.reserve(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: Option<u64> = Some(u64::MAX);

    /// The rooms of the next reads, each of which is filled.
    fn rooms(room: &mut BodyRoom, held_up: bool) -> [usize; 5] {
        std::array::from_fn(|_| {
            if held_up {
                room.held_up();
                room.held_up(); // of one piece: told each time that a part of it has left
            }
            let bytes = room.next(ENDLESS);
            room.filled(bytes);
            bytes >> 10
        })
    }

    #[test]
    fn a_head_gets_room_for_as_large_a_body_as_the_last() {
        assert_eq!(for_head(0), 8 << 10);
        assert_eq!(for_head(16 << 10), 17 << 10);
        assert_eq!(for_head(usize::MAX), 256 << 10);
    }

    #[test]
    fn room_grows_while_reads_fill_it() {
        let mut room = BodyRoom::behind(8 << 10);
        assert_eq!(rooms(&mut room, false), [64, 128, 256, 256, 256]);
        assert_eq!(BodyRoom::behind(256 << 10).next(ENDLESS), 256 << 10);
        let mut room = BodyRoom::behind(8 << 10);
        room.filled((64 << 10) - 1);
        assert_eq!(room.next(ENDLESS), 64 << 10);
    }

    #[test]
    fn a_client_that_makes_its_pieces_wait_gets_smaller_ones() {
        let mut room = BodyRoom::behind(256 << 10);
        assert_eq!(rooms(&mut room, true), [256, 128, 64, 32, 32]);
        assert_eq!(rooms(&mut room, false), [32, 64, 128, 256, 256]);
    }

    /// `reserve` kept what had been read before as well, and copied it.
    #[test]
    fn a_buffer_grows_to_its_room_and_no_further() {
        let mut buffer = BytesMut::new();
        for room in [64 << 10, 128 << 10, 256 << 10, 256 << 10] {
            make(&mut buffer, room);
            assert!(buffer.capacity() >= room);
            buffer.resize(room, 0);
            drop(buffer.split().freeze());
        }
        assert!(buffer.try_reclaim(256 << 10), "the same memory serves again");
        assert!(!buffer.try_reclaim((256 << 10) + 1), "more than was asked for");
    }

    #[test]
    fn what_has_been_read_stays_when_room_is_made() {
        let mut buffer = BytesMut::from(&b"half a head"[..]);
        make(&mut buffer, 8 << 10);
        assert!(&buffer[..] == b"half a head" && buffer.capacity() >= 8 << 10);
    }

    #[test]
    fn no_more_is_made_room_for_than_is_to_come() {
        let room = BodyRoom::behind(8 << 10);
        assert_eq!(room.next(Some(20_000)), 20_000);
        assert_eq!(room.next(Some(1)), 8 << 10, "not worth a smaller one");
        assert_eq!(room.next(None), 16 << 10);
    }
}

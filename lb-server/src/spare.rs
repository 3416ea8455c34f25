//! Memory that serves again: what every request needs for its head and for the head of its answer, and gives
//! back, without a way through the allocator.

use std::{cell::RefCell, mem};

/// Pieces of memory that are kept, of each kind.
const KEPT_MAX: usize = 256;
/// A larger piece is not kept.
const PIECE_BYTES_MAX: usize = 8 << 10;

/// Empty vectors that have served.
#[derive(Debug)]
pub(crate) struct Spare<T>(RefCell<Vec<Vec<T>>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Spare<T> {
    /// An empty vector, with whatever room it has.
    pub(crate) fn take(&self) -> Vec<T> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps the memory of a vector, if there is not enough yet and it is not unusually large.
    pub(crate) fn put(&self, mut vector: Vec<T>) {
        let mut kept = self.0.borrow_mut();
        let bytes = vector.capacity() * mem::size_of::<T>();
        if kept.len() < KEPT_MAX && (1..=PIECE_BYTES_MAX).contains(&bytes) {
            vector.clear();
            kept.push(vector);
        }
    }

    /// Gives all memory back.
    pub(crate) fn clear(&self) {
        self.0.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_serves_again() {
        let spare = Spare::default();
        spare.put(vec![1; 100]);
        let again = spare.take();
        assert!(again.is_empty() && again.capacity() >= 100);
        assert_eq!(spare.take().capacity(), 0);
        spare.put(again);
        spare.clear();
        assert_eq!(spare.take().capacity(), 0);
    }

    #[test]
    fn not_more_than_its_bounds() {
        let spare = Spare::default();
        spare.put(Vec::<u64>::with_capacity(PIECE_BYTES_MAX / 4));
        spare.put(Vec::new());
        assert_eq!(spare.0.borrow().len(), 0);
        for _ in 0..2 * KEPT_MAX {
            spare.put(vec![0; 10]);
        }
        assert_eq!(spare.0.borrow().len(), KEPT_MAX);
    }
}

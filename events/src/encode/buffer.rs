//! A byte buffer whose short writes are one fixed-size store.
//!
//! `Vec::extend_from_slice` calls memcpy for every field; here memory is initialised ahead of the length, so that a
//! field's tag and number are stored as eight or sixteen bytes at once and only the length moves by their true size.

/// How far the memory grows at once when it is full.
const GROW_BYTES: usize = 4096;

/// Bytes written so far, in memory that is reused.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Initialised memory; what is behind `len` is scratch.
    memory: Vec<u8>,
    len: usize,
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.memory.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    /// Forgets what is behind `len`.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Stores all of `bytes`, and counts the first `used` of them as written.
    #[inline]
    pub(crate) fn put_fixed<const N: usize>(&mut self, bytes: [u8; N], used: usize) {
        if let Some(slot) = self
            .memory
            .get_mut(self.len..)
            .and_then(|rest| rest.first_chunk_mut::<N>())
        {
            *slot = bytes;
        } else {
            self.grow(N);
            if let Some(slot) = self
                .memory
                .get_mut(self.len..)
                .and_then(|rest| rest.first_chunk_mut::<N>())
            {
                *slot = bytes;
            }
        }
        self.len += used.min(N);
    }

    #[inline]
    pub(crate) fn put_byte(&mut self, byte: u8) {
        self.put_fixed([byte], 1);
    }

    #[inline]
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if end > self.memory.len() {
            self.grow(bytes.len());
        }
        if let Some(slot) = self.memory.get_mut(self.len..end) {
            slot.copy_from_slice(bytes);
        }
        self.len = end;
    }

    /// The last byte, if any.
    pub(crate) fn last(&self) -> Option<u8> {
        self.as_slice().last().copied()
    }

    /// Replaces written bytes in place. `at + bytes.len()` must not exceed the length.
    pub(crate) fn overwrite(&mut self, at: usize, bytes: &[u8]) {
        debug_assert!(
            at + bytes.len() <= self.len,
            "overwrite of {} at {at} in {}",
            bytes.len(),
            self.len
        );
        if let Some(slot) = self.memory.get_mut(at..at + bytes.len()) {
            slot.copy_from_slice(bytes);
        }
    }

    /// Moves what is behind `at` up by `by` bytes; the gap's content is unspecified.
    pub(crate) fn open_gap(&mut self, at: usize, by: usize) {
        let end = self.len;
        if end + by > self.memory.len() {
            self.grow(by);
        }
        self.memory.copy_within(at..end, at + by);
        self.len = end + by;
    }

    /// Moves what is behind `at` down onto the `by` bytes before it.
    pub(crate) fn close_gap(&mut self, at: usize, by: usize) {
        self.memory.copy_within(at..self.len, at - by);
        self.len -= by;
    }

    #[cold]
    fn grow(&mut self, by: usize) {
        let needed = self.len + by.max(GROW_BYTES);
        // At least doubled, so that a long batch is not copied over and over.
        self.memory.resize(needed.max(self.memory.len() * 2), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_across_growth_are_all_kept() {
        let mut buffer = Buffer::default();
        let mut expected = Vec::new();
        for round in 0..3000_u32 {
            let bytes = round.to_le_bytes();
            buffer.put_fixed(bytes, 3);
            expected.extend_from_slice(&bytes[..3]);
            buffer.put_slice(&bytes);
            expected.extend_from_slice(&bytes);
        }
        assert_eq!(buffer.as_slice(), expected);
        buffer.open_gap(1, 5000);
        buffer.overwrite(1, &[7; 5000]);
        expected.splice(1..1, [7; 5000]);
        assert_eq!(buffer.as_slice(), expected);
        buffer.truncate(2);
        assert_eq!(buffer.as_slice(), &expected[..2]);
        assert_eq!(buffer.last(), Some(7));
    }
}

//! A byte buffer whose short writes are one fixed-size store.
//!
//! `Vec::extend_from_slice` calls memcpy for every field; here memory is initialised ahead of the length, so that a
//! field's tag and number are stored as eight or sixteen bytes at once and only the length moves by their true size.

#![expect(
    clippy::inline_always,
    reason = "measured: with tags and places folded into constants, a third of the time"
)]

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
    #[inline(always)]
    pub(crate) fn put_fixed<const N: usize>(&mut self, bytes: [u8; N], used: usize) {
        if let Some(slot) = self
            .memory
            .get_mut(self.len..)
            .and_then(|rest| rest.first_chunk_mut::<N>())
        {
            *slot = bytes;
            self.len += used.min(N);
        } else {
            self.put_growing(&bytes, used.min(N));
        }
    }

    #[inline(always)]
    pub(crate) fn put_byte(&mut self, byte: u8) {
        self.put_fixed([byte], 1);
    }

    #[inline(always)]
    pub(crate) fn put_slice(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        if let Some(slot) = self.memory.get_mut(self.len..end) {
            slot.copy_from_slice(bytes);
            self.len = end;
        } else {
            self.put_growing(bytes, bytes.len());
        }
    }

    /// Writes `text` and tells whether it is ASCII: kernel text is short, so both in one look at it, in few stores
    /// that may overlap.
    #[inline(always)]
    pub(crate) fn put_ascii(&mut self, text: &[u8]) -> bool {
        let end = self.len + text.len();
        let Some(slot) = self.memory.get_mut(self.len..end) else {
            self.put_growing(text, text.len());
            return text.is_ascii();
        };
        let ascii = if let (Some(head), Some(tail)) = (text.first_chunk::<16>(), text.last_chunk::<16>())
            && text.len() <= 32
        {
            put_ends(slot, *head, *tail);
            (u128::from_le_bytes(*head) | u128::from_le_bytes(*tail)) & HIGH_BITS == 0
        } else if let (Some(head), Some(tail)) = (text.first_chunk::<8>(), text.last_chunk::<8>())
            && text.len() <= 16
        {
            put_ends(slot, *head, *tail);
            u128::from(u64::from_le_bytes(*head) | u64::from_le_bytes(*tail)) & HIGH_BITS == 0
        } else if let (Some(head), Some(tail)) = (text.first_chunk::<4>(), text.last_chunk::<4>())
            && text.len() <= 8
        {
            put_ends(slot, *head, *tail);
            u128::from(u32::from_le_bytes(*head) | u32::from_le_bytes(*tail)) & HIGH_BITS == 0
        } else if let (Some(head), Some(tail)) = (text.first_chunk::<32>(), text.last_chunk::<32>())
            && text.len() <= 64
        {
            put_ends(slot, *head, *tail);
            (folded(head) | folded(tail)) & HIGH_BITS == 0
        } else {
            slot.copy_from_slice(text);
            text.is_ascii()
        };
        self.len = end;
        ascii
    }

    /// The last byte, if any.
    pub(crate) fn last(&self) -> Option<u8> {
        self.as_slice().last().copied()
    }

    /// Replaces a written byte.
    #[inline(always)]
    pub(crate) fn overwrite_byte(&mut self, at: usize, byte: u8) {
        debug_assert!(at < self.len, "overwrite at {at} in {}", self.len);
        if let Some(slot) = self.memory.get_mut(at) {
            *slot = byte;
        }
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
    #[inline(never)]
    fn put_growing(&mut self, bytes: &[u8], used: usize) {
        self.grow(bytes.len());
        if let Some(slot) = self.memory.get_mut(self.len..self.len + bytes.len()) {
            slot.copy_from_slice(bytes);
        }
        self.len += used;
    }

    #[cold]
    fn grow(&mut self, by: usize) {
        let needed = self.len + by.max(GROW_BYTES);
        // At least doubled, so that a long batch is not copied over and over.
        self.memory.resize(needed.max(self.memory.len() * 2), 0);
    }
}

/// The bit that no ASCII byte has.
const HIGH_BITS: u128 = u128::from_le_bytes([0x80; 16]);

/// The bits that any of the sixteens has.
#[inline(always)]
fn folded(bytes: &[u8; 32]) -> u128 {
    let (sixteens, _) = bytes.as_chunks::<16>();
    sixteens
        .iter()
        .fold(0, |bits, sixteen| bits | u128::from_le_bytes(*sixteen))
}

/// Stores what `slot` begins and ends with.
#[inline(always)]
fn put_ends<const N: usize>(slot: &mut [u8], head: [u8; N], tail: [u8; N]) {
    if let Some(place) = slot.first_chunk_mut::<N>() {
        *place = head;
    }
    if let Some(place) = slot.last_chunk_mut::<N>() {
        *place = tail;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_text_of_every_length_is_written_and_told_from_other_text() {
        for length in 0..80_usize {
            let text: Vec<u8> = (b'0'..).cycle().map(|byte| byte & 0x7f).take(length).collect();
            let mut buffer = Buffer::default();
            buffer.put_slice(b"before");
            assert!(buffer.put_ascii(&text), "{length}");
            assert_eq!(buffer.as_slice(), [b"before", text.as_slice()].concat());
            for place in 0..length {
                let mut other = text.clone();
                other[place] |= 0x80;
                assert!(!buffer.put_ascii(&other), "{place} of {length}");
            }
        }
    }

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

//! Protobuf, written directly: tags, varints and lengths are always minimal, as any decoder expects.

#![expect(
    clippy::inline_always,
    reason = "measured: with tags and places folded into constants, a third of the time"
)]

use super::{Buffer, Encoder, Field, text};

const VARINT: u32 = 0;
const LENGTH_DELIMITED: u32 = 2;

/// The most bytes a length takes here: a batch is far below 2^32 bytes.
pub(crate) const MAX_LENGTH_BYTES: usize = 5;

/// Writes fields as protobuf.
#[derive(Debug, Default)]
pub(crate) struct Proto {
    pub(crate) buffer: Buffer,
}

impl Proto {
    /// A repeated or nested message whose length is guessed to take `guess` bytes; a wrong guess costs one move.
    #[inline(always)]
    pub(crate) fn message_guessed(&mut self, field: Field, guess: usize, body: impl FnOnce(&mut Self)) {
        self.tag(field, LENGTH_DELIMITED);
        self.length_prefixed(guess, body);
    }

    /// A message that is encoded already.
    pub(crate) fn encoded(&mut self, field: Field, message: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.varint(message.len() as u64);
        self.buffer.put_slice(message);
    }

    #[inline(always)]
    fn length_prefixed(&mut self, guess: usize, body: impl FnOnce(&mut Self)) {
        let at = self.buffer.len();
        self.buffer.put_fixed([0; MAX_LENGTH_BYTES], guess);
        let start = self.buffer.len();
        body(self);
        match (guess, u16::try_from(self.buffer.len() - start)) {
            (1, Ok(length @ 0..0x80)) => self.buffer.overwrite_byte(at, length.to_le_bytes()[0]),
            (2, Ok(length @ 0x80..0x4000)) => {
                let [low, high] = (length & 0x7f | (length & 0x3f80) << 1 | 0x80).to_le_bytes();
                self.buffer.overwrite_byte(at, low);
                self.buffer.overwrite_byte(at + 1, high);
            }
            _ => self.correct_length(at, guess),
        }
    }

    /// Puts the true length where `guess` bytes were kept for it.
    #[cold]
    fn correct_length(&mut self, at: usize, guess: usize) {
        let start = at + guess;
        let (bytes, width) = varint_bytes((self.buffer.len() - start) as u64);
        match width.cmp(&guess) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => self.buffer.open_gap(start, width - guess),
            std::cmp::Ordering::Less => self.buffer.close_gap(start, guess - width),
        }
        if let Some(prefix) = bytes.get(..width) {
            self.buffer.overwrite(at, prefix);
        }
    }

    #[inline(always)]
    fn tag(&mut self, field: Field, wire_type: u32) {
        let (bytes, width) = tag_bytes(field, wire_type);
        self.buffer.put_fixed(bytes, width);
    }

    #[inline(always)]
    fn varint(&mut self, value: u64) {
        let (bytes, width) = varint_bytes(value);
        self.buffer.put_fixed(bytes, width);
    }

    /// Tag and small number in one store.
    #[inline(always)]
    fn tagged_u32(&mut self, field: Field, wire_type: u32, value: u32) {
        let (tag, tag_width) = tag_bytes(field, wire_type);
        let (number, width) = spread(value);
        let tag = u64::from(u16::from_le_bytes(tag));
        let both = tag | (number << (8 * tag_width));
        self.buffer.put_fixed(both.to_le_bytes(), tag_width + width);
    }

    #[inline(always)]
    fn delimited_text(&mut self, field: Field, value: &[u8]) {
        let at = self.buffer.len();
        self.tagged_u64(field, LENGTH_DELIMITED, value.len() as u64);
        if !self.buffer.put_ascii(value) && std::str::from_utf8(value).is_err() {
            self.buffer.truncate(at);
            self.replaced_text(field, value);
        }
    }

    #[cold]
    fn replaced_text(&mut self, field: Field, value: &[u8]) {
        self.tag(field, LENGTH_DELIMITED);
        self.length_prefixed(1, |proto| text::put_lossy(&mut proto.buffer, value));
    }

    #[inline(always)]
    fn tagged_u64(&mut self, field: Field, wire_type: u32, value: u64) {
        if let Ok(small) = u32::try_from(value) {
            self.tagged_u32(field, wire_type, small);
        } else {
            self.tag(field, wire_type);
            self.varint(value);
        }
    }
}

impl Encoder for Proto {
    #[inline(always)]
    fn present_u32(&mut self, field: Field, value: u32) {
        self.tagged_u32(field, VARINT, value);
    }

    #[inline(always)]
    fn present_u64(&mut self, field: Field, value: u64) {
        self.tagged_u64(field, VARINT, value);
    }

    #[inline(always)]
    fn present_text(&mut self, field: Field, value: &[u8]) {
        self.delimited_text(field, value);
    }

    #[inline(always)]
    fn set(&mut self, field: Field) {
        self.tagged_u32(field, VARINT, 1);
    }

    #[inline(always)]
    fn enumeration(&mut self, field: Field, value: (u32, &'static str)) {
        self.u32(field, value.0);
    }

    #[inline(always)]
    fn texts<'t>(&mut self, field: Field, items: impl Iterator<Item = &'t [u8]>) {
        for item in items {
            self.delimited_text(field, item);
        }
    }

    /// A message of two small numbers: two stores for all of it.
    #[inline(always)]
    fn timestamp(&mut self, field: Field, unix_nanos: u64) {
        const SECONDS: Field = Field::new(1, "");
        const NANOS: Field = Field::new(2, "");
        let seconds = unix_nanos / 1_000_000_000;
        let nanos = u32::try_from(unix_nanos % 1_000_000_000).unwrap_or(0);
        let (Ok(small @ 1..), 1..) = (u32::try_from(seconds), nanos) else {
            // A zero is left out, and after 2106 the seconds are longer.
            return self.message(field, |proto| {
                proto.u64(SECONDS, seconds);
                proto.u32(NANOS, nanos);
            });
        };
        self.tag(field, LENGTH_DELIMITED);
        let (seconds, seconds_width) = spread(small);
        let (nanos, nanos_width) = spread(nanos);
        let length = 2 + seconds_width + nanos_width;
        // The length and tag 0x08 before the seconds, tag 0x10 before the nanoseconds: seven and six bytes.
        self.buffer.put_fixed(
            (length as u64 | 0x08 << 8 | seconds << 16).to_le_bytes(),
            2 + seconds_width,
        );
        self.buffer
            .put_fixed((0x10 | nanos << 8).to_le_bytes(), 1 + nanos_width);
    }

    #[inline(always)]
    fn message(&mut self, field: Field, body: impl FnOnce(&mut Self)) {
        self.message_guessed(field, 1, body);
    }

    fn messages<T>(&mut self, field: Field, items: &[T], body: impl Fn(&mut Self, &T)) {
        for item in items {
            self.message(field, |proto| body(proto, item));
        }
    }
}

/// A tag of at most two bytes: field numbers below 2048, which is all this schema has.
#[inline(always)]
const fn tag_bytes(field: Field, wire_type: u32) -> ([u8; 2], usize) {
    let tag = field.number << 3 | wire_type;
    if tag < 0x80 {
        ([tag.to_le_bytes()[0], 0], 1)
    } else {
        (
            [(tag & 0x7f | 0x80).to_le_bytes()[0], (tag >> 7).to_le_bytes()[0]],
            2,
        )
    }
}

/// A varint of at most five bytes in the low bytes of a word, and its width.
///
/// The short ones are told by branches, since a field is nearly always as wide as it was in the event before.
#[inline(always)]
const fn spread(value: u32) -> (u64, usize) {
    let wide = value as u64;
    if value < 0x80 {
        return (wide, 1);
    }
    if value < 0x4000 {
        return (wide & 0x7f | (wide & 0x3f80) << 1 | 0x80, 2);
    }
    spread_long(wide)
}

/// As `spread`, without branches: numbers that differ in width from event to event are of this size.
#[inline(always)]
const fn spread_long(value: u64) -> (u64, usize) {
    let pairs = (value & 0x0fff_c000) << 2 | value & 0x3fff | (value & 0xf000_0000) << 4;
    let groups = (pairs & 0x3f80_3f80) << 1 | pairs & 0xf_007f_007f;
    let (continued, width) = CONTINUED[(value | 1).leading_zeros() as usize % CONTINUED.len()];
    (groups | continued, width)
}

/// By the leading zeros of a number: the bits that mark all bytes of its varint but the last, and its width. Only
/// numbers of at most 35 bits have an entry.
static CONTINUED: [(u64, usize); 64] = {
    let mut table = [(0, 0); 64];
    let mut zeros = 29;
    while zeros < table.len() {
        let width = (70 - zeros) / 7;
        table[zeros] = (0x0080_8080_8080 & ((1 << (8 * (width - 1))) - 1), width);
        zeros += 1;
    }
    table
};

/// A varint of any size, and its width.
#[inline(always)]
fn varint_bytes(value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut rest = value;
    let mut width = 0;
    for byte in &mut bytes {
        width += 1;
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        *byte = low & 0x7f | if rest == 0 { 0 } else { 0x80 };
        if rest == 0 {
            break;
        }
    }
    (bytes, width)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u32) -> Field {
        Field::new(number, "")
    }

    #[test]
    fn varints_at_every_width_are_what_prost_writes() {
        for shift in 0..64 {
            for value in [
                (1_u64 << shift) - 1,
                1 << shift,
                (1 << shift) + 1,
                u64::MAX >> shift,
            ] {
                let mut expected = Vec::new();
                prost::encoding::encode_varint(value, &mut expected);
                let (bytes, width) = varint_bytes(value);
                assert_eq!(&bytes[..width], expected, "{value}");
                if let Ok(value) = u32::try_from(value) {
                    let (word, width) = spread(value);
                    assert_eq!(&word.to_le_bytes()[..width], expected, "{value}");
                }
            }
        }
    }

    #[test]
    fn tags_at_every_width_are_what_prost_writes() {
        for number in [1, 15, 16, 100, 2047] {
            let mut proto = Proto::default();
            proto.present_u32(field(number), 300);
            let mut expected = Vec::new();
            prost::encoding::uint32::encode(number, &300, &mut expected);
            assert_eq!(proto.buffer.as_slice(), expected, "{number}");
        }
    }

    #[test]
    fn lengths_guessed_too_short_and_too_long_come_out_minimal() {
        for guess in 1..=3 {
            for length in [0, 1, 127, 128, 16_383, 16_384, 70_000] {
                let text = vec![b'x'; length];
                let mut proto = Proto::default();
                proto.message_guessed(field(3), guess, |proto| proto.buffer.put_slice(&text));
                let mut expected = Vec::new();
                prost::encoding::bytes::encode(3, &text, &mut expected);
                assert_eq!(proto.buffer.as_slice(), expected, "{guess} {length}");
            }
        }
    }
}

//! Protobuf, written directly: tags, varints and lengths are always minimal, as any decoder expects.

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
    #[inline]
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

    #[inline]
    fn length_prefixed(&mut self, guess: usize, body: impl FnOnce(&mut Self)) {
        let at = self.buffer.len();
        self.buffer.put_fixed([0; MAX_LENGTH_BYTES], guess);
        let start = self.buffer.len();
        body(self);
        let length = self.buffer.len() - start;
        let (bytes, width) = varint_bytes(length as u64);
        match width.cmp(&guess) {
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => self.buffer.open_gap(start, width - guess),
            std::cmp::Ordering::Less => self.buffer.close_gap(start, guess - width),
        }
        if let Some(prefix) = bytes.get(..width) {
            self.buffer.overwrite(at, prefix);
        }
    }

    #[inline]
    fn tag(&mut self, field: Field, wire_type: u32) {
        let (bytes, width) = tag_bytes(field, wire_type);
        self.buffer.put_fixed(bytes, width);
    }

    #[inline]
    fn varint(&mut self, value: u64) {
        let (bytes, width) = varint_bytes(value);
        self.buffer.put_fixed(bytes, width);
    }

    /// Tag and small number in one store.
    #[inline]
    fn tagged_u32(&mut self, field: Field, wire_type: u32, value: u32) {
        let (tag, tag_width) = tag_bytes(field, wire_type);
        let (number, width) = spread(value);
        let tag = u64::from(u16::from_le_bytes(tag));
        let both = tag | (number << (8 * tag_width));
        self.buffer.put_fixed(both.to_le_bytes(), tag_width + width);
    }

    #[inline]
    fn delimited_text(&mut self, field: Field, value: &[u8]) {
        if text::is_utf8(value)
            && let Ok(length) = u32::try_from(value.len())
        {
            self.tagged_u32(field, LENGTH_DELIMITED, length);
            self.buffer.put_slice(value);
        } else {
            self.tag(field, LENGTH_DELIMITED);
            self.length_prefixed(1, |proto| text::put_lossy(&mut proto.buffer, value));
        }
    }
}

impl Encoder for Proto {
    #[inline]
    fn present_u32(&mut self, field: Field, value: u32) {
        self.tagged_u32(field, VARINT, value);
    }

    #[inline]
    fn present_u64(&mut self, field: Field, value: u64) {
        self.tag(field, VARINT);
        self.varint(value);
    }

    #[inline]
    fn present_text(&mut self, field: Field, value: &[u8]) {
        self.delimited_text(field, value);
    }

    #[inline]
    fn set(&mut self, field: Field) {
        self.tagged_u32(field, VARINT, 1);
    }

    #[inline]
    fn enumeration(&mut self, field: Field, value: (u32, &'static str)) {
        self.u32(field, value.0);
    }

    #[inline]
    fn texts<'t>(&mut self, field: Field, items: impl Iterator<Item = &'t [u8]>) {
        for item in items {
            self.delimited_text(field, item);
        }
    }

    #[inline]
    fn timestamp(&mut self, field: Field, unix_nanos: u64) {
        const SECONDS: Field = Field::new(1, "");
        const NANOS: Field = Field::new(2, "");
        let nanos = u32::try_from(unix_nanos % 1_000_000_000).unwrap_or(0);
        self.message_guessed(field, 1, |proto| {
            proto.u64(SECONDS, unix_nanos / 1_000_000_000);
            proto.u32(NANOS, nanos);
        });
    }

    #[inline]
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
#[inline]
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
#[inline]
const fn spread(value: u32) -> (u64, usize) {
    let wide = value as u64;
    let groups = (wide & 0x7f)
        | (wide & 0x3f80) << 1
        | (wide & 0x1f_c000) << 2
        | (wide & 0xfe0_0000) << 3
        | (wide & 0xf000_0000) << 4;
    // Seven bits to the byte; `| 1` gives zero one byte.
    let width = (38 - (value | 1).leading_zeros()) / 7;
    let continued = 0x0080_8080_8080 & ((1 << (8 * (width - 1))) - 1);
    (groups | continued, width as usize)
}

/// A varint of any size, and its width.
#[inline]
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

//! Kernel text as UTF-8, for protobuf as it is and for JSON escaped, without allocation.

use super::Buffer;

/// U+FFFD, which stands for each maximal invalid sequence, as in `String::from_utf8_lossy`.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// Writes `text` as UTF-8.
pub(crate) fn put_lossy(buffer: &mut Buffer, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        buffer.put_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            buffer.put_slice(REPLACEMENT);
        }
    }
}

/// Writes `text` as the inside of a JSON string.
#[inline]
pub(crate) fn put_escaped(buffer: &mut Buffer, text: &[u8]) {
    if is_plain(text) {
        buffer.put_slice(text);
    } else {
        put_escaped_slow(buffer, text);
    }
}

fn put_escaped_slow(buffer: &mut Buffer, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        put_escaped_valid(buffer, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            buffer.put_slice(REPLACEMENT);
        }
    }
}

fn put_escaped_valid(buffer: &mut Buffer, text: &[u8]) {
    let mut rest = text;
    while let Some(place) = rest.iter().position(|&byte| needs_escape(byte)) {
        let (plain, special) = rest.split_at(place);
        buffer.put_slice(plain);
        let Some((&byte, behind)) = special.split_first() else {
            return;
        };
        match byte {
            b'"' => buffer.put_slice(b"\\\""),
            b'\\' => buffer.put_slice(b"\\\\"),
            b'\n' => buffer.put_slice(b"\\n"),
            b'\r' => buffer.put_slice(b"\\r"),
            b'\t' => buffer.put_slice(b"\\t"),
            control => {
                buffer.put_fixed(
                    [b'\\', b'u', b'0', b'0', hex(control >> 4), hex(control & 0xf)],
                    6,
                );
            }
        }
        rest = behind;
    }
    buffer.put_slice(rest);
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'a' + nibble - 10
    }
}

/// Whether every byte is ASCII that JSON strings hold unescaped: eight bytes at a time.
#[inline]
fn is_plain(text: &[u8]) -> bool {
    let (words, tail) = text.as_chunks::<8>();
    words.iter().all(|word| is_plain_word(u64::from_le_bytes(*word)))
        && tail.iter().all(|&byte| byte < 0x80 && !needs_escape(byte))
}

/// The classic "has a byte less than / equal to" tricks: a high bit is left where a byte is below 0x20, a quote, a
/// backslash or not ASCII. A borrow can only raise a false alarm above a true one, so the answer is exact.
#[inline]
const fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let quoted = word ^ (ONES * b'"' as u64);
    let quote = quoted.wrapping_sub(ONES) & !quoted;
    let slashed = word ^ (ONES * b'\\' as u64);
    let backslash = slashed.wrapping_sub(ONES) & !slashed;
    (control | quote | backslash | word) & HIGHS == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_of_every_byte_at_every_place_agrees_with_the_definition() {
        for place in 0..8 {
            for byte in 0..=255_u8 {
                for fill in [b'a', 0x7f, 0x20, b'#', b'!', b'[', b']'] {
                    let mut word = [fill; 8];
                    word[place] = byte;
                    let expected = byte < 0x80 && !needs_escape(byte);
                    assert_eq!(is_plain(&word), expected, "{byte:#x} at {place} among {fill:#x}");
                    assert_eq!(is_plain(&word[..=place]), expected);
                }
            }
        }
    }

    #[test]
    fn escaped_text_of_every_byte_pair_is_read_back_by_serde_json() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let text = [b'x', first, second, b'y', first];
                let mut buffer = Buffer::default();
                buffer.put_byte(b'"');
                put_escaped(&mut buffer, &text);
                buffer.put_byte(b'"');
                let read: String = serde_json::from_slice(buffer.as_slice()).unwrap();
                assert_eq!(read, String::from_utf8_lossy(&text));
            }
        }
    }
}

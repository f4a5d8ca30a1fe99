//! IP addresses as text, on the stack: several times as fast as `Display`, whose text it is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// More than the longest text, `xxxx:xxxx:xxxx:xxxx:xxxx:xxxx:xxxx:xxxx`, and what a whole piece may store behind it.
const TEXT_BYTES: usize = 48;

/// Hands the address's text to `write`: dotted decimal, or as RFC 5952 says.
#[inline]
pub(super) fn with_text(address: IpAddr, write: impl FnOnce(&[u8])) {
    let mut text = Text {
        bytes: [0; TEXT_BYTES],
        len: 0,
    };
    match address {
        IpAddr::V4(address) => text.put_ipv4(address),
        IpAddr::V6(address) => text.put_ipv6(address),
    }
    write(text.bytes.get(..text.len).unwrap_or_default());
}

struct Text {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl Text {
    /// Stores all of `piece`, and counts its first `used` bytes.
    fn put<const N: usize>(&mut self, piece: [u8; N], used: usize) {
        if let Some(place) = self
            .bytes
            .get_mut(self.len..)
            .and_then(|rest| rest.first_chunk_mut::<N>())
        {
            *place = piece;
        }
        self.len += used;
    }

    fn put_ipv4(&mut self, address: Ipv4Addr) {
        for octet in address.octets() {
            let (digits, count) = OCTETS[usize::from(octet)];
            self.put(digits, count + 1);
        }
        // Not the last dot.
        self.len -= 1;
    }

    fn put_ipv6(&mut self, address: Ipv6Addr) {
        if let Some(mapped) = address.to_ipv4_mapped() {
            self.put(*b"::ffff:", 7);
            return self.put_ipv4(mapped);
        }
        let segments = address.segments();
        let zeros = longest_zeros(&segments);
        for (place, segment) in segments.into_iter().enumerate() {
            if zeros.contains(&place) {
                if place == zeros.start {
                    self.put(*b"::", 2);
                }
                continue;
            }
            if place > 0 && place != zeros.end {
                self.put([b':'], 1);
            }
            self.put_hex(segment);
        }
    }

    fn put_hex(&mut self, segment: u16) {
        let mut started = false;
        for shift in [12, 8, 4, 0] {
            let nibble = usize::from(segment >> shift & 0xf);
            started |= nibble != 0 || shift == 0;
            if started {
                self.put([b"0123456789abcdef"[nibble]], 1);
            }
        }
    }
}

/// The first of the longest runs of at least two zero segments; where there is none, an empty range that no place is
/// in or next to.
fn longest_zeros(segments: &[u16; 8]) -> std::ops::Range<usize> {
    let mut longest = usize::MAX..usize::MAX;
    let mut longest_len = 1;
    let mut run = 0;
    for (place, &segment) in segments.iter().enumerate() {
        run = if segment == 0 { run + 1 } else { 0 };
        if run > longest_len {
            longest_len = run;
            longest = place + 1 - run..place + 1;
        }
    }
    longest
}

/// Each octet's digits followed by a dot, and how many digits there are.
static OCTETS: [([u8; 4], usize); 256] = octets();

#[expect(clippy::cast_possible_truncation, reason = "digits of numbers below 256")]
const fn octets() -> [([u8; 4], usize); 256] {
    let mut octets = [([b'.'; 4], 0); 256];
    let mut value = 0;
    while value < octets.len() {
        let [hundreds, tens, ones] = [
            b'0' + (value / 100) as u8,
            b'0' + (value / 10 % 10) as u8,
            b'0' + (value % 10) as u8,
        ];
        octets[value] = match value {
            0..10 => ([ones, b'.', b'.', b'.'], 1),
            10..100 => ([tens, ones, b'.', b'.'], 2),
            _ => ([hundreds, tens, ones, b'.'], 3),
        };
        value += 1;
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(address: IpAddr) -> String {
        let mut text = String::new();
        with_text(address, |bytes| text = String::from_utf8(bytes.to_vec()).unwrap());
        text
    }

    #[test]
    fn text_of_every_octet_is_that_of_display() {
        for value in 0..=255 {
            let address = IpAddr::from([value, 255 - value, 10, value]);
            assert_eq!(text(address), address.to_string());
        }
    }

    #[test]
    fn text_of_every_pattern_of_zero_segments_is_that_of_display() {
        for pattern in 0..=255_u8 {
            for filler in [1_u16, 0x20, 0x304, 0xffff, 0xabc0] {
                let segment = |place: u8| if pattern >> place & 1 == 0 { 0 } else { filler };
                let address = IpAddr::from([0, 1, 2, 3, 4, 5, 6, 7].map(segment));
                assert_eq!(text(address), address.to_string());
            }
        }
        let mapped: IpAddr = "::ffff:255.255.255.255".parse().unwrap();
        assert_eq!(text(mapped), mapped.to_string());
        let compatible: IpAddr = "::192.0.2.1".parse().unwrap();
        assert_eq!(text(compatible), compatible.to_string());
    }
}

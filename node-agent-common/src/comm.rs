//! A task's name as two words, cleaned of what may stand behind its end.

/// Keeps the bytes before the first NUL of a little-endian word; all of them when there is none.
#[inline(always)]
const fn before_nul(word: u64) -> u64 {
    // The lowest flag marks the first zero byte; what is above it may be wrong and does not matter.
    let zero = word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080;
    ((zero & zero.wrapping_neg()) >> 7).wrapping_sub(1)
}

/// `task_struct::comm` as two little-endian words, all zero behind the first NUL and with a NUL at its end: older
/// kernels leave there what an earlier, longer name left.
#[inline(always)]
#[must_use]
pub const fn trimmed(words: [u64; 2]) -> [u64; 2] {
    let first = before_nul(words[0]);
    let second = if first == u64::MAX {
        before_nul(words[1]) & (u64::MAX >> 8)
    } else {
        0
    };
    [words[0] & first, words[1] & second]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(bytes: [u8; 16]) -> [u8; 16] {
        let half = |at: usize| u64::from_le_bytes(core::array::from_fn(|byte| bytes[at + byte]));
        let [low, high] = trimmed([half(0), half(8)]).map(u64::to_le_bytes);
        core::array::from_fn(|at| if at < 8 { low[at] } else { high[at - 8] })
    }

    #[test]
    fn a_name_keeps_what_stands_before_its_end() {
        assert_eq!(
            name(*b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
        );
        assert_eq!(name(*b"fifteen-letters\0"), *b"fifteen-letters\0");
        assert_eq!(name([0; 16]), [0; 16]);
    }

    #[test]
    fn what_an_earlier_name_left_is_dropped() {
        assert_eq!(name(*b"sh\0dhcp-client\0\0"), *b"sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(
            name(*b"eight-by\0\x01\x80\xffxyz\0"),
            *b"eight-by\0\0\0\0\0\0\0\0"
        );
        assert_eq!(name(*b"nine-byte\0old-na"), *b"nine-byte\0\0\0\0\0\0\0");
        assert_eq!(name(*b"sixteen-letters!"), *b"sixteen-letters\0");
        assert_eq!(
            name(*b"\x80\x01\xff\0\x01\x80aaaaaaaaa\0"),
            *b"\x80\x01\xff\0\0\0\0\0\0\0\0\0\0\0\0\0"
        );
    }
}

//! Wall-clock nanoseconds as RFC 3339 text.

use super::Buffer;

/// Bytes of `2026-01-02T03:04:05`.
const SECOND_BYTES: usize = 19;

/// How many seconds' text is remembered: event times and process starts alternate.
const REMEMBERED: usize = 8;

/// Writes times; remembers the text of recent seconds, because events come thousands to the second.
#[derive(Debug)]
pub(crate) struct TimeText {
    seconds: [(u64, [u8; SECOND_BYTES]); REMEMBERED],
}

impl Default for TimeText {
    fn default() -> Self {
        // Second 0 has a place of its own at index 0; the others hold seconds that do not map to their index.
        let mut seconds = [(0, *b"1970-01-01T00:00:00"); REMEMBERED];
        for entry in seconds.iter_mut().skip(1) {
            entry.0 = u64::MAX;
        }
        Self { seconds }
    }
}

impl TimeText {
    /// Writes `2026-01-02T03:04:05.000000006Z`, without quotes.
    pub(crate) fn put(&mut self, buffer: &mut Buffer, unix_nanos: u64) {
        let second = unix_nanos / 1_000_000_000;
        let nanos = unix_nanos % 1_000_000_000;
        let mut text = [0_u8; SECOND_BYTES + 11];
        let index = usize::try_from(second % REMEMBERED as u64).unwrap_or(0);
        if let Some(entry) = self.seconds.get_mut(index) {
            if entry.0 != second {
                *entry = (second, second_text(second));
            }
            if let Some(head) = text.first_chunk_mut::<SECOND_BYTES>() {
                *head = entry.1;
            }
        }
        text[SECOND_BYTES] = b'.';
        put_digits(&mut text[SECOND_BYTES + 1..SECOND_BYTES + 10], nanos);
        text[SECOND_BYTES + 10] = b'Z';
        buffer.put_fixed(text, text.len());
    }
}

/// Civil time of a second since 1970 (Hinnant's `civil_from_days`, for dates after 1970 only).
fn second_text(second: u64) -> [u8; SECOND_BYTES] {
    let (days, of_day) = (second / 86_400, second % 86_400);
    // Days since 0000-03-01, in eras of 400 years.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00";
    put_digits(&mut text[0..4], year);
    put_digits(&mut text[5..7], month);
    put_digits(&mut text[8..10], day);
    put_digits(&mut text[11..13], of_day / 3600);
    put_digits(&mut text[14..16], of_day / 60 % 60);
    put_digits(&mut text[17..19], of_day % 60);
    text
}

/// Fills `place` with the last digits of `number`, zeros in front.
fn put_digits(place: &mut [u8], number: u64) {
    let mut rest = number;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_nanos: u64) -> String {
        let mut buffer = Buffer::default();
        TimeText::default().put(&mut buffer, unix_nanos);
        String::from_utf8(buffer.as_slice().to_vec()).unwrap()
    }

    #[test]
    fn known_times_have_their_text() {
        assert_eq!(text(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(text(951_782_400_000_000_000), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(text(4_107_542_399_999_999_999), "2100-02-28T23:59:59.999999999Z");
        assert_eq!(text(4_107_542_400_000_000_001), "2100-03-01T00:00:00.000000001Z");
        assert_eq!(text(1_735_689_599_123_456_789), "2024-12-31T23:59:59.123456789Z");
        assert_eq!(text(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn a_reused_writer_gives_what_a_fresh_one_gives() {
        let mut writer = TimeText::default();
        for step in 0..2000_u64 {
            let unix_nanos = step * 1_700_000_000_123 % 97_000_000_000_000;
            let mut buffer = Buffer::default();
            writer.put(&mut buffer, unix_nanos);
            assert_eq!(buffer.as_slice(), text(unix_nanos).as_bytes());
        }
    }
}

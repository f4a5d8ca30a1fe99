//! Compares quantities by value: the API server rewrites `0.5` as `500m` and `1024Mi` as `1Gi`.

/// The value in billionths; `None` when the text is not a quantity.
pub(super) fn parse(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let negative = whole.starts_with('-');
    let whole = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.len() > 9 {
        return None;
    }
    let digits = |text: &str| {
        if text.is_empty() {
            Some(0)
        } else {
            text.parse::<u64>().ok().map(i128::from)
        }
    };
    let nano = digits(whole)? * 1_000_000_000 + digits(&format!("{fraction:0<9}"))?;
    let (times, over): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        _ => return None,
    };
    let value = nano.checked_mul(times)? / over;
    Some(if negative { -value } else { value })
}

/// Whether two texts are quantities of the same value.
#[must_use]
pub fn same_quantity(a: &str, b: &str) -> bool {
    parse(a).zip(parse(b)).is_some_and(|(a, b)| a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_written_differently_are_the_same() {
        for (a, b) in [
            ("0.5", "500m"),
            ("1024Mi", "1Gi"),
            ("1000m", "1"),
            ("1k", "1000"),
            (".5", "0.5"),
        ] {
            assert!(same_quantity(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("1", "1m"),
            ("1Gi", "1G"),
            ("x", "x"),
            ("", ""),
            ("-", "0"),
            ("1e3", "1000"),
        ] {
            assert!(!same_quantity(a, b), "{a} {b}");
        }
    }
}

//! Coarse numbers: rates on a 1-2-5 ladder that stay when little changes, and the fleet's power of ten.

/// Rounds down to 0, 1, 2, 5, 10, 20, 50 ... and keeps `previous` while it is one of the two steps around `value`:
/// a rate that swings about a step causes no write.
#[must_use]
pub fn on_ladder(value: i64, previous: Option<i64>) -> i64 {
    if value < 1 {
        return 0;
    }
    let (mut below, mut above, mut decade) = (1_i64, 2_i64, 1_i64);
    while above <= value && decade <= i64::MAX / 100 {
        below = above;
        above = match above / decade {
            2 => 5 * decade,
            5 => 10 * decade,
            _ => {
                decade *= 10;
                2 * decade
            }
        };
    }
    match previous {
        Some(previous) if previous == below || previous == above => previous,
        _ if value - below <= above - value => below,
        _ => above,
    }
}

/// The power of ten at or above the number of nodes: agents spread their writes by it.
#[must_use]
pub fn fleet_size(nodes: usize) -> u64 {
    let mut size = 1;
    while size < nodes as u64 && size < 1_000_000 {
        size *= 10;
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ladder_steps_are_one_two_five() {
        for (value, step) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 5),
            (6, 5),
            (8, 10),
            (14, 10),
            (16, 20),
            (999, 1000),
        ] {
            assert_eq!(on_ladder(value, None), step, "{value}");
        }
        assert!(on_ladder(i64::MAX, None) > 1_000_000_000_000);
    }

    #[test]
    fn ladder_swinging_about_a_step_does_not_move() {
        let mut shown = None;
        let mut moves = 0;
        for value in [95, 105, 99, 101, 110, 90, 130, 80].into_iter().cycle().take(80) {
            let next = on_ladder(value, shown);
            moves += u32::from(shown.is_some_and(|shown| shown != next));
            shown = Some(next);
        }
        assert_eq!((moves, shown), (0, Some(100)));
        assert_eq!(on_ladder(400, shown), 500, "a real change is shown");
        assert_eq!(on_ladder(0, shown), 0, "silence is shown at once");
    }

    #[test]
    fn fleet_size_is_a_power_of_ten() {
        assert_eq!(
            [0, 1, 2, 10, 11, 15_000].map(fleet_size),
            [1, 1, 10, 10, 100, 100_000]
        );
    }
}

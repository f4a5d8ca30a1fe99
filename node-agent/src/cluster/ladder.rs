//! Rounds rates onto a 1-2-5 ladder with hysteresis, so that a status is quiet while nothing much changes.

use weir_profile::api::Window;

/// Rates that are shown alike.
const FEW: std::ops::RangeInclusive<i64> = 1..=9;

/// The rate to show: the nearest step of 0, 1, 2, 5, 10, 20, 50, ... per second; but the step that is shown stays until
/// the rate reaches a neighbouring one, half a step beyond where it would otherwise change. Rates are rounded, so that
/// 1 becomes 0 below 0.5, and 0 becomes something at 1.5. A few events per second are a few: the probes of a handful of
/// pods wander between 1 and 9, and none of the steps there is told from another once one is shown.
#[must_use]
pub fn step(rate: i64, shown: Option<i64>) -> i64 {
    if let Some(shown) = shown.filter(|&shown| nearest(shown) == shown) {
        if shown == 0 && rate == 1 {
            return 0;
        }
        if FEW.contains(&shown) && FEW.contains(&rate) {
            return shown;
        }
        let (lower, upper) = (below(shown), above(shown));
        if rate == shown || (lower < rate && rate < upper) {
            return shown;
        }
    }
    nearest(rate)
}

/// [`step`] for each rate of a window.
#[must_use]
pub fn window(rates: Window, shown: Option<Window>) -> Window {
    let Window {
        events_per_second,
        limited_per_second,
        lost_per_second,
    } = rates;
    Window {
        events_per_second: step(events_per_second, shown.map(|shown| shown.events_per_second)),
        limited_per_second: step(limited_per_second, shown.map(|shown| shown.limited_per_second)),
        lost_per_second: step(lost_per_second, shown.map(|shown| shown.lost_per_second)),
    }
}

/// Steps in rising order, up to what an `i64` holds.
fn steps() -> impl Iterator<Item = i64> {
    let decades = std::iter::successors(Some(1_i64), |decade| decade.checked_mul(10));
    std::iter::once(0).chain(decades.flat_map(|decade| {
        [1, 2, 5]
            .into_iter()
            .filter_map(move |digit| decade.checked_mul(digit))
    }))
}

fn below(shown: i64) -> i64 {
    // Only nothing at all is shown as nothing.
    steps().take_while(|&step| step < shown).last().unwrap_or(-1)
}

fn above(shown: i64) -> i64 {
    steps().find(|&step| step > shown).unwrap_or(i64::MAX)
}

fn nearest(rate: i64) -> i64 {
    if rate < 1 {
        return 0;
    }
    let lower = steps().take_while(|&step| step <= rate).last().unwrap_or(1);
    let upper = above(lower);
    if rate - lower < upper - rate { lower } else { upper }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn step_without_history_is_the_nearest() {
        for (rate, expected) in [
            (-1, 0),
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 5),
            (7, 5),
            (8, 10),
            (14, 10),
            (16, 20),
            (480, 500),
            (20_000, 20_000),
        ] {
            assert_eq!(step(rate, None), expected, "{rate}");
        }
    }

    #[test]
    fn step_stays_until_a_neighbour_is_reached() {
        for (rate, shown, expected) in [
            (480, 500, 500),
            (999, 500, 500),
            (1_000, 500, 1_000),
            (201, 500, 500),
            (200, 500, 200),
            (0, 1, 0),
            (9, 1, 1),
            (1, 5, 5),
            (10, 2, 10),
            (4, 10, 5),
            (1, 0, 0),
            (2, 0, 2),
            (5_000, 1, 5_000),
            (0, 500, 0),
        ] {
            assert_eq!(step(rate, Some(shown)), expected, "{rate} after {shown}");
        }
    }

    proptest! {
        #[test]
        fn step_is_on_the_ladder_and_stable(rate in any::<i64>(), before in any::<i64>()) {
            let shown = step(rate, Some(step(before, None)));
            prop_assert!(steps().any(|step| step == shown) || shown == i64::MAX);
            prop_assert_eq!(step(rate, Some(shown)), shown, "showing it changes nothing");
        }

        /// A rate that wanders within half a step of its start changes at most once.
        #[test]
        fn step_wandering_rate_is_quiet(rate in 10_i64..1_000_000, wander in proptest::collection::vec(-10_i64..=10, 1..50)) {
            let mut shown = step(rate, None);
            let mut changes = 0;
            for by in wander {
                let next = step(rate + rate * by / 100, Some(shown));
                changes += u32::from(next != shown);
                shown = next;
            }
            prop_assert!(changes <= 1, "{} changes", changes);
        }
    }
}

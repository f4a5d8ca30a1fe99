//! Medians and quantiles of small samples.

use serde::Serialize;

/// Rounds of one measurement, in the order in which they were taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Samples {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: Vec<f64>,
}

impl Samples {
    /// Of at least one round.
    pub(crate) fn of(rounds: Vec<f64>) -> Self {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: median_of(&sorted),
            min: sorted.first().copied().unwrap_or(f64::NAN),
            max: sorted.last().copied().unwrap_or(f64::NAN),
            rounds,
        }
    }

    /// Each round by the same round of `other`: what was measured side by side is compared side by side.
    pub(crate) fn per(&self, other: &Self) -> Self {
        Self::of(pairs(self, other).map(|(a, b)| a / b).collect())
    }

    /// Each round less the same round of `other`.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        Self::of(pairs(self, other).map(|(a, b)| a - b).collect())
    }

    /// Each round times `factor`.
    pub(crate) fn times(&self, factor: f64) -> Self {
        Self::of(self.rounds.iter().map(|round| round * factor).collect())
    }
}

fn pairs<'a>(a: &'a Samples, b: &'a Samples) -> impl Iterator<Item = (f64, f64)> + 'a {
    a.rounds.iter().copied().zip(b.rounds.iter().copied())
}

fn median_of(sorted: &[f64]) -> f64 {
    match sorted {
        [] => f64::NAN,
        [one] => *one,
        many if many.len() % 2 == 1 => many[many.len() / 2],
        many => f64::midpoint(many[many.len() / 2 - 1], many[many.len() / 2]),
    }
}

/// The value below which `per_mille` of a thousand lie; sorts in place. `None` of nothing.
pub(crate) fn quantile(values: &mut [u32], per_mille: usize) -> Option<u32> {
    values.sort_unstable();
    let index = (values.len().checked_sub(1)? * per_mille) / 1000;
    values.get(index).copied()
}

/// Counts and nanoseconds as numbers to calculate with; exact below 2^53.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and times of a bench run are far below 2^53"
)]
pub(crate) const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_odd_and_even_rounds_have_their_median() {
        let odd = Samples::of(vec![3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(odd.rounds, [3.0, 1.0, 2.0]);
        assert_eq!(Samples::of(vec![4.0, 1.0]).median.to_string(), "2.5");
    }

    #[test]
    fn samples_are_compared_round_by_round() {
        let ours = Samples::of(vec![2.0, 8.0, 3.0]);
        let theirs = Samples::of(vec![4.0, 8.0, 12.0]);
        assert_eq!(ours.per(&theirs).rounds, [0.5, 1.0, 0.25]);
        assert_eq!(ours.minus(&theirs).median.to_string(), "-2");
    }

    #[test]
    fn quantile_of_a_hundred_numbers() {
        let mut values: Vec<u32> = (1..=100).rev().collect();
        assert_eq!(quantile(&mut values, 500), Some(50));
        assert_eq!(quantile(&mut values, 990), Some(99));
        assert_eq!(quantile(&mut values, 1000), Some(100));
        assert_eq!(quantile(&mut [], 500), None);
    }
}

//! How long to wait before the next attempt: exponential, jittered, capped.
//!
//! The jitter is passed in, so the arithmetic is pure and a fleet's spread can be tested.

use std::time::Duration;

/// Delays that double from `first` up to `cap`.
///
/// Delay `n` is uniform in `[first / 2, min(cap, first * 2^(n+1))]`: wide, because a fleet of agents that lost
/// the same server must not come back in step, and never zero, because a loop without a pause burns a core.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempt: u32,
}

impl Backoff {
    /// A series that starts around `first` and never exceeds `cap` (which is raised to `first` when below it).
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            first,
            cap: cap.max(first),
            attempt: 0,
        }
    }

    /// The next delay; `jitter` is a uniformly random `u32`.
    pub fn next(&mut self, jitter: u32) -> Duration {
        let delay = Self::delay(self.first, self.cap, self.attempt, jitter);
        self.attempt = self.attempt.saturating_add(1);
        delay
    }

    /// Delay number `attempt` (from 0) without a series, for callers that are told the attempt.
    #[must_use]
    pub fn delay(first: Duration, cap: Duration, attempt: u32, jitter: u32) -> Duration {
        let cap = cap.max(first);
        let ceiling = 2_u32
            .checked_pow(attempt.saturating_add(1))
            .and_then(|factor| first.checked_mul(factor))
            .map_or(cap, |delay| delay.min(cap));
        let floor = first / 2;
        let range = u64::try_from((ceiling.saturating_sub(floor)).as_nanos()).unwrap_or(u64::MAX);
        let share = (u128::from(range) * u128::from(jitter)) / u128::from(u32::MAX);
        floor + Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }

    /// How many delays were handed out since the last success.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempt
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delay_without_luck_doubles_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let delays: Vec<u128> = (0..6).map(|_| backoff.next(u32::MAX).as_millis()).collect();
        assert_eq!(delays, [200, 400, 800, 1000, 1000, 1000]);
        assert_eq!(backoff.attempts(), 6);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX).as_millis(), 200);
    }

    proptest! {
        #[test]
        fn delay_always_is_within_its_bounds(
            first in 1_u64..10_000, cap in 1_u64..100_000, attempt: u32, jitter: u32,
        ) {
            let (first, cap) = (Duration::from_millis(first), Duration::from_millis(cap));
            let delay = Backoff::delay(first, cap, attempt, jitter);
            prop_assert!(delay >= first / 2);
            prop_assert!(delay <= cap.max(first));
        }

        #[test]
        fn delay_grows_with_jitter_and_attempt(attempt in 0_u32..40, low: u32, high: u32) {
            let delay = |attempt, jitter| {
                Backoff::delay(Duration::from_millis(100), Duration::from_secs(30), attempt, jitter)
            };
            prop_assert!(delay(attempt, low.min(high)) <= delay(attempt, low.max(high)));
            prop_assert!(delay(attempt, low) <= delay(attempt + 1, low));
        }
    }
}

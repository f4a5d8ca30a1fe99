//! How often one profile's status may be written.
//!
//! Pure: the caller passes the time. What a condition says is written at once while a small bucket lasts; counts and
//! rates wait a minute.

use std::time::Duration;

/// Writes at once at most.
const BURST: u32 = 2;
/// One more write per this time.
const REFILL: Duration = Duration::from_secs(5);
/// Least time between writes that change no condition.
const QUIET: Duration = Duration::from_mins(1);

/// What a new status changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A condition's status or reason, or the generation it speaks of.
    Condition,
    /// Only numbers and messages.
    Numbers,
}

/// The writes of one object.
#[derive(Clone, Debug)]
pub struct WriteBudget {
    tokens: u32,
    /// When the last whole token came.
    refilled: Duration,
    last: Option<Duration>,
}

impl WriteBudget {
    /// A full budget at `now`, measured from any fixed point.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self {
            tokens: BURST,
            refilled: now,
            last: None,
        }
    }

    /// Takes a write, or says how long to wait for one.
    pub fn take(&mut self, change: Change, now: Duration) -> Result<(), Duration> {
        while self.tokens < BURST && now >= self.refilled + REFILL {
            self.tokens += 1;
            self.refilled += REFILL;
        }
        if self.tokens == BURST {
            self.refilled = now;
        }
        if let (Change::Numbers, Some(last)) = (change, self.last)
            && now < last + QUIET
        {
            return Err((last + QUIET).saturating_sub(now));
        }
        if self.tokens == 0 {
            return Err((self.refilled + REFILL).saturating_sub(now));
        }
        self.tokens -= 1;
        self.last = Some(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1000 + seconds)
    }

    #[test]
    fn budget_condition_changes_pass_in_a_burst_then_every_five_seconds() {
        let mut budget = WriteBudget::new(at(0));
        assert_eq!(budget.take(Change::Condition, at(0)), Ok(()));
        assert_eq!(budget.take(Change::Condition, at(0)), Ok(()));
        assert_eq!(budget.take(Change::Condition, at(1)), Err(Duration::from_secs(4)));
        assert_eq!(budget.take(Change::Condition, at(5)), Ok(()));
        assert!(budget.take(Change::Condition, at(6)).is_err());
    }

    #[test]
    fn budget_numbers_wait_a_minute_after_any_write() {
        let mut budget = WriteBudget::new(at(0));
        assert_eq!(budget.take(Change::Numbers, at(0)), Ok(()));
        assert_eq!(budget.take(Change::Numbers, at(20)), Err(Duration::from_secs(40)));
        assert_eq!(budget.take(Change::Condition, at(30)), Ok(()));
        assert_eq!(budget.take(Change::Numbers, at(60)), Err(Duration::from_secs(30)));
        assert_eq!(budget.take(Change::Numbers, at(90)), Ok(()));
    }

    proptest! {
        #[test]
        fn budget_whoever_asks_never_exceeds_burst_and_rate(asks in proptest::collection::vec((0_u64..4000, any::<bool>()), 1..200)) {
            let mut budget = WriteBudget::new(Duration::ZERO);
            let (mut now, mut written) = (Duration::ZERO, Vec::new());
            for (step, condition) in asks {
                now += Duration::from_millis(step);
                let change = if condition { Change::Condition } else { Change::Numbers };
                match budget.take(change, now) {
                    Ok(()) => written.push(now),
                    // Whoever waits as told is served.
                    Err(wait) => prop_assert!(budget.clone().take(change, now + wait).is_ok()),
                }
            }
            for (i, first) in written.iter().enumerate() {
                for (j, last) in written.iter().enumerate().skip(i) {
                    let allowed = 2 + last.saturating_sub(*first).as_millis() / 5000;
                    prop_assert!(u128::try_from(j - i + 1).unwrap() <= allowed);
                }
            }
        }
    }
}

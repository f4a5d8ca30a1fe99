//! How long a watch waits after an error before it is taken up again.
//!
//! Pure: time and jitter are passed in. Unlike a plain [`Backoff`] it knows that a server which says "too old" has
//! answered, so that a new list is asked for at once, and that one good answer does not prove a server healthy.

use std::time::Duration;

use crate::backoff::Backoff;

/// The first wait after an error, about.
const FIRST: Duration = Duration::from_millis(400);
/// A watch without an error for this long starts over with short waits.
const HEALTHY_AFTER: Duration = Duration::from_secs(30);
/// A list that is too old again so soon did not help: the server's answers cannot be relied on at the moment.
const OUTDATED_AGAIN: Duration = Duration::from_secs(10);

/// The waits of one watch.
#[derive(Debug, Clone)]
pub struct Patience {
    backoff: Backoff,
    failed_at: Option<Duration>,
    outdated_at: Option<Duration>,
}

impl Patience {
    /// Waits of at most `cap`, which bounds how late the watch is after the server's return.
    #[must_use]
    pub fn new(cap: Duration) -> Self {
        Self {
            backoff: Backoff::new(FIRST, cap),
            failed_at: None,
            outdated_at: None,
        }
    }

    /// What to wait after an error at `now`, measured from any fixed point. `jitter` is a uniformly random `u32`.
    pub fn failed(&mut self, now: Duration, jitter: u32) -> Duration {
        if self.failed_at.is_none_or(|at| now >= at + HEALTHY_AFTER) {
            self.backoff.reset();
        }
        self.failed_at = Some(now);
        self.backoff.next(jitter)
    }

    /// What to wait when the server said that what the watch knows is too old, and only a new list helps: nothing, for
    /// waiting would make it older still. A server that says so again at once is left alone like one that fails.
    pub fn outdated(&mut self, now: Duration, jitter: u32) -> Duration {
        let again = self.outdated_at.is_some_and(|at| now < at + OUTDATED_AGAIN);
        self.outdated_at = Some(now);
        if again {
            self.failed(now, jitter)
        } else {
            Duration::ZERO
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAP: Duration = Duration::from_secs(5);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(1_000 + seconds)
    }

    #[test]
    fn failed_waits_grow_to_the_cap_and_start_over_after_health() {
        let mut patience = Patience::new(CAP);
        let waits: Vec<_> = (0..6)
            .map(|second| patience.failed(at(second * 5), u32::MAX).as_millis())
            .collect();
        assert_eq!(waits, [800, 1_600, 3_200, 5_000, 5_000, 5_000]);
        assert_eq!(patience.failed(at(25 + 29), u32::MAX), CAP);
        assert_eq!(patience.failed(at(25 + 29 + 30), u32::MAX).as_millis(), 800);
    }

    #[test]
    fn outdated_after_an_outage_lists_at_once_and_again_waits() {
        let mut patience = Patience::new(CAP);
        for second in 0..60 {
            patience.failed(at(second), u32::MAX);
        }
        assert_eq!(patience.outdated(at(61), u32::MAX), Duration::ZERO);
        assert_eq!(patience.outdated(at(62), u32::MAX), CAP, "no storm of lists");
        assert_eq!(patience.outdated(at(73), u32::MAX), Duration::ZERO);
    }
}

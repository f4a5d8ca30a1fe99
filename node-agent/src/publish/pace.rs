//! How fast a sink may be tried: the full window while answers come, one probe at a time after a failure.
//!
//! It concerns failures of the sink as a whole; a batch that is refused for itself does not slow the others. Pure: time
//! and jitter are passed in.

use std::time::{Duration, Instant};

use weir_runtime::backoff::Backoff;

/// Unanswered batches at a time: enough to fill a second of round trips at 4 ms each.
pub(crate) const WINDOW_BATCHES: usize = 256;
/// Unanswered bytes at a time: a quarter of the default memory bound, the rest stays sheddable by priority.
pub(crate) const WINDOW_BYTES: usize = 8 * 1024 * 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Whether and when the next batch may be sent.
#[derive(Debug)]
pub(crate) struct Pace {
    backoff: Backoff,
    pause_until: Option<Instant>,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            pause_until: None,
        }
    }

    /// The sink answered well.
    pub(crate) fn answered(&mut self) {
        self.backoff.reset();
        self.pause_until = None;
    }

    /// The sink as a whole failed. Failures of what was sent before the pause began count once.
    pub(crate) fn failed(&mut self, now: Instant, jitter: u32) {
        if self.pause_until.is_none_or(|until| until <= now) {
            self.pause_until = Some(now + self.backoff.next(jitter));
        }
    }

    /// Whether another batch may be sent, given what is unanswered.
    pub(crate) fn allows(&self, now: Instant, batches: usize, bytes: usize) -> bool {
        match self.pause_until {
            Some(until) => until <= now && batches == 0,
            None => batches < WINDOW_BATCHES && bytes < WINDOW_BYTES,
        }
    }

    /// When to ask again, if a pause is what forbids sending.
    pub(crate) fn resume_at(&self, now: Instant) -> Option<Instant> {
        self.pause_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_after_a_failure_allows_one_probe_and_after_an_answer_everything() {
        let now = Instant::now();
        let mut pace = Pace::new();
        assert!(pace.allows(now, WINDOW_BATCHES - 1, 0));
        assert!(!pace.allows(now, WINDOW_BATCHES, 0));
        assert!(!pace.allows(now, 1, WINDOW_BYTES));
        pace.failed(now, u32::MAX);
        assert!(!pace.allows(now, 0, 0));
        let resume = pace.resume_at(now).expect("pauses");
        assert_eq!(resume, now + Duration::from_millis(200));
        assert!(pace.allows(resume, 0, 0));
        assert!(!pace.allows(resume, 1, 10), "one probe at a time");
        pace.answered();
        assert!(pace.allows(now, 5, 10));
    }

    #[test]
    fn pace_with_many_failures_of_one_pause_backs_off_once() {
        let now = Instant::now();
        let mut pace = Pace::new();
        for _ in 0..100 {
            pace.failed(now, u32::MAX);
        }
        let resume = pace.resume_at(now).expect("pauses");
        assert_eq!(resume, now + Duration::from_millis(200));
        pace.failed(resume, u32::MAX);
        assert_eq!(pace.resume_at(resume), Some(resume + Duration::from_millis(400)));
    }
}

//! When a failed object is tried again: exponential per object, with jitter, forgotten at the first success.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use weir_runtime::backoff::Backoff;

const FIRST: Duration = Duration::from_millis(500);
const CAP: Duration = Duration::from_mins(2);

/// Failures in a row, by object.
#[derive(Debug, Default)]
pub struct Retries(Mutex<HashMap<String, u32>>);

impl Retries {
    /// The object failed once more: how long to wait. `jitter` is uniformly random.
    pub fn failed(&self, name: &str, jitter: u32) -> Duration {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = failures.entry(name.to_owned()).or_default();
        let delay = Backoff::delay(FIRST, CAP, *attempt, jitter);
        *attempt = attempt.saturating_add(1);
        delay
    }

    /// The object succeeded, or is gone.
    pub fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_grow_per_object_and_start_over_after_success() {
        let retries = Retries::default();
        let delays: Vec<_> = (0..12).map(|_| retries.failed("a", u32::MAX)).collect();
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]), "{delays:?}");
        assert_eq!(delays.last(), Some(&CAP));
        assert_eq!(
            retries.failed("b", u32::MAX),
            Duration::from_secs(1),
            "another object does not wait for it"
        );
        retries.forget("a");
        assert_eq!(retries.failed("a", u32::MAX), Duration::from_secs(1));
    }
}

//! The arithmetic of the limiter (GCRA), shared so that tests on the host prove what the kernel runs.

/// Emission interval in nanoseconds for `rate` events per second, rounded up so that the rate is never
/// exceeded. 0 means no limit.
#[must_use]
pub const fn interval(rate: u32) -> u64 {
    if rate == 0 {
        0
    } else {
        1_000_000_000_u64.div_ceil(rate as u64)
    }
}

/// Burst tolerance in nanoseconds: `burst` intervals.
#[must_use]
pub const fn tolerance(rate: u32, burst: u32) -> u64 {
    interval(rate) * burst as u64
}

/// The bucket's next theoretical arrival time if it admits an event at `now`, or 0 when it must not.
#[inline(always)]
#[must_use]
pub const fn admit(tat: u64, now: u64, interval: u64, tolerance: u64) -> u64 {
    let base = if tat > now { tat } else { now };
    let next = base + interval;
    if next - now <= tolerance { next } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `calls` evenly spread over `seconds` and counts what passes.
    fn passed(rate: u32, burst: u32, calls: u64, seconds: u64) -> u64 {
        let (t, tau) = (interval(rate), tolerance(rate, burst));
        let mut tat = 0;
        let mut passed = 0;
        for call in 0..calls {
            let now = 1_000_000_000 + call * seconds * 1_000_000_000 / calls;
            let next = admit(tat, now, t, tau);
            if next != 0 {
                tat = next;
                passed += 1;
            }
        }
        passed
    }

    #[test]
    fn saturated_bucket_passes_its_rate_and_never_more_than_rate_and_burst() {
        for (rate, burst) in [(1, 1), (10, 1), (500, 50), (300_000, 30), (1_000_000, 100_000)] {
            let seconds = 4;
            let got = passed(rate, burst, u64::from(rate) * seconds * 4, seconds);
            let limit = u64::from(rate) * seconds;
            assert!(got <= limit + u64::from(burst), "{rate}/{burst}: {got}");
            assert!(got * 100 >= limit * 98, "{rate}/{burst}: {got}");
        }
    }

    #[test]
    fn idle_bucket_passes_exactly_its_burst_at_once() {
        let (t, tau) = (interval(100), tolerance(100, 7));
        let mut tat = 0;
        let now = 5_000_000_000;
        let mut passed = 0;
        for _ in 0..100 {
            let next = admit(tat, now, t, tau);
            if next != 0 {
                tat = next;
                passed += 1;
            }
        }
        assert_eq!(passed, 7);
    }
}

//! When to look at the rings again: wake-ups are the dominant cost, so the consumer decides. Pure.
//!
//! Idle, the kernel wakes us for the first record, and nothing costs anything without one. Busy, the kernel never
//! wakes and we look by our own clock: being behind on purpose spares the traced programs the wake-up.

use std::time::Duration;

/// Rate is judged over this.
const WINDOW_NS: u64 = 100_000_000;
/// From this many records in a window on: busy (200/s). Idle, each record is a wake-up and a message of its own; busy, a
/// default linger of 5 ms is 200 of them a second, however many records there are.
const BUSY_FROM: u64 = 20;
/// Below this many: idle (100/s).
const IDLE_BELOW: u64 = 10;
/// Longest nap between two looks. The ring must hold what comes meanwhile: 4 MiB at 200 bytes take 4 M/s.
pub const MAX_NAP: Duration = Duration::from_millis(5);
/// Shortest nap.
const MIN_NAP: Duration = Duration::from_micros(100);
/// The part of a linger that is kept back from the nap, for the wake-up itself. A batch is sealed a nap before it is
/// due, so that one nap keeps the promise, and more of them only cost wake-ups: they are most of the thread's time.
const RESERVE: u64 = 16;

/// Programs that have read the wake mode are done by then.
const SETTLE_NS: u64 = 20_000_000;
/// Longest sleep of an idle round: upkeep is due then.
const IDLE_WAIT: Duration = Duration::from_secs(1);

/// Who decides when we look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// The kernel wakes us.
    #[default]
    Idle,
    /// Our clock does.
    Busy,
}

/// The decision.
#[derive(Debug, Default)]
pub(super) struct Pace {
    mode: Mode,
    /// Since when the mode is what it is.
    since_ns: u64,
    window_from_ns: u64,
    in_window: u64,
}

impl Pace {
    pub(super) const fn mode(&self) -> Mode {
        self.mode
    }

    /// Takes a round's records. Returns the mode if it changed.
    pub(super) fn observe(&mut self, records: u64, now_ns: u64) -> Option<Mode> {
        self.in_window += records;
        let full = now_ns.saturating_sub(self.window_from_ns) >= WINDOW_NS;
        let next = match self.mode {
            Mode::Idle if self.in_window >= BUSY_FROM => Mode::Busy,
            Mode::Busy if full && self.in_window < IDLE_BELOW => Mode::Idle,
            same => same,
        };
        if full || next != self.mode {
            self.window_from_ns = now_ns;
            self.in_window = 0;
        }
        (next != self.mode).then(|| {
            (self.mode, self.since_ns) = (next, now_ns);
            next
        })
    }

    /// Longest sleep of an idle round. A program that read the old mode just before it changed writes its record without
    /// waking anybody, and while that one is unread the kernel wakes nobody for the next: one more look finds it.
    pub(super) fn longest_wait(&self, now_ns: u64) -> Duration {
        if now_ns.saturating_sub(self.since_ns) < SETTLE_NS {
            Duration::from_nanos(SETTLE_NS)
        } else {
            IDLE_WAIT
        }
    }
}

/// How long to sleep when busy.
pub(super) fn nap(least_linger_ns: Option<u64>) -> Duration {
    let linger = least_linger_ns.unwrap_or(u64::MAX);
    let nap = Duration::from_nanos(linger - linger / RESERVE);
    nap.clamp(MIN_NAP, MAX_NAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pace_turns_busy_with_the_flow_and_idle_only_after_a_quiet_window() {
        let mut pace = Pace::default();
        assert_eq!(pace.observe(3, WINDOW_NS), None);
        assert_eq!(pace.observe(BUSY_FROM, WINDOW_NS + 1), Some(Mode::Busy));
        assert_eq!(pace.observe(0, WINDOW_NS + 2), None);
        assert_eq!(pace.observe(0, 2 * WINDOW_NS + 2), Some(Mode::Idle));
        assert_eq!(pace.longest_wait(2 * WINDOW_NS + 3), Duration::from_millis(20));
        assert_eq!(pace.longest_wait(2 * WINDOW_NS + 2 + SETTLE_NS), IDLE_WAIT);
    }

    #[test]
    fn nap_is_a_little_less_than_the_linger_within_bounds() {
        assert_eq!(nap(Some(5_000_000)), Duration::from_nanos(4_687_500));
        assert_eq!(nap(Some(1_000_000)), Duration::from_nanos(937_500));
        assert_eq!(nap(Some(100_000_000)), MAX_NAP);
        assert_eq!(nap(Some(0)), MIN_NAP);
        assert_eq!(nap(None), MAX_NAP);
    }
}

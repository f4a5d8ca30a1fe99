//! Estimates the offset from boot time to wall time, with an error bound; reads no clock except in [`read`].
//!
//! Events carry boot time, which never steps. Wall time does, so the offset is estimated anew every second and
//! whoever encodes an event freezes the estimate of that moment into it.

use rustix::time::{ClockId, clock_gettime};

/// Readings per estimate; the tightest wins, so that one preemption between two reads does not widen the bound.
pub const READINGS: usize = 5;

/// How far the wall clock may run from boot time without a step, in parts per million: `adjtimex` slews by at
/// most 500, and the crystal's own correction is at most as much again.
const SLEW_PPM: u64 = 1_000;

/// One look at both clocks: boot time before and after the wall clock was read, all in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// `CLOCK_BOOTTIME` before.
    pub boot_before_ns: u64,
    /// `CLOCK_REALTIME`, since the Unix epoch.
    pub wall_ns: u64,
    /// `CLOCK_BOOTTIME` after.
    pub boot_after_ns: u64,
}

/// What boot time means in wall time, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Wall time less boot time, nanoseconds.
    pub offset_ns: i64,
    /// The true offset lies within this of `offset_ns`.
    pub error_ns: u64,
    /// Boot time of the estimate.
    pub at_boot_ns: u64,
}

impl Offset {
    /// Wall time of a boot time, nanoseconds since the Unix epoch; 0 if it lies before that.
    #[must_use]
    pub fn wall_ns(&self, boot_ns: u64) -> u64 {
        boot_ns.saturating_add_signed(self.offset_ns)
    }

    fn of(reading: &Reading) -> Option<Self> {
        let width = reading.boot_after_ns.checked_sub(reading.boot_before_ns)?;
        let middle = reading.boot_before_ns + width / 2;
        let offset = i128::from(reading.wall_ns) - i128::from(middle);
        Some(Self {
            offset_ns: i64::try_from(offset).ok()?,
            error_ns: width.div_ceil(2),
            at_boot_ns: middle,
        })
    }
}

/// What became of a re-estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The offset moved by no more than slewing and the bounds explain.
    Steady,
    /// The wall clock was set: it jumped by so many nanoseconds.
    Stepped {
        /// New offset less the old one.
        by_ns: i64,
    },
}

/// The current estimate.
#[derive(Debug, Clone)]
pub struct WallClock {
    current: Offset,
}

impl WallClock {
    /// Starts from some readings; `None` if none of them is usable (boot time ran backwards, which it never does).
    #[must_use]
    pub fn new(readings: &[Reading]) -> Option<Self> {
        best(readings).map(|current| Self { current })
    }

    /// The estimate to freeze into an event.
    #[must_use]
    pub fn offset(&self) -> Offset {
        self.current
    }

    /// Takes new readings. Call every second, and whenever a wall clock step is reported. Unusable readings change
    /// nothing.
    pub fn update(&mut self, readings: &[Reading]) -> Change {
        let Some(new) = best(readings) else {
            return Change::Steady;
        };
        let old = std::mem::replace(&mut self.current, new);
        let by_ns = new.offset_ns.saturating_sub(old.offset_ns);
        let passed = new.at_boot_ns.saturating_sub(old.at_boot_ns);
        let explained = old.error_ns + new.error_ns + passed / 1_000_000 * SLEW_PPM + SLEW_PPM;
        if by_ns.unsigned_abs() > explained {
            Change::Stepped { by_ns }
        } else {
            Change::Steady
        }
    }
}

fn best(readings: &[Reading]) -> Option<Offset> {
    readings
        .iter()
        .filter_map(Offset::of)
        .min_by_key(|offset| offset.error_ns)
}

/// Looks at both clocks [`READINGS`] times.
#[must_use]
pub fn read() -> [Reading; READINGS] {
    std::array::from_fn(|_| Reading {
        boot_before_ns: now(ClockId::Boottime),
        wall_ns: now(ClockId::Realtime),
        boot_after_ns: now(ClockId::Boottime),
    })
}

/// Boot time now, nanoseconds.
#[must_use]
pub fn boot_ns() -> u64 {
    now(ClockId::Boottime)
}

fn now(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn reading(boot: u64, width: u64, offset: i64) -> Reading {
        Reading {
            boot_before_ns: boot,
            wall_ns: (boot + width / 2).saturating_add_signed(offset),
            boot_after_ns: boot + width,
        }
    }

    #[test]
    fn new_takes_the_tightest_reading() {
        let readings = [
            reading(100 * SECOND, 5_000, 7),
            reading(101 * SECOND, 80, 9),
            reading(102 * SECOND, 900, 8),
        ];
        let clock = WallClock::new(&readings).unwrap();
        assert_eq!(
            clock.offset(),
            Offset {
                offset_ns: 9,
                error_ns: 40,
                at_boot_ns: 101 * SECOND + 40
            }
        );
    }

    #[test]
    fn new_backward_reading_is_unusable() {
        let backward = Reading {
            boot_before_ns: 2,
            wall_ns: 5,
            boot_after_ns: 1,
        };
        assert!(WallClock::new(&[backward]).is_none());
        let mut clock = WallClock::new(&[reading(SECOND, 10, 5)]).unwrap();
        assert_eq!(clock.update(&[backward]), Change::Steady);
        assert_eq!(clock.offset().offset_ns, 5);
    }

    #[test]
    fn update_slewing_is_steady_and_a_step_is_told() {
        let mut clock = WallClock::new(&[reading(10 * SECOND, 100, 1_000)]).unwrap();
        assert_eq!(
            clock.update(&[reading(11 * SECOND, 100, 1_000 + 400_000)]),
            Change::Steady
        );
        assert_eq!(clock.offset().offset_ns, 401_000);
        assert_eq!(
            clock.update(&[reading(12 * SECOND, 100, 401_000 - 5_000_000)]),
            Change::Stepped { by_ns: -5_000_000 }
        );
    }

    #[test]
    fn read_real_clocks_agree_with_the_system_time() {
        let clock = WallClock::new(&read()).unwrap();
        let before = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let wall = clock.offset().wall_ns(boot_ns());
        let apart = i128::from(wall) - i128::try_from(before.as_nanos()).unwrap();
        assert!(apart.abs() < i128::from(SECOND), "{apart} ns apart");
    }

    proptest! {
        #[test]
        fn offset_bounds_the_true_one(boot in 0..u64::MAX / 4, width in 0_u64..10_000, inside in 0_u64..10_000, true_offset in 0..i64::MAX / 4) {
            // The wall clock was read at some moment between the two boot readings.
            let at = boot + inside.min(width);
            let reading = Reading { boot_before_ns: boot, wall_ns: at.saturating_add_signed(true_offset), boot_after_ns: boot + width };
            let offset = WallClock::new(&[reading]).unwrap().offset();
            prop_assert!(offset.offset_ns.abs_diff(true_offset) <= offset.error_ns);
        }
    }
}

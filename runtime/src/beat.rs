//! Signs of life of a process's stages, told by themselves: a stage that hangs says nothing, and is seen by that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A stage without a sign of life for this long makes the process unready.
pub const LATE: Duration = Duration::from_secs(10);
/// For this long: the process is to be started again, since nothing else mends a stage that hangs.
pub const STUCK: Duration = Duration::from_mins(1);
/// How often a stage that waits for something tells that it does.
pub const EVERY: Duration = Duration::from_secs(1);

/// Milliseconds since a start that all stages share. The clock stands still while the machine sleeps.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    start: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    pub(crate) fn new(start: Instant) -> Self {
        let pulse = Self {
            start,
            last_ms: Arc::default(),
        };
        pulse.tell();
        pulse
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn tell(&self) {
        self.last_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// How long ago the last sign was.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.now_ms().saturating_sub(self.last_ms.load(Ordering::Relaxed)))
    }

    #[cfg(test)]
    pub(crate) fn set_age(&mut self, age: Duration) {
        self.start -= age;
    }
}

/// One stage's. It counts while this exists: a stage that ends in order is no longer expected to live.
#[derive(Debug)]
pub struct Beat {
    pub(crate) pulse: Pulse,
    pub(crate) readiness: crate::readiness::Readiness,
    pub(crate) name: String,
}

impl Beat {
    /// The stage lives. Costs a look at the clock.
    pub fn tell(&self) {
        self.pulse.tell();
    }

    /// Tells it again and again, of a stage that is a thread with a runtime of its own: it can run tasks.
    pub async fn follow(self) {
        let mut every = tokio::time::interval(EVERY);
        loop {
            every.tick().await;
            self.tell();
        }
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.readiness.silence(&self.name);
    }
}

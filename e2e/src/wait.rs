//! Waits for a state of the world, with a deadline, and says in the failure what the world last looked like.
//!
//! Level-triggered: a probe looks at the state as it is now, never at an event that it could have missed.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// Between two looks. Short against every limit that tests use, long against what a look costs.
const INTERVAL: Duration = Duration::from_millis(200);

/// What a look at the world showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe<T> {
    /// The state that was waited for.
    Done(T),
    /// Not yet; the text says what is there instead.
    Pending(String),
    /// It can never come; waiting longer is pointless.
    Never(String),
}

impl<T> Probe<T> {
    /// `Done` when `condition` holds, otherwise `Pending` with `state`.
    pub fn when(condition: bool, value: T, state: impl fmt::Display) -> Self {
        if condition {
            Self::Done(value)
        } else {
            Self::Pending(state.to_string())
        }
    }
}

/// A failed look is a look that shows nothing yet: servers may be restarting.
impl<T, E: std::error::Error> From<Result<Self, E>> for Probe<T> {
    fn from(result: Result<Self, E>) -> Self {
        result.unwrap_or_else(|error| Self::Pending(format!("cannot look: {}", chain(&error))))
    }
}

/// Why a wait ended without its state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline passed.
    #[error("waited {limit:?} for {what}; last seen: {state}")]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        limit: Duration,
        /// What the last look showed.
        state: String,
    },
    /// The probe said that it never comes.
    #[error("{what} cannot happen any more: {state}")]
    Never {
        /// What was waited for.
        what: String,
        /// Why not.
        state: String,
    },
    /// A state that had to hold did not.
    #[error("{what} did not hold for {wanted:?}: after {held:?}, {state}")]
    Broken {
        /// What had to hold.
        what: String,
        /// For how long it had to.
        wanted: Duration,
        /// For how long it did.
        held: Duration,
        /// What was there instead.
        state: String,
    },
}

/// Looks until the state is there; fails after `limit`. The first look is immediate, the last one is at the deadline.
pub async fn until<T, P, L>(what: &str, limit: Duration, mut look: impl FnMut() -> L) -> Result<T, WaitError>
where
    P: Into<Probe<T>>,
    L: Future<Output = P>,
{
    let deadline = Instant::now() + limit;
    let mut state = "nothing: the first look did not end".to_owned();
    loop {
        let last = Instant::now() >= deadline;
        // A look that hangs must not outlive the deadline; the last one gets an interval of its own.
        let patience = if last {
            INTERVAL
        } else {
            deadline.saturating_duration_since(Instant::now()) + INTERVAL
        };
        match tokio::time::timeout(patience, look()).await.map(Into::into) {
            Ok(Probe::Done(value)) => return Ok(value),
            Ok(Probe::Pending(seen)) => state = seen,
            Ok(Probe::Never(seen)) => {
                return Err(WaitError::Never {
                    what: what.to_owned(),
                    state: seen,
                });
            }
            Err(_) => state = format!("a look that did not end within {patience:?}, and before it: {state}"),
        }
        if last || Instant::now() >= deadline + INTERVAL {
            return Err(WaitError::TimedOut {
                what: what.to_owned(),
                limit,
                state,
            });
        }
        sleep_until(deadline.min(Instant::now() + INTERVAL)).await;
    }
}

/// Looks for the whole of `period` and fails as soon as a look does not show the state.
///
/// For guarantees that something does *not* happen. It proves nothing about what happens between two looks.
pub async fn holds<T, P, L>(
    what: &str,
    period: Duration,
    mut look: impl FnMut() -> L,
) -> Result<(), WaitError>
where
    P: Into<Probe<T>>,
    L: Future<Output = P>,
{
    let start = Instant::now();
    loop {
        match look().await.into() {
            Probe::Done(_) => {}
            Probe::Pending(state) | Probe::Never(state) => {
                let held = start.elapsed();
                return Err(WaitError::Broken {
                    what: what.to_owned(),
                    wanted: period,
                    held,
                    state,
                });
            }
        }
        if start.elapsed() >= period {
            return Ok(());
        }
        sleep(INTERVAL.min(period.saturating_sub(start.elapsed()))).await;
    }
}

/// An error with all its sources on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Scenario: the state is there at the fifth look.
    /// Guarantees: its value is returned, after four intervals.
    #[tokio::test(start_paused = true)]
    async fn until_state_that_comes_is_returned() {
        let start = Instant::now();
        let looks = Cell::new(0);
        let value = until("the fifth look", LIMIT, || {
            looks.set(looks.get() + 1);
            ready(Probe::when(looks.get() == 5, looks.get(), looks.get()))
        })
        .await
        .unwrap();
        assert_eq!(value, 5);
        assert_eq!(start.elapsed(), INTERVAL * 4);
    }

    /// Scenario: the state never comes.
    /// Guarantees: the error has the last state, not the first; the deadline is kept.
    #[tokio::test(start_paused = true)]
    async fn until_deadline_passes_with_the_last_state() {
        let start = Instant::now();
        let looks = Cell::new(0);
        let error = until::<(), _, _>("a miracle", LIMIT, || {
            looks.set(looks.get() + 1);
            ready(Probe::<()>::Pending(format!("look {}", looks.get())))
        })
        .await
        .unwrap_err();
        assert_eq!(start.elapsed(), LIMIT);
        assert_eq!(
            error.to_string(),
            format!("waited 10s for a miracle; last seen: look {}", looks.get())
        );
        assert_eq!(
            looks.get(),
            51,
            "one at the start, one each interval, one at the deadline"
        );
    }

    /// Scenario: a look hangs.
    /// Guarantees: the wait still ends, and says so.
    #[tokio::test(start_paused = true)]
    async fn until_hanging_look_does_not_outlive_the_deadline() {
        let start = Instant::now();
        let error = until::<(), _, _>("an answer", LIMIT, || async {
            pending::<()>().await;
            Probe::<()>::Done(())
        })
        .await
        .unwrap_err();
        assert!(start.elapsed() <= LIMIT + INTERVAL * 2, "{:?}", start.elapsed());
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    /// Scenario: the look finds that the state can never come.
    /// Guarantees: no time is wasted.
    #[tokio::test(start_paused = true)]
    async fn until_impossible_state_fails_at_once() {
        let start = Instant::now();
        let error = until::<(), _, _>("a start", LIMIT, || {
            ready(Probe::<()>::Never("exit code 1".into()))
        })
        .await;
        assert_eq!(
            error,
            Err(WaitError::Never {
                what: "a start".into(),
                state: "exit code 1".into()
            })
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    /// Scenario: looks fail, as while an API server restarts, and then succeed.
    /// Guarantees: failures count as "not yet".
    #[tokio::test(start_paused = true)]
    async fn until_failing_look_is_tried_again() {
        let looks = Cell::new(0);
        until("an answer", LIMIT, || {
            looks.set(looks.get() + 1);
            ready(if looks.get() < 3 {
                Err(std::io::Error::other("refused"))
            } else {
                Ok(Probe::Done(()))
            })
        })
        .await
        .unwrap();
        assert_eq!(looks.get(), 3);
    }

    /// Scenario: a state breaks in the middle of the period.
    /// Guarantees: the error says when and what was there.
    #[tokio::test(start_paused = true)]
    async fn holds_broken_state_fails_with_what_was_there() {
        let start = Instant::now();
        let error = holds::<(), _, _>("silence", LIMIT, || {
            ready(Probe::when(start.elapsed() < LIMIT / 2, (), "a noise"))
        })
        .await
        .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("silence did not hold for 10s: after 5s, a noise"),
            "{error}"
        );
    }

    /// Scenario: a state holds.
    /// Guarantees: the whole period is watched, its end included.
    #[tokio::test(start_paused = true)]
    async fn holds_watches_the_whole_period() {
        let start = Instant::now();
        let last = Cell::new(Duration::ZERO);
        holds::<(), _, _>("silence", LIMIT, || {
            last.set(start.elapsed());
            ready(Probe::Done(()))
        })
        .await
        .unwrap();
        assert_eq!(last.get(), LIMIT);
    }
}

//! From a signal to an orderly end: one token that everybody watches, one deadline that nobody outlives.
//!
//! It only says *that* the process ends and until when; who finishes what is the owners' business.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::exit::Exit;

/// Why the process is ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// SIGTERM: an orchestrator wants it to go.
    Terminate,
    /// SIGINT: a person pressed Ctrl-C.
    Interrupt,
    /// The process itself decided: its duration is over, or a part failed.
    Own,
}

/// Why signals cannot be listened to.
#[derive(Debug, thiserror::Error)]
#[error("listening for SIGTERM and SIGINT failed")]
pub struct SignalError(#[from] std::io::Error);

#[derive(Debug)]
struct Inner {
    token: CancellationToken,
    grace: Duration,
    ended: OnceLock<(Cause, Instant)>,
}

/// The end of this process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    inner: Arc<Inner>,
}

impl Shutdown {
    /// A shutdown that only [`Self::trigger`] starts; afterwards everything has `grace` to finish.
    #[must_use]
    pub fn new(grace: Duration) -> Self {
        let (token, ended) = (CancellationToken::new(), OnceLock::new());
        Self {
            inner: Arc::new(Inner { token, grace, ended }),
        }
    }

    /// Lets SIGTERM and SIGINT start the shutdown too. A second signal ends the process at once, code 1.
    pub fn listen(grace: Duration) -> Result<Self, SignalError> {
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let shutdown = Self::new(grace);
        tokio::spawn(watch(shutdown.clone(), terminate, interrupt));
        Ok(shutdown)
    }

    /// Starts the end. Only the first cause counts.
    pub fn trigger(&self, cause: Cause) {
        if self
            .inner
            .ended
            .set((cause, Instant::now() + self.inner.grace))
            .is_ok()
        {
            tracing::info!(
                ?cause,
                grace_seconds = self.inner.grace.as_secs_f64(),
                "shutting down"
            );
            self.inner.token.cancel();
        }
    }

    /// Cancelled when the end starts.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.inner.token.clone()
    }

    /// Until when everything has to be finished, once the end has started.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.inner.ended.get().map(|(_, deadline)| *deadline)
    }

    /// Why the process is ending, once it is.
    #[must_use]
    pub fn cause(&self) -> Option<Cause> {
        self.inner.ended.get().map(|(cause, _)| *cause)
    }
}

async fn watch(shutdown: Shutdown, mut terminate: Signal, mut interrupt: Signal) {
    loop {
        let cause = tokio::select! {
            _ = terminate.recv() => Cause::Terminate,
            _ = interrupt.recv() => Cause::Interrupt,
        };
        if matches!(shutdown.cause(), Some(Cause::Terminate | Cause::Interrupt)) {
            tracing::warn!(
                ?cause,
                "second signal: ending now, without waiting for what is unfinished"
            );
            std::process::exit(i32::from(Exit::Failure.code()));
        }
        shutdown.trigger(cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// *Scenario:* the end is triggered twice, the second time later and for another cause.
    /// *Guarantees:* the first cause and its deadline stand; the token is cancelled.
    #[tokio::test(start_paused = true)]
    async fn shutdown_triggered_twice_keeps_the_first_cause() {
        let shutdown = Shutdown::new(Duration::from_secs(5));
        assert_eq!((shutdown.cause(), shutdown.deadline()), (None, None));
        let start = Instant::now();
        shutdown.trigger(Cause::Own);
        tokio::time::advance(Duration::from_secs(1)).await;
        shutdown.trigger(Cause::Terminate);
        assert!(shutdown.token().is_cancelled());
        assert_eq!(shutdown.cause(), Some(Cause::Own));
        assert_eq!(shutdown.deadline(), Some(start + Duration::from_secs(5)));
    }
}

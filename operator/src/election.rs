//! One leader at a time, by a Lease. Losing it ends the process: a new one starts clean.
//!
//! A Lease is no fence: two leaders may overlap for a moment. Everything that leaders do is idempotent server-side apply.
//!
//! An instance that was told not to take part says so on the Lease, so that both it and the holder can tell that they
//! are two.

mod core;
mod lease;

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::Api;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::core::Election;
use self::lease::{Outcome, announce, attempt, release};
use crate::error::chain;

/// Others wait this long after they saw the last renewal.
pub const LEASE_SECONDS: i32 = 15;
/// Time between attempts to acquire: with the Lease's own duration, a dead leader is replaced within 20 s.
const ACQUIRE_PERIOD: Duration = Duration::from_secs(2);
/// Time between renewals: two may fail before the deadline.
const RENEW_PERIOD: Duration = Duration::from_secs(4);
/// A holder that has not renewed for this long steps down; with a request's own timeout it stays below the Lease's.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Why the process must end.
#[derive(Debug, thiserror::Error)]
pub enum ElectionError {
    /// Another instance holds the Lease.
    #[error("the Lease is now held by {holder}; ending, so that only one instance leads")]
    Lost {
        /// Who.
        holder: String,
    },
    /// The Lease could not be renewed in time.
    #[error("the Lease could not be renewed for {} s; ending, since another instance may lead now", RENEW_DEADLINE.as_secs())]
    Expired,
}

/// When this instance may act, and when it has come to rest.
#[derive(Clone, Debug, Default)]
pub struct Turn {
    /// Cancelled when this instance may act.
    pub leading: CancellationToken,
    /// Cancelled when it does not act any more.
    pub idle: CancellationToken,
    /// Cancelled when it is to end.
    pub stop: CancellationToken,
}

/// Leads: `turn.leading` is cancelled when this instance may act; when `turn.stop` is, it waits for `turn.idle` and lets
/// go. `tell` hears of an instance that acts without the Lease, and `None` when that is over.
pub async fn run(
    api: Api<Lease>,
    identity: String,
    turn: Turn,
    tell: impl Fn(Option<&str>),
) -> Result<(), ElectionError> {
    let Turn { leading, idle, stop } = turn;
    let mut election = Election::new(identity.clone());
    let start = Instant::now();
    let mut renewed: Option<Instant> = None;
    let mut complained = None;
    let mut other = Other::new(tell);
    loop {
        let asked = Instant::now();
        match attempt(&api, &mut election, asked - start).await {
            Ok(Outcome::Held { second }) => {
                renewed = Some(asked);
                complained = None;
                if !leading.is_cancelled() {
                    tracing::info!(identity, "leading");
                    leading.cancel();
                }
                other.is(second);
            }
            Ok(Outcome::HeldBy { holder, .. }) => {
                if leading.is_cancelled() {
                    return Err(ElectionError::Lost { holder });
                }
                if complained.as_ref() != Some(&holder) {
                    tracing::info!(holder, "standing by: another instance leads");
                    complained = Some(holder);
                }
            }
            Err(error) => {
                let text = chain(&*error);
                if complained.as_ref() != Some(&text) {
                    tracing::warn!(
                        error = text,
                        "the Lease could not be read or written; trying again"
                    );
                    complained = Some(text);
                }
            }
        }
        if leading.is_cancelled() && renewed.is_some_and(|renewed| renewed.elapsed() >= RENEW_DEADLINE) {
            return Err(ElectionError::Expired);
        }
        let period = if leading.is_cancelled() && renewed.is_some_and(|renewed| renewed == asked) {
            RENEW_PERIOD
        } else {
            ACQUIRE_PERIOD
        };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(period) => {}
        }
    }
    if leading.is_cancelled() {
        idle.cancelled().await;
        release(&api, &identity).await;
    }
    Ok(())
}

/// For an instance that was told not to take part: holds the Lease all the same if nobody does, and otherwise tells of
/// whoever does, and that one of itself, since both act then. Runs until `stop`.
pub async fn look_out(
    api: Api<Lease>,
    identity: String,
    tell: impl Fn(Option<&str>),
    stop: CancellationToken,
) {
    let mut election = Election::new(identity.clone());
    let start = Instant::now();
    let mut other = Other::new(tell);
    loop {
        match attempt(&api, &mut election, start.elapsed()).await {
            Ok(Outcome::Held { second }) => other.is(second),
            Ok(Outcome::HeldBy { holder, lease }) => {
                other.is(Some(holder));
                if let Err(error) = announce(&api, *lease, &identity).await {
                    tracing::debug!(
                        error = chain(&*error),
                        "the holder could not be told of this instance"
                    );
                }
            }
            Err(error) => tracing::debug!(error = chain(&*error), "the Lease could not be looked at"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(RENEW_PERIOD) => {}
        }
    }
    release(&api, &identity).await;
}

/// The other instance that acts; told when it changes.
struct Other<T> {
    told: Option<String>,
    tell: T,
}

impl<T: Fn(Option<&str>)> Other<T> {
    const fn new(tell: T) -> Self {
        Self { told: None, tell }
    }

    fn is(&mut self, other: Option<String>) {
        if self.told != other {
            (self.tell)(other.as_deref());
            self.told = other;
        }
    }
}

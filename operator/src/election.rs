//! One leader at a time, by a Lease. Losing it ends the process: a new one starts clean.
//!
//! A Lease is no fence: two leaders may overlap for a moment. Everything that leaders do is idempotent server-side apply.

mod core;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::core::{Decision, Election};
use crate::error::chain;
use crate::names::{LABELS, LEASE};

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

/// Leads: `leading` is cancelled when this instance may act; when `stop` is cancelled it waits for `idle` and lets go.
pub async fn run(
    api: Api<Lease>,
    identity: String,
    leading: CancellationToken,
    idle: CancellationToken,
    stop: CancellationToken,
) -> Result<(), ElectionError> {
    let mut election = Election::new(identity.clone());
    let start = Instant::now();
    let mut renewed: Option<Instant> = None;
    let mut complained = None;
    loop {
        let asked = Instant::now();
        match attempt(&api, &mut election, asked - start).await {
            Ok(Outcome::Held) => {
                renewed = Some(asked);
                complained = None;
                if !leading.is_cancelled() {
                    tracing::info!(identity, "leading");
                    leading.cancel();
                }
            }
            Ok(Outcome::HeldBy(holder)) => {
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

/// For an instance that was told not to take part: holds the Lease all the same if nobody does, and says when another
/// instance holds it, since both act then. Runs until `stop`.
pub async fn look_out(
    api: Api<Lease>,
    identity: String,
    tell: impl AsyncFn(String),
    stop: CancellationToken,
) {
    let mut election = Election::new(identity.clone());
    let start = Instant::now();
    let mut told = None;
    loop {
        match attempt(&api, &mut election, start.elapsed()).await {
            Ok(Outcome::Held) => told = None,
            Ok(Outcome::HeldBy(holder)) => {
                if told.as_ref() != Some(&holder) {
                    tell(format!(
                        "{identity} runs with --leader-elect=false, and so does or leads {holder}: both act on the same objects; \
                         run one instance, or turn election on"
                    ))
                    .await;
                    told = Some(holder);
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

enum Outcome {
    Held,
    HeldBy(String),
}

type AttemptError = Box<dyn std::error::Error + Send + Sync>;

async fn attempt(api: &Api<Lease>, election: &mut Election, now: Duration) -> Result<Outcome, AttemptError> {
    let lease = tokio::time::timeout(REQUEST_TIMEOUT, api.get_opt(LEASE)).await??;
    let decision = election.decide(lease.as_ref().and_then(|lease| lease.spec.as_ref()), now);
    let (acquired, transitions) = match decision {
        Decision::Wait { holder } => return Ok(Outcome::HeldBy(holder)),
        Decision::Renew => {
            let spec = lease.as_ref().and_then(|lease| lease.spec.as_ref());
            (
                spec.and_then(|spec| spec.acquire_time.clone()),
                spec.and_then(|spec| spec.lease_transitions),
            )
        }
        Decision::Take { transitions } => (Some(MicroTime(Timestamp::now())), Some(transitions)),
    };
    let spec = LeaseSpec {
        acquire_time: acquired,
        holder_identity: Some(election.identity().to_owned()),
        lease_duration_seconds: Some(LEASE_SECONDS),
        lease_transitions: transitions,
        renew_time: Some(MicroTime(Timestamp::now())),
        ..LeaseSpec::default()
    };
    let written = if let Some(Lease { metadata, .. }) = lease {
        // The resource version that was read makes this fail when somebody else was faster.
        let lease = Lease {
            metadata,
            spec: Some(spec),
        };
        tokio::time::timeout(
            REQUEST_TIMEOUT,
            api.replace(LEASE, &PostParams::default(), &lease),
        )
        .await?
    } else {
        let labels = LABELS
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let metadata = ObjectMeta {
            name: Some(LEASE.to_owned()),
            labels: Some(labels),
            ..ObjectMeta::default()
        };
        let lease = Lease {
            metadata,
            spec: Some(spec),
        };
        tokio::time::timeout(REQUEST_TIMEOUT, api.create(&PostParams::default(), &lease)).await?
    };
    match written {
        Ok(lease) => {
            election.observe(lease.spec.as_ref(), now);
            Ok(Outcome::Held)
        }
        // A conflict too: somebody else was faster, and the next look says who.
        Err(error) => Err(error.into()),
    }
}

/// Lets another instance lead at once. Failing is harmless: the Lease runs out by itself.
async fn release(api: &Api<Lease>, identity: &str) {
    let released = tokio::time::timeout(REQUEST_TIMEOUT, async {
        let Some(mut lease) = api.get_opt(LEASE).await? else {
            return Ok(());
        };
        match &mut lease.spec {
            Some(spec) if spec.holder_identity.as_deref() == Some(identity) => {
                spec.holder_identity = None;
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            _ => return Ok(()),
        }
        api.replace(LEASE, &PostParams::default(), &lease)
            .await
            .map(|_| ())
    })
    .await;
    match released {
        Ok(Ok(())) => tracing::info!(identity, "the Lease is released"),
        Ok(Err(error)) => tracing::warn!(
            error = chain(&error),
            "the Lease was not released; it runs out by itself"
        ),
        Err(_elapsed) => tracing::warn!("the Lease was not released in time; it runs out by itself"),
    }
}

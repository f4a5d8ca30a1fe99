//! The Lease's object: how it is read, taken, renewed and let go of.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt;
use kube::api::{Api, ObjectMeta, PostParams};

use super::core::{Decision, Election, who};
use super::{LEASE_SECONDS, REQUEST_TIMEOUT};
use crate::error::chain;
use crate::names::{LABELS, LEASE, SECOND};

/// What an attempt found.
pub(super) enum Outcome {
    /// The Lease is ours.
    Held {
        /// Who acts without it.
        second: Option<String>,
    },
    /// It is somebody else's.
    HeldBy {
        /// Whose.
        holder: String,
        /// As it was read.
        lease: Box<Lease>,
    },
}

pub(super) type AttemptError = Box<dyn std::error::Error + Send + Sync>;

/// Reads the Lease, and takes or renews it where that may be.
pub(super) async fn attempt(
    api: &Api<Lease>,
    election: &mut Election,
    now: Duration,
) -> Result<Outcome, AttemptError> {
    let lease = tokio::time::timeout(REQUEST_TIMEOUT, api.get_opt(LEASE)).await??;
    let decision = election.decide(lease.as_ref().and_then(|lease| lease.spec.as_ref()), now);
    let said = lease.as_ref().and_then(|lease| lease.annotations().get(SECOND));
    let second = election.second(said.map(String::as_str), now);
    let (acquired, transitions) = match decision {
        Decision::Wait { holder } => {
            let lease = Box::new(lease.unwrap_or_default());
            return Ok(Outcome::HeldBy { holder, lease });
        }
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
    let written = if let Some(Lease { mut metadata, .. }) = lease {
        if second.is_none() {
            // What nobody renews any more says nothing.
            metadata.annotations.get_or_insert_default().remove(SECOND);
        }
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
            Ok(Outcome::Held { second })
        }
        // A conflict too: somebody else was faster, and the next look says who.
        Err(error) => Err(error.into()),
    }
}

/// Says on somebody else's Lease that this instance acts, too.
pub(super) async fn announce(api: &Api<Lease>, mut lease: Lease, identity: &str) -> Result<(), AttemptError> {
    let said = format!("{identity} {}", Timestamp::now());
    lease.annotations_mut().insert(SECOND.to_owned(), said);
    // The resource version that was read makes this fail when the holder was faster; the next look tries again.
    let parameters = PostParams::default();
    tokio::time::timeout(REQUEST_TIMEOUT, api.replace(LEASE, &parameters, &lease)).await??;
    Ok(())
}

/// Lets another instance lead at once, and takes back that this one acts. Failing is harmless: the Lease runs out by itself.
pub(super) async fn release(api: &Api<Lease>, identity: &str) {
    let released = tokio::time::timeout(REQUEST_TIMEOUT, async {
        let Some(mut lease) = api.get_opt(LEASE).await? else {
            return Ok(());
        };
        let announced = lease
            .annotations()
            .get(SECOND)
            .is_some_and(|said| who(said) == identity);
        match &mut lease.spec {
            Some(spec) if spec.holder_identity.as_deref() == Some(identity) => {
                spec.holder_identity = None;
                spec.lease_duration_seconds = Some(1);
                spec.renew_time = Some(MicroTime(Timestamp::now()));
            }
            _ if announced => drop(lease.annotations_mut().remove(SECOND)),
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

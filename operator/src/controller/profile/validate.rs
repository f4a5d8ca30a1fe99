//! Judges a profile with the same function that agents plan it with, so that what is accepted is what runs. Pure.

use kube::{Resource, ResourceExt};
use weir_profile::CollectorProfileStatus;
use weir_profile::api::{ConditionReason, LabelSelector, Mode};
use weir_profile::plan::{plan, sink_name};

use super::Inputs;
use crate::context::GuardedProfile;
use crate::rollup::{Subject, Verdict};

/// Errors that a condition's message lists; the rest is a number.
const ERRORS_SHOWN: usize = 3;

/// A profile whose spec was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedProfile {
    /// For the rollup.
    pub subject: Subject,
    /// Whether it can be planned.
    pub verdict: Verdict,
    /// Percentage of expected nodes that make it ready.
    pub ready_percent: u32,
    /// The status that it has.
    pub status: Option<CollectorProfileStatus>,
    /// Version of the object that has it.
    pub resource_version: Option<String>,
}

/// Judges a profile with the sink that it names.
#[must_use]
pub fn validate(guarded: &GuardedProfile, inputs: &Inputs) -> ValidatedProfile {
    let meta = guarded.meta();
    let mut subject = Subject {
        name: guarded.name_any(),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or(1),
        digest: None,
        selector: None,
        mode: Mode::Active,
        expires_at: None,
        sink: String::new(),
    };
    let resource_version = meta.resource_version.clone();
    let profile = match &guarded.0 {
        Ok(profile) => profile,
        Err(error) => {
            let message = format!(
                "the spec cannot be read by this operator: {error}; apply the operator that fits the CRD"
            );
            let verdict = Verdict::Refused {
                reason: ConditionReason::InvalidSpec,
                message,
            };
            return ValidatedProfile {
                subject,
                verdict,
                ready_percent: 100,
                status: None,
                resource_version,
            };
        }
    };
    let spec = &profile.spec;
    subject.selector = spec
        .nodes
        .as_ref()
        .and_then(|nodes| nodes.selector.clone())
        .filter(|selector: &LabelSelector| !selector.selects_everything());
    subject.mode = spec.mode.unwrap_or(Mode::Active);
    subject.expires_at = spec
        .expiration_time
        .map(weir_profile::api::Timestamp::unix_seconds);
    sink_name(profile).clone_into(&mut subject.sink);
    let verdict = judge(profile, inputs);
    if let Verdict::Accepted { digest } = &verdict {
        subject.digest = Some(digest.clone());
    }
    let percent = spec
        .nodes
        .as_ref()
        .and_then(|nodes| nodes.ready_percent)
        .unwrap_or(100);
    ValidatedProfile {
        subject,
        verdict,
        ready_percent: u32::try_from(percent).unwrap_or(100).clamp(1, 100),
        status: profile.status.clone(),
        resource_version,
    }
}

fn judge(profile: &weir_profile::CollectorProfile, inputs: &Inputs) -> Verdict {
    let sink = match inputs.sink.as_deref() {
        None => None,
        Some(guarded) => match &guarded.0 {
            Ok(sink) => Some(sink),
            Err(error) => {
                let message = format!(
                    "CollectorSink {:?} cannot be read by this operator: {error}",
                    sink_name(profile)
                );
                return Verdict::Refused {
                    reason: ConditionReason::SinkInvalid,
                    message,
                };
            }
        },
    };
    match plan(profile, sink) {
        Ok(plan) => Verdict::Accepted { digest: plan.digest },
        Err(errors) => {
            let all = errors.as_slice();
            let mut message = all
                .iter()
                .take(ERRORS_SHOWN)
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; ");
            if all.len() > ERRORS_SHOWN {
                message = format!("{message}; and {} more", all.len() - ERRORS_SHOWN);
            }
            Verdict::Refused {
                reason: errors.reason(),
                message,
            }
        }
    }
}

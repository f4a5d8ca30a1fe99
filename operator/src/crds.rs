//! Waits for the CRDs that this operator was built for, and says which side is old when they differ.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::core::PartialObjectMeta;
use tokio_util::sync::CancellationToken;
use weir_profile::api::ConditionReason;
use weir_profile::crds::{CrdKind, SCHEMA_DIGEST_ANNOTATION, crd, schema_digest};
use weir_runtime::error::chain;
use weir_runtime::readiness::Gate;

use crate::context::Context;
use crate::error::{ApiError, answer};

const RETRY: Duration = Duration::from_secs(3);
/// CRDs are replaced during upgrades: they are looked at again this often.
const RECHECK: Duration = Duration::from_secs(30);

/// What is wrong with the CRD of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrdProblem {
    /// It is not there.
    Missing(String),
    /// Its schema is not the one that this operator was built for.
    Differs(String),
    /// The operator may not look.
    Forbidden(String),
}

impl CrdProblem {
    fn text(&self) -> &str {
        match self {
            Self::Missing(text) | Self::Differs(text) | Self::Forbidden(text) => text,
        }
    }

    /// Reason of the Event about the CRD.
    fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "CrdNotInstalled",
            Self::Differs(_) => ConditionReason::CrdTooOld.as_str(),
            Self::Forbidden(_) => ConditionReason::PermissionDenied.as_str(),
        }
    }
}

/// Looks at the CRDs for ever. `installed` is cancelled when all are there for the first time: from then on profiles can
/// say what is wrong with them. The gate is open while they fit.
pub async fn run(context: Arc<Context>, gate: Gate, installed: CancellationToken, stop: CancellationToken) {
    // Only metadata travels: a CRD is tens of kilobytes.
    let api: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let mut told = BTreeMap::new();
    loop {
        let problems = match problems(&api).await {
            Ok(problems) => problems,
            Err(error) => {
                // Nobody can tell: what was known still holds.
                tracing::warn!(
                    error = chain(&error),
                    "the CRDs cannot be looked at; trying again"
                );
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(RETRY) => continue,
                }
            }
        };
        gate.set(problems.is_empty());
        if problems.is_empty() && !told.is_empty() {
            tracing::info!("the CRDs fit now");
        }
        for (name, (problem, uid)) in &problems {
            if told.get(name).map(|(told, _)| told) != Some(problem) {
                tracing::error!("{}", problem.text());
                tell(&context, name, problem, uid.clone());
            }
        }
        let missing = problems
            .values()
            .any(|(problem, _)| !matches!(problem, CrdProblem::Differs(_)));
        if !missing {
            let differs: Vec<&str> = problems.values().map(|(problem, _)| problem.text()).collect();
            context.set_crds_trouble((!differs.is_empty()).then(|| differs.join("; ")));
            installed.cancel();
        }
        let wait = if problems.is_empty() { RECHECK } else { RETRY };
        told = problems;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// An Event about the CRD: without it there is no object of ours that could say anything.
fn tell(context: &Context, name: &str, problem: &CrdProblem, uid: Option<String>) {
    let about = ObjectReference {
        api_version: Some(CustomResourceDefinition::API_VERSION.to_owned()),
        kind: Some(CustomResourceDefinition::KIND.to_owned()),
        name: Some(name.to_owned()),
        // `kubectl describe` shows only Events with the object's own UID.
        uid,
        ..ObjectReference::default()
    };
    let note = problem.text();
    context.events.warning(&about, "Check", problem.reason(), note);
}

type Problems = BTreeMap<String, (CrdProblem, Option<String>)>;

/// What is wrong with each, by name, with the UID of one that is there.
async fn problems(api: &Api<CustomResourceDefinition>) -> Result<Problems, ApiError> {
    let mut problems = BTreeMap::new();
    for kind in CrdKind::ALL {
        let name = crd(kind)["metadata"]["name"].as_str().unwrap_or_default();
        let (problem, uid) = match answer("look at the CRD", name, api.get_metadata_opt(name)).await {
            Ok(found) => {
                let uid = found.as_ref().and_then(|found| found.metadata.uid.clone());
                (judge(kind, name, found.as_ref()), uid)
            }
            Err(error) if error.is_forbidden() => (Some(CrdProblem::Forbidden(chain(&error))), None),
            Err(error) => return Err(error),
        };
        problems.extend(problem.map(|problem| (name.to_owned(), (problem, uid))));
    }
    Ok(problems)
}

/// What is wrong with one installed CRD. Pure.
#[must_use]
pub fn judge(
    kind: CrdKind,
    name: &str,
    found: Option<&PartialObjectMeta<CustomResourceDefinition>>,
) -> Option<CrdProblem> {
    let Some(found) = found else {
        return Some(CrdProblem::Missing(format!(
            "the CRD {name} is not installed: apply the manifests' crds"
        )));
    };
    let has = found
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(SCHEMA_DIGEST_ANNOTATION));
    let wanted = schema_digest(kind);
    match has {
        Some(has) if has == wanted => None,
        Some(has) => Some(CrdProblem::Differs(format!(
            "the CRD {name} has schema {has}, and this operator was built for {wanted}: apply the crds and the operator of one version"
        ))),
        None => Some(CrdProblem::Differs(format!(
            "the CRD {name} has no {SCHEMA_DIGEST_ANNOTATION} and so is older than this operator: apply the manifests' crds"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_digest(digest: Option<&str>) -> PartialObjectMeta<CustomResourceDefinition> {
        let mut found = PartialObjectMeta::<CustomResourceDefinition>::default();
        found.metadata.annotations = digest.map(|digest| {
            [(SCHEMA_DIGEST_ANNOTATION.to_owned(), digest.to_owned())]
                .into_iter()
                .collect()
        });
        found
    }

    #[test]
    fn crd_missing_old_or_other_says_what_to_apply() {
        let judge = |found: Option<&PartialObjectMeta<_>>| {
            judge(CrdKind::Profile, "collectorprofiles.weir.dev", found)
        };
        let right = with_digest(Some(schema_digest(CrdKind::Profile)));
        assert_eq!(judge(Some(&right)), None);
        for found in [None, Some(&with_digest(None)), Some(&with_digest(Some("0123")))] {
            let problem = judge(found).unwrap();
            assert_eq!(matches!(problem, CrdProblem::Missing(_)), found.is_none());
            let text = problem.text();
            assert!(
                text.contains("collectorprofiles.weir.dev") && text.contains("apply"),
                "{text}"
            );
        }
    }
}

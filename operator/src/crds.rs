//! Waits for the CRDs that this operator was built for, and says which side is old when they differ.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource};
use kube::core::PartialObjectMeta;
use tokio_util::sync::CancellationToken;
use weir_profile::crds::{CrdKind, SCHEMA_DIGEST_ANNOTATION, crd, schema_digest};
use weir_runtime::readiness::Gate;

use crate::error::chain;

const RETRY: Duration = Duration::from_secs(3);
/// CRDs are replaced during upgrades: they are looked at again this often.
const RECHECK: Duration = Duration::from_mins(1);

/// Looks at the CRDs for ever. `installed` is cancelled when they fit for the first time; the gate follows them.
pub async fn run(client: kube::Client, gate: Gate, installed: CancellationToken, stop: CancellationToken) {
    // Only metadata travels: a CRD is tens of kilobytes.
    let resource = ApiResource::erase::<CustomResourceDefinition>(&());
    let api: Api<CustomResourceDefinition> = Api::all(client);
    tracing::debug!(kind = resource.kind, "looking at the CRDs");
    let mut complaint = None;
    loop {
        let problems = problems(&api).await;
        gate.set(problems.is_empty());
        if problems.is_empty() {
            if complaint.take().is_some() {
                tracing::info!("the CRDs fit now");
            }
            installed.cancel();
        } else {
            let text = problems.join("; ");
            if complaint.as_ref() != Some(&text) {
                tracing::error!("{text}");
                complaint = Some(text);
            }
        }
        let wait = if complaint.is_none() { RECHECK } else { RETRY };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

async fn problems(api: &Api<CustomResourceDefinition>) -> Vec<String> {
    let mut problems = Vec::new();
    for kind in CrdKind::ALL {
        let name = crd(kind)["metadata"]["name"].as_str().unwrap_or_default();
        match api.get_metadata_opt(name).await {
            Ok(found) => problems.extend(judge(kind, name, found.as_ref())),
            Err(error) => problems.push(format!(
                "the CRD {name} cannot be looked at: {}; check the API server and the operator's role",
                chain(&error)
            )),
        }
    }
    problems
}

/// What is wrong with one installed CRD. Pure.
#[must_use]
pub fn judge(
    kind: CrdKind,
    name: &str,
    found: Option<&PartialObjectMeta<CustomResourceDefinition>>,
) -> Option<String> {
    let Some(found) = found else {
        return Some(format!(
            "the CRD {name} is not installed: apply the manifests' crds"
        ));
    };
    let has = found
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(SCHEMA_DIGEST_ANNOTATION));
    let wanted = schema_digest(kind);
    match has {
        Some(has) if has == wanted => None,
        Some(has) => Some(format!(
            "the CRD {name} has schema {has}, and this operator was built for {wanted}: apply the crds and the operator of one version"
        )),
        None => Some(format!(
            "the CRD {name} has no {SCHEMA_DIGEST_ANNOTATION} and so is older than this operator: apply the manifests' crds"
        )),
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
            let text = judge(found).unwrap();
            assert!(
                text.contains("collectorprofiles.weir.dev") && text.contains("apply"),
                "{text}"
            );
        }
    }
}

//! Tells every profile's status what keeps agents from running. The agents' objects have no status of our own.

use k8s_openapi::api::core::v1::ObjectReference;
use weir_profile::api::ConditionReason;

use super::{AgentsError, Resources};
use crate::context::Context;
use crate::controller::Applied;
use crate::error::chain;
use crate::names::AGENT;
use crate::trouble::{Concern, Trouble};

pub(super) async fn update_status(context: &Context, result: Result<&Resources<Applied>, &AgentsError>) {
    let trouble = trouble(result);
    if let Some((reason, message)) = trouble
        .as_ref()
        .filter(|_| trouble != context.troubles.of(Concern::Agents))
    {
        let about = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("DaemonSet".to_owned()),
            name: Some(AGENT.to_owned()),
            namespace: Some(context.namespaces.agents.clone()),
            ..ObjectReference::default()
        };
        context
            .events
            .warning(&about, "Apply", reason.as_str(), message)
            .await;
    }
    context.set_trouble(Concern::Agents, trouble);
}

/// Only what a person must mend: the API server's own absence passes.
fn trouble(result: Result<&Resources<Applied>, &AgentsError>) -> Option<Trouble> {
    match result {
        // The error's own words say what is missing: the permission, or the namespace.
        Err(AgentsError::Api(error)) if error.is_forbidden() || error.is_not_found() => {
            Some((ConditionReason::PermissionDenied, chain(error)))
        }
        Ok(_) | Err(AgentsError::Api(_)) => None,
        Err(AgentsError::Crds(_)) => Some((
            ConditionReason::CrdTooOld,
            result.err().map(ToString::to_string).unwrap_or_default(),
        )),
        Err(AgentsError::Invalid(error)) => Some((ConditionReason::SpecTooLarge, error.to_string())),
    }
}

//! Tells every profile's status what keeps agents from running. The agents' objects have no status of our own.

use k8s_openapi::api::core::v1::ObjectReference;
use weir_profile::api::ConditionReason;

use super::{AgentsError, Resources};
use crate::context::Context;
use crate::controller::Applied;
use crate::error::chain;
use crate::names::AGENT;
use crate::trouble::{Concern, Trouble};

/// Failures in a row after which what usually passes by itself is told, too.
const PATIENCE: u32 = 5;

/// What a visit says of the agents' trouble.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// There is none.
    Well,
    /// There is this one.
    Trouble(Trouble),
    /// Nothing: what was said before still stands.
    Nothing,
}

/// `failures` is how often visits have failed in a row, this one included.
pub(super) fn update_status(
    context: &Context,
    result: Result<&Resources<Applied>, &AgentsError>,
    failures: u32,
) {
    let trouble = match said(result, failures) {
        Said::Well => None,
        Said::Trouble(trouble) => Some(trouble),
        Said::Nothing => return,
    };
    if let Some((reason, message)) = trouble
        .as_ref()
        .filter(|_| trouble != context.troubles.of(Concern::Agents))
    {
        let about = ObjectReference {
            api_version: Some("apps/v1".to_owned()),
            kind: Some("DaemonSet".to_owned()),
            name: Some(AGENT.to_owned()),
            namespace: Some(context.namespaces.agents.clone()),
            // `kubectl describe` shows only Events with the object's own UID.
            uid: context.live_daemon_set().and_then(|live| live.metadata.uid),
            ..ObjectReference::default()
        };
        context.events.warning(&about, "Apply", reason.as_str(), message);
    }
    context.set_trouble(Concern::Agents, trouble);
}

fn said(result: Result<&Resources<Applied>, &AgentsError>, failures: u32) -> Said {
    match result {
        Ok(resources) => match resources.left_out() {
            Some(message) => Said::Trouble((ConditionReason::CredentialsTooLarge, message)),
            None => Said::Well,
        },
        // The error's own words say what is missing: the permission, or the namespace.
        Err(AgentsError::Api(error)) if error.is_unauthorized_by_role() || error.is_not_found() => {
            Said::Trouble((ConditionReason::PermissionDenied, chain(error)))
        }
        Err(AgentsError::Api(error)) if error.is_refusal() || failures >= PATIENCE => {
            Said::Trouble((ConditionReason::AgentsRejected, chain(error)))
        }
        // The API server's own absence passes, and is no news of what was wrong before.
        Err(AgentsError::Api(_)) => Said::Nothing,
        Err(error @ AgentsError::Crds(_)) => Said::Trouble((ConditionReason::CrdTooOld, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;
    use crate::error::ApiError;

    fn refused(code: u16, reason: &str, message: &str) -> AgentsError {
        let status = Status::failure(message, reason).with_code(code);
        ApiError::new("apply", AGENT, kube::Error::Api(Box::new(status))).into()
    }

    #[test]
    fn trouble_tells_roles_from_policies_and_what_passes_from_what_stays() {
        use ConditionReason as R;
        let role =
            "daemonsets.apps \"weir-agent\" is forbidden: User \"u\" cannot patch resource \"daemonsets\"";
        let policy =
            "daemonsets.apps \"weir-agent\" is forbidden: ValidatingAdmissionPolicy 'p' denied request";
        for (code, reason, message, failures, expected) in [
            (403, "Forbidden", role, 1, Some(R::PermissionDenied)),
            (403, "Forbidden", policy, 1, Some(R::AgentsRejected)),
            (
                422,
                "Invalid",
                "tolerations[0].operator: Unsupported value",
                1,
                Some(R::AgentsRejected),
            ),
            (
                404,
                "NotFound",
                "namespaces \"weir-agents\" not found",
                1,
                Some(R::PermissionDenied),
            ),
            (409, "Conflict", "try again", 1, None),
            (429, "TooManyRequests", "slow down", 1, None),
            (500, "InternalError", "failed calling webhook", 1, None),
            (
                500,
                "InternalError",
                "failed calling webhook",
                PATIENCE,
                Some(R::AgentsRejected),
            ),
        ] {
            let error = refused(code, reason, message);
            match (said(Err(&error), failures), expected) {
                (Said::Trouble((told, text)), Some(expected)) => {
                    assert_eq!(told, expected, "{message}");
                    assert!(text.contains(message), "{text}");
                }
                (Said::Nothing, None) => {}
                (other, _) => panic!("{message}: {other:?}"),
            }
        }
    }
}

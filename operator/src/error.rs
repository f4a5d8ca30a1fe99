//! What the API server refused, in words that say what to do.

use std::future::Future;
use std::time::Duration;

use kube::core::Status;
pub use weir_runtime::error::chain;

/// A server that accepts a connection and then says nothing must not hold a controller up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Waits for an answer of the API server, and says what was tried when none comes or it is a refusal.
pub async fn answer<T>(
    action: &'static str,
    object: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(source)) => Err(ApiError::new(action, object, source)),
        Err(elapsed) => Err(ApiError::new(
            action,
            object,
            kube::Error::Service(Box::new(elapsed)),
        )),
    }
}

/// A request to the API server failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {object}{}", remedy(source))]
pub struct ApiError {
    action: &'static str,
    object: String,
    #[source]
    source: Box<kube::Error>,
}

fn remedy(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if is_of_role(status) => {
            ": the operator's role does not allow it; apply the manifests' RBAC again"
        }
        kube::Error::Api(status) if is_refusal(status) => {
            ": correct the operator's settings, or the admission policy or quota that the message names"
        }
        kube::Error::Api(status) if status.is_not_found() => {
            ": it, its namespace or its definition is not there; apply the manifests again"
        }
        _ => "",
    }
}

/// RBAC's own words; policies and quotas answer with the same code.
fn is_of_role(status: &Status) -> bool {
    status.is_forbidden() && status.message.contains(" cannot ")
}

/// Nothing that passes by itself.
fn is_refusal(status: &Status) -> bool {
    (400..500).contains(&status.code) && ![401, 404, 408, 409, 429].contains(&status.code)
}

impl ApiError {
    /// What was tried with which object, and what came back.
    #[must_use]
    pub fn new(action: &'static str, object: &str, source: kube::Error) -> Self {
        Self {
            action,
            object: object.to_owned(),
            source: Box::new(source),
        }
    }

    /// Whether it is not allowed, by the role or by a policy.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_forbidden())
    }

    /// Whether the operator's role is what is missing, and not a policy's consent.
    #[must_use]
    pub fn is_unauthorized_by_role(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if is_of_role(status))
    }

    /// Whether the API server will say the same again until somebody mends something.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if is_refusal(status))
    }

    /// Whether the object is gone.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_not_found())
    }

    /// Whether the installed definition lacks a field of what was written.
    #[must_use]
    pub fn is_unknown_field(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.message.contains("field not declared in schema"))
    }

    /// Whether the object is another than was expected.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(&*self.source, kube::Error::Api(status) if status.is_conflict())
    }
}

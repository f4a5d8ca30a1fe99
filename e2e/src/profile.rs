//! Profiles as a user handles them, and their status as a user reads it: plain JSON, none of Weir's own types.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Cluster, ClusterError};
use crate::wait::{Probe, WaitError, until};

/// Server-side apply. JSON is YAML.
const APPLY: &str = "application/apply-patch+yaml";

/// A profile in the cluster.
#[derive(Clone)]
pub struct Profile {
    /// Its name.
    pub name: String,
    cluster: Cluster,
    labels: Value,
}

impl Profile {
    /// Creates or edits it, as `kubectl apply --server-side` does.
    pub async fn apply(
        cluster: &Cluster,
        name: &str,
        labels: &Value,
        spec: Value,
    ) -> Result<Self, ClusterError> {
        let profile = Self {
            name: name.to_owned(),
            cluster: cluster.clone(),
            labels: labels.clone(),
        };
        profile.edit(spec).await?;
        Ok(profile)
    }

    /// A profile that something else has made.
    #[must_use]
    pub fn existing(cluster: &Cluster, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            cluster: cluster.clone(),
            labels: json!({}),
        }
    }

    /// Replaces its spec.
    pub async fn edit(&self, spec: Value) -> Result<(), ClusterError> {
        let object = json!({
            "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
            "metadata": {"name": self.name, "labels": self.labels}, "spec": spec,
        });
        let path = format!("{}?fieldManager=weir-e2e&force=true", self.path());
        let (code, text) = self.cluster.attempt("PATCH", &path, APPLY, &object).await?;
        if code == 200 {
            Ok(())
        } else {
            Err(ClusterError::Refused { path, code, text })
        }
    }

    /// The object as it is now.
    pub async fn get(&self) -> Result<Value, ClusterError> {
        self.cluster.get_json(&self.path()).await
    }

    fn path(&self) -> String {
        format!("/apis/weir.dev/v1alpha1/collectorprofiles/{}", self.name)
    }

    /// Deletes it, without waiting.
    pub async fn delete(&self) -> Result<(), ClusterError> {
        let arguments = ["delete", "collectorprofiles.weir.dev", &self.name, "--wait=false"];
        self.cluster.kubectl(arguments).await.map(drop)
    }

    /// Waits until its status speaks of its present generation and is `Ready`. Returns the object.
    pub async fn until_ready(&self, limit: Duration) -> Result<Value, WaitError> {
        self.until_condition("Ready", "True", None, limit).await
    }

    /// Waits for a condition of its present generation, with a reason where one is given. Returns the object.
    pub async fn until_condition(
        &self,
        kind: &str,
        status: &str,
        reason: Option<&str>,
        limit: Duration,
    ) -> Result<Value, WaitError> {
        let what = format!("{}: {kind}={status} {}", self.name, reason.unwrap_or_default());
        self.until(&what, limit, |object| {
            let condition = condition(object, kind);
            is_current(object)
                && condition["status"] == status
                && reason.is_none_or(|reason| condition["reason"] == reason)
        })
        .await
    }

    /// Waits until `holds` for the object, whatever it looks at. Returns the object.
    pub async fn until(
        &self,
        what: &str,
        limit: Duration,
        holds: impl Fn(&Value) -> bool,
    ) -> Result<Value, WaitError> {
        until(what, limit, || async {
            let object = self.get().await;
            object.map(|object| {
                let seen = object["status"].to_string();
                Probe::when(holds(&object), object, seen)
            })
        })
        .await
    }
}

/// Whether the status speaks of the present generation.
#[must_use]
pub fn is_current(object: &Value) -> bool {
    object["metadata"]["generation"].is_i64()
        && object["status"]["observedGeneration"] == object["metadata"]["generation"]
}

/// A condition by its type; null where there is none.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    let found = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == kind);
    found.unwrap_or(&Value::Null)
}

/// What kstatus, and so Flux and others, make of an object.
///
/// The rules are those of `kubernetes-sigs/cli-utils`, `pkg/kstatus/status/generic.go`, for kinds it does not know.
#[must_use]
pub fn kstatus(object: &Value) -> &'static str {
    let is_true = |kind: &str| condition(object, kind)["status"] == "True";
    let observed = &object["status"]["observedGeneration"];
    if object["metadata"]["deletionTimestamp"].is_string() {
        "Terminating"
    } else if observed.is_i64() && observed != &object["metadata"]["generation"] || is_true("Reconciling") {
        "InProgress"
    } else if is_true("Stalled") {
        "Failed"
    } else if condition(object, "Ready").is_object() && !is_true("Ready") {
        "InProgress"
    } else {
        "Current"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(observed: i64, conditions: &Value) -> Value {
        json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "conditions": conditions}})
    }

    #[test]
    fn kstatus_follows_the_rules_of_its_source() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status});
        let ready = json!([condition("Ready", "True"), condition("Reconciling", "False")]);
        assert_eq!(kstatus(&object(2, &ready)), "Current");
        assert_eq!(kstatus(&object(1, &ready)), "InProgress");
        assert_eq!(
            kstatus(&object(2, &json!([condition("Reconciling", "True")]))),
            "InProgress"
        );
        assert_eq!(
            kstatus(&object(2, &json!([condition("Stalled", "True")]))),
            "Failed"
        );
        assert_eq!(
            kstatus(&object(2, &json!([condition("Ready", "False")]))),
            "InProgress"
        );
    }

    #[test]
    fn status_of_an_older_generation_is_not_current() {
        assert!(is_current(&object(2, &json!([]))));
        assert!(!is_current(&object(1, &json!([]))));
        assert!(!is_current(&json!({})));
    }
}

//! The one module that writes to the API server: server-side apply of children and of status, and deletion.
//!
//! It decides nothing; what is passed in has been compared before.

use std::fmt::Debug;

use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::DynamicObject;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::error::{ApiError, answer};
use crate::names::{MANAGER, STATUS_MANAGER};

/// All that is counted.
const WRITES: [&str; 3] = ["child", "delete", "status"];

/// What a write was for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WriteLabels {
    what: &'static str,
}

/// Writes to the API server, and counts them.
#[derive(Clone, Debug)]
pub struct Writer {
    written: Family<WriteLabels, Counter>,
}

impl Default for Writer {
    /// Every counter is there from the start: a rate over a series that begins with its first write misses that one.
    fn default() -> Self {
        let written = Family::<WriteLabels, Counter>::default();
        for what in WRITES {
            drop(written.get_or_create(&WriteLabels { what }));
        }
        Self { written }
    }
}

impl Writer {
    /// The counter of writes, to be registered.
    #[must_use]
    pub fn counter(&self) -> Family<WriteLabels, Counter> {
        self.written.clone()
    }

    fn count(&self, what: &'static str) {
        self.written.get_or_create(&WriteLabels { what }).inc();
    }

    /// Applies a child object as the operator's own.
    pub async fn apply(&self, api: &Api<DynamicObject>, object: &DynamicObject) -> Result<(), ApiError> {
        let name = object.metadata.name.as_deref().unwrap_or_default();
        self.count("child");
        let params = PatchParams::apply(MANAGER).force();
        answer("apply", name, api.patch(name, &params, &Patch::Apply(object))).await?;
        tracing::info!(object = name, "applied");
        Ok(())
    }

    /// Applies a status; the object's new resource version is returned.
    pub async fn apply_status<K, S>(&self, api: &Api<K>, name: &str, status: &S) -> Result<String, ApiError>
    where
        K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
        S: Serialize + Sync,
    {
        let patch = json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": { "name": name },
            "status": status,
        });
        self.count("status");
        let (params, patch) = (PatchParams::apply(STATUS_MANAGER).force(), Patch::Apply(&patch));
        let object = answer(
            "write the status of",
            name,
            api.patch_status(name, &params, &patch),
        )
        .await?;
        Ok(object.meta().resource_version.clone().unwrap_or_default())
    }

    /// Deletes exactly the object that was seen; one that is gone already is as good.
    pub async fn delete(&self, api: &Api<DynamicObject>, name: &str, uid: &str) -> Result<(), ApiError> {
        let preconditions = Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        };
        self.count("delete");
        let params = DeleteParams::background().preconditions(preconditions);
        match answer("delete", name, api.delete(name, &params)).await {
            Ok(_) => {
                tracing::info!(object = name, "deleted");
                Ok(())
            }
            Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

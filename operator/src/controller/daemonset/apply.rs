//! Sends the agents' objects to the API server where it does not hold them already.

use std::marker::PhantomData;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, DynamicObject};
use kube::{Resource, ResourceExt};
use serde::Serialize;

use super::Resources;
use crate::context::Context;
use crate::controller::{Applied, Prepared};
use crate::diff::{differs, seal};
use crate::error::ApiError;

pub(super) async fn apply(
    context: &Context,
    resources: Resources<Prepared>,
) -> Result<Resources<Applied>, ApiError> {
    // Destructured without `..`, so that a new resource cannot be forgotten here.
    let Resources {
        secret,
        daemon_set,
        left_out,
        stage: _,
    } = resources;
    // First what is mounted, then who mounts it.
    apply_secret(context, secret.as_ref()).await?;
    let (daemon_sets, live) = (context.daemon_set_api(), context.live_daemon_set());
    match &daemon_set {
        Some(wanted) => put(context, &daemon_sets, wanted, live.as_ref(), true).await?,
        None => remove(context, &daemon_sets, live.as_ref()).await?,
    }
    Ok(Resources {
        secret,
        daemon_set,
        left_out,
        stage: PhantomData,
    })
}

/// The gathered Secret alone.
pub(super) async fn apply_secret(context: &Context, secret: Option<&Secret>) -> Result<(), ApiError> {
    let (secrets, live) = (context.gathered_api(), context.live_gathered());
    match secret {
        Some(wanted) => {
            // A key that is no longer wished must go, and values are compared as bytes.
            let same_data = live.as_ref().is_some_and(|live| live.data == wanted.data);
            // No digest: it would tell of the content to whoever may read metadata.
            put(
                context,
                &secrets,
                wanted,
                live.as_ref().filter(|_| same_data),
                false,
            )
            .await
        }
        None => remove(context, &secrets, live.as_ref()).await,
    }
}

async fn put<K>(
    context: &Context,
    api: &Api<DynamicObject>,
    wanted: &K,
    live: Option<&K>,
    sealed: bool,
) -> Result<(), ApiError>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let name = wanted.name_any();
    let unusable =
        |error: serde_json::Error| ApiError::new("write as JSON", &name, kube::Error::SerdeError(error));
    let mut object: DynamicObject =
        serde_json::from_value(serde_json::to_value(wanted).map_err(unusable)?).map_err(unusable)?;
    if sealed {
        seal(&mut object);
    }
    if let Some(live) = live.filter(|live| live.meta().deletion_timestamp.is_none()) {
        let live = serde_json::to_value(live).map_err(unusable)?;
        if !differs(&serde_json::to_value(&object).map_err(unusable)?, &live) {
            return Ok(());
        }
    }
    context.writer.apply(api, &object).await
}

/// Deletes what was seen, if it is the operator's own.
async fn remove<K>(context: &Context, api: &Api<DynamicObject>, live: Option<&K>) -> Result<(), ApiError>
where
    K: Resource<DynamicType = ()>,
{
    let Some(live) = live.filter(|live| live.meta().deletion_timestamp.is_none()) else {
        return Ok(());
    };
    let uid = live.meta().uid.clone().unwrap_or_default();
    context.writer.delete(api, &live.name_any(), &uid).await
}

//! What a sink needs outside the cluster: its stream. Pure.

use std::marker::PhantomData;

use weir_profile::api::Manage;
use weir_runtime::stream::StreamSettings;

use super::ValidatedSink;
use crate::controller::Prepared;
use crate::stream::Access;

/// A sink's stream and the way to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources<Stage> {
    /// How to reach the server.
    pub access: Access,
    /// The stream.
    pub stream: StreamSettings,
    /// Who makes it.
    pub manage: Manage,
    pub(super) stage: PhantomData<Stage>,
}

/// Builds it.
#[must_use]
pub fn build(sink: &ValidatedSink) -> Resources<Prepared> {
    let ValidatedSink {
        target,
        access,
        manage,
    } = sink;
    Resources {
        access: access.clone(),
        stream: StreamSettings::of(target),
        manage: *manage,
        stage: PhantomData,
    }
}

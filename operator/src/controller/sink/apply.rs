//! Makes or checks the stream.

use std::marker::PhantomData;

use tokio_util::sync::CancellationToken;
use weir_runtime::stream::Ensured;

use super::Resources;
use crate::controller::{Applied, Prepared};
use crate::stream::{Settled, StreamTrouble, settle};

/// What came of it. Made only here, so that a status cannot speak of a stream that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The stream's name.
    pub stream: String,
    /// The server's answer.
    pub result: Result<Settled, StreamTrouble>,
    stage: PhantomData<Applied>,
}

/// `None` when the operator is to stop before the server answered: nothing is known then.
pub(super) async fn apply(resources: &Resources<Prepared>, stop: &CancellationToken) -> Option<Outcome> {
    // Destructured without `..`, so that a new resource cannot be forgotten here.
    let Resources {
        access,
        stream,
        manage,
        stage: _,
    } = resources;
    let result = settle(access, stream, *manage, stop).await?;
    match &result {
        Ok(Settled::Seen(Ensured::Created)) => tracing::info!(stream = stream.name, "stream created"),
        Ok(Settled::Seen(Ensured::Grown)) => tracing::info!(stream = stream.name, "stream grown"),
        Ok(Settled::Seen(Ensured::Present)) => {
            tracing::debug!(stream = stream.name, "stream is as asked for");
        }
        Ok(Settled::Unverified(why)) => tracing::info!(stream = stream.name, "{why}"),
        Err(trouble) => tracing::warn!(stream = stream.name, reason = %trouble.reason, "{trouble}"),
    }
    Some(Outcome {
        stream: stream.name.clone(),
        result,
        stage: PhantomData,
    })
}

#[cfg(test)]
impl Outcome {
    pub(super) fn sample(stream: &str, result: Result<Settled, StreamTrouble>) -> Self {
        Self {
            stream: stream.to_owned(),
            result,
            stage: PhantomData,
        }
    }
}

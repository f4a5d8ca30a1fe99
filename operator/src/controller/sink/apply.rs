//! Makes or checks the stream.

use std::marker::PhantomData;

use weir_runtime::stream::Ensured;

use super::Resources;
use crate::controller::{Applied, Prepared};
use crate::stream::{StreamTrouble, settle};

/// What came of it. Made only here, so that a status cannot speak of a stream that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The stream's name.
    pub stream: String,
    /// The server's answer.
    pub result: Result<Ensured, StreamTrouble>,
    stage: PhantomData<Applied>,
}

pub(super) async fn apply(resources: &Resources<Prepared>) -> Outcome {
    // Destructured without `..`, so that a new resource cannot be forgotten here.
    let Resources {
        access,
        stream,
        manage,
        stage: _,
    } = resources;
    let result = settle(access, stream, *manage).await;
    match &result {
        Ok(Ensured::Created) => tracing::info!(stream = stream.name, "stream created"),
        Ok(Ensured::Grown) => tracing::info!(stream = stream.name, "stream grown"),
        Ok(Ensured::Present) => tracing::debug!(stream = stream.name, "stream is as asked for"),
        Err(trouble) => tracing::warn!(stream = stream.name, reason = %trouble.reason, "{trouble}"),
    }
    Outcome {
        stream: stream.name.clone(),
        result,
        stage: PhantomData,
    }
}

#[cfg(test)]
impl Outcome {
    pub(super) fn sample(stream: &str, result: Result<Ensured, StreamTrouble>) -> Self {
        Self {
            stream: stream.to_owned(),
            result,
            stage: PhantomData,
        }
    }
}

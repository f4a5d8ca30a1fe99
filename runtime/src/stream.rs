//! A sink's `JetStream` stream: looked at, created where it is missing, grown where it is smaller.
//!
//! [`plan`] is pure and decides; [`ensure`] carries it out, and [`verify`] only looks. An existing stream is never
//! shrunk or replaced, and one that keeps messages in another way than asked for is left alone.

mod error;
mod plan;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{Context, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::Config;

pub use error::{Silence, StreamError};
pub use plan::{Difference, Plan, StreamSettings, covers, plan, uncovered};

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was not there.
    Created,
    /// It was smaller.
    Grown,
    /// It was as asked for, or larger where that only keeps more.
    Present,
}

/// Creates the stream where it is missing, and grows it where it is smaller. What cannot be had without shrinking is a
/// [`StreamError::Conflict`], but does not keep the rest from growing: events of a missing subject have nowhere to go,
/// whatever the stream's size.
pub async fn ensure(jetstream: &Context, wanted: &StreamSettings) -> Result<Ensured, StreamError> {
    let name = || wanted.name.clone();
    let has = match look(jetstream, &wanted.name).await {
        Ok(has) => has,
        Err(StreamError::Missing { .. }) => {
            return match jetstream.create_stream(wanted.fresh()).await {
                Ok(_) => Ok(Ensured::Created),
                Err(source) => Err(StreamError::Create {
                    name: name(),
                    source: Box::new(source),
                }),
            };
        }
        Err(error) => return Err(error),
    };
    let Plan { update, conflicts } = plan(&has, wanted);
    let mut ensured = Ensured::Present;
    if let Some(config) = update {
        jetstream
            .update_stream(config.as_ref())
            .await
            .map_err(|source| StreamError::Grow {
                name: name(),
                source: Box::new(source),
            })?;
        ensured = Ensured::Grown;
    }
    if conflicts.is_empty() {
        return Ok(ensured);
    }
    Err(StreamError::Conflict {
        name: name(),
        differences: conflicts,
    })
}

/// Looks whether the stream is there and takes the subjects; how large it is, is its owner's business.
pub async fn verify(jetstream: &Context, name: &str, subjects: &[String]) -> Result<(), StreamError> {
    let has = look(jetstream, name).await?;
    let missing: Vec<String> = uncovered(&has, subjects).map(str::to_owned).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(StreamError::NotTaken {
        name: name.to_owned(),
        takes: has.subjects,
        missing,
    })
}

async fn look(jetstream: &Context, name: &str) -> Result<Config, StreamError> {
    match jetstream.get_stream(name).await {
        Ok(stream) => Ok(stream.cached_info().config.clone()),
        Err(error) if is_missing(&error) => Err(StreamError::Missing {
            name: name.to_owned(),
        }),
        Err(source) => Err(StreamError::Look {
            name: name.to_owned(),
            source: Box::new(source),
        }),
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

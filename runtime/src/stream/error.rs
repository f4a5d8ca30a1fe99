//! Why a stream is not as asked for.

use std::error::Error;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind, RequestError,
    RequestErrorKind,
};

use super::Difference;

/// Why the stream is not as asked for. What to do about it depends on who asks: an agent's user and an operator's have
/// different means.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It exists, and getting what is asked for would shrink or replace it.
    #[error("the stream `{name}` exists with other settings: {}", list(differences))]
    Conflict {
        /// The stream.
        name: String,
        /// How it differs.
        differences: Vec<Difference>,
    },
    /// It does not exist, and making it is not our part.
    #[error("the stream `{name}` does not exist")]
    Missing {
        /// The stream.
        name: String,
    },
    /// It exists and does not take the subjects, and changing it is not our part.
    #[error("the stream `{name}` takes {takes:?}, and not {}", missing.join(", "))]
    NotTaken {
        /// The stream.
        name: String,
        /// The subjects it takes.
        takes: Vec<String>,
        /// Those asked for that it does not.
        missing: Vec<String>,
    },
    /// Looking at the stream failed.
    #[error("looking at the stream `{name}` failed")]
    Look {
        /// The stream.
        name: String,
        /// Why.
        #[source]
        source: Box<GetStreamError>,
    },
    /// Creating the stream failed.
    #[error("creating the stream `{name}` failed")]
    Create {
        /// The stream.
        name: String,
        /// Why.
        #[source]
        source: Box<CreateStreamError>,
    },
    /// Growing the stream failed.
    #[error("growing the stream `{name}` failed")]
    Grow {
        /// The stream.
        name: String,
        /// Why.
        #[source]
        source: Box<CreateStreamError>,
    },
}

/// Why a question about a stream has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nobody answers for `JetStream` on this server and account.
    NoResponders,
    /// None came in time. A server also keeps silent to whom it forbids the question.
    TimedOut,
}

impl StreamError {
    /// The server's own code, where it answered.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Conflict { .. } | Self::Missing { .. } | Self::NotTaken { .. } => None,
            Self::Look { source, .. } => match source.kind() {
                GetStreamErrorKind::JetStream(error) => Some(error.error_code()),
                _ => None,
            },
            Self::Create { source, .. } | Self::Grow { source, .. } => match source.kind() {
                CreateStreamErrorKind::JetStream(error) => Some(error.error_code()),
                // The client makes a kind of its own of this one code.
                CreateStreamErrorKind::NotFound => Some(ErrorCode::STREAM_NOT_FOUND),
                _ => None,
            },
        }
    }

    /// Why the server did not answer, where it did not.
    #[must_use]
    pub fn silence(&self) -> Option<Silence> {
        match self {
            Self::Conflict { .. } | Self::Missing { .. } | Self::NotTaken { .. } => None,
            Self::Look { source, .. } => {
                let request = source.source()?.downcast_ref::<RequestError>()?;
                match request.kind() {
                    RequestErrorKind::NoResponders => Some(Silence::NoResponders),
                    RequestErrorKind::TimedOut => Some(Silence::TimedOut),
                    RequestErrorKind::InvalidSubject | RequestErrorKind::Other => None,
                }
            }
            Self::Create { source, .. } | Self::Grow { source, .. } => match source.kind() {
                CreateStreamErrorKind::JetStreamUnavailable => Some(Silence::NoResponders),
                CreateStreamErrorKind::TimedOut => Some(Silence::TimedOut),
                _ => None,
            },
        }
    }
}

fn list(differences: &[Difference]) -> String {
    differences
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(kind: RequestErrorKind) -> StreamError {
        let request = RequestError::new(kind);
        StreamError::Look {
            name: "WEIR".to_owned(),
            source: Box::new(GetStreamError::with_source(GetStreamErrorKind::Request, request)),
        }
    }

    fn create(kind: CreateStreamErrorKind) -> StreamError {
        StreamError::Create {
            name: "WEIR".to_owned(),
            source: Box::new(CreateStreamError::new(kind)),
        }
    }

    #[test]
    fn silence_is_told_from_an_answer() {
        for (error, silence) in [
            (look(RequestErrorKind::NoResponders), Some(Silence::NoResponders)),
            (look(RequestErrorKind::TimedOut), Some(Silence::TimedOut)),
            (look(RequestErrorKind::Other), None),
            (
                create(CreateStreamErrorKind::JetStreamUnavailable),
                Some(Silence::NoResponders),
            ),
            (create(CreateStreamErrorKind::TimedOut), Some(Silence::TimedOut)),
            (create(CreateStreamErrorKind::NotFound), None),
        ] {
            assert_eq!(error.silence(), silence, "{error:?}");
        }
    }
}

//! Why a stream is not as asked for.

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
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

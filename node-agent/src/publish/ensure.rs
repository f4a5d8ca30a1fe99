//! Making sure that the stream exists as asked for, without ever shrinking or replacing one.
//!
//! [`plan`] is pure and decides; [`ensure`] asks the server and carries it out.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::context::{
    Context, CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind,
};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};

/// Where a stream keeps its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// On disk.
    File,
    /// In memory.
    Memory,
}

/// The stream as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamSettings {
    /// Its name.
    pub name: String,
    /// The subjects it takes, at least.
    pub subjects: Vec<String>,
    /// Copies, 1 to 5.
    pub replicas: usize,
    /// Where it keeps messages; never changed once it exists.
    pub storage: Storage,
    /// Bytes at most; `None` is without bound.
    pub max_bytes: Option<u64>,
    /// Age at most; `None` is without bound.
    pub max_age: Option<Duration>,
    /// How long a repeated message id is taken for a duplicate.
    pub duplicate_window: Duration,
}

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    /// It was not there.
    Created,
    /// It was smaller.
    Grown,
    /// It was as asked for, or larger.
    Present,
}

/// One setting that an existing stream cannot be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The setting.
    pub field: &'static str,
    /// What the stream has.
    pub has: String,
    /// What is asked for.
    pub wanted: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, asked for is {}", self.field, self.has, self.wanted)
    }
}

/// Why the stream is not as asked for.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// It exists, and getting what is asked for would shrink or replace it.
    #[error("the stream `{name}` exists with other settings: {}", list(differences))]
    Conflict {
        /// The stream.
        name: String,
        /// How it differs.
        differences: Vec<Difference>,
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

impl EnsureError {
    /// The server's own code, where it answered.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Conflict { .. } => None,
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

/// What to do about an existing stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Nothing.
    Keep,
    /// Update it to this, which only grows it.
    Grow(Box<Config>),
    /// Leave it alone and say why.
    Conflict(Vec<Difference>),
}

/// A bound where absence is larger than everything.
fn exceeds<T: PartialOrd>(wanted: Option<T>, has: Option<T>) -> bool {
    match (wanted, has) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(wanted), Some(has)) => wanted > has,
    }
}

fn shown<T: fmt::Debug>(bound: Option<T>) -> String {
    bound.map_or_else(|| "unbounded".to_owned(), |bound| format!("{bound:?}"))
}

/// Compares; pure.
#[must_use]
pub fn plan(has: &Config, wanted: &StreamSettings) -> Plan {
    let StreamSettings {
        name: _,
        subjects,
        replicas,
        storage,
        max_bytes,
        max_age,
        duplicate_window,
    } = wanted;
    let mut grown = has.clone();
    let mut conflicts = Vec::new();
    let mut conflict = |field, has: String, wanted: String| conflicts.push(Difference { field, has, wanted });

    if has.storage != storage_type(*storage) {
        conflict("storage", format!("{:?}", has.storage), format!("{storage:?}"));
    }
    if has.retention != RetentionPolicy::Limits {
        conflict("retention", format!("{:?}", has.retention), "Limits".to_owned());
    }
    if has.no_ack {
        conflict("no_ack", "true".to_owned(), "false".to_owned());
    }
    for subject in subjects {
        if !has.subjects.iter().any(|filter| covers(filter, subject)) {
            grown.subjects.retain(|filter| !covers(subject, filter));
            grown.subjects.push(subject.clone());
        }
    }
    if *replicas > has.num_replicas {
        grown.num_replicas = *replicas;
    } else if *replicas < has.num_replicas {
        conflict("replicas", has.num_replicas.to_string(), replicas.to_string());
    }
    let has_bytes = u64::try_from(has.max_bytes).ok().filter(|bytes| *bytes > 0);
    if exceeds(*max_bytes, has_bytes) {
        grown.max_bytes = max_bytes.map_or(-1, bytes_limit);
    } else if exceeds(has_bytes, *max_bytes) {
        conflict("max_bytes", shown(has_bytes), shown(*max_bytes));
    }
    let has_age = Some(has.max_age).filter(|age| !age.is_zero());
    if exceeds(*max_age, has_age) {
        grown.max_age = max_age.unwrap_or_default();
    } else if exceeds(has_age, *max_age) {
        conflict("max_age", shown(has_age), shown(*max_age));
    }
    grown.duplicate_window = has.duplicate_window.max(*duplicate_window);

    if !conflicts.is_empty() {
        Plan::Conflict(conflicts)
    } else if grown == *has {
        Plan::Keep
    } else {
        Plan::Grow(Box::new(grown))
    }
}

/// Whether every subject that matches `subject` matches `filter` too.
#[must_use]
pub fn covers(filter: &str, subject: &str) -> bool {
    let (mut filter, mut subject) = (filter.split('.'), subject.split('.'));
    loop {
        match (filter.next(), subject.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(expected), Some(token)) if expected == token => {}
            _ => return false,
        }
    }
}

fn storage_type(storage: Storage) -> StorageType {
    match storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
    }
}

fn bytes_limit(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn fresh(wanted: &StreamSettings) -> Config {
    Config {
        name: wanted.name.clone(),
        subjects: wanted.subjects.clone(),
        num_replicas: wanted.replicas,
        storage: storage_type(wanted.storage),
        max_bytes: wanted.max_bytes.map_or(-1, bytes_limit),
        max_age: wanted.max_age.unwrap_or_default(),
        duplicate_window: wanted.duplicate_window,
        retention: RetentionPolicy::Limits,
        // Bounds in size and age are the user's wish to keep the newest; refusing the newest would fill every
        // agent's memory instead.
        discard: DiscardPolicy::Old,
        description: Some("Kernel events collected by Weir".to_owned()),
        ..Config::default()
    }
}

/// Creates the stream where it is missing, grows it where it is smaller.
pub async fn ensure(jetstream: &Context, wanted: &StreamSettings) -> Result<Ensured, EnsureError> {
    let name = || wanted.name.clone();
    let has = match jetstream.get_stream(&wanted.name).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(error) if is_missing(&error) => {
            return match jetstream.create_stream(fresh(wanted)).await {
                Ok(_) => Ok(Ensured::Created),
                Err(source) => Err(EnsureError::Create {
                    name: name(),
                    source: Box::new(source),
                }),
            };
        }
        Err(source) => {
            return Err(EnsureError::Look {
                name: name(),
                source: Box::new(source),
            });
        }
    };
    match plan(&has, wanted) {
        Plan::Keep => Ok(Ensured::Present),
        Plan::Grow(config) => match jetstream.update_stream(config.as_ref()).await {
            Ok(_) => Ok(Ensured::Grown),
            Err(source) => Err(EnsureError::Grow {
                name: name(),
                source: Box::new(source),
            }),
        },
        Plan::Conflict(differences) => Err(EnsureError::Conflict {
            name: name(),
            differences,
        }),
    }
}

/// Whether this error says that there is no such stream.
#[must_use]
pub fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

#[cfg(test)]
#[path = "ensure_tests.rs"]
mod tests;

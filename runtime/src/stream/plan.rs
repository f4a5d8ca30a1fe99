//! Decides what an existing stream needs; pure.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use weir_profile::api::Storage;
use weir_profile::plan::{NatsTarget, StreamPlan};

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

/// One setting that an existing stream cannot be given. Fields are called as in a `CollectorSink`.
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

/// What to do about an existing stream. Both parts can hold something: what can grow grows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// Update it to this, which only grows it.
    pub update: Option<Box<Config>>,
    /// What cannot be had, and has to be said.
    pub conflicts: Vec<Difference>,
}

impl StreamSettings {
    /// The stream of a sink's target.
    #[must_use]
    pub fn of(target: &NatsTarget) -> Self {
        let StreamPlan {
            name,
            manage: _,
            replicas,
            storage,
            max_bytes,
            max_age_seconds,
            duplicate_window_seconds,
        } = &target.stream;
        Self {
            name: name.clone(),
            subjects: vec![format!("{}.>", target.subject_prefix)],
            replicas: usize::from(*replicas),
            storage: *storage,
            max_bytes: Some(*max_bytes),
            max_age: max_age_seconds.map(Duration::from_secs),
            duplicate_window: Duration::from_secs(u64::from(*duplicate_window_seconds)),
        }
    }

    /// A new stream.
    pub(super) fn fresh(&self) -> Config {
        Config {
            name: self.name.clone(),
            subjects: self.subjects.clone(),
            num_replicas: self.replicas,
            storage: storage_type(self.storage),
            max_bytes: self.max_bytes.map_or(-1, bytes_limit),
            max_age: self.max_age.unwrap_or_default(),
            duplicate_window: self.duplicate_window,
            retention: RetentionPolicy::Limits,
            // Bounds in size and age are the user's wish to keep the newest; refusing the newest would fill every
            // agent's memory instead.
            discard: DiscardPolicy::Old,
            description: Some("Kernel events collected by Weir".to_owned()),
            ..Config::default()
        }
    }
}

/// Compares an existing stream with what is asked for.
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
    let mut conflicts = other_kind(has, *storage);
    if !conflicts.is_empty() {
        return Plan {
            update: None,
            conflicts,
        };
    }
    let mut grown = has.clone();
    let mut conflict = |field, has: String, wanted: String| conflicts.push(Difference { field, has, wanted });
    for subject in uncovered(has, subjects) {
        grown.subjects.retain(|filter| !covers(subject, filter));
        grown.subjects.push(subject.to_owned());
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
        conflict("maxBytes", shown(has_bytes), shown(*max_bytes));
    }
    let has_age = Some(has.max_age).filter(|age| !age.is_zero());
    if exceeds(*max_age, has_age) {
        grown.max_age = max_age.unwrap_or_default();
    } else if exceeds(has_age, *max_age) {
        let seconds = |age: Option<Duration>| shown(age.map(|age| age.as_secs()));
        conflict("maxAgeSeconds", seconds(has_age), seconds(*max_age));
    }
    grown.duplicate_window = has.duplicate_window.max(*duplicate_window);
    Plan {
        update: (grown != *has).then(|| Box::new(grown)),
        conflicts,
    }
}

/// What makes it another kind of stream than asked for. Such a one is somebody's on purpose: nothing of it is touched.
fn other_kind(has: &Config, storage: Storage) -> Vec<Difference> {
    let wanted = storage_type(storage);
    let differs = [
        (
            has.storage != wanted,
            "storage",
            format!("{:?}", has.storage),
            format!("{wanted:?}"),
        ),
        (
            has.retention != RetentionPolicy::Limits,
            "retention",
            format!("{:?}", has.retention),
            "Limits".to_owned(),
        ),
        (has.no_ack, "noAck", "true".to_owned(), "false".to_owned()),
        (has.sealed, "sealed", "true".to_owned(), "false".to_owned()),
    ];
    differs
        .into_iter()
        .filter(|(differs, ..)| *differs)
        .map(|(_, field, has, wanted)| Difference { field, has, wanted })
        .collect()
}

/// The subjects that the stream does not take.
pub fn uncovered<'a>(has: &Config, subjects: &'a [String]) -> impl Iterator<Item = &'a str> {
    subjects
        .iter()
        .map(String::as_str)
        .filter(|subject| !has.subjects.iter().any(|filter| covers(filter, subject)))
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

/// Compares bounds whose absence is larger than everything.
fn exceeds<T: PartialOrd>(wanted: Option<T>, has: Option<T>) -> bool {
    match (wanted, has) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(wanted), Some(has)) => wanted > has,
    }
}

fn shown(bound: Option<u64>) -> String {
    bound.map_or_else(|| "unbounded".to_owned(), |bound| bound.to_string())
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

#[cfg(test)]
mod tests;

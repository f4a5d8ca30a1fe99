//! Decides what an existing stream needs. Pure.

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use weir_profile::api::Storage;
use weir_profile::plan::NatsTarget;

/// The stream as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// The subjects it must take.
    pub subjects: Vec<String>,
    /// Copies.
    pub replicas: usize,
    /// Where it is kept.
    pub storage: Storage,
    /// Bytes at most.
    pub max_bytes: u64,
    /// Age at most; `None` is without bound.
    pub max_age: Option<Duration>,
    /// How long a repeated message id is taken for a duplicate.
    pub duplicate_window: Duration,
}

/// One setting that the stream cannot be given.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What to do with an existing stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Nothing.
    Keep,
    /// Give it this configuration, which takes nothing away.
    Grow(Box<Config>),
    /// Nothing can be done without taking something away.
    Conflict(Vec<Difference>),
}

impl Wanted {
    /// The stream of a sink's target.
    #[must_use]
    pub fn of(target: &NatsTarget) -> Self {
        let stream = &target.stream;
        Self {
            name: stream.name.clone(),
            subjects: vec![format!("{}.>", target.subject_prefix)],
            replicas: stream.replicas.into(),
            storage: stream.storage,
            max_bytes: stream.max_bytes,
            max_age: stream.max_age_seconds.map(Duration::from_secs),
            duplicate_window: Duration::from_secs(stream.duplicate_window_seconds.into()),
        }
    }

    /// A new stream.
    #[must_use]
    pub fn fresh(&self) -> Config {
        Config {
            name: self.name.clone(),
            subjects: self.subjects.clone(),
            num_replicas: self.replicas,
            storage: storage_type(self.storage),
            max_bytes: i64::try_from(self.max_bytes).unwrap_or(i64::MAX),
            max_age: self.max_age.unwrap_or_default(),
            duplicate_window: self.duplicate_window,
            retention: RetentionPolicy::Limits,
            // A bound in size or age is a wish to keep the newest; refusing it would fill every agent's memory.
            discard: DiscardPolicy::Old,
            description: Some("Kernel events collected by Weir".to_owned()),
            ..Config::default()
        }
    }

    /// Subjects that the stream does not take.
    pub fn uncovered<'a>(&'a self, has: &'a Config) -> impl Iterator<Item = &'a str> {
        self.subjects
            .iter()
            .map(String::as_str)
            .filter(|subject| !has.subjects.iter().any(|filter| covers(filter, subject)))
    }
}

/// Compares an existing stream with what is asked for. More than asked for is fine where it only keeps more.
#[must_use]
pub fn plan(has: &Config, wanted: &Wanted) -> Plan {
    let Wanted {
        name: _,
        subjects: _,
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
        conflict("storage", format!("{:?}", has.storage), format!("{storage}"));
    }
    if has.retention != RetentionPolicy::Limits {
        conflict("retention", format!("{:?}", has.retention), "Limits".to_owned());
    }
    if has.no_ack {
        conflict("noAck", "true".to_owned(), "false".to_owned());
    }
    if has.sealed {
        conflict("sealed", "true".to_owned(), "false".to_owned());
    }
    for subject in wanted.uncovered(has) {
        grown.subjects.retain(|filter| !covers(subject, filter));
        grown.subjects.push(subject.to_owned());
    }
    if *replicas > has.num_replicas {
        grown.num_replicas = *replicas;
    } else if *replicas < has.num_replicas {
        conflict("replicas", has.num_replicas.to_string(), replicas.to_string());
    }
    let has_bytes = u64::try_from(has.max_bytes).ok().filter(|bytes| *bytes > 0);
    match has_bytes {
        Some(bytes) if *max_bytes > bytes => grown.max_bytes = i64::try_from(*max_bytes).unwrap_or(i64::MAX),
        Some(bytes) if *max_bytes == bytes => {}
        other => conflict("maxBytes", shown(other), max_bytes.to_string()),
    }
    let has_age = Some(has.max_age).filter(|age| !age.is_zero());
    match (has_age, *max_age) {
        (has, wanted) if has == wanted => {}
        (Some(_), None) => grown.max_age = Duration::ZERO,
        (Some(has), Some(wanted)) if wanted > has => grown.max_age = wanted,
        (has, wanted) => conflict(
            "maxAgeSeconds",
            shown(has.map(|age| age.as_secs())),
            shown(wanted.map(|age| age.as_secs())),
        ),
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

fn shown(bound: Option<u64>) -> String {
    bound.map_or_else(|| "unbounded".to_owned(), |bound| bound.to_string())
}

fn storage_type(storage: Storage) -> StorageType {
    match storage {
        Storage::File => StorageType::File,
        Storage::Memory => StorageType::Memory,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            name: "WEIR".to_owned(),
            subjects: vec!["weir.events.>".to_owned()],
            replicas: 1,
            storage: Storage::File,
            max_bytes: 1 << 30,
            max_age: None,
            duplicate_window: Duration::from_mins(2),
        }
    }

    fn conflicts(has: &Config, wanted: &Wanted) -> Vec<&'static str> {
        match plan(has, wanted) {
            Plan::Conflict(differences) => differences
                .into_iter()
                .map(|difference| difference.field)
                .collect(),
            other => panic!("no conflict: {other:?}"),
        }
    }

    #[test]
    fn stream_as_asked_for_is_kept() {
        assert_eq!(plan(&wanted().fresh(), &wanted()), Plan::Keep);
    }

    #[test]
    fn stream_smaller_than_asked_for_grows() {
        let bigger = Wanted {
            replicas: 3,
            max_bytes: 2 << 30,
            duplicate_window: Duration::from_mins(10),
            ..wanted()
        };
        let Plan::Grow(config) = plan(&wanted().fresh(), &bigger) else {
            panic!("it can grow")
        };
        assert_eq!(
            (
                config.num_replicas,
                config.max_bytes,
                config.duplicate_window.as_secs()
            ),
            (3, 2 << 30, 600)
        );
        let other = Config {
            subjects: vec!["weir.events.a".to_owned(), "x".to_owned()],
            ..wanted().fresh()
        };
        let Plan::Grow(config) = plan(&other, &wanted()) else {
            panic!("it can grow")
        };
        assert_eq!(config.subjects, ["x", "weir.events.>"]);
    }

    #[test]
    fn stream_that_would_lose_something_is_a_conflict() {
        let has = Config {
            num_replicas: 3,
            max_age: Duration::ZERO,
            ..wanted().fresh()
        };
        let smaller = Wanted {
            max_bytes: 1,
            max_age: Some(Duration::from_mins(1)),
            storage: Storage::Memory,
            ..wanted()
        };
        assert_eq!(
            conflicts(&has, &smaller),
            ["storage", "replicas", "maxBytes", "maxAgeSeconds"]
        );
        let unbounded = Config {
            max_bytes: -1,
            ..wanted().fresh()
        };
        assert_eq!(conflicts(&unbounded, &wanted()), ["maxBytes"]);
        assert_eq!(
            conflicts(
                &Config {
                    no_ack: true,
                    ..wanted().fresh()
                },
                &wanted()
            ),
            ["noAck"]
        );
    }

    #[test]
    fn subjects_are_covered_by_wildcards() {
        assert!(covers("weir.>", "weir.events.>") && covers(">", "a") && covers("a.*", "a.b"));
        assert!(!covers("a.*", "a.>") && !covers("a", "a.b") && !covers("a.b.>", "a.b"));
    }
}

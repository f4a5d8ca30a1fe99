//! Decides which profiles and sinks hold, from what the API server lists, announces and returns; no I/O.
//!
//! * Absence from one complete list, or an announced deletion of that UID, is deletion. Nothing else is: no error, no
//!   404, no partial list.
//! * A lower generation of the same UID is never taken. Another UID is another object.
//! * An object that this agent cannot read keeps the generation it could read.
//! * A sink that is gone while a profile uses it keeps its last good form.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_profile::api::{ConditionReason, LabelSelector};
use weir_profile::load::{profile_from_api, sink_from_api};
use weir_profile::plan::{plan, sink_name};
use weir_profile::{CollectorProfile, CollectorSink, FieldError, FieldErrors, Plan};

use crate::config::{Desired, Problem};

/// Which of the two an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `CollectorProfile`.
    Profile,
    /// `CollectorSink`.
    Sink,
}

/// What a metadata watch tells of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
}

/// An object to GET.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Which.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

/// The last good configuration, as it is kept on disk: objects as the API server sent them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Profiles.
    pub profiles: Vec<Value>,
    /// Sinks, those that are gone but in use included.
    pub sinks: Vec<Value>,
}

/// What became of an object that was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It holds now.
    Taken,
    /// It is older than what holds, or not the one that was announced: nothing changed.
    Outdated,
    /// It cannot be read by this agent; what held before still does.
    Refused,
}

/// All profiles and sinks.
#[derive(Debug, Default)]
pub struct Objects {
    profiles: Table<CollectorProfile>,
    sinks: Table<CollectorSink>,
    /// The last good plan of each profile, by name.
    plans: BTreeMap<String, Plan>,
}

#[derive(Debug)]
struct Table<T> {
    /// A complete list was seen in this life.
    listed: bool,
    entries: BTreeMap<String, Entry<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            listed: false,
            entries: BTreeMap::new(),
        }
    }
}

#[derive(Debug)]
struct Entry<T> {
    /// What the API server has, as far as it told; `None` once it is gone.
    seen: Option<(String, i64)>,
    held: Option<Held<T>>,
    refused: Option<Refused>,
}

/// The generation that could not be read, and why.
#[derive(Debug)]
struct Refused {
    uid: String,
    generation: i64,
    errors: FieldErrors,
    /// The nodes that it is for, if that much can be read.
    nodes: Option<LabelSelector>,
}

#[derive(Debug)]
struct Held<T> {
    uid: String,
    generation: i64,
    raw: Value,
    object: T,
}

impl<T> Table<T> {
    fn listed(&mut self, metas: Vec<Meta>) {
        let present: BTreeSet<String> = metas.iter().map(|meta| meta.name.clone()).collect();
        for (name, entry) in &mut self.entries {
            if !present.contains(name) {
                entry.seen = None;
            }
        }
        for meta in metas {
            self.seen(meta);
        }
        self.listed = true;
    }

    fn seen(&mut self, meta: Meta) {
        let Meta {
            name,
            uid,
            generation,
        } = meta;
        let entry = self.entries.entry(name).or_insert(Entry {
            seen: None,
            held: None,
            refused: None,
        });
        let older =
            |known: Option<(&str, i64)>| known.is_some_and(|known| known.0 == uid && known.1 > generation);
        let held = entry
            .held
            .as_ref()
            .map(|held| (held.uid.as_str(), held.generation));
        if older(entry.seen.as_ref().map(|seen| (seen.0.as_str(), seen.1))) {
            return;
        }
        let generation = if older(held) {
            held.map_or(generation, |held| held.1)
        } else {
            generation
        };
        entry.seen = Some((uid, generation));
    }

    fn deleted(&mut self, name: &str, uid: &str) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.seen.take_if(|seen| seen.0 == uid);
        }
    }

    fn wanted(&self) -> impl Iterator<Item = &str> {
        self.entries
            .iter()
            .filter(|(_, entry)| entry.is_wanted())
            .map(|(name, _)| name.as_str())
    }

    fn fetched(&mut self, raw: Value, read: impl FnOnce(Value) -> Result<T, FieldErrors>) -> Fetched {
        let meta = meta_of(&raw);
        let Some(entry) = self.entries.get_mut(&meta.name) else {
            return Fetched::Outdated;
        };
        // It may be newer than announced; the announcement follows.
        let expected = entry
            .seen
            .as_ref()
            .is_some_and(|(uid, generation)| *uid == meta.uid && *generation <= meta.generation);
        if !expected {
            return Fetched::Outdated;
        }
        let Meta {
            name: _,
            uid,
            generation,
        } = meta;
        entry.seen = Some((uid.clone(), generation));
        let nodes = nodes_of(&raw);
        match read(raw.clone()) {
            Ok(object) => {
                entry.refused = None;
                entry.held = Some(Held {
                    uid,
                    generation,
                    raw,
                    object,
                });
                Fetched::Taken
            }
            Err(errors) => {
                // Another object of the same name must not live on as its predecessor.
                entry.held.take_if(|held| held.uid != uid);
                entry.refused = Some(Refused {
                    uid,
                    generation,
                    errors,
                    nodes,
                });
                Fetched::Refused
            }
        }
    }

    /// Forgets what is gone, except what `keep` says.
    fn forget_gone(&mut self, keep: impl Fn(&str) -> bool) {
        self.entries
            .retain(|name, entry| entry.seen.is_some() || (entry.held.is_some() && keep(name)));
    }
}

impl<T> Entry<T> {
    fn is_wanted(&self) -> bool {
        let Some((uid, generation)) = &self.seen else {
            return false;
        };
        let same = |known: (&str, i64)| known == (uid.as_str(), *generation);
        !self
            .held
            .as_ref()
            .is_some_and(|held| same((&held.uid, held.generation)))
            && !self
                .refused
                .as_ref()
                .is_some_and(|refused| same((&refused.uid, refused.generation)))
    }
}

impl Objects {
    /// Starts from the last good configuration. What cannot be read any more is left out, and fetched.
    #[must_use]
    pub fn restore(saved: Saved) -> Self {
        let mut objects = Self::default();
        for raw in saved.sinks {
            objects.sinks.seen(meta_of(&raw));
            objects.sinks.fetched(raw, sink_from_api);
        }
        for raw in saved.profiles {
            objects.profiles.seen(meta_of(&raw));
            objects.profiles.fetched(raw, profile_from_api);
        }
        objects.plan_all();
        objects
    }

    /// What to keep on disk.
    #[must_use]
    pub fn save(&self) -> Saved {
        fn raw<T>(table: &Table<T>) -> Vec<Value> {
            table
                .entries
                .values()
                .filter_map(|entry| entry.held.as_ref())
                .map(|held| slim(&held.raw))
                .collect()
        }
        Saved {
            profiles: raw(&self.profiles),
            sinks: raw(&self.sinks),
        }
    }

    /// A complete list of a kind.
    pub fn listed(&mut self, kind: Kind, metas: Vec<Meta>) {
        match kind {
            Kind::Profile => self.profiles.listed(metas),
            Kind::Sink => self.sinks.listed(metas),
        }
    }

    /// An object was added or changed.
    pub fn seen(&mut self, kind: Kind, meta: Meta) {
        match kind {
            Kind::Profile => self.profiles.seen(meta),
            Kind::Sink => self.sinks.seen(meta),
        }
    }

    /// An object was deleted. The deletion of another UID than the one that holds says nothing.
    pub fn deleted(&mut self, kind: Kind, name: &str, uid: &str) {
        match kind {
            Kind::Profile => self.profiles.deleted(name, uid),
            Kind::Sink => self.sinks.deleted(name, uid),
        }
    }

    /// An object as the API server returned it to a GET.
    pub fn fetched(&mut self, kind: Kind, raw: Value) -> Fetched {
        match kind {
            Kind::Profile => self.profiles.fetched(raw, profile_from_api),
            Kind::Sink => self.sinks.fetched(raw, sink_from_api),
        }
    }

    /// What is announced and not here yet; sinks first, since profiles need them.
    #[must_use]
    pub fn wanted(&self) -> Vec<Wanted> {
        let of = |kind| {
            move |name: &str| Wanted {
                kind,
                name: name.to_owned(),
            }
        };
        self.sinks
            .wanted()
            .map(of(Kind::Sink))
            .chain(self.profiles.wanted().map(of(Kind::Profile)))
            .collect()
    }

    /// Both kinds were listed completely in this life.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        self.profiles.listed && self.sinks.listed
    }

    /// What holds now. Call it when nothing is [wanted](Self::wanted), or when that cannot be had.
    #[must_use]
    pub fn desired(&mut self) -> Desired {
        let problems = self.plan_all();
        let errors = problems.iter().map(ToString::to_string).collect();
        Desired {
            plans: self.plans.values().cloned().collect(),
            errors,
            problems,
        }
    }

    fn plan_all(&mut self) -> Vec<Problem> {
        self.profiles.forget_gone(|_| false);
        let used: BTreeSet<String> = self
            .profiles
            .entries
            .values()
            .filter_map(|entry| entry.held.as_ref())
            .map(|held| sink_name(&held.object).to_owned())
            .collect();
        self.sinks.forget_gone(|name| used.contains(name));
        let mut problems = Vec::new();
        let mut plans = BTreeMap::new();
        for (name, entry) in &self.profiles.entries {
            if let Some(Refused {
                uid,
                generation,
                errors,
                nodes,
            }) = &entry.refused
            {
                problems.extend(problem_of(name, (uid, *generation), nodes.as_ref(), errors));
            }
            let Some(held) = &entry.held else { continue };
            let sink = self.sinks.entries.get(sink_name(&held.object));
            let gone = sink.is_some_and(|sink| sink.seen.is_none());
            let planned = plan(
                &held.object,
                sink.and_then(|sink| sink.held.as_ref()).map(|held| &held.object),
            );
            let errors = match planned {
                Ok(plan) => {
                    plans.insert(name.clone(), plan);
                    if let Some(refused) = sink.and_then(|sink| sink.refused.as_ref()) {
                        Some(sink_error(refused.errors.reason(), &refused.errors.to_string()))
                    } else if gone {
                        let message = "is deleted; its last form is used until it is back or sinkRef changes";
                        Some(sink_error(ConditionReason::SinkNotFound, message))
                    } else {
                        None
                    }
                }
                Err(errors) => {
                    if let Some(last) = self.plans.remove(name).filter(|last| last.uid == held.uid) {
                        plans.insert(name.clone(), last);
                    }
                    Some(errors)
                }
            };
            if let Some(errors) = errors {
                let nodes = held.object.spec.nodes.as_ref();
                let nodes = nodes.and_then(|nodes| nodes.selector.as_ref());
                problems.extend(problem_of(name, (&held.uid, held.generation), nodes, &errors));
            }
        }
        self.plans = plans;
        problems
    }
}

fn sink_error(reason: ConditionReason, message: &str) -> FieldErrors {
    FieldError::new("spec.sinkRef.name", format!("the sink {message}"), reason).into()
}

fn problem_of(
    name: &str,
    (uid, generation): (&str, i64),
    nodes: Option<&LabelSelector>,
    errors: &FieldErrors,
) -> Option<Problem> {
    let message = errors.to_string();
    (!errors.as_slice().is_empty()).then(|| Problem {
        profile: name.to_owned(),
        uid: uid.to_owned(),
        generation,
        nodes: nodes.cloned(),
        reason: errors.reason(),
        message,
    })
}

/// A profile's node selector. Where it cannot be read either, every node is concerned.
fn nodes_of(raw: &Value) -> Option<LabelSelector> {
    let selector = raw.pointer("/spec/nodes/selector")?;
    serde_json::from_value(selector.clone()).ok()
}

fn meta_of(raw: &Value) -> Meta {
    let metadata = raw.get("metadata");
    let text = |field: &str| {
        metadata
            .and_then(|metadata| metadata.get(field))
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let generation = metadata
        .and_then(|metadata| metadata.get("generation"))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    Meta {
        name: text("name"),
        uid: text("uid"),
        generation,
    }
}

/// Without what only the API server needs: status and field managers.
fn slim(raw: &Value) -> Value {
    let mut raw = raw.clone();
    if let Some(object) = raw.as_object_mut() {
        object.remove("status");
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
    }
    raw
}

#[cfg(test)]
mod tests;

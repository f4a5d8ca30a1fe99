//! Reads profile files: several YAML documents, every error of all of them at once with its line.

mod tree;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::ConditionReason;
use crate::crds::CrdKind;
use crate::error::{FieldError, FieldErrors};
use crate::{CollectorProfile, CollectorSink, validate};

/// Largest file; a spec has at most 128 KiB, and a node at most 64 profiles.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// One document of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum Document {
    /// A profile.
    Profile(Box<CollectorProfile>),
    /// A sink.
    Sink(Box<CollectorSink>),
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadError {
    /// Which document of the file, from 1.
    pub document: usize,
    /// Line in the file, from 1, where it is known.
    pub line: Option<u64>,
    /// Path of the field; empty for the document as a whole.
    pub path: String,
    /// What is wrong, the bound, and the remedy.
    pub message: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "document {}", self.document)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if self.path.is_empty() {
            write!(f, ": {}", self.message)
        } else {
            write!(f, ": {}: {}", self.path, self.message)
        }
    }
}

/// Everything that is wrong with a file; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct LoadErrors(Vec<LoadError>);

impl LoadErrors {
    /// The errors, in the file's order.
    #[must_use]
    pub fn as_slice(&self) -> &[LoadError] {
        &self.0
    }
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::error::lines(f, &self.0)
    }
}

/// Reads all documents of a text. Empty documents are skipped, a text without any is an error.
pub fn load(text: &str) -> Result<Vec<Document>, LoadErrors> {
    if text.len() > MAX_FILE_BYTES {
        let message = format!(
            "the file has {} bytes, at most {MAX_FILE_BYTES} are read; split it",
            text.len()
        );
        return Err(LoadErrors(vec![LoadError {
            document: 1,
            line: None,
            path: String::new(),
            message,
        }]));
    }
    let mut documents = Vec::new();
    let mut errors = Vec::new();
    let mut names: BTreeMap<(CrdKind, String), usize> = BTreeMap::new();
    for (i, parsed) in tree::parse(text).into_iter().enumerate() {
        let number = i + 1;
        let (value, lines) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                errors.push(LoadError {
                    document: number,
                    ..error
                });
                continue;
            }
        };
        let located = |error: FieldError| LoadError {
            document: number,
            line: lines.find(&error.path),
            path: error.path,
            message: error.message,
        };
        match document(value) {
            Ok(document) => {
                let identity = document.identity();
                if let Some(first) = names.get(&identity) {
                    let message = format!(
                        "{} {:?} already stands in document {first}; rename or remove one",
                        identity.0, identity.1
                    );
                    errors.push(located(FieldError::invalid("metadata.name", message)));
                } else {
                    names.insert(identity, number);
                    documents.push(document);
                }
            }
            Err(found) => errors.extend(found.into_vec().into_iter().map(located)),
        }
    }
    if documents.is_empty() && errors.is_empty() {
        let message = "holds no CollectorProfile or CollectorSink; add one".to_owned();
        errors.push(LoadError {
            document: 1,
            line: None,
            path: String::new(),
            message,
        });
    }
    if errors.is_empty() {
        Ok(documents)
    } else {
        Err(LoadErrors(errors))
    }
}

impl Document {
    fn identity(&self) -> (CrdKind, String) {
        match self {
            Self::Profile(profile) => (
                CrdKind::Profile,
                profile.metadata.name.clone().unwrap_or_default(),
            ),
            Self::Sink(sink) => (CrdKind::Sink, sink.metadata.name.clone().unwrap_or_default()),
        }
    }
}

/// Reads one document that is already parsed: a file's, or an object as the API server sends it.
pub fn document(value: Value) -> Result<Document, FieldErrors> {
    let kind = validate::kind_of(&value)?;
    validate::document(kind, &value)?;
    let value = validate::without_nulls(value);
    match kind {
        CrdKind::Profile => typed(value).map(|profile| Document::Profile(Box::new(profile))),
        CrdKind::Sink => typed(value).map(|sink| Document::Sink(Box::new(sink))),
        CrdKind::Node => Err(FieldError::invalid(
            "kind",
            "CollectorNode is a report, not a document to load; remove it",
        )
        .into()),
    }
}

/// Reads a profile as an API server sends it. A field that this version does not know refuses the whole object with
/// [`ConditionReason::AgentTooOld`], since dropping it could widen what is collected.
pub fn profile_from_api(object: Value) -> Result<CollectorProfile, FieldErrors> {
    match document(object).map_err(too_old)? {
        Document::Profile(profile) => Ok(*profile),
        Document::Sink(_) => {
            Err(FieldError::invalid("kind", "is CollectorSink, not CollectorProfile").into())
        }
    }
}

/// Reads a sink as an API server sends it, as [`profile_from_api`] does.
pub fn sink_from_api(object: Value) -> Result<CollectorSink, FieldErrors> {
    match document(object).map_err(too_old)? {
        Document::Sink(sink) => Ok(*sink),
        Document::Profile(_) => {
            Err(FieldError::invalid("kind", "is CollectorProfile, not CollectorSink").into())
        }
    }
}

/// The API server judged the object by its own CRD: what only we refuse is what only it knows.
fn too_old(errors: FieldErrors) -> FieldErrors {
    let reason = |error: FieldError| match error.reason {
        ConditionReason::InvalidSpec => FieldError {
            reason: ConditionReason::AgentTooOld,
            ..error
        },
        _ => error,
    };
    FieldErrors::of(errors.into_vec().into_iter().map(reason).collect())
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, FieldErrors> {
    serde_json::from_value(value).map_err(|error| FieldError::invalid("", error.to_string()).into())
}

/// What a profile asks for that only a cluster can give; standalone it is an error.
#[must_use]
pub fn standalone_errors(profile: &CollectorProfile) -> Vec<FieldError> {
    let spec = &profile.spec;
    let workloads = spec.workloads.as_ref();
    let given = [
        ("spec.nodes", spec.nodes.is_some()),
        (
            "spec.workloads.namespaces",
            workloads.is_some_and(|w| !w.namespaces.is_empty()),
        ),
        (
            "spec.workloads.excludeNamespaces",
            workloads.is_some_and(|w| !w.exclude_namespaces.is_empty()),
        ),
        (
            "spec.workloads.namespaceSelector",
            workloads.is_some_and(|w| w.namespace_selector.is_some()),
        ),
        (
            "spec.workloads.podSelector",
            workloads.is_some_and(|w| w.pod_selector.is_some()),
        ),
    ];
    given
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(path, _)| {
            FieldError::invalid(path, "needs a cluster, and the agent runs standalone; remove it")
        })
        .collect()
}

#[cfg(test)]
mod tests;

//! Judges documents exactly as an API server with our CRDs would, and says everything that is wrong at once.
//!
//! The schema itself is interpreted, so that the two cannot differ; rules between fields run by their Rust side.
//! Contradictions that only planning sees belong to [`crate::plan`].

mod pattern;
mod walk;

use serde_json::Value;

use crate::api::{ConditionReason, GROUP, VERSION};
use crate::crds::{self, CrdKind};
use crate::error::{FieldError, FieldErrors};
use crate::{CollectorProfile, CollectorSink};

pub use crate::api::is_dns_label;
pub use crate::cidr::Cidr;
pub(crate) use walk::without_nulls;

/// Largest spec, as JSON: etcd, CEL and every agent's memory must hold it.
pub const MAX_SPEC_BYTES: usize = 128 * 1024;

/// Judges a document of a known kind: its name, schema, rules and size. Status is not looked at.
pub fn document(kind: CrdKind, document: &Value) -> Result<(), FieldErrors> {
    let mut errors = Vec::new();
    metadata(kind, document, &mut errors);
    let schema = crds::schema(kind);
    for field in document.as_object().into_iter().flat_map(serde_json::Map::keys) {
        if !["apiVersion", "kind", "metadata", "spec", "status"].contains(&field.as_str()) {
            errors.push(FieldError::invalid(
                field.as_str(),
                "is not a field of the document; remove it or move it below spec",
            ));
        }
    }
    walk::rules(schema, document, "", &mut errors);
    match document.get("spec") {
        Some(spec) if !spec.is_null() => {
            walk::walk(&schema["properties"]["spec"], spec, "spec", &mut errors);
            let bytes = spec.to_string().len();
            if bytes > MAX_SPEC_BYTES {
                errors.push(FieldError::new(
                    "spec",
                    format!(
                        "is {bytes} bytes as JSON, above the limit of {MAX_SPEC_BYTES}; split the {kind}"
                    ),
                    ConditionReason::SpecTooLarge,
                ));
            }
        }
        _ if kind == CrdKind::Node => {}
        _ => errors.push(FieldError::invalid("spec", "is missing; add it")),
    }
    FieldErrors::check(errors)
}

/// Judges a profile that was read with its types.
pub fn profile(profile: &CollectorProfile) -> Result<(), FieldErrors> {
    typed(CrdKind::Profile, profile)
}

/// Judges a sink that was read with its types.
pub fn sink(sink: &CollectorSink) -> Result<(), FieldErrors> {
    typed(CrdKind::Sink, sink)
}

fn typed<T: serde::Serialize>(kind: CrdKind, object: &T) -> Result<(), FieldErrors> {
    match serde_json::to_value(object) {
        Ok(value) => document(kind, &value),
        Err(error) => Err(FieldError::invalid("", format!("cannot be written as JSON: {error}")).into()),
    }
}

/// Judges `apiVersion` and `kind` and says which of our kinds a document is.
pub fn kind_of(document: &Value) -> Result<CrdKind, FieldErrors> {
    let Some(object) = document.as_object() else {
        return Err(FieldError::invalid(
            "",
            "the document is not a mapping; it needs apiVersion, kind, metadata and spec",
        )
        .into());
    };
    let mut errors = Vec::new();
    let wanted = format!("{GROUP}/{VERSION}");
    match object.get("apiVersion").and_then(Value::as_str) {
        Some(version) if version == wanted => {}
        Some(version) => errors.push(FieldError::invalid(
            "apiVersion",
            format!("is {version:?}; this Weir reads {wanted}"),
        )),
        None => errors.push(FieldError::invalid(
            "apiVersion",
            format!("is missing; set it to {wanted}"),
        )),
    }
    let name = object.get("kind").and_then(Value::as_str);
    let kind = [CrdKind::Profile, CrdKind::Sink]
        .into_iter()
        .find(|kind| name == Some(kind.as_str()));
    let Some(kind) = kind else {
        let found = name.map_or_else(|| "is missing".to_owned(), |name| format!("is {name:?}"));
        errors.push(FieldError::invalid(
            "kind",
            format!("{found}; it must be CollectorProfile or CollectorSink"),
        ));
        return Err(FieldErrors::of(errors));
    };
    FieldErrors::check(errors).map(|()| kind)
}

fn metadata(kind: CrdKind, document: &Value, errors: &mut Vec<FieldError>) {
    match document.pointer("/metadata/name") {
        Some(Value::String(name)) if !name.is_empty() => {}
        Some(Value::String(_)) | None => errors.push(FieldError::invalid(
            "metadata.name",
            "is missing; give the object a name",
        )),
        Some(_) => errors.push(FieldError::invalid(
            "metadata.name",
            "is not a string; put it in quotes",
        )),
    }
    if document
        .pointer("/metadata/namespace")
        .is_some_and(|namespace| !namespace.is_null())
    {
        errors.push(FieldError::invalid(
            "metadata.namespace",
            format!("a {kind} is cluster scoped; remove it"),
        ));
    }
}

#[cfg(test)]
mod tests;

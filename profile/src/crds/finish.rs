//! Finishes what kube-derive makes of the types.
//!
//! It strips `nullable`, defaults and titles, moves the meanings of enum values into descriptions, joins wrapped lines,
//! adds the rule for names, the default of `status`, the digest of the schema and the label of all that is Weir's.

use serde_json::{Map, Value, json};

use super::{CrdKind, SCHEMA_DIGEST_ANNOTATION, digest};
use crate::api::profile::name_rules;
use crate::closed::VARIANTS;

/// Meanings of a larger enum (the reasons) would fill the CRD; they stand in the documentation only.
const MAX_MEANINGS: usize = 16;

pub(super) fn finish(kind: CrdKind, mut crd: Value) -> Value {
    let root = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    walk(root);
    if kind == CrdKind::Node {
        // What a node should do follows from the profiles: there is no spec to ask for.
        if let Some(root) = root.as_object_mut() {
            root.remove("required");
        }
    } else {
        let rules: Vec<Value> = name_rules().iter().map(crate::api::rule::Rule::to_json).collect();
        root["x-kubernetes-validations"] = Value::Array(rules);
        root["properties"]["status"]["default"] = first_status();
    }
    let digest = digest(root);
    crd["metadata"]["annotations"] = json!({ SCHEMA_DIGEST_ANNOTATION: digest });
    // As all that the manifests install: so that what is Weir's can be listed, and left out or deleted together.
    crd["metadata"]["labels"] = json!({ "app.kubernetes.io/part-of": "weir" });
    crd
}

/// What a fresh object shows before its first visit: never `Current` to kstatus.
fn first_status() -> Value {
    let condition = |type_: &str, status: &str| {
        json!({
            "type": type_,
            "status": status,
            "reason": "Pending",
            "message": "Waiting for the operator",
            "lastTransitionTime": "1970-01-01T00:00:00Z",
        })
    };
    json!({ "conditions": [condition("Ready", "Unknown"), condition("Reconciling", "True")] })
}

fn walk(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for keyword in ["nullable", "default", "title"] {
        map.remove(keyword);
    }
    if let Some(Value::Array(values)) = map.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    for keyword in ["minimum", "maximum"] {
        whole_number(map, keyword);
    }
    if map
        .get("format")
        .and_then(Value::as_str)
        .is_some_and(|format| format.starts_with("uint"))
    {
        map.remove("format");
    }
    describe(map);
    for keyword in ["items", "additionalProperties"] {
        if let Some(child) = map.get_mut(keyword) {
            walk(child);
        }
    }
    if let Some(Value::Object(properties)) = map.get_mut("properties") {
        properties.values_mut().for_each(walk);
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "our bounds are whole numbers far below 2^53"
)]
fn whole_number(map: &mut Map<String, Value>, keyword: &str) {
    if let Some(bound) = map.get(keyword).and_then(Value::as_f64) {
        map.insert(keyword.to_owned(), json!(bound as i64));
    }
}

fn describe(map: &mut Map<String, Value>) {
    let meanings = map.remove(VARIANTS);
    let Some(text) = map.get("description").and_then(Value::as_str) else {
        return;
    };
    let mut text = join_lines(text);
    if let Some(Value::Array(meanings)) = meanings
        && meanings.len() <= MAX_MEANINGS
    {
        for meaning in meanings.iter().filter_map(Value::as_str) {
            text.push_str("\n\n");
            text.push_str(&join_lines(meaning));
        }
    }
    // kubectl explain shows text, not markdown.
    map.insert("description".to_owned(), Value::String(text.replace('`', "")));
}

/// Joins the lines of a paragraph; a blank line ends it.
fn join_lines(text: &str) -> String {
    text.split("\n\n")
        .map(|part| part.split('\n').map(str::trim).collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n\n")
}

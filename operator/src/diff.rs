//! Whether the API server already holds what is wished: so that a steady fleet causes no write.

use kube::api::DynamicObject;
use serde_json::Value;

use crate::names::APPLIED_DIGEST;
use crate::settings::same_quantity;

/// Whether `live` lacks anything of `desired`. What the server or others added does not count, except in lists, which
/// are compared whole. A field that is no longer wished shows in the digest annotation.
#[must_use]
pub fn differs(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => desired.iter().any(|(key, value)| {
            // The server drops what is empty.
            let found = live.get(key).unwrap_or(&Value::Null);
            !(found.is_null() && is_empty(value)) && differs(value, found)
        }),
        (Value::Array(desired), Value::Array(live)) => {
            desired.len() != live.len()
                || desired
                    .iter()
                    .zip(live)
                    .any(|(desired, live)| differs(desired, live))
        }
        (Value::String(desired), Value::String(live)) => desired != live && !same_quantity(desired, live),
        (desired, live) => desired != live,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// Adds the digest of everything else as an annotation.
pub fn seal(object: &mut DynamicObject) {
    use sha2::{Digest, Sha256};
    use std::fmt::Write as _;

    // Plain data with string keys and sorted maps: it always has one JSON form.
    let json = serde_json::to_vec(object).unwrap_or_default();
    let hash = Sha256::digest(&json);
    let mut text = String::with_capacity(16);
    for byte in &hash[..8] {
        // Writing to a String cannot fail.
        write!(text, "{byte:02x}").ok();
    }
    object
        .metadata
        .annotations
        .get_or_insert_default()
        .insert(APPLIED_DIGEST.to_owned(), text);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn live_object_with_more_fields_does_not_differ() {
        let desired = json!({"a": {"b": [1, {"c": "x"}]}, "cpu": "1024Mi", "none": {}, "list": []});
        let live = json!({"a": {"b": [1, {"c": "x", "default": true}], "d": 1}, "cpu": "1Gi", "status": {}});
        assert!(!differs(&desired, &live));
    }

    #[test]
    fn live_object_with_another_value_or_list_differs() {
        let desired = json!({"a": [1, 2], "b": "x"});
        for live in [
            json!({"a": [1], "b": "x"}),
            json!({"a": [1, 3], "b": "x"}),
            json!({"a": [1, 2]}),
            json!({"a": [1, 2, 3], "b": "x"}),
        ] {
            assert!(differs(&desired, &live), "{live}");
        }
    }

    #[test]
    fn sealed_object_without_a_field_has_another_digest() {
        let object = |labels: Value| -> DynamicObject {
            serde_json::from_value(
                json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "labels": labels}}),
            )
            .unwrap()
        };
        let digest = |mut object: DynamicObject| {
            seal(&mut object);
            object.metadata.annotations.unwrap()[APPLIED_DIGEST].clone()
        };
        assert_ne!(digest(object(json!({"a": "b"}))), digest(object(json!({}))));
        assert_eq!(
            digest(object(json!({"a": "b"}))),
            digest(object(json!({"a": "b"})))
        );
    }
}

//! Interprets the part of `OpenAPI` v3 that our schemas use.
//!
//! A test holds it to that part: a keyword that it does not know fails there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::pattern;
use crate::api::{Timestamp, rule, rules};
use crate::error::FieldError;

/// Texts in messages are cut here, so that a huge value does not fill a log line.
const SHOWN_CHARS: usize = 64;

/// Judges `value` by `schema`; errors are added with paths that begin with `path`.
pub(super) fn walk(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    match (schema["type"].as_str(), value) {
        (Some("object"), Value::Object(map)) => object(schema, map, path, errors),
        (Some("array"), Value::Array(items)) => array(schema, items, path, errors),
        (Some("string"), Value::String(text)) => string(schema, text, path, errors),
        (Some("integer"), Value::Number(number)) if number.is_i64() || number.is_u64() => {
            integer(schema, number, path, errors);
        }
        (Some("boolean"), Value::Bool(_)) | (None, _) => {}
        (Some(wanted), found) => {
            let wanted = type_name(wanted);
            errors.push(FieldError::invalid(
                path,
                format!("expected {wanted}, found {}; correct the value", show(found)),
            ));
        }
    }
    if errors.len() == before {
        rules(schema, value, path, errors);
    }
}

/// Runs the rules that stand at this place of the schema.
pub(super) fn rules(schema: &Value, value: &Value, path: &str, errors: &mut Vec<FieldError>) {
    for entry in rule::items(schema, "x-kubernetes-validations") {
        let Some(rule) = entry["rule"].as_str().and_then(rules::find) else {
            continue;
        };
        if rule.check.as_ref().is_some_and(|check| !check(value)) {
            let path = format!("{path}{}", rule.field);
            errors.push(FieldError::invalid(
                path.trim_start_matches('.'),
                rule.message.as_str(),
            ));
        }
    }
}

fn object(schema: &Value, map: &Map<String, Value>, path: &str, errors: &mut Vec<FieldError>) {
    let empty = Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    let values = schema.get("additionalProperties");
    for (name, value) in map {
        let path = format!("{path}.{name}");
        match (properties.get(name), values) {
            // The API server drops null fields before it looks at them.
            (Some(_), _) if value.is_null() => {}
            (Some(schema), _) | (None, Some(schema)) => walk(schema, value, &path, errors),
            (None, None) => errors.push(unknown_field(&path, name, properties)),
        }
    }
    for name in rule::items(schema, "required").iter().filter_map(Value::as_str) {
        if map.get(name).is_none_or(Value::is_null) {
            errors.push(FieldError::invalid(
                format!("{path}.{name}"),
                "is missing; it is required",
            ));
        }
    }
    bound(schema, "maxProperties", map.len(), "entries", path, errors);
}

fn array(schema: &Value, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    if let Some(min) = schema["minItems"].as_u64()
        && (items.len() as u64) < min
    {
        errors.push(FieldError::invalid(
            path,
            format!("has {} entries, at least {min} are needed; add one", items.len()),
        ));
    }
    bound(schema, "maxItems", items.len(), "entries", path, errors);
    let max = schema["maxItems"]
        .as_u64()
        .map_or(items.len(), |max| usize::try_from(max).unwrap_or(usize::MAX));
    for (i, item) in items.iter().take(max).enumerate() {
        walk(&schema["items"], item, &format!("{path}[{i}]"), errors);
    }
    duplicates(schema, items, path, errors);
}

fn duplicates(schema: &Value, items: &[Value], path: &str, errors: &mut Vec<FieldError>) {
    let keys: Vec<&str> = rule::items(schema, "x-kubernetes-list-map-keys")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let is_set = schema["x-kubernetes-list-type"] == "set";
    if keys.is_empty() && !is_set {
        return;
    }
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (i, item) in items.iter().enumerate() {
        let (identity, shown, at) = if is_set {
            (item.to_string(), show(item), format!("{path}[{i}]"))
        } else {
            let parts: Vec<&Value> = keys.iter().filter_map(|key| item.get(key)).collect();
            let Some(first) = parts.first() else { continue };
            (
                format!("{parts:?}"),
                show(first),
                format!("{path}[{i}].{}", keys[0]),
            )
        };
        if let Some(first) = seen.get(&identity) {
            errors.push(FieldError::invalid(
                at,
                format!(
                    "{shown} already stands in {path}[{first}]; each may stand once, rename or remove one"
                ),
            ));
        } else {
            seen.insert(identity, i);
        }
    }
}

fn string(schema: &Value, text: &str, path: &str, errors: &mut Vec<FieldError>) {
    let before = errors.len();
    if let Some(values) = schema["enum"].as_array() {
        if !values.iter().any(|value| value.as_str() == Some(text)) {
            let known: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            let hint = nearest(text, known.iter().copied());
            let message = format!("{} is not one of {}{hint}", show_text(text), known.join(", "));
            errors.push(FieldError::invalid(path, message));
        }
        return;
    }
    let chars = text.chars().count();
    if let Some(min) = schema["minLength"].as_u64()
        && (chars as u64) < min
    {
        errors.push(FieldError::invalid(
            path,
            format!("has {chars} characters, at least {min} are needed; lengthen it"),
        ));
    }
    bound(schema, "maxLength", chars, "characters", path, errors);
    if schema["format"] == "date-time" && Timestamp::parse(text).is_err() {
        let message = format!(
            "{} is not a time in RFC 3339; write it like 2026-01-31T18:00:00Z",
            show_text(text)
        );
        errors.push(FieldError::invalid(path, message));
    }
    if errors.len() == before
        && let Some(pattern) = schema["pattern"].as_str()
        && !pattern::matches(pattern, text)
    {
        let remedy = pattern::remedy(pattern);
        errors.push(FieldError::invalid(
            path,
            format!("{} is not valid; {remedy}", show_text(text)),
        ));
    }
}

fn integer(schema: &Value, number: &serde_json::Number, path: &str, errors: &mut Vec<FieldError>) {
    let (min, max) = (limit(&schema["minimum"]), limit(&schema["maximum"]));
    let (type_min, type_max) = if schema["format"] == "int32" {
        (i64::from(i32::MIN), i64::from(i32::MAX))
    } else {
        (i64::MIN, i64::MAX)
    };
    let (min, max) = (min.unwrap_or(type_min), max.unwrap_or(type_max));
    let value = number.as_i64();
    if value.is_none_or(|value| value > max) {
        errors.push(FieldError::invalid(
            path,
            format!("{number} is above the maximum {max}; use a number from {min} to {max}"),
        ));
    } else if value.is_some_and(|value| value < min) {
        errors.push(FieldError::invalid(
            path,
            format!("{number} is below the minimum {min}; use a number from {min} to {max}"),
        ));
    }
}

/// schemars writes some bounds as `1.0`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "our bounds are whole numbers far below 2^53"
)]
fn limit(bound: &Value) -> Option<i64> {
    bound
        .as_i64()
        .or_else(|| bound.as_f64().map(|bound| bound as i64))
}

fn bound(schema: &Value, keyword: &str, count: usize, unit: &str, path: &str, errors: &mut Vec<FieldError>) {
    if let Some(max) = schema[keyword].as_u64()
        && count as u64 > max
    {
        errors.push(FieldError::invalid(
            path,
            format!("has {count} {unit}, at most {max} are allowed; shorten it"),
        ));
    }
}

fn unknown_field(path: &str, name: &str, properties: &Map<String, Value>) -> FieldError {
    let hint = nearest(name, properties.keys().map(String::as_str));
    let known: Vec<&str> = properties
        .keys()
        .map(String::as_str)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    FieldError::invalid(
        path,
        format!("is not a known field; known are {}{hint}", known.join(", ")),
    )
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|other| (distance(name, other), other))
        .filter(|(distance, _)| *distance <= 2)
        .min()
        .map_or_else(String::new, |(_, other)| format!("; did you mean {other}?"))
}

/// Edits between two names, letter case aside.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let next = (diagonal + usize::from(x != y))
                .min(row[j] + 1)
                .min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], next);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

/// The value without object fields that are null, as the API server stores it.
pub(crate) fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn type_name(name: &str) -> &str {
    match name {
        "object" => "a mapping",
        "array" => "a list",
        "string" => "a string",
        "integer" => "a whole number",
        "boolean" => "true or false",
        other => other,
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Bool(value) => format!("{value}"),
        Value::Number(value) => format!("{value}"),
        Value::String(text) => show_text(text),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
    }
}

fn show_text(text: &str) -> String {
    if text.chars().count() > SHOWN_CHARS {
        let cut: String = text.chars().take(SHOWN_CHARS).collect();
        format!("{cut:?}...")
    } else {
        format!("{text:?}")
    }
}

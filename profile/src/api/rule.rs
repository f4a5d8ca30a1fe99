//! Rules between fields: the CEL text that the API server runs, and beside it the same check in Rust.
//!
//! Each type's rules stand beside the type; [`super::rules`] knows them all.

use schemars::Schema;
use serde_json::{Value, json};

/// The Rust side of a rule; `true` when it holds. What the schema refuses anyway (a wrong type, say) passes.
pub(crate) type Check = Box<dyn Fn(&Value) -> bool + Send + Sync>;

/// One rule of a type.
pub(crate) struct Rule {
    /// CEL expression over `self`.
    pub(crate) cel: String,
    /// What the user reads when it is false: the field, the bound and the remedy.
    pub(crate) message: String,
    /// Field the error points at, relative to the type and with a leading dot; empty for the type itself.
    pub(crate) field: &'static str,
    /// `None` for a rule that compares with the object before (`oldSelf`).
    pub(crate) check: Option<Check>,
}

impl Rule {
    pub(crate) fn new(
        field: &'static str,
        cel: impl Into<String>,
        message: impl Into<String>,
        check: impl Fn(&Value) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            cel: cel.into(),
            message: message.into(),
            field,
            check: Some(Box::new(check)),
        }
    }

    pub(crate) fn transition(
        field: &'static str,
        cel: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            cel: cel.into(),
            message: message.into(),
            field,
            check: None,
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut rule = json!({ "rule": self.cel, "message": self.message });
        // The API server takes only paths that the schema has, and metadata has none.
        if !self.field.is_empty() && !self.field.starts_with(".metadata") {
            rule["fieldPath"] = json!(self.field);
        }
        rule
    }
}

/// Adds rules to a schema.
pub(crate) fn attach(schema: &mut Schema, rules: &[Rule]) {
    let rules: Vec<Value> = rules.iter().map(Rule::to_json).collect();
    schema.insert("x-kubernetes-validations".into(), Value::Array(rules));
}

/// Items of an array field; none when it is absent.
pub(crate) fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value
        .get(field)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Whether a field is there; the API server drops null fields before it looks.
pub(crate) fn has(value: &Value, field: &str) -> bool {
    value.get(field).is_some_and(|field| !field.is_null())
}

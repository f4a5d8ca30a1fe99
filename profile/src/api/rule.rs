//! CEL rules and list types, attached to the schema of the type they stand beside.

use schemars::Schema;
use serde_json::{Value, json};

/// One CEL rule of a type. The message names the field, the bound and the remedy.
#[derive(Clone, Debug)]
pub(crate) struct CelRule {
    /// Expression over `self`.
    pub(crate) rule: String,
    /// What the user reads when it is false.
    pub(crate) message: String,
    /// Field the error points at, relative to the type; empty for the type itself.
    pub(crate) field: &'static str,
}

impl CelRule {
    pub(crate) fn new(rule: impl Into<String>, message: impl Into<String>) -> Self {
        Self { rule: rule.into(), message: message.into(), field: "" }
    }

    pub(crate) fn at(mut self, field: &'static str) -> Self {
        self.field = field;
        self
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut rule = json!({ "rule": self.rule, "message": self.message });
        if !self.field.is_empty() {
            rule["fieldPath"] = json!(self.field);
        }
        rule
    }
}

/// Adds rules to a schema.
pub(crate) fn attach(schema: &mut Schema, rules: &[CelRule]) {
    let rules: Vec<Value> = rules.iter().map(CelRule::to_json).collect();
    schema.insert("x-kubernetes-validations".into(), Value::Array(rules));
}

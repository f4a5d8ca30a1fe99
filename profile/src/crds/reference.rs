//! The profile reference: a page of documentation made from the CRDs.

use std::fmt::Write as _;

use serde_json::Value;

use super::{CrdKind, schema};
use crate::api::{ConditionReason, rule};
use crate::kind::{EventKind, MatchField};

/// The page, as `docs/profile-reference.md` has it.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Reference: CollectorProfile, CollectorSink, CollectorNode\n\n\
         Made from the CRDs; `kubectl explain cprof.spec` says the same. All three are cluster scoped, of group\n\
         `weir.dev`, version `v1alpha1`. Sizes are quantities such as `512Mi`. An absent field means what its text says;\n\
         the API server fills in nothing but the first status of a fresh object (`Ready` Unknown, `Reconciling` True).\n\n\
         ## Kinds and their match fields\n\n",
    );
    kinds(&mut page);
    for kind in CrdKind::ALL {
        push(&mut page, format_args!("\n## {kind}\n\n{}\n", text(schema(kind))));
        for part in ["spec", "status"] {
            let part_schema = &schema(kind)["properties"][part];
            if part_schema["properties"].is_object() {
                push(
                    &mut page,
                    format_args!("\n### {kind} {part}\n\n| field | type | meaning |\n|---|---|---|\n"),
                );
                fields(&mut page, part_schema, part);
            }
        }
    }
    page.push_str("\n## Reasons\n\nEach condition, problem and node report gives one of these.\n\n| reason | meaning and remedy |\n|---|---|\n");
    for reason in ConditionReason::ALL {
        push(&mut page, format_args!("| `{reason}` | {} |\n", reason.meaning()));
    }
    page
}

/// Writing to a String cannot fail.
fn push(page: &mut String, text: std::fmt::Arguments<'_>) {
    let _infallible = page.write_fmt(text);
}

fn kinds(page: &mut String) {
    page.push_str("| kind | what it is | match fields |\n|---|---|---|\n");
    for kind in EventKind::ALL {
        let fields: Vec<String> = MatchField::ALL
            .iter()
            .filter(|field| field.is_valid_for(*kind))
            .map(|field| format!("`{}`", field.as_str()))
            .collect();
        push(
            page,
            format_args!("| `{kind}` | {} | {} |\n", kind.meaning(), fields.join(", ")),
        );
    }
}

fn fields(page: &mut String, schema: &Value, path: &str) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let mut names: Vec<&String> = properties.keys().collect();
    names.sort();
    for name in names {
        let field = &properties[name];
        let path = format!("{path}.{name}");
        let required = rule::items(schema, "required")
            .iter()
            .any(|required| required == name.as_str());
        let mark = if required { " (required)" } else { "" };
        push(
            page,
            format_args!("| `{path}`{mark} | {} | {} |\n", type_of(field), meaning(field)),
        );
        fields(page, field, &path);
        if field["items"]["properties"].is_object() {
            fields(page, &field["items"], &format!("{path}[]"));
        }
    }
}

fn type_of(field: &Value) -> String {
    match field["type"].as_str() {
        Some("array") => format!("list of {}", type_of(&field["items"])),
        Some("object") if field["additionalProperties"].is_object() => "map of string".to_owned(),
        Some("string") if field["enum"].is_array() => "enum".to_owned(),
        Some("string") if field["format"] == "date-time" => "time".to_owned(),
        Some(name) => name.to_owned(),
        None => "any".to_owned(),
    }
}

fn meaning(field: &Value) -> String {
    let mut meaning = text(field);
    let rules = rule::items(field, "x-kubernetes-validations");
    let rules = rules
        .iter()
        .chain(rule::items(&field["items"], "x-kubernetes-validations"));
    for message in rules.filter_map(|rule| rule["message"].as_str()) {
        push(&mut meaning, format_args!("<br>Rule: {message}."));
    }
    meaning
}

fn text(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.replace("\n\n", "<br>").replace('|', "\\|")
}

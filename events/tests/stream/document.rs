//! docs/unified-event.md says of every field what the schema says, and of no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};
use weir_events::decode::{EventClass, FILE_DESCRIPTOR_SET, Severity, UnifiedEvent};
use weir_events::{BatchHeader, Encoding, Kind};

use crate::{read, sample};

/// The rows of the tables under each third-level heading that names a message or enum.
type Tables = BTreeMap<String, Vec<Vec<String>>>;

fn document() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/unified-event.md");
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The tables by heading, without their head.
fn tables(document: &str) -> Tables {
    let mut tables = Tables::new();
    let mut heading = String::new();
    for line in document.lines() {
        if line.starts_with('#') {
            line.trim_start_matches(['#', ' '])
                .trim_matches('`')
                .clone_into(&mut heading);
        } else if let Some(row) = line.strip_prefix("| ").and_then(|row| row.strip_suffix(" |")) {
            let cells = row.split(" | ").map(|cell| cell.trim().to_owned()).collect();
            tables.entry(heading.clone()).or_default().push(cells);
        }
    }
    for rows in tables.values_mut() {
        rows.remove(0);
    }
    tables
}

fn schema() -> FileDescriptorProto {
    let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
    files
        .into_iter()
        .find(|file| file.package() == "weir.v1")
        .unwrap()
}

/// A field's type as the schema's source writes it.
fn type_of(field: &FieldDescriptorProto) -> String {
    let name = match field.r#type() {
        Type::Message | Type::Enum => field
            .type_name()
            .trim_start_matches(".weir.v1.")
            .trim_start_matches('.'),
        Type::String => "string",
        Type::Uint32 => "uint32",
        Type::Uint64 => "uint64",
        Type::Bool => "bool",
        other => panic!("{}: the specification has no word for {other:?}", field.name()),
    };
    let label = match field.label() {
        Label::Repeated => "repeated ",
        _ if field.proto3_optional() => "optional ",
        _ => "",
    };
    format!("{label}{name}")
}

fn code(cell: &str) -> &str {
    cell.trim_matches('`')
}

fn assert_message_documented(message: &DescriptorProto, rows: &[Vec<String>]) {
    let name = message.name();
    let schema: BTreeSet<(String, String, String)> = message
        .field
        .iter()
        .map(|field| {
            (
                field.json_name().to_owned(),
                field.number().to_string(),
                type_of(field),
            )
        })
        .collect();
    let documented: BTreeSet<(String, String, String)> = rows
        .iter()
        .map(|row| {
            assert_eq!(
                row.len(),
                6,
                "{name}: {row:?} needs field, number, type, unit, bound, source"
            );
            assert!(
                row.iter().all(|cell| !cell.is_empty()),
                "{name}: {row:?} has an empty cell"
            );
            (code(&row[0]).to_owned(), row[1].clone(), code(&row[2]).to_owned())
        })
        .collect();
    let undocumented: Vec<_> = schema.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&schema).collect();
    assert!(
        undocumented.is_empty() && unknown.is_empty(),
        "{name}: in the schema only: {undocumented:?}; in docs/unified-event.md only: {unknown:?}"
    );
    assert_eq!(rows.len(), schema.len(), "{name} has a row twice");
}

#[test]
fn every_field_of_the_schema_is_documented_and_no_other() {
    let mut tables = tables(&document());
    let schema = schema();
    for message in &schema.message_type {
        let rows = tables
            .remove(message.name())
            .unwrap_or_else(|| panic!("{} has no table", message.name()));
        assert_message_documented(message, &rows);
    }
    for declared in &schema.enum_type {
        let rows = tables
            .remove(declared.name())
            .unwrap_or_else(|| panic!("{} has no table", declared.name()));
        let documented: Vec<_> = rows
            .iter()
            .map(|row| (code(&row[0]).to_owned(), row[1].clone()))
            .collect();
        let values: Vec<_> = declared
            .value
            .iter()
            .map(|value| (value.name().to_owned(), value.number().to_string()))
            .collect();
        assert_eq!(documented, values, "{}", declared.name());
        assert!(
            rows.iter().all(|row| row.len() == 3 && !row[2].is_empty()),
            "{} lacks a meaning",
            declared.name()
        );
    }
    tables.remove("Messages");
    tables.remove("Kinds");
    assert_eq!(
        tables.keys().collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "tables of nothing in the schema"
    );
}

#[test]
fn every_kind_is_documented_as_it_is_sent() {
    let rows = tables(&document()).remove("Kinds").unwrap();
    let workload = sample::workload();
    let sent: Vec<Vec<String>> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let payload = payload(kind, &workload);
            let data: UnifiedEvent = read::json(&payload).remove(0).data;
            let raw: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            let keys: Vec<String> = raw[0]["data"].as_object().unwrap().keys().cloned().collect();
            let own = kind
                .name()
                .split('.')
                .enumerate()
                .map(|(place, part)| match part.split_at(1) {
                    (first, rest) if place > 0 => first.to_uppercase() + rest,
                    _ => part.to_owned(),
                });
            let key: String = own.collect();
            assert!(keys.contains(&key), "{kind:?}: {keys:?}");
            let class = EventClass::try_from(data.class).unwrap().as_str_name();
            let severity = Severity::try_from(data.severity).unwrap().as_str_name();
            [
                data.kind.as_str(),
                class,
                severity,
                raw[0]["type"].as_str().unwrap(),
                key.as_str(),
            ]
            .map(|cell| format!("`{cell}`"))
            .to_vec()
        })
        .collect();
    assert_eq!(rows, sent);
}

fn payload(kind: Kind, workload: &weir_events::WorkloadRef) -> Vec<u8> {
    if let Some(event) = sample::agent_event(kind) {
        let header = sample::agent_header();
        return weir_events::encode_agent_event(Encoding::Json, &header, &event)
            .payload
            .to_vec();
    }
    let header: BatchHeader = sample::header(kind);
    read::seal(Encoding::Json, &header, 1, &sample::views(kind, workload))
        .payload
        .to_vec()
}

#[test]
fn every_name_of_a_closed_set_is_documented() {
    use weir_events::agent::{HealthState, LossReason, ProfileState};
    let tables = tables(&document());
    let bound = |message: &str, field: &str| {
        let rows = &tables[message];
        let row = rows.iter().find(|row| code(&row[0]) == field).unwrap();
        row[4]
            .split(", ")
            .map(|name| code(name).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        bound("LossRange", "reason"),
        LossReason::ALL.map(LossReason::name)
    );
    assert_eq!(
        bound("AgentProfile", "state"),
        ProfileState::ALL.map(ProfileState::name)
    );
    assert_eq!(
        bound("AgentHealth", "state"),
        HealthState::ALL.map(HealthState::name)
    );
}

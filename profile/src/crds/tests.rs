//! What is committed must be what the types say, and must fit.

use std::path::PathBuf;

use super::*;

fn committed(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const RENEW: &str = "is stale; run: cargo run -p weir-profile --example generate -- crds docs";

#[test]
fn committed_crds_are_current_and_fit() {
    for kind in CrdKind::ALL {
        let yaml = crd_yaml(kind).unwrap();
        assert!(yaml.len() <= MAX_CRD_BYTES, "{kind}: {} bytes", yaml.len());
        let file = format!("crds/{}", kind.file_name());
        assert!(committed(&file) == yaml, "{file} {RENEW}");
    }
}

#[test]
fn committed_reference_is_current() {
    assert!(
        committed("docs/profile-reference.md") == reference_markdown(),
        "docs/profile-reference.md {RENEW}"
    );
}

#[test]
fn yaml_reads_back_as_the_same_crd() {
    for kind in CrdKind::ALL {
        let read: Value = serde_saphyr::from_str(&crd_yaml(kind).unwrap()).unwrap();
        assert_eq!(&read, crd(kind), "{kind}");
    }
}

#[test]
fn finished_schemas_hold_nothing_that_an_api_server_or_gitops_trips_over() {
    fn visit(schema: &Value, path: &str, in_list: bool) {
        let Some(map) = schema.as_object() else { return };
        for keyword in [
            "nullable",
            "anyOf",
            "oneOf",
            "allOf",
            "$ref",
            "title",
            "example",
            "x-kubernetes-preserve-unknown-fields",
        ] {
            assert!(!map.contains_key(keyword), "{path}: {keyword}");
        }
        assert!(
            !map.contains_key("default") || path == ".status",
            "{path}: a default (in a list item: {in_list})"
        );
        assert!(
            !schema["format"]
                .as_str()
                .is_some_and(|format| format.starts_with("uint")),
            "{path}"
        );
        assert!(
            !(map.contains_key("properties") && map.contains_key("additionalProperties")),
            "{path}"
        );
        assert!(
            path.is_empty() || map.contains_key("description") || path.ends_with("[]"),
            "{path} has no description"
        );
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            visit(child, &format!("{path}.{name}"), in_list);
        }
        visit(&schema["items"], &format!("{path}[]"), true);
    }
    for kind in CrdKind::ALL {
        visit(schema(kind), "", false);
    }
}

#[test]
fn fresh_objects_are_never_current_to_kstatus() {
    for kind in [CrdKind::Profile, CrdKind::Sink] {
        let conditions = schema(kind)["properties"]["status"]["default"]["conditions"]
            .as_array()
            .unwrap();
        let status = |type_: &str| conditions.iter().find(|c| c["type"] == type_).unwrap()["status"].clone();
        assert_eq!(status("Ready"), "Unknown");
        assert_eq!(status("Reconciling"), "True");
    }
}

#[test]
fn enum_meanings_stand_in_descriptions() {
    let mode = &schema(CrdKind::Profile)["properties"]["spec"]["properties"]["mode"];
    assert!(
        mode["description"]
            .as_str()
            .unwrap()
            .contains("DryRun: Match, sample"),
        "{mode}"
    );
    let kind = &schema(CrdKind::Profile)["properties"]["spec"]["properties"]["events"]["items"]["properties"]
        ["kind"];
    assert!(
        kind["description"].as_str().unwrap().contains("file.open: "),
        "{kind}"
    );
}

#[test]
fn names_are_as_documented() {
    for (kind, short) in [
        (CrdKind::Profile, "cprof"),
        (CrdKind::Sink, "csink"),
        (CrdKind::Node, "cnode"),
    ] {
        let crd = crd(kind);
        assert_eq!(crd["spec"]["scope"], "Cluster");
        assert_eq!(crd["spec"]["group"], "weir.dev");
        assert_eq!(crd["spec"]["names"]["shortNames"][0], short);
        assert_eq!(crd["spec"]["names"]["categories"][0], "weir");
        assert_eq!(schema_digest(kind).len(), 16);
        assert_eq!(crd["metadata"]["labels"]["app.kubernetes.io/part-of"], "weir");
    }
}

/// A bound as a description may have it: `1000000` or `1 000 000`.
fn written(number: i64) -> [String; 2] {
    let plain = number.to_string();
    let mut grouped = String::new();
    for (i, digit) in plain.chars().enumerate() {
        if i > 0 && (plain.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    [plain, grouped]
}

/// Whether a text holds the number, and not only as a part of a longer one.
fn names(text: &str, number: i64) -> bool {
    written(number).iter().any(|number| {
        text.match_indices(number.as_str()).any(|(at, _)| {
            let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
            let before = text[..at].trim_end_matches(' ');
            let after = &text[at + number.len()..];
            // `1 000 000` holds neither 1000 nor 0.
            let grouped_before = at > before.len() && number.len() == 3 && digit(before.chars().next_back());
            let grouped_after = after.starts_with(' ')
                && after[1..].len() >= 3
                && after[1..].chars().take(3).all(|c| c.is_ascii_digit());
            !digit(text[..at].chars().next_back())
                && !digit(after.chars().next())
                && !grouped_before
                && !grouped_after
        })
    })
}

#[test]
fn descriptions_of_a_spec_name_every_bound_that_a_user_can_meet() {
    /// Bounds of a value, told by the description of the field that has it or the list of it.
    fn told(schema: &Value, description: &str, path: &str, missing: &mut Vec<String>) {
        let is_formed = schema["enum"].is_array()
            || schema["format"] == "date-time"
            // A quantity, or a network in CIDR notation: their form bounds their length.
            || schema["maxLength"] == 17
            || schema["maxLength"] == 43;
        for keyword in ["minimum", "maximum", "maxItems", "maxProperties", "maxLength"] {
            let Some(bound) = schema[keyword].as_i64() else {
                continue;
            };
            let is_told = (keyword == "maxLength" && is_formed) || names(description, bound);
            if !is_told {
                missing.push(format!("{path}: {keyword} {bound} is not in {description:?}"));
            }
        }
    }
    fn visit(schema: &Value, path: &str, missing: &mut Vec<String>) {
        let description = schema["description"].as_str().unwrap_or_default();
        told(schema, description, path, missing);
        for inner in ["items", "additionalProperties"] {
            if schema[inner]["properties"].is_object() {
                visit(&schema[inner], &format!("{path}[]"), missing);
            } else {
                told(&schema[inner], description, path, missing);
            }
        }
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            visit(child, &format!("{path}.{name}"), missing);
        }
    }
    let mut missing = Vec::new();
    for kind in [CrdKind::Profile, CrdKind::Sink] {
        visit(&schema(kind)["properties"]["spec"], kind.as_str(), &mut missing);
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(names("1 to 1 000 000", 1_000_000) && names("at most 16.", 16));
    for (text, number) in [
        ("1 000 000", 1),
        ("1 000 000", 0),
        ("at most 160", 16),
        ("116", 16),
    ] {
        assert!(!names(text, number), "{number} is no number of {text:?}");
    }
}

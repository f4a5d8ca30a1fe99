//! Documentation that is held to the code: every condition and reason with its remedy, every settings field.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeSet;
use std::path::Path;

use clap::CommandFactory as _;
use weir_profile::api::{ConditionReason, ConditionType};

fn page(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)).unwrap()
}

/// Rows of all tables as cells, without heads.
fn rows(page: &str) -> Vec<Vec<String>> {
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect()
}

fn name(cell: &str) -> &str {
    cell.trim_matches('`')
}

#[test]
fn status_page_has_each_reason_once_and_a_remedy_for_bad_news() {
    let page = page("status.md");
    let section = page.split_once("## Reasons").unwrap().1;
    let rows = rows(section);
    let listed: Vec<&str> = rows.iter().map(|row| name(&row[0])).collect();
    let unique: BTreeSet<&str> = listed.iter().copied().collect();
    assert_eq!(unique.len(), listed.len(), "a reason stands there twice");
    let all: BTreeSet<&str> = ConditionReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(unique, all);
    for row in &rows {
        assert!(row.iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    let without_remedy: BTreeSet<&str> = rows
        .iter()
        .filter(|row| row.len() == 2)
        .map(|row| name(&row[0]))
        .collect();
    // What the enum's own words give no remedy for, and what ends as asked.
    let good = [
        "Accepted",
        "Acknowledged",
        "DryRun",
        "EnoughNodesLive",
        "Expired",
        "Healthy",
        "Live",
        "NothingMissed",
        "StreamReady",
        "Suspended",
        "UpToDate",
    ];
    assert_eq!(without_remedy, good.into());
}

#[test]
fn status_page_has_each_condition() {
    let page = page("status.md");
    let section = page
        .split_once("## Conditions")
        .unwrap()
        .1
        .split_once("\n## ")
        .unwrap()
        .0;
    let listed: Vec<String> = rows(section).iter().map(|row| name(&row[0]).to_owned()).collect();
    let all: Vec<&str> = ConditionType::ALL.iter().map(|type_| type_.as_str()).collect();
    assert_eq!(listed, all);
}

#[test]
fn install_page_has_each_settings_field() {
    let page = page("install.md");
    let listed: BTreeSet<String> = rows(&page)
        .iter()
        .map(|row| name(&row[0]).to_owned())
        .filter(|cell| cell == "clusterName" || cell.starts_with("agent."))
        .collect();
    assert!(listed.len() > 10);
    for field in &listed {
        let text = match field.split_once('.') {
            Some((outer, inner)) => format!("{outer}:\n  {inner}: {{no: such}}\n"),
            None => format!("{field}: {{no: such}}\n"),
        };
        let error = weir_operator::settings::Settings::parse(&text, Path::new("test"))
            .map(|_| ())
            .map_err(|error| error.to_string());
        // A field that is not known is refused as such; a known one is refused for its value, or takes a mapping.
        if let Err(error) = error {
            assert!(!error.contains("unknown field"), "{field}: {error}");
        }
    }
    let unknown = weir_operator::settings::Settings::parse("agent:\n  nope: 1\n", Path::new("test"))
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("unknown field") && unknown.contains("nope"),
        "{unknown}"
    );
    let fields: Vec<&str> = unknown
        .split_once("expected one of ")
        .unwrap()
        .1
        .lines()
        .next()
        .unwrap()
        .split(", ")
        .collect();
    assert!(fields.len() > 5, "{unknown}");
    for field in fields {
        assert!(
            listed.contains(&format!("agent.{field}")),
            "docs/install.md does not speak of agent.{field}"
        );
    }
}

#[test]
fn install_page_has_each_argument_of_the_operator_with_its_default() {
    let page = page("install.md");
    let listed: Vec<Vec<String>> = rows(&page)
        .into_iter()
        .filter(|row| name(&row[0]).starts_with("--"))
        .collect();
    let command = weir_operator::args::Args::command();
    let arguments: Vec<&clap::Arg> = command
        .get_arguments()
        .filter(|argument| !["help", "version"].contains(&argument.get_id().as_str()))
        .collect();
    assert_eq!(listed.len(), arguments.len(), "{listed:?}");
    for argument in arguments {
        let long = format!("--{}", argument.get_long().unwrap());
        let row = listed
            .iter()
            .find(|row| name(&row[0]) == long)
            .unwrap_or_else(|| panic!("docs/install.md does not speak of {long}"));
        let variable = argument.get_env().map(|env| env.to_string_lossy().into_owned());
        let default = argument
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy().into_owned());
        for word in default.chain(variable) {
            assert!(row[1].contains(&format!("`{word}`")), "{long}: {word}: {row:?}");
        }
    }
}

#[test]
fn pages_name_images_of_this_version() {
    for name in ["install.md", "../README.md"] {
        let page = page(name);
        let mut named = 0;
        for image in ["weir-agent:", "weir-operator:"] {
            for (at, _) in page.match_indices(image) {
                let tag: String = page[at + image.len()..]
                    .chars()
                    .take_while(|c| c.is_ascii_digit() || *c == '.')
                    .collect();
                if !tag.is_empty() {
                    named += 1;
                    assert_eq!(tag, env!("CARGO_PKG_VERSION"), "{name}: {image}{tag}");
                }
            }
        }
        assert!(named >= 2, "{name}");
    }
}

#[test]
fn pages_name_only_reasons_that_exist() {
    let known: BTreeSet<&str> = ConditionReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    for name in ["install.md", "troubleshooting.md", "gitops.md", "security.md"] {
        for word in page(name).split('`').skip(1).step_by(2) {
            let looks_like_one = [
                "Missing",
                "NotFound",
                "Failed",
                "Conflict",
                "Unreachable",
                "Denied",
                "Mounted",
                "Unsupported",
            ]
            .iter()
            .any(|end| word.ends_with(end) && word != *end && word.chars().all(|c| c.is_ascii_alphabetic()));
            if looks_like_one && word.starts_with(|c: char| c.is_ascii_uppercase()) {
                assert!(known.contains(word), "{name}: {word}");
            }
        }
    }
}

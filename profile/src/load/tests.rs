use super::*;

const PROFILE: &str = "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {name: NAME}\nspec:\n  events:\n    - name: a\n      kind: process.exec\n";

fn named(name: &str) -> String {
    PROFILE.replace("NAME", name)
}

fn messages(text: &str) -> Vec<String> {
    load(text)
        .unwrap_err()
        .as_slice()
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn several_documents_are_read_in_order() {
    let text = format!("{}---\n# nothing\n---\n{}", named("a"), named("b"));
    let names: Vec<String> = load(&text)
        .unwrap()
        .iter()
        .map(|document| document.identity().1)
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn error_names_document_line_and_field() {
    let bad = named("b").replace("process.exec", "process.exe");
    let text = format!("{}---\n{bad}", named("a"));
    let errors = messages(&text);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("document 2, line 15: spec.events[0].kind: \"process.exe\" is not one of"),
        "{errors:?}"
    );
}

#[test]
fn missing_field_is_told_at_the_line_around_it() {
    let errors = messages(
        "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {name: a}\nspec:\n  mode: Active\n",
    );
    assert!(
        errors[0].contains("line 5: spec.events: is missing"),
        "{errors:?}"
    );
}

#[test]
fn errors_of_all_documents_are_told_at_once() {
    let text = format!("{}---\n{}", named("A"), named("b").replace("process.exec", "x"));
    let errors = messages(&text);
    assert!(
        errors.iter().any(|error| error.starts_with("document 1")),
        "{errors:?}"
    );
    assert!(
        errors.iter().any(|error| error.starts_with("document 2")),
        "{errors:?}"
    );
}

#[test]
fn text_that_is_not_yaml_is_told_with_its_line() {
    let errors = messages("apiVersion: [\nkind: }\n");
    assert!(errors[0].contains("is not valid YAML"), "{errors:?}");
    assert!(errors[0].contains("line "), "{errors:?}");
}

#[test]
fn empty_text_scalar_and_list_are_refused() {
    assert!(messages("")[0].contains("holds no CollectorProfile"));
    assert!(messages("# only a comment\n")[0].contains("holds no CollectorProfile"));
    assert!(messages("hello")[0].contains("not a mapping"));
    assert!(messages("- a\n- b\n")[0].contains("not a mapping"));
}

#[test]
fn duplicate_keys_and_names_are_refused() {
    let errors = messages(&named("a").replace("spec:", "spec: {}\nspec:"));
    assert!(errors[0].contains("is not valid YAML"), "{errors:?}");
    let errors = messages(&format!("{}---\n{}", named("a"), named("a")));
    assert!(
        errors[0].contains(
            "document 2, line 11: metadata.name: CollectorProfile \"a\" already stands in document 1"
        ),
        "{errors:?}"
    );
}

#[test]
fn null_fields_count_as_absent() {
    let text = format!(
        "{}      match: null\n  expirationTime: null\n  limits:\n",
        named("a")
    );
    let documents = load(&text).unwrap();
    let [Document::Profile(profile)] = documents.as_slice() else {
        panic!("{documents:?}")
    };
    assert_eq!(profile.spec.limits, None);
}

#[test]
fn huge_file_is_refused_before_it_is_parsed() {
    let text = "#".repeat(MAX_FILE_BYTES + 1);
    assert!(messages(&text)[0].contains("split it"));
}

#[test]
fn selectors_are_standalone_errors() {
    let documents = load(include_str!("../../testdata/valid.yaml")).unwrap();
    let Some(Document::Profile(profile)) = documents.first() else {
        panic!("{documents:?}")
    };
    let paths: Vec<String> = standalone_errors(profile)
        .into_iter()
        .map(|error| error.path)
        .collect();
    assert_eq!(
        paths,
        [
            "spec.nodes",
            "spec.workloads.namespaces",
            "spec.workloads.excludeNamespaces",
            "spec.workloads.namespaceSelector",
            "spec.workloads.podSelector"
        ]
    );
    let documents = load(&named("a")).unwrap();
    let [Document::Profile(profile)] = documents.as_slice() else {
        panic!("{documents:?}")
    };
    assert!(standalone_errors(profile).is_empty());
}

#[test]
fn unknown_field_of_an_api_object_is_agent_too_old() {
    let mut object = serde_json::json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
        "metadata": {"name": "a", "uid": "u", "generation": 3, "managedFields": [{"manager": "x"}]},
        "spec": {"events": [{"name": "a", "kind": "process.exec", "match": {"comm": ["sh"]}}]},
        "status": {"futureField": 1}});
    let profile = profile_from_api(object.clone()).unwrap();
    assert_eq!(
        (profile.metadata.uid.as_deref(), profile.metadata.generation),
        (Some("u"), Some(3))
    );
    object["spec"]["events"][0]["match"]["argvPrefix"] = serde_json::json!(["-c"]);
    let errors = profile_from_api(object).unwrap_err();
    assert_eq!(errors.reason(), ConditionReason::AgentTooOld);
    assert!(
        errors
            .to_string()
            .starts_with("spec.events[0].match.argvPrefix: "),
        "{errors}"
    );
}

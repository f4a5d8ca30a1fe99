//! What users apply: every manifest parses, samples are accepted by the same judge as the operator's, and no role has
//! more than it needs.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helper that cannot go on fails its test"
)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_operator::names;
use weir_operator::settings::Settings;
use weir_profile::{CollectorSink, Document};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = root().join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn documents(text: &str) -> Vec<Value> {
    let mut bytes = text.as_bytes();
    serde_saphyr::read::<_, Value>(&mut bytes)
        .map(|document| document.expect("is YAML"))
        .filter(|document| !document.is_null())
        .collect()
}

fn objects(folder: &str) -> Vec<(PathBuf, Value)> {
    files(folder)
        .into_iter()
        .filter(|path| {
            !["kustomization.yaml", "operator-settings.yaml"]
                .iter()
                .any(|name| path.ends_with(name))
        })
        .flat_map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            documents(&text)
                .into_iter()
                .map(move |object| (path.clone(), object))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Reads an object into its type and back: what the type does not know is a misspelt field.
fn strict<T: DeserializeOwned + serde::Serialize>(path: &Path, object: &Value) {
    let typed: T =
        serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let back = serde_json::to_value(typed).unwrap();
    assert!(
        !weir_operator::diff::differs(object, &back),
        "{}: a field is not known:\n{object:#}\n{back:#}",
        path.display()
    );
}

fn check(path: &Path, object: &Value) {
    let kind = object["kind"]
        .as_str()
        .unwrap_or_else(|| panic!("{}: no kind", path.display()));
    match kind {
        "Namespace" => strict::<Namespace>(path, object),
        "ResourceQuota" => strict::<ResourceQuota>(path, object),
        "ServiceAccount" => strict::<ServiceAccount>(path, object),
        "ConfigMap" => strict::<ConfigMap>(path, object),
        "Service" => strict::<Service>(path, object),
        "Deployment" => strict::<Deployment>(path, object),
        "StatefulSet" => strict::<StatefulSet>(path, object),
        "PodDisruptionBudget" => strict::<PodDisruptionBudget>(path, object),
        "Role" => strict::<Role>(path, object),
        "RoleBinding" => strict::<RoleBinding>(path, object),
        "ClusterRole" => strict::<ClusterRole>(path, object),
        "ClusterRoleBinding" => strict::<ClusterRoleBinding>(path, object),
        "ValidatingAdmissionPolicy" => strict::<ValidatingAdmissionPolicy>(path, object),
        "ValidatingAdmissionPolicyBinding" => strict::<ValidatingAdmissionPolicyBinding>(path, object),
        "FlowSchema" => strict::<FlowSchema>(path, object),
        "PriorityLevelConfiguration" => strict::<PriorityLevelConfiguration>(path, object),
        "CustomResourceDefinition" => {
            drop(serde_json::from_value::<CustomResourceDefinition>(object.clone()).unwrap());
        }
        "CollectorProfile" | "CollectorSink" => {
            let text = serde_json::to_string(object).unwrap();
            weir_profile::load(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
        other => panic!("{}: this test does not know {other}", path.display()),
    }
}

#[test]
fn every_manifest_has_only_known_fields() {
    for folder in ["manifests/default", "manifests/quickstart", "manifests/samples"] {
        for (path, object) in objects(folder) {
            check(&path, &object);
        }
    }
}

#[test]
fn quickstart_and_samples_are_accepted_with_the_quickstarts_sink() {
    let read = |path: &Path| weir_profile::load(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut sink: Option<CollectorSink> = None;
    let mut profiles = Vec::new();
    for path in files("manifests/samples").into_iter().chain([
        root().join("manifests/quickstart/sink.yaml"),
        root().join("manifests/quickstart/profile.yaml"),
    ]) {
        for document in read(&path) {
            match document {
                Document::Profile(profile) => profiles.push((path.clone(), profile)),
                Document::Sink(found) => sink = Some(*found),
            }
        }
    }
    let sink = sink.expect("the quick start has a sink");
    assert!(profiles.len() >= 5);
    for (path, profile) in profiles {
        let plan = weir_profile::plan(&profile, Some(&sink));
        assert!(plan.is_ok(), "{}: {}", path.display(), plan.unwrap_err());
    }
}

#[test]
fn settings_file_is_valid_and_means_the_defaults() {
    let path = root().join("manifests/default/operator-settings.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(Settings::parse(&text, &path).unwrap(), Settings::default());
    // The commented fields are an example: they must be valid too.
    let example: String = text
        .lines()
        .filter(|line| !line.starts_with("agent: {}"))
        .map(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            line.to_owned() + "\n"
        })
        .skip_while(|line| !line.starts_with("clusterName"))
        .collect::<String>()
        .replace("#\n", "")
        .replacen("  image:", "agent:\n  image:", 1);
    let settings = Settings::parse(&example, &path).unwrap_or_else(|error| panic!("{error}\n{example}"));
    assert_eq!(settings.cluster_name.as_deref(), Some("prod-eu"));
    assert_eq!(settings.agent.node_selector["pool"], "web");
}

fn rules() -> Vec<(String, PolicyRule)> {
    let mut all = Vec::new();
    for (path, object) in objects("manifests/default") {
        if matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")) {
            let name = format!(
                "{}: {} {}",
                path.display(),
                object["kind"],
                object["metadata"]["name"]
            );
            let rules: Vec<PolicyRule> = serde_json::from_value(object["rules"].clone()).unwrap();
            all.extend(rules.into_iter().map(|rule| (name.clone(), rule)));
        }
    }
    assert!(all.len() > 10);
    all
}

#[test]
fn roles_have_no_wildcard_and_no_power_to_grow() {
    for (name, rule) in rules() {
        let words = [
            rule.api_groups.as_deref(),
            rule.resources.as_deref(),
            rule.resource_names.as_deref(),
            Some(&rule.verbs),
        ];
        for word in words.into_iter().flatten().flatten() {
            assert!(!word.contains('*'), "{name}: {word}");
        }
        for verb in ["escalate", "bind", "impersonate", "deletecollection", "approve"] {
            assert!(!rule.verbs.iter().any(|found| found == verb), "{name}: {verb}");
        }
        let resources = rule.resources.unwrap_or_default();
        for resource in [
            "pods/exec",
            "serviceaccounts/token",
            "clusterroles",
            "roles",
            "validatingadmissionpolicies",
        ] {
            assert!(
                !resources.iter().any(|found| found == resource),
                "{name}: {resource}"
            );
        }
    }
}

#[test]
fn secrets_are_touched_in_two_namespaces_and_written_by_name() {
    let mut seen = BTreeSet::new();
    for (path, object) in objects("manifests/default") {
        let rules: Vec<PolicyRule> = serde_json::from_value(object["rules"].clone()).unwrap_or_default();
        for rule in rules
            .iter()
            .filter(|rule| rule.resources.iter().flatten().any(|found| found == "secrets"))
        {
            assert_eq!(
                object["kind"],
                "Role",
                "{}: no cluster role may speak of Secrets",
                path.display()
            );
            assert_eq!(
                object["metadata"]["name"], "weir-operator",
                "agents never read Secrets"
            );
            let namespace = object["metadata"]["namespace"].as_str().unwrap().to_owned();
            let writes = rule
                .verbs
                .iter()
                .any(|verb| !["get", "list", "watch"].contains(&verb.as_str()));
            if writes {
                assert_eq!(
                    (namespace.as_str(), rule.resource_names.as_deref()),
                    ("weir-agents", Some(&[names::GATHERED_SECRET.to_owned()][..]))
                );
            }
            seen.insert(namespace);
        }
    }
    assert_eq!(
        seen.into_iter().collect::<Vec<_>>(),
        ["weir-agents", "weir-system"]
    );
}

#[test]
fn agents_role_is_exactly_what_agents_need() {
    let allowed: BTreeSet<(String, String)> = rules()
        .into_iter()
        .filter(|(name, _)| name.contains("agent-rbac"))
        .flat_map(|(_, rule)| {
            let verbs = rule.verbs;
            rule.resources
                .unwrap_or_default()
                .into_iter()
                .flat_map(move |resource| {
                    verbs
                        .iter()
                        .map(|verb| (resource.clone(), verb.clone()))
                        .collect::<Vec<_>>()
                })
        })
        .collect();
    let mut expected = BTreeSet::new();
    for (resources, verbs) in [
        (
            &["pods", "namespaces", "collectorprofiles", "collectorsinks"][..],
            &["get", "list", "watch"][..],
        ),
        (&["nodes", "daemonsets"], &["get"]),
        (&["collectornodes"], &["get", "create", "patch"]),
        (&["collectornodes/status"], &["patch"]),
    ] {
        for resource in resources {
            expected.extend(
                verbs
                    .iter()
                    .map(|verb| ((*resource).to_owned(), (*verb).to_owned())),
            );
        }
    }
    assert_eq!(allowed, expected);
}

#[test]
fn operator_deployment_fits_the_restricted_standard() {
    let deployment = objects("manifests/default")
        .into_iter()
        .find(|(_, object)| object["kind"] == "Deployment")
        .unwrap()
        .1;
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"][0], "ALL");
        assert_eq!(
            container["image"],
            format!("ghcr.io/weir-dev/weir-operator:{}", env!("CARGO_PKG_VERSION"))
        );
    }
    for absent in ["hostNetwork", "hostPID", "hostIPC"] {
        assert!(pod.get(absent).is_none());
    }
}

/// kubectl's kustomize, where there is one.
fn kustomize(folder: &str) -> Option<Vec<Value>> {
    let output = match Command::new("kubectl")
        .arg("kustomize")
        .arg(root().join(folder))
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "kubectl is needed in CI: {error}"
            );
            eprintln!("SKIPPED: kubectl is not installed, {folder} was not rendered");
            return None;
        }
    };
    assert!(
        output.status.success(),
        "{folder}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(documents(&String::from_utf8_lossy(&output.stdout)))
}

#[test]
fn kustomize_renders_default_with_all_names_intact() {
    let Some(objects) = kustomize("manifests/default") else {
        return;
    };
    let crds = objects
        .iter()
        .filter(|object| object["kind"] == "CustomResourceDefinition")
        .count();
    assert_eq!(crds, 3);
    for object in &objects {
        check(Path::new("rendered"), object);
        // kustomize rewrites what it takes for references to renamed objects.
        for rule in object["rules"].as_array().into_iter().flatten() {
            for name in rule["resourceNames"].as_array().into_iter().flatten() {
                let known = [names::LEASE, names::AGENT, names::GATHERED_SECRET];
                let name = name.as_str().unwrap();
                assert!(known.contains(&name) || name.ends_with(".weir.dev"), "{name}");
            }
        }
    }
    let map = objects
        .iter()
        .find(|object| object["kind"] == "ConfigMap")
        .unwrap()["metadata"]["name"]
        .as_str()
        .unwrap();
    assert!(map.starts_with("weir-operator-settings-"), "{map}");
    let deployment = objects
        .iter()
        .find(|object| object["kind"] == "Deployment")
        .unwrap();
    assert_eq!(
        deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"],
        map
    );
}

#[test]
fn kustomize_renders_quickstart() {
    let Some(objects) = kustomize("manifests/quickstart") else {
        return;
    };
    let kinds: BTreeSet<&str> = objects
        .iter()
        .filter_map(|object| object["kind"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "CollectorProfile",
            "CollectorSink",
            "Namespace",
            "Service",
            "StatefulSet"
        ]
        .into()
    );
}

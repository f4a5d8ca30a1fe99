//! What users apply: every manifest parses, samples are accepted by the same judge as the operator's, and no role has
//! more than it needs.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helper that cannot go on fails its test"
)]

#[path = "support/manifests.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::flowcontrol::v1::{FlowSchema, PriorityLevelConfiguration};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde::de::DeserializeOwned;
use serde_json::Value;
use support::{documents, kustomize, read, root};
use weir_operator::names;
use weir_operator::settings::Settings;
use weir_profile::{CollectorSink, Document};

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
        "NetworkPolicy" => strict::<NetworkPolicy>(path, object),
        // Of the Prometheus operator, whose types are not here; their content is held by tests of their own.
        "PodMonitor" | "PrometheusRule" => assert_eq!(object["apiVersion"], "monitoring.coreos.com/v1"),
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
    for folder in [
        "manifests/default",
        "manifests/quickstart",
        "manifests/samples",
        "manifests/components/network-policy",
        "manifests/components/prometheus",
    ] {
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
    // The commented fields are an example: without their marks they must be valid too.
    let example: String = text
        .lines()
        .skip_while(|line| !line.starts_with("# clusterName"))
        .map(|line| {
            line.strip_prefix("# ")
                .expect("every field is a comment")
                .to_owned()
                + "\n"
        })
        .collect();
    let settings = Settings::parse(&example, &path).unwrap_or_else(|error| panic!("{error}\n{example}"));
    assert_eq!(settings.cluster_name.as_deref(), Some("prod-eu"));
    assert_eq!(settings.agent.node_selector["pool"], "web");
}

#[test]
fn debug_sample_applied_as_it_is_has_expired() {
    let text = read("manifests/samples/debug-one-pod-10-minutes.yaml");
    let end = documents(&text)[0]["spec"]["expirationTime"]
        .as_str()
        .unwrap()
        .to_owned();
    let parsed = weir_profile::api::Timestamp::parse(&end).unwrap();
    let written = weir_profile::api::Timestamp::parse("2026-02-01T00:00:00Z").unwrap();
    assert!(parsed < written, "{end} is not in the past of every release");
    assert!(
        text.contains(&format!("sed \"s/{end}/")),
        "the command replaces another time than {end}"
    );
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

/// Everything that one component adds to manifests/default, where kubectl is.
fn with_component(name: &str) -> Option<(Vec<Value>, Vec<Value>)> {
    let default = kustomize("manifests/default")?;
    // Kustomize takes folders only by relative paths: up to the root, and down to the checkout.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("with-{name}"));
    std::fs::create_dir_all(&folder).unwrap();
    let up = "../".repeat(folder.canonicalize().unwrap().components().count() - 1);
    let checkout = root().canonicalize().unwrap();
    let checkout = checkout.strip_prefix("/").unwrap().display();
    std::fs::write(
        folder.join("kustomization.yaml"),
        format!(
            "resources: [{up}{checkout}/manifests/default]\ncomponents: [{up}{checkout}/manifests/components/{name}]\n"
        ),
    )
    .unwrap();
    let both = kustomize(folder.to_str().unwrap())?;
    Some((default, both))
}

#[test]
fn components_add_to_the_default_and_change_nothing_of_it() {
    for (name, count) in [("prometheus", 3), ("network-policy", 2)] {
        let Some((default, both)) = with_component(name) else {
            return;
        };
        assert_eq!(both.len(), default.len() + count, "{name}");
        for object in &default {
            assert!(both.contains(object), "{name} changes {object:#}");
        }
        for object in both.iter().filter(|object| !default.contains(object)) {
            check(Path::new(name), object);
            assert_eq!(object["metadata"]["labels"]["app.kubernetes.io/part-of"], "weir");
        }
    }
}

/// The labels that `docs/telemetry.md` gives each metric.
fn documented_metrics() -> BTreeMap<String, String> {
    read("docs/telemetry.md")
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.strip_prefix("| `weir_")?.split('|').collect();
            let name = format!("weir_{}", cells[0].trim().trim_end_matches('`'));
            (cells.len() > 4).then(|| (name, cells[3].to_owned()))
        })
        .collect()
}

#[test]
fn alerts_ask_for_documented_metrics_and_name_runbooks_that_exist() {
    let metrics = documented_metrics();
    assert!(metrics.len() > 15, "{metrics:?}");
    let rules = documents(&read("manifests/components/prometheus/rules.yaml"));
    let alerts = rules[0]["spec"]["groups"][0]["rules"].as_array().unwrap();
    assert!(alerts.len() >= 4);
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        let expr = alert["expr"].as_str().unwrap();
        let asked: Vec<&str> = expr
            .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .filter(|word| word.starts_with("weir_"))
            .collect();
        assert!(!asked.is_empty(), "{name}: {expr}");
        for metric in asked {
            assert!(
                metrics.contains_key(metric),
                "{name}: docs/telemetry.md has no {metric}"
            );
        }
        // What is summed away cannot stand in a text: `node` is the PodMonitor's, all others the metric's.
        if let Some((_, rest)) = expr.split_once("sum by (") {
            let kept = rest.split_once(')').unwrap().0;
            for label in kept.split(", ").filter(|label| *label != "node") {
                assert!(
                    metrics
                        .values()
                        .any(|labels| labels.contains(&format!("`{label}`"))),
                    "{name}: {label}"
                );
            }
        }
        let url = alert["annotations"]["runbook_url"].as_str().unwrap();
        let page = url.strip_prefix("https://weir.dev/docs/runbooks/").unwrap();
        read(&format!("docs/runbooks/{page}"));
    }
}

#[test]
fn monitors_and_policies_select_pods_and_ports_that_exist() {
    let operator = objects("manifests/default")
        .into_iter()
        .find(|(_, object)| object["kind"] == "Deployment")
        .unwrap()
        .1;
    assert_eq!(
        operator["spec"]["template"]["spec"]["containers"][0]["ports"][0]["name"],
        "admin"
    );
    let agent = weir_operator::controller::daemonset::pod_template(&Settings::default(), "image");
    let agent = serde_json::to_value(agent).unwrap();
    assert_eq!(agent["spec"]["containers"][0]["ports"][0]["name"], "admin");
    let labels = |object: &Value| object["metadata"]["labels"]["app.kubernetes.io/name"].clone();
    let names = [labels(&operator["spec"]["template"]), labels(&agent)];
    for folder in [
        "manifests/components/prometheus",
        "manifests/components/network-policy",
    ] {
        for (_, object) in objects(folder) {
            let (selector, port) = match object["kind"].as_str().unwrap() {
                "PodMonitor" => ("selector", &object["spec"]["podMetricsEndpoints"][0]["port"]),
                "NetworkPolicy" => ("podSelector", &object["spec"]["ingress"][0]["ports"][0]["port"]),
                _ => continue,
            };
            assert_eq!(port, "admin");
            let name = &object["spec"][selector]["matchLabels"]["app.kubernetes.io/name"];
            assert!(names.contains(name), "{name}");
        }
    }
}

#[test]
fn agents_wait_in_one_queue_of_the_api_server() {
    for (_, object) in objects("manifests/default") {
        match (object["kind"].as_str(), object["metadata"]["name"].as_str()) {
            (Some("PriorityLevelConfiguration"), _) => {
                let queuing = &object["spec"]["limited"]["limitResponse"]["queuing"];
                assert_eq!((&queuing["queues"], &queuing["handSize"]), (&1.into(), &1.into()));
            }
            // One user name: telling its requests apart by it would be telling nothing.
            (Some("FlowSchema"), Some(name)) => {
                assert!(object["spec"].get("distinguisherMethod").is_none(), "{name}");
            }
            _ => {}
        }
    }
}

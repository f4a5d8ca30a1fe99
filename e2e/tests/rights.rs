//! Least privilege, tried with real tokens and read from the roles that are installed.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_e2e::scenario::{self, TestResult, World};
use weir_e2e::{agent, skip};

const NODES: &str = "/apis/weir.dev/v1alpha1/collectornodes";
const APPLY: &str = "application/apply-patch+yaml";

/// A token as the kubelet gives it to the pod; without a pod, one that is bound to nothing.
async fn token(world: &World, pod: Option<&agent::AgentPod>) -> TestResult<String> {
    let mut arguments = vec!["create", "token", "weir-agent", "--namespace", agent::NAMESPACE];
    if let Some(pod) = pod {
        arguments.extend([
            "--bound-object-kind=Pod",
            "--bound-object-name",
            &pod.name,
            "--bound-object-uid",
            &pod.uid,
        ]);
    }
    Ok(world.cluster.kubectl(arguments).await?.trim().to_owned())
}

fn report(name: &str) -> Value {
    json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorNode", "metadata": {"name": name}})
}

/// Scenario: with the token of one node's agent, everything is tried that an intruder on that node would.
/// Guarantees: its own report can be written (so that the refusals mean something); another node's cannot be created,
/// changed or deleted, nor can a report of no node; Secrets cannot be read, and nothing else can be changed.
#[tokio::test]
async fn agents_token_writes_its_own_report_and_nothing_else() -> TestResult {
    scenario::run("agent-token", async |world| {
        world.baseline().await?;
        let [own, other, ..] = &world.agent_nodes[..] else {
            skip::loudly("another node's report needs a second node");
            return Ok(());
        };
        let agents = agent::until_on(&world.cluster, &world.agent_nodes, std::time::Duration::from_secs(30)).await?;
        let client = world.cluster.with_token(&token(world, Some(&agents[own])).await?).await?;
        let unbound = world.cluster.with_token(&token(world, None).await?).await?;

        let object = |name: &str| format!("{NODES}/{name}?fieldManager=e2e&dryRun=All");
        let status = |name: &str| format!("{NODES}/{name}/status?fieldManager=e2e&dryRun=All");
        for path in [object(own), status(own)] {
            let (code, text) = client.attempt("PATCH", &path, APPLY, &report(own)).await?;
            assert_eq!(code, 200, "{path}: {text}");
        }
        for (client, name) in [(&client, other.as_str()), (&unbound, own), (&unbound, other)] {
            for path in [object(name), status(name)] {
                let (code, text) = client.attempt("PATCH", &path, APPLY, &report(name)).await?;
                assert_eq!(code, 403, "{path}: {text}");
                assert!(text.contains("only the CollectorNode of its own node"), "{path}: {text}");
            }
        }
        let create = format!("{NODES}?dryRun=All");
        let generated = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorNode", "metadata": {"generateName": own}});
        let profiles = "/apis/weir.dev/v1alpha1/collectorprofiles";
        let pod = format!("/api/v1/namespaces/{}/pods/{}?dryRun=All", agent::NAMESPACE, agents[own].name);
        let daemonset = format!("/apis/apps/v1/namespaces/{}/daemonsets/weir-agent?dryRun=All", agent::NAMESPACE);
        for (method, path, body) in [
            ("POST", create.as_str(), report("no-node")),
            ("POST", &create, generated),
            ("DELETE", &object(other), Value::Null),
            ("DELETE", &object(own), Value::Null),
            ("GET", "/api/v1/secrets", Value::Null),
            ("GET", "/api/v1/namespaces/weir-system/secrets", Value::Null),
            ("GET", "/api/v1/namespaces/weir-agents/secrets/weir-agent-sinks", Value::Null),
            ("GET", "/api/v1/namespaces/weir-system/configmaps", Value::Null),
            ("DELETE", &format!("{profiles}/baseline?dryRun=All"), Value::Null),
            ("DELETE", &pod, Value::Null),
            ("DELETE", &daemonset, Value::Null),
            ("DELETE", &format!("/api/v1/nodes/{other}?dryRun=All"), Value::Null),
        ] {
            let (code, text) = client.attempt(method, path, "application/json", &body).await?;
            assert_eq!(code, 403, "{method} {path}: {text}");
        }
        Ok(())
    })
    .await
}

/// What every account of a cluster may write, to ask about itself.
const ANYBODY: [&str; 3] = [
    "create authentication.k8s.io/selfsubjectreviews",
    "create authorization.k8s.io/selfsubjectaccessreviews",
    "create authorization.k8s.io/selfsubjectrulesreviews",
];
/// What an agent may write; the admission policy limits it to its own node's.
const AGENT: [&str; 3] = [
    "create weir.dev/collectornodes",
    "patch weir.dev/collectornodes",
    "patch weir.dev/collectornodes/status",
];

/// Scenario: the API server is asked, with an agent's token, what it may do in each of four namespaces.
/// Guarantees: what it may write is exactly its report, besides what anybody may ask about themselves.
#[tokio::test]
async fn agents_rights_to_write_are_its_report_alone() -> TestResult {
    scenario::run("agent-rights", async |world| {
        let client = world.cluster.with_token(&token(world, None).await?).await?;
        let expected: BTreeSet<String> = ANYBODY.iter().chain(&AGENT).map(|&right| right.to_owned()).collect();
        for namespace in [agent::NAMESPACE, "weir-system", "kube-system", "default"] {
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace},
            });
            let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
            let (code, text) = client.attempt("POST", path, "application/json", &review).await?;
            assert_eq!(code, 200, "{text}");
            let status: Value = serde_json::from_str::<Value>(&text)?["status"].take();
            assert_eq!(status["incomplete"], false, "{status}");
            assert_eq!(rights_to_write(&status), expected, "in {namespace}");
        }
        Ok(())
    })
    .await
}

/// Of a review's answer, each right that is more than reading, as `verb group/resource`.
fn rights_to_write(status: &Value) -> BTreeSet<String> {
    let list = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let mut rights = BTreeSet::new();
    for rule in status["resourceRules"].as_array().into_iter().flatten() {
        for verb in list(&rule["verbs"]) {
            if ["get", "list", "watch"].contains(&verb.as_str()) {
                continue;
            }
            for group in list(&rule["apiGroups"]) {
                for resource in list(&rule["resources"]) {
                    rights.insert(format!("{verb} {group}/{resource}"));
                }
            }
        }
    }
    rights
}

/// Scenario: the installed roles of Weir are read.
/// Guarantees: no wildcard in any; Secrets only in the operator's namespace (read) and, by name, the gathered one.
#[tokio::test]
async fn roles_have_no_wildcard_and_few_secrets() -> TestResult {
    scenario::run("roles", async |world| {
        let base = "/apis/rbac.authorization.k8s.io/v1";
        let selector = "labelSelector=app.kubernetes.io%2Fpart-of%3Dweir";
        let mut rules = Vec::new();
        for kind in ["clusterroles", "roles"] {
            let list = world
                .cluster
                .get_json(&format!("{base}/{kind}?{selector}"))
                .await?;
            for role in list["items"].as_array().into_iter().flatten() {
                let place = role["metadata"]["namespace"]
                    .as_str()
                    .unwrap_or("everywhere")
                    .to_owned();
                for rule in role["rules"].as_array().into_iter().flatten() {
                    rules.push((place.clone(), rule.clone()));
                }
            }
        }
        assert!(rules.len() >= 10, "the roles were not found: {rules:?}");
        let has = |rule: &Value, field: &str, word: &str| {
            rule[field]
                .as_array()
                .into_iter()
                .flatten()
                .any(|value| value == word)
        };
        for (place, rule) in &rules {
            for field in ["apiGroups", "resources", "verbs"] {
                assert!(!has(rule, field, "*"), "{place}: {rule}");
            }
            if has(rule, "resources", "secrets") {
                match place.as_str() {
                    "weir-system" => assert_eq!(rule["verbs"], json!(["get", "list", "watch"]), "{rule}"),
                    "weir-agents" => assert_eq!(rule["resourceNames"], json!(["weir-agent-sinks"]), "{rule}"),
                    other => panic!("Secrets {other}: {rule}"),
                }
            }
        }
        Ok(())
    })
    .await
}

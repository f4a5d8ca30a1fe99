//! The real validate and build steps, and what an agent's pod may and may not do.

use serde_json::{Value, json};

use super::{Inputs, build, validate};
use crate::names::GATHERED_SECRET;
use crate::settings::Settings;

fn inputs(profiles: &[&str]) -> Inputs {
    let sink: weir_profile::CollectorSink = serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink", "metadata": {"name": "primary"},
        "spec": {"nats": {"servers": ["nats://n:4222"], "credentialsSecretRef": {"name": "s", "key": "login"},
            "stream": {"name": "W", "adminCredentialsSecretRef": {"name": "admin", "key": "login"}}}},
    }))
    .unwrap();
    let data = |value: &str| [("login".to_owned(), value.as_bytes().to_vec())].into();
    Inputs {
        profiles: profiles
            .iter()
            .map(|name| ((*name).to_owned(), format!("uid-{name}")))
            .collect(),
        wanted: weir_profile::plan::gathered_secrets(&sink),
        secrets: [
            ("s".to_owned(), data("publish")),
            ("admin".to_owned(), data("admin")),
        ]
        .into(),
        kept: [].into(),
        nodes: 42,
        daemon_set_uid: None,
    }
}

fn daemon_set(settings: &str, inputs: &Inputs) -> Value {
    let settings = Settings::parse(settings, std::path::Path::new("test")).unwrap();
    let resources = build(&settings, "r/agent:1", "weir-agents", &validate(inputs));
    serde_json::to_value(resources.daemon_set.unwrap()).unwrap()
}

#[test]
fn gathered_secret_holds_publishers_credentials_and_the_fleets_size_alone() {
    let resources = build(
        &Settings::default(),
        "r/agent:1",
        "weir-agents",
        &validate(&inputs(&["a"])),
    );
    let data = resources.secret.unwrap().data.unwrap();
    assert_eq!(data["primary.creds"].0, b"publish");
    assert_eq!(data["fleet-size"].0, b"100");
    assert_eq!(
        data.len(),
        2,
        "the stream's administrator is never gathered: {data:?}"
    );
}

#[test]
fn gathered_secret_leaves_out_what_is_missing_and_keeps_the_rest() {
    let mut inputs = inputs(&["a"]);
    inputs.secrets.clear();
    assert_eq!(validate(&inputs).gathered.len(), 1);
}

#[test]
fn gathered_secret_too_large_leaves_the_largest_out_and_says_so() {
    let mut inputs = inputs(&["a"]);
    let kept = |name: &str, bytes: usize| (format!("{name}.creds"), vec![b'x'; bytes]);
    inputs.kept = [
        kept("b", 400_000),
        kept("c", 500_000),
        kept("d", 450_000),
        kept("e", 5),
    ]
    .into();
    let resources = build(
        &Settings::default(),
        "r/agent:1",
        "weir-agents",
        &validate(&inputs),
    );
    let message = resources.left_out().unwrap();
    assert!(message.contains("left out: c.creds;"), "{message}");
    let data = resources.secret.unwrap().data.unwrap();
    assert!(data.contains_key("primary.creds") && data.contains_key("e.creds"));
    assert!(resources.daemon_set.is_some(), "agents go on with the rest");
}

#[test]
fn gathered_secret_is_without_a_key_that_its_sink_refuses() {
    let mut inputs = inputs(&["a"]);
    inputs
        .secrets
        .get_mut("s")
        .unwrap()
        .insert("login".to_owned(), vec![b'x'; 300_000]);
    let validated = validate(&inputs);
    assert_eq!((validated.gathered.len(), validated.left_out.len()), (1, 0));
}

#[test]
fn gathered_secret_goes_with_the_daemon_set_once_it_is_there() {
    let mut inputs = inputs(&["a", "b"]);
    let owners = |inputs: &Inputs| {
        let resources = build(
            &Settings::default(),
            "r/agent:1",
            "weir-agents",
            &validate(inputs),
        );
        let owners = resources.secret.unwrap().metadata.owner_references.unwrap();
        owners
            .into_iter()
            .map(|owner| (owner.kind, owner.uid))
            .collect::<Vec<_>>()
    };
    assert_eq!(owners(&inputs).len(), 2, "the profiles, until then");
    inputs.daemon_set_uid = Some("uid-of-it".to_owned());
    assert_eq!(
        owners(&inputs),
        [("DaemonSet".to_owned(), "uid-of-it".to_owned())]
    );
}

#[test]
fn template_does_not_depend_on_profiles_sinks_secrets_or_the_fleet() {
    let one = daemon_set("", &inputs(&["a"]));
    let mut other = inputs(&["b", "c"]);
    other.wanted.clear();
    other.secrets.clear();
    other.nodes = 15_000;
    let two = daemon_set("", &other);
    assert_eq!(one["spec"], two["spec"]);
    assert_eq!(two["metadata"]["ownerReferences"].as_array().unwrap().len(), 2);
    assert!(
        two["metadata"]["ownerReferences"][0]
            .get("blockOwnerDeletion")
            .is_none()
    );
}

#[test]
fn no_profile_needs_no_objects() {
    let resources = build(
        &Settings::default(),
        "r/agent:1",
        "weir-agents",
        &validate(&inputs(&[])),
    );
    assert!(resources.secret.is_none() && resources.daemon_set.is_none());
}

#[test]
fn agents_pod_has_two_capabilities_and_nothing_that_it_does_not_need() {
    let set = daemon_set("", &inputs(&["a"]));
    let pod = &set["spec"]["template"]["spec"];
    let security = &pod["containers"][0]["securityContext"];
    assert_eq!(
        security["capabilities"],
        json!({"drop": ["ALL"], "add": ["BPF", "PERFMON"]})
    );
    assert_eq!(security["privileged"], false);
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault");
    for absent in ["hostPID", "hostNetwork", "hostIPC"] {
        assert!(pod.get(absent).is_none(), "{absent}");
    }
    let writable: Vec<&str> = pod["containers"][0]["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount.get("readOnly").is_none())
        .map(|mount| mount["name"].as_str().unwrap())
        .collect();
    assert_eq!(writable, ["state", "tmp"]);
    let sinks = pod["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|volume| volume["name"] == "sinks")
        .unwrap();
    assert_eq!(
        (&sinks["secret"]["secretName"], &sinks["secret"]["optional"]),
        (&json!(GATHERED_SECRET), &json!(true))
    );
    assert!(
        pod["containers"][0]["volumeMounts"]
            .as_array()
            .unwrap()
            .iter()
            .all(|mount| mount.get("subPath").is_none())
    );
}

#[test]
fn settings_reach_the_daemon_set() {
    let set = daemon_set(
        "clusterName: prod\nagent: {network: true, maxUnavailable: 2, nodeSelector: {pool: web}, imagePullSecrets: [r], \
         tolerations: [], priorityClassName: mine, terminationGracePeriodSeconds: 60, log: debug}",
        &inputs(&["a"]),
    );
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(
        pod["containers"][0]["securityContext"]["capabilities"]["add"],
        json!(["BPF", "PERFMON", "NET_ADMIN"])
    );
    assert_eq!(
        set["spec"]["updateStrategy"]["rollingUpdate"],
        json!({"maxUnavailable": 2, "maxSurge": 0})
    );
    assert_eq!(
        pod["nodeSelector"],
        json!({"kubernetes.io/os": "linux", "pool": "web"})
    );
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "r"}]));
    assert!(pod.get("tolerations").is_none());
    assert_eq!(
        (&pod["priorityClassName"], &pod["terminationGracePeriodSeconds"]),
        (&json!("mine"), &json!(60))
    );
    let environment = pod["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| {
        environment
            .iter()
            .find(|entry| entry["name"] == name)
            .map(|entry| entry["value"].clone())
    };
    assert_eq!(
        (value("WEIR_CLUSTER"), value("WEIR_LOG")),
        (Some(json!("prod")), Some(json!("debug")))
    );
}

#[test]
fn max_unavailable_is_a_tenth_by_default_and_never_a_second_agent_on_a_node() {
    let set = daemon_set("", &inputs(&["a"]));
    assert_eq!(
        set["spec"]["updateStrategy"]["rollingUpdate"],
        json!({"maxUnavailable": "10%", "maxSurge": 0})
    );
}

#[test]
fn agents_ring_is_as_large_as_the_settings_say() {
    let arguments = |settings: &str| {
        let set = daemon_set(settings, &inputs(&["a"]));
        set["spec"]["template"]["spec"]["containers"][0]["args"].to_string()
    };
    assert!(!arguments("").contains("--ring-bytes"), "the agent has a default");
    assert!(arguments("agent: {ringBytes: 1048576}").contains("\"--ring-bytes=1048576\""));
}

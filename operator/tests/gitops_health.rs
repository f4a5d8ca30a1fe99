//! What `GitOps` tools say of Weir's objects: Argo CD by the health check and Flux by the expressions that the manifests
//! ship, run over statuses as the operator makes them.
//!
//! It does not prove that the tools themselves run them; it holds what they are given to what they are documented to do.

#![expect(
    clippy::unwrap_used,
    reason = "a test's helper that cannot go on fails its test"
)]

#[path = "support/manifests.rs"]
mod support;

use std::collections::BTreeMap;

use mlua::{Lua, LuaOptions, StdLib, Table};
use serde_json::{Value, json};
use support::{documents, kustomize, read};
use weir_operator::controller::sink;
use weir_operator::rollup::status::Input;
use weir_operator::rollup::{AgentPod, Index, NodeFacts, Report, Subject, Verdict, status};
use weir_profile::api::{
    ConditionReason as R, Mode, NodeProfile, NodeProfileState as S, NodeSink, NodeSinkState, Timestamp,
};
use weir_profile::crds::{CrdKind, schema};
use weir_profile::{CollectorNodeStatus, CollectorProfileStatus};

const NOW: i64 = 1_000_000;
const GENERATION: i64 = 3;

fn subject() -> Subject {
    Subject {
        name: "baseline".to_owned(),
        uid: "uid".to_owned(),
        generation: GENERATION,
        digest: Some("d".to_owned()),
        selector: None,
        mode: Mode::Active,
        expires_at: None,
        sink: "default".to_owned(),
    }
}

/// Nodes `n0`, `n1` ... whose agents say this of the profile; `None` is an agent that does not answer.
fn fleet(states: &[Option<(S, Option<R>)>]) -> Index {
    let mut index = Index::default();
    for (i, state) in states.iter().enumerate() {
        let node = format!("n{i}");
        index.set_node(
            &node,
            Some(NodeFacts {
                labels: BTreeMap::new(),
                created: 0,
                eligible: true,
            }),
        );
        index.set_pod(
            &format!("weir-agent-{i}"),
            Some(AgentPod {
                node: node.clone(),
                uid: node.clone(),
                ready: state.is_some(),
                trouble: None,
            }),
        );
        let (state, reason) = state.unwrap_or((S::Live, None));
        let profile = NodeProfile {
            name: "baseline".to_owned(),
            uid: "uid".to_owned(),
            generation: GENERATION,
            digest: Some("d".to_owned()),
            state,
            reason,
            message: None,
            kinds: Vec::new(),
            incomplete: None,
            window: None,
        };
        let sink = NodeSink {
            name: "default".to_owned(),
            state: NodeSinkState::Delivering,
            reason: None,
            message: None,
        };
        let report = CollectorNodeStatus {
            pod_uid: Some(node.clone()),
            profiles: vec![profile],
            sinks: vec![sink],
            ..CollectorNodeStatus::default()
        };
        index.set_report(&node, Report::of(Some(report)));
    }
    index
}

fn roll(index: &Index, subject: &Subject, percent: u32, refused: Option<R>) -> Value {
    let tally = index.tally(subject, NOW);
    let verdict = refused.map_or(
        Verdict::Accepted {
            digest: "d".to_owned(),
        },
        |reason| Verdict::Refused {
            reason,
            message: "not as it should be".to_owned(),
        },
    );
    let input = Input {
        subject,
        verdict: &verdict,
        tally: &tally,
        ready_percent: percent,
        trouble: None,
        blindness: None,
    };
    let status: CollectorProfileStatus = status(&input, None, Timestamp::from_unix_seconds(NOW).unwrap());
    serde_json::to_value(status).unwrap()
}

fn object(kind: CrdKind, generation: i64, status: &Value) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": kind.as_str(),
        "metadata": {"name": "baseline", "generation": generation},
        "spec": {},
        "status": status,
    })
}

/// An object in a state, and what both tools should say of it.
struct Case {
    name: &'static str,
    object: Value,
    argo: &'static str,
    flux: &'static str,
}

fn profile(name: &'static str, status: &Value, argo: &'static str, flux: &'static str) -> Case {
    Case {
        name,
        object: object(CrdKind::Profile, GENERATION, status),
        argo,
        flux,
    }
}

fn profiles() -> Vec<Case> {
    let live = Some((S::Live, None));
    let failed = Some((S::Failed, Some(R::ProgrammingFailed)));
    let all = fleet(&[live, live]);
    let one_failed = fleet(&[live, failed]);
    let fresh = &schema(CrdKind::Profile)["properties"]["status"]["default"];
    let with = |mode, expires_at| Subject {
        mode,
        expires_at,
        ..subject()
    };
    let suspended = fleet(&[Some((S::Suspended, Some(R::Suspended)))]);
    let expired = fleet(&[Some((S::Expired, Some(R::Expired)))]);
    let follow = fleet(&[live, Some((S::Pending, None))]);
    let mut cases = vec![
        profile("fresh", fresh, "Progressing", "InProgress"),
        profile("live", &roll(&all, &subject(), 100, None), "Healthy", "Current"),
        profile(
            "enough nodes live, one failed",
            &roll(&one_failed, &subject(), 50, None),
            "Healthy",
            "Current",
        ),
        profile(
            "suspended",
            &roll(&suspended, &with(Mode::Suspended, None), 100, None),
            "Suspended",
            "Current",
        ),
        profile(
            "expired",
            &roll(&expired, &with(Mode::Active, Some(NOW - 100)), 100, None),
            "Suspended",
            "Current",
        ),
        profile(
            "dry run",
            &roll(&all, &with(Mode::DryRun, None), 100, None),
            "Healthy",
            "Current",
        ),
        profile(
            "sink not found",
            &roll(&all, &subject(), 100, Some(R::SinkNotFound)),
            "Degraded",
            "Failed",
        ),
        profile(
            "every node failed",
            &roll(&fleet(&[failed]), &subject(), 100, None),
            "Degraded",
            "Failed",
        ),
        profile(
            "some nodes failed",
            &roll(&one_failed, &subject(), 100, None),
            "Degraded",
            "InProgress",
        ),
        profile(
            "agent stale",
            &roll(&fleet(&[live, None]), &subject(), 100, None),
            "Degraded",
            "InProgress",
        ),
        profile(
            "no matching nodes",
            &roll(&Index::default(), &subject(), 100, None),
            "Progressing",
            "InProgress",
        ),
        profile(
            "nodes follow",
            &roll(&follow, &subject(), 100, None),
            "Progressing",
            "InProgress",
        ),
    ];
    cases.push(Case {
        name: "live at an older generation",
        object: object(
            CrdKind::Profile,
            GENERATION + 1,
            &roll(&all, &subject(), 100, None),
        ),
        argo: "Progressing",
        flux: "InProgress",
    });
    cases
}

fn sinks() -> Vec<Case> {
    let sink = serde_json::from_value(json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink",
        "metadata": {"name": "default", "generation": GENERATION},
        "spec": {"nats": {"servers": ["nats://nats:4222"], "stream": {"name": "S"}}},
    }))
    .unwrap();
    let refusal = sink::Refusal {
        reason: R::SecretNotFound,
        message: "Secret 'x' is not there".to_owned(),
    };
    let said = |refusal| serde_json::to_value(sink::status(&sink, refusal, None, 1, None, NOW)).unwrap();
    // The server's answer cannot be made up outside the controller: these are its conditions for a stream that is there.
    let mut ready = said(None);
    for (type_, status, reason) in [
        ("Ready", "True", R::StreamReady),
        ("Reconciling", "False", R::UpToDate),
    ] {
        let conditions = ready["conditions"].as_array_mut().unwrap();
        let found = conditions
            .iter_mut()
            .find(|condition| condition["type"] == type_)
            .unwrap();
        (found["status"], found["reason"]) = (status.into(), reason.as_str().into());
    }
    let fresh = schema(CrdKind::Sink)["properties"]["status"]["default"].clone();
    [
        ("fresh sink", fresh, "Progressing", "InProgress"),
        (
            "sink before its server answers",
            said(None),
            "Progressing",
            "InProgress",
        ),
        (
            "sink without its Secret",
            said(Some(&refusal)),
            "Degraded",
            "Failed",
        ),
        ("sink with its stream", ready, "Healthy", "Current"),
    ]
    .map(|(name, status, argo, flux)| Case {
        name,
        object: object(CrdKind::Sink, GENERATION, &status),
        argo,
        flux,
    })
    .into()
}

fn to_lua(lua: &Lua, value: &Value) -> mlua::Result<mlua::Value> {
    Ok(match value {
        Value::Null => mlua::Value::Nil,
        Value::Bool(value) => mlua::Value::Boolean(*value),
        Value::Number(number) => mlua::Value::Number(number.as_f64().unwrap()),
        Value::String(text) => mlua::Value::String(lua.create_string(text)?),
        Value::Array(items) => {
            let table = lua.create_table()?;
            for item in items {
                table.push(to_lua(lua, item)?)?;
            }
            mlua::Value::Table(table)
        }
        Value::Object(map) => {
            let table = lua.create_table()?;
            for (key, value) in map {
                table.set(key.as_str(), to_lua(lua, value)?)?;
            }
            mlua::Value::Table(table)
        }
    })
}

/// Argo CD's verdict: the check sees the object as `obj` and returns a table. It has Lua 5.1's basic functions, tables and
/// strings.
fn argo(check: &str, object: &Value) -> mlua::Result<(String, String)> {
    let lua = Lua::new_with(StdLib::TABLE | StdLib::STRING, LuaOptions::default())?;
    lua.globals().set("obj", to_lua(&lua, object)?)?;
    let health: Table = lua.load(check).eval()?;
    Ok((health.get("status")?, health.get("message")?))
}

/// Flux' verdict: first the generation, then the three expressions in this order, over the fields of the object.
fn flux(expressions: &Value, object: &Value) -> String {
    let observed = &object["status"]["observedGeneration"];
    if observed.is_number() && *observed != object["metadata"]["generation"] {
        return "InProgress".to_owned();
    }
    let mut context = cel::Context::default();
    for (name, value) in object.as_object().unwrap() {
        context.add_variable(name.as_str(), value.clone()).unwrap();
    }
    for (field, verdict) in [
        ("inProgress", "InProgress"),
        ("failed", "Failed"),
        ("current", "Current"),
    ] {
        let text = expressions[field].as_str().unwrap();
        let program = cel::Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        match program.execute(&context) {
            Ok(cel::Value::Bool(true)) => return verdict.to_owned(),
            Ok(cel::Value::Bool(false)) => {}
            other => panic!("{text}: {other:?}"),
        }
    }
    "InProgress".to_owned()
}

#[test]
fn argo_health_check_tells_each_state() {
    let check = read("manifests/gitops/argocd/health.lua");
    for case in profiles().into_iter().chain(sinks()) {
        let (status, message) = argo(&check, &case.object).unwrap();
        assert_eq!(status, case.argo, "{}: {:#}", case.name, case.object["status"]);
        assert!(!message.is_empty(), "{}", case.name);
    }
}

#[test]
fn argo_health_check_waits_for_an_object_without_status() {
    let check = read("manifests/gitops/argocd/health.lua");
    for object in [
        json!({"metadata": {"generation": 1}}),
        json!({"metadata": {"generation": 1}, "status": {}}),
        json!({"metadata": {"generation": 1}, "status": {"observedGeneration": 1, "conditions": []}}),
    ] {
        assert_eq!(argo(&check, &object).unwrap().0, "Progressing", "{object}");
    }
}

#[test]
fn argo_health_check_says_what_is_degraded_though_enough_is_live() {
    let check = read("manifests/gitops/argocd/health.lua");
    let case = profiles()
        .into_iter()
        .find(|case| case.name.starts_with("enough"))
        .unwrap();
    let (_, message) = argo(&check, &case.object).unwrap();
    assert!(message.contains("failed") && message.contains("n1"), "{message}");
}

#[test]
fn flux_expressions_tell_each_state() {
    let documents = documents(&read("manifests/gitops/flux/weir.yaml"));
    let checks: Vec<&Value> = documents
        .iter()
        .flat_map(|document| {
            document["spec"]["healthCheckExprs"]
                .as_array()
                .into_iter()
                .flatten()
        })
        .collect();
    let of = |object: &Value| {
        checks
            .iter()
            .find(|check| check["kind"] == object["kind"] && check["apiVersion"] == object["apiVersion"])
            .unwrap()
    };
    for case in profiles().into_iter().chain(sinks()) {
        let verdict = flux(of(&case.object), &case.object);
        assert_eq!(verdict, case.flux, "{}: {:#}", case.name, case.object["status"]);
    }
}

#[test]
fn argo_configuration_holds_the_check_for_both_kinds() {
    let Some(objects) = kustomize("manifests/gitops/argocd") else {
        return;
    };
    let check = read("manifests/gitops/argocd/health.lua");
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0]["metadata"]["name"], "argocd-cm");
    assert_eq!(
        objects[0]["metadata"]["labels"]["app.kubernetes.io/part-of"],
        "argocd"
    );
    let data = objects[0]["data"].as_object().unwrap();
    assert_eq!(data.len(), 2);
    for kind in [CrdKind::Profile, CrdKind::Sink] {
        let key = format!("resource.customizations.health.weir.dev_{kind}");
        assert_eq!(data[&key], check.as_str());
    }
}

#[test]
fn argo_installs_the_default_with_lasting_definitions_first() {
    let (Some(default), Some(objects)) = (
        kustomize("manifests/default"),
        kustomize("manifests/gitops/argocd/install"),
    ) else {
        return;
    };
    assert_eq!(default.len(), objects.len());
    let mut definitions = 0;
    for object in &objects {
        let annotations = &object["metadata"]["annotations"];
        if object["kind"] == "CustomResourceDefinition" {
            definitions += 1;
            assert_eq!(annotations["argocd.argoproj.io/sync-wave"], "-1");
            let options = annotations["argocd.argoproj.io/sync-options"].as_str().unwrap();
            assert_eq!(options, "Prune=false,ServerSideApply=true");
            assert!(
                annotations["weir.dev/schema-digest"].is_string(),
                "the digest stays: {annotations}"
            );
        } else {
            assert!(default.contains(object), "changed: {object:#}");
        }
    }
    assert_eq!(definitions, 3);
}

#[test]
fn paths_and_kinds_that_the_tools_are_given_exist() {
    for file in ["argocd/applications.yaml", "flux/weir.yaml"] {
        for document in documents(&read(&format!("manifests/gitops/{file}"))) {
            let path = document
                .pointer("/spec/source/path")
                .or_else(|| document.pointer("/spec/path"))
                .and_then(Value::as_str);
            if let Some(path) = path.filter(|path| path.contains("manifests")) {
                read(&format!("{}/kustomization.yaml", path.trim_start_matches("./")));
            }
        }
    }
    let exclusions = documents(&read("manifests/gitops/argocd/resource-exclusions.yaml"));
    assert_eq!(exclusions[0][0]["apiGroups"], json!([weir_profile::api::GROUP]));
    assert_eq!(exclusions[0][0]["kinds"], json!([CrdKind::Node.as_str()]));
}

/// A block of the page stands after `<!-- FILE -->`, and is that file without the comments that begin it.
#[test]
fn snippets_of_the_page_are_the_files() {
    let page = read("docs/gitops.md");
    let mut shown = 0;
    let mut parts = page.split("<!-- ").skip(1);
    for part in &mut parts {
        let (file, rest) = part.split_once(" -->\n```").unwrap();
        let (_, rest) = rest.split_once('\n').unwrap();
        let (block, _) = rest.split_once("```\n").unwrap();
        let text = read(file);
        let begin = text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .map(|line| line.len() + 1)
            .sum();
        assert_eq!(block, &text[begin..], "docs/gitops.md shows another {file}");
        shown += 1;
    }
    assert!(shown >= 4, "{shown} files are shown");
}

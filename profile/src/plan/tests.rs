use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::load::{self, Document};

fn profile(spec: &Value) -> CollectorProfile {
    let object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
        "metadata": {"name": "p", "uid": "u-1", "generation": 7}, "spec": spec});
    match load::document(object) {
        Ok(Document::Profile(profile)) => *profile,
        other => panic!("{other:?}"),
    }
}

fn sink(name: &str, spec: &Value) -> CollectorSink {
    let object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink", "metadata": {"name": name}, "spec": spec});
    match load::document(object) {
        Ok(Document::Sink(sink)) => *sink,
        other => panic!("{other:?}"),
    }
}

fn stdout() -> SinkPlan {
    SinkPlan::from_url("stdout").unwrap()
}

fn planned(spec: &Value) -> Plan {
    plan_with_sink(&profile(spec), stdout()).unwrap()
}

fn smallest_sink() -> CollectorSink {
    sink(
        "default",
        &json!({"nats": {"servers": ["nats://b:4222", "nats://a:4222"], "stream": {"name": "S"}}}),
    )
}

#[test]
fn smallest_profile_gets_every_default() {
    let plan = plan(
        &profile(
            &json!({"events": [{"name": "a", "kind": "process.exec", "limit": {"eventsPerSecond": 5}}]}),
        ),
        Some(&smallest_sink()),
    )
    .unwrap();
    assert_eq!(
        (plan.name.as_str(), plan.uid.as_str(), plan.generation),
        ("p", "u-1", 7)
    );
    assert_eq!(
        (plan.mode, plan.priority, plan.expires_at),
        (Mode::Active, 100, None)
    );
    assert_eq!(plan.scope.host, HostScope::Include);
    assert_eq!(
        (plan.limit, plan.per_workload, plan.nodes.clone()),
        (None, None, None)
    );
    assert_eq!(
        plan.events[0].limit,
        Some(PlannedLimit {
            rate: 5,
            burst: 1,
            per: Per::Node
        })
    );
    assert!(plan.events[0].matches.is_unconstrained());
    assert_eq!(
        plan.sink.batch,
        BatchPlan {
            max_events: 4096,
            max_bytes: 256 << 10,
            linger_ms: 5
        }
    );
    let nats = plan.sink.nats().unwrap();
    assert_eq!(nats.servers, ["nats://a:4222", "nats://b:4222"]);
    assert_eq!(
        (
            nats.stream.replicas,
            nats.stream.duplicate_window_seconds,
            nats.stream.max_bytes
        ),
        (1, 120, 1 << 30)
    );
    assert_eq!(nats.subject_prefix, "weir.events");
}

#[test]
fn default_burst_is_a_tenth_and_at_least_one() {
    for (rate, burst) in [(1, 1), (9, 1), (20, 2), (1_000_000, 100_000)] {
        let plan = planned(
            &json!({"events": [{"name": "a", "kind": "file.open"}], "limits": {"eventsPerSecond": rate}}),
        );
        assert_eq!(plan.limit, Some(RateLimit { rate, burst }));
    }
}

#[test]
fn host_is_excluded_only_when_pods_are_narrowed() {
    let host = |workloads: Value| {
        planned(&json!({"events": [{"name": "a", "kind": "file.open"}], "workloads": workloads}))
            .scope
            .host
    };
    assert_eq!(host(json!({})), HostScope::Include);
    assert_eq!(
        host(json!({"excludeNamespaces": ["kube-system"]})),
        HostScope::Include
    );
    assert_eq!(host(json!({"podSelector": {}})), HostScope::Include);
    assert_eq!(host(json!({"namespaces": ["shop"]})), HostScope::Exclude);
    assert_eq!(
        host(json!({"podSelector": {"matchLabels": {"a": "b"}}})),
        HostScope::Exclude
    );
    assert_eq!(
        host(json!({"namespaces": ["shop"], "host": "Include"})),
        HostScope::Include
    );
}

#[test]
fn matches_are_sorted_merged_and_without_what_is_covered() {
    let plan = planned(&json!({"events": [
        {"name": "c", "kind": "net.connect", "match": {
            "ports": [{"from": 8000, "to": 8100}, {"from": 8101}, {"from": 443}, {"from": 65535}, {"from": 8050, "to": 8060}],
            "cidrs": ["10.1.2.3/16", "10.0.0.0/8", "fd00::/8", "192.168.1.1/32"], "errnos": [111, 0]}},
        {"name": "o", "kind": "file.open", "match": {"paths": {
            "prefix": ["/etc/ssh/", "/etc/"], "exact": ["/etc/passwd", "/z", "/b"]}}}]}));
    let connect = &plan.events[0].matches;
    assert_eq!(connect.ports, [(443, 443), (8000, 8101), (65535, 65535)]);
    let cidrs: Vec<String> = connect.cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(cidrs, ["10.0.0.0/8", "192.168.1.1/32", "fd00::/8"]);
    assert_eq!(connect.errnos, [0, 111]);
    let paths = plan.events[1].matches.paths.as_ref().unwrap();
    assert_eq!(
        (paths.prefix.as_slice(), paths.exact.as_slice()),
        (&["/etc/".to_owned()][..], &["/b".to_owned(), "/z".to_owned()][..])
    );
}

#[test]
fn digest_ignores_identity_order_and_time_and_sees_all_else() {
    let base = json!({"events": [{"name": "a", "kind": "file.open"}, {"name": "b", "kind": "process.exec"}]});
    let digest = planned(&base).digest;
    assert_eq!(digest.len(), 16);
    let same = json!({"events": [{"name": "b", "kind": "process.exec"}, {"name": "a", "kind": "file.open", "match": {}}],
        "mode": "Active", "priority": 100, "workloads": {"host": "Include", "podSelector": {}},
        "expirationTime": "2030-01-01T00:00:00Z"});
    assert_eq!(planned(&same).digest, digest);
    let mut other = profile(&base);
    other.metadata.uid = Some("u-2".into());
    other.metadata.generation = Some(99);
    assert_eq!(plan_with_sink(&other, stdout()).unwrap().digest, digest);
    for change in [
        json!({"mode": "DryRun"}),
        json!({"priority": 1}),
        json!({"limits": {"eventsPerSecond": 5}}),
        json!({"workloads": {"host": "Only"}}),
        json!({"nodes": {"selector": {"matchLabels": {"a": "b"}}}}),
    ] {
        let mut spec = base.clone();
        spec.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        assert_ne!(planned(&spec).digest, digest, "{change}");
    }
    let file = SinkPlan::from_url("file:/x").unwrap();
    assert_ne!(plan_with_sink(&profile(&base), file).unwrap().digest, digest);
}

/// The digest is compared between versions of operator and agent: it may change only with [`FORMAT_VERSION`].
#[test]
fn digest_of_a_known_plan_is_pinned() {
    let plan =
        planned(&json!({"events": [{"name": "a", "kind": "process.exec", "limit": {"eventsPerSecond": 5}}]}));
    assert_eq!((FORMAT_VERSION, plan.digest.as_str()), (2, "ce5352596113f99b"));
}

#[test]
fn missing_and_invalid_sinks_are_reasons_of_their_own() {
    let profile =
        profile(&json!({"events": [{"name": "a", "kind": "process.exec"}], "sinkRef": {"name": "x"}}));
    for sink in [None, Some(smallest_sink())] {
        let errors = plan(&profile, sink.as_ref()).unwrap_err();
        assert_eq!(errors.reason(), ConditionReason::SinkNotFound);
        assert!(
            errors
                .to_string()
                .contains("spec.sinkRef.name: CollectorSink \"x\" is not there"),
            "{errors}"
        );
    }
    let bad = sink(
        "x",
        &json!({"nats": {"servers": ["nats://a:99999"], "stream": {"name": "S"}},
        "batch": {"maxBytes": "1Ki"}, "spool": {"maxBytes": "1Gi"}}),
    );
    let errors = plan(&profile, Some(&bad)).unwrap_err();
    assert_eq!(errors.reason(), ConditionReason::SinkInvalid);
    for part in [
        "spec.nats.servers[0]",
        "1 to 65535",
        "spec.batch.maxBytes",
        "4096 to 8388608",
        "spec.spool: is not in this release; remove it",
    ] {
        assert!(errors.to_string().contains(part), "{part}: {errors}");
    }
}

#[test]
fn gathered_secrets_never_hold_the_admin_credentials() {
    let documents = load::load(include_str!("../../testdata/valid.yaml")).unwrap();
    let Some(Document::Sink(sink)) = documents.get(1) else {
        panic!("{documents:?}")
    };
    let secrets = gathered_secrets(sink);
    let files: Vec<&str> = secrets.iter().map(|secret| secret.file.as_str()).collect();
    assert_eq!(
        files,
        [
            "archive.creds",
            "archive.ca.crt",
            "archive.tls.crt",
            "archive.tls.key"
        ]
    );
    assert!(secrets.iter().all(|secret| secret.secret != "nats-admin"));
    let planned = sink_plan(sink).unwrap();
    let nats = planned.nats().unwrap();
    assert_eq!(nats.credentials.as_deref(), Some("archive.creds"));
    assert_eq!(
        nats.tls.client,
        Some(("archive.tls.crt".into(), "archive.tls.key".into()))
    );
}

#[test]
fn changed_admin_credentials_do_not_change_the_plan() {
    let spec = |admin: &str| {
        json!({"nats": {"servers": ["nats://a:1"], "stream": {"name": "S",
        "adminCredentialsSecretRef": {"name": admin, "key": "k"}}}})
    };
    assert_eq!(
        sink_plan(&sink("s", &spec("a"))).unwrap(),
        sink_plan(&sink("s", &spec("b"))).unwrap()
    );
}

#[test]
fn scope_admits_by_name_label_and_exclusion() {
    let scope = planned(&json!({"events": [{"name": "a", "kind": "file.open"}], "workloads": {
        "namespaces": ["shop", "pay"], "excludeNamespaces": ["pay"], "podSelector": {"matchLabels": {"app": "web"}}}})).scope;
    let web = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
    let none = BTreeMap::new();
    assert!(scope.admits_pod("shop", &none, &web));
    assert!(!scope.admits_pod("shop", &none, &none));
    assert!(!scope.admits_pod("pay", &none, &web));
    assert!(!scope.admits_pod("other", &none, &web));
    assert!(!scope.admits_host());
    assert!(scope.needs_labels());
}

#[test]
fn profile_without_uid_is_known_by_its_name() {
    let mut standalone = profile(&json!({"events": [{"name": "a", "kind": "file.open"}]}));
    standalone.metadata.uid = None;
    standalone.metadata.generation = None;
    let plan = plan_with_sink(&standalone, stdout()).unwrap();
    assert_eq!((plan.uid.as_str(), plan.generation), ("p", 1));
}

fn ports() -> impl Strategy<Value = Vec<(u16, u16)>> {
    prop::collection::vec(
        (any::<u16>(), any::<u16>()).prop_map(|(a, b)| (a.min(b), a.max(b))),
        1..16,
    )
}

proptest! {
    /// Normalising keeps the meaning: the same ports pass before and after, and order does not matter.
    #[test]
    fn merged_ports_mean_the_same(ranges in ports(), probes in prop::collection::vec(any::<u16>(), 50)) {
        let spec = |ranges: &[(u16, u16)]| {
            let ports: Vec<Value> = ranges.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
            json!({"events": [{"name": "a", "kind": "net.connect", "match": {"ports": ports}}]})
        };
        let plan = planned(&spec(&ranges));
        let merged = &plan.events[0].matches.ports;
        let edges = ranges.iter().flat_map(|(a, b)| [*a, *b, a.saturating_sub(1), b.saturating_add(1)]);
        for port in probes.into_iter().chain(edges) {
            let within = |ranges: &[(u16, u16)]| ranges.iter().any(|(from, to)| (*from..=*to).contains(&port));
            prop_assert_eq!(within(&ranges), within(merged), "{}", port);
        }
        prop_assert!(merged.windows(2).all(|pair| u32::from(pair[0].1) + 1 < u32::from(pair[1].0)));
        let reversed: Vec<_> = ranges.iter().rev().copied().collect();
        prop_assert_eq!(planned(&spec(&reversed)).digest, plan.digest);
    }

    /// Normalising keeps the meaning of strings.
    #[test]
    fn normalised_paths_mean_the_same(
        prefix in prop::collection::btree_set("/[ab/]{0,4}", 0..8),
        exact in prop::collection::btree_set("/[ab/]{0,4}", 1..8),
        probe in "/[ab/]{0,6}",
    ) {
        let spec = json!({"events": [{"name": "a", "kind": "file.open", "match": {"paths": {"prefix": prefix, "exact": exact}}}]});
        let plan = planned(&spec);
        let paths = plan.events[0].matches.paths.as_ref().unwrap();
        let before = exact.contains(&probe) || prefix.iter().any(|p| probe.starts_with(p.as_str()));
        let after = paths.exact.contains(&probe) || paths.prefix.iter().any(|p| probe.starts_with(p.as_str()));
        prop_assert_eq!(before, after);
    }
}

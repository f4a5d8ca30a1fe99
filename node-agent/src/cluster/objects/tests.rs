use serde_json::json;

use super::*;

fn profile(name: &str, uid: &str, generation: i64) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
        "metadata": {"name": name, "uid": uid, "generation": generation, "managedFields": [{"manager": "kubectl"}]},
        "spec": {"events": [{"name": "a", "kind": "process.exec"}]},
        "status": {"observedGeneration": 1},
    })
}

fn sink(name: &str, generation: i64, port: u16) -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink",
        "metadata": {"name": name, "uid": format!("sink-{name}"), "generation": generation},
        "spec": {"nats": {"servers": [format!("nats://nats:{port}")], "stream": {"name": "WEIR"}}},
    })
}

fn meta(raw: &Value) -> Meta {
    meta_of(raw)
}

/// What the API server has, all of it listed and fetched.
fn loaded(profiles: &[Value], sinks: &[Value]) -> Objects {
    let mut objects = Objects::default();
    list(&mut objects, profiles, sinks);
    for (kind, raw) in sinks
        .iter()
        .map(|raw| (Kind::Sink, raw))
        .chain(profiles.iter().map(|raw| (Kind::Profile, raw)))
    {
        assert_eq!(objects.fetched(kind, raw.clone()), Fetched::Taken, "{raw}");
    }
    assert!(objects.wanted().is_empty());
    objects
}

fn list(objects: &mut Objects, profiles: &[Value], sinks: &[Value]) {
    objects.listed(Kind::Profile, profiles.iter().map(meta).collect());
    objects.listed(Kind::Sink, sinks.iter().map(meta).collect());
}

fn held(objects: &mut Objects) -> Vec<(String, String, i64)> {
    objects
        .desired()
        .plans
        .into_iter()
        .map(|plan| (plan.name, plan.uid, plan.generation))
        .collect()
}

fn row(name: &str, uid: &str, generation: i64) -> (String, String, i64) {
    (name.to_owned(), uid.to_owned(), generation)
}

fn reasons(objects: &mut Objects) -> Vec<ConditionReason> {
    objects
        .desired()
        .problems
        .iter()
        .map(|problem| problem.reason)
        .collect()
}

#[test]
fn listed_objects_are_wanted_until_fetched_sinks_first() {
    let mut objects = Objects::default();
    list(&mut objects, &[profile("a", "u", 1)], &[sink("default", 1, 1)]);
    assert!(objects.is_listed());
    let wanted: Vec<_> = objects.wanted().into_iter().map(|wanted| wanted.kind).collect();
    assert_eq!(wanted, [Kind::Sink, Kind::Profile]);
    let mut objects = loaded(&[profile("a", "u", 1)], &[sink("default", 1, 1)]);
    assert_eq!(held(&mut objects), [row("a", "u", 1)]);
    // A status write changes no generation: nothing is wanted.
    objects.seen(Kind::Profile, meta(&profile("a", "u", 1)));
    assert!(objects.wanted().is_empty());
    objects.seen(Kind::Profile, meta(&profile("a", "u", 2)));
    assert_eq!(objects.wanted().len(), 1);
    assert_eq!(
        held(&mut objects),
        [row("a", "u", 1)],
        "the old one holds until the new one is here"
    );
}

#[test]
fn lower_generation_of_the_same_uid_is_never_taken() {
    let mut objects = loaded(&[profile("a", "u", 5)], &[sink("default", 1, 1)]);
    objects.seen(Kind::Profile, meta(&profile("a", "u", 4)));
    assert!(objects.wanted().is_empty());
    assert_eq!(
        objects.fetched(Kind::Profile, profile("a", "u", 4)),
        Fetched::Outdated
    );
    list(&mut objects, &[profile("a", "u", 3)], &[sink("default", 1, 1)]);
    assert!(objects.wanted().is_empty());
    assert_eq!(held(&mut objects), [row("a", "u", 5)]);
    // A stale replica's object after the new generation was announced.
    objects.seen(Kind::Profile, meta(&profile("a", "u", 6)));
    assert_eq!(
        objects.fetched(Kind::Profile, profile("a", "u", 5)),
        Fetched::Outdated
    );
    assert_eq!(objects.wanted().len(), 1);
}

#[test]
fn other_uid_is_another_profile_whatever_its_generation() {
    let mut objects = loaded(&[profile("a", "old", 5)], &[sink("default", 1, 1)]);
    objects.seen(Kind::Profile, meta(&profile("a", "new", 1)));
    objects.deleted(Kind::Profile, "a", "old");
    assert_eq!(
        objects.wanted().len(),
        1,
        "the late deletion of its predecessor is not its own"
    );
    assert_eq!(
        objects.fetched(Kind::Profile, profile("a", "new", 1)),
        Fetched::Taken
    );
    assert_eq!(held(&mut objects), [row("a", "new", 1)]);
}

#[test]
fn absence_from_a_complete_list_and_announced_deletion_delete() {
    let (a, b, default) = (
        profile("a", "ua", 1),
        profile("b", "ub", 1),
        sink("default", 1, 1),
    );
    let mut objects = loaded(&[a.clone(), b.clone()], std::slice::from_ref(&default));
    list(
        &mut objects,
        std::slice::from_ref(&b),
        std::slice::from_ref(&default),
    );
    assert_eq!(held(&mut objects), [row("b", "ub", 1)]);
    objects.deleted(Kind::Profile, "b", "other");
    assert_eq!(held(&mut objects), [row("b", "ub", 1)]);
    objects.deleted(Kind::Profile, "b", "ub");
    assert!(held(&mut objects).is_empty());
    assert_eq!(
        objects.fetched(Kind::Profile, a),
        Fetched::Outdated,
        "a late answer revives nothing"
    );
}

#[test]
fn unreadable_generation_keeps_the_old_one_and_says_agent_too_old() {
    let mut objects = loaded(&[profile("a", "u", 1)], &[sink("default", 1, 1)]);
    let mut newer = profile("a", "u", 2);
    newer["spec"]["events"][0]["fromTheFuture"] = json!(true);
    objects.seen(Kind::Profile, meta(&newer));
    assert_eq!(objects.fetched(Kind::Profile, newer), Fetched::Refused);
    assert!(objects.wanted().is_empty(), "not fetched again and again");
    assert_eq!(held(&mut objects), [row("a", "u", 1)]);
    let problems = objects.desired().problems;
    assert_eq!(
        (problems[0].reason, problems[0].generation),
        (ConditionReason::AgentTooOld, 2),
        "{problems:?}"
    );
    objects.seen(Kind::Profile, meta(&profile("a", "u", 3)));
    assert_eq!(
        objects.fetched(Kind::Profile, profile("a", "u", 3)),
        Fetched::Taken
    );
    assert_eq!(held(&mut objects), [row("a", "u", 3)]);
    assert!(reasons(&mut objects).is_empty());
}

#[test]
fn problem_says_which_nodes_it_concerns_as_far_as_that_can_be_read() {
    let concerned = |nodes: Value, is_readable: bool| {
        let mut raw = profile("a", "u", 1);
        raw["spec"]["nodes"] = json!({"selector": nodes});
        if !is_readable {
            raw["spec"]["fromTheFuture"] = json!(true);
        }
        let mut objects = Objects::default();
        list(&mut objects, std::slice::from_ref(&raw), &[]);
        objects.fetched(Kind::Profile, raw);
        let problems = objects.desired().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        problems[0].nodes.clone()
    };
    let web = json!({"matchLabels": {"pool": "web"}});
    let expected: LabelSelector = serde_json::from_value(web.clone()).unwrap();
    assert_eq!(concerned(web.clone(), false), Some(expected.clone()));
    // One that can be read, and whose sink is not there.
    assert_eq!(concerned(web, true), Some(expected));
    let unknown = json!({"matchExpressions": [{"key": "pool", "operator": "AlmostIn", "values": ["web"]}]});
    assert_eq!(concerned(unknown, false), None, "then all are");
}

#[test]
fn unreadable_successor_does_not_live_on_as_its_predecessor() {
    let mut objects = loaded(&[profile("a", "old", 1)], &[sink("default", 1, 1)]);
    let mut newer = profile("a", "new", 1);
    newer["spec"]["fromTheFuture"] = json!(true);
    objects.seen(Kind::Profile, meta(&newer));
    objects.fetched(Kind::Profile, newer);
    assert!(held(&mut objects).is_empty());
}

#[test]
fn deleted_sink_in_use_keeps_its_last_form_and_says_so() {
    let mut objects = loaded(&[profile("a", "u", 1)], &[sink("default", 1, 4222)]);
    objects.deleted(Kind::Sink, "default", "sink-default");
    assert_eq!(reasons(&mut objects), [ConditionReason::SinkNotFound]);
    assert_eq!(held(&mut objects), [row("a", "u", 1)]);
    // Also across a restart, and with a newer profile.
    let mut objects = Objects::restore(objects.save());
    list(&mut objects, &[profile("a", "u", 2)], &[]);
    assert_eq!(
        objects.fetched(Kind::Profile, profile("a", "u", 2)),
        Fetched::Taken
    );
    assert_eq!(held(&mut objects), [row("a", "u", 2)]);
    assert_eq!(reasons(&mut objects), [ConditionReason::SinkNotFound]);
    // Once nobody uses it, it is forgotten.
    list(&mut objects, &[], &[]);
    assert!(held(&mut objects).is_empty());
    assert_eq!(objects.save(), Saved::default());
}

#[test]
fn missing_sink_holds_a_new_profile_back_until_it_appears() {
    let mut objects = loaded(&[profile("a", "u", 1)], &[]);
    assert!(held(&mut objects).is_empty());
    assert_eq!(reasons(&mut objects), [ConditionReason::SinkNotFound]);
    objects.seen(Kind::Sink, meta(&sink("default", 1, 1)));
    objects.fetched(Kind::Sink, sink("default", 1, 1));
    assert_eq!(held(&mut objects), [row("a", "u", 1)]);
    assert!(reasons(&mut objects).is_empty());
}

#[test]
fn saved_configuration_is_restored_without_what_only_the_server_needs() {
    let mut objects = loaded(&[profile("a", "u", 7)], &[sink("default", 2, 1)]);
    let saved = objects.save();
    assert!(!serde_json::to_string(&saved).unwrap().contains("managedFields"));
    assert!(saved.profiles[0].get("status").is_none());
    let mut restored = Objects::restore(saved);
    assert!(!restored.is_listed());
    assert_eq!(restored.desired(), objects.desired());
    // The rules hold for it, too.
    restored.seen(Kind::Profile, meta(&profile("a", "u", 6)));
    assert!(restored.wanted().is_empty());
}

mod property;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::*;
use crate::load::{self, Document};
use crate::plan::plan_with_sink;

/// A profile in few words: events as (name, kind, per).
#[derive(Clone, Debug)]
struct Sketch {
    name: String,
    priority: i32,
    mode: &'static str,
    per_workload: bool,
    events: BTreeMap<String, (EventKind, &'static str)>,
}

impl Sketch {
    fn new(name: &str, priority: i32, events: &[(&str, EventKind)]) -> Self {
        let events = events
            .iter()
            .map(|(name, kind)| ((*name).to_owned(), (*kind, "Node")))
            .collect();
        Self {
            name: name.to_owned(),
            priority,
            mode: "Active",
            per_workload: false,
            events,
        }
    }

    fn plan(&self) -> Plan {
        let events: Vec<_> = self
            .events
            .iter()
            .map(|(name, (kind, per))| json!({"name": name, "kind": kind, "limit": {"eventsPerSecond": 10, "per": per}}))
            .collect();
        let mut spec = json!({"mode": self.mode, "priority": self.priority, "events": events});
        if self.per_workload {
            spec["limits"] = json!({"perWorkload": {"max": 100}});
        }
        let object = json!({"apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
            "metadata": {"name": self.name, "uid": format!("uid-{}", self.name), "generation": 1}, "spec": spec});
        let Ok(Document::Profile(profile)) = load::document(object) else {
            panic!("{self:?}")
        };
        plan_with_sink(&profile, SinkPlan::from_url("stdout").unwrap()).unwrap()
    }
}

fn facts() -> NodeFacts {
    NodeFacts::supporting_all(1_000)
}

fn plans(sketches: &[Sketch]) -> Vec<Plan> {
    sketches.iter().map(Sketch::plan).collect()
}

/// The next call's input when everything freed may be used again.
fn released(placement: &Placement) -> Assignment {
    Assignment {
        quarantined: Quarantine::default(),
        ..placement.assignment.clone()
    }
}

#[test]
fn slots_bits_and_indices_are_dense_from_zero() {
    use EventKind::{FileOpen, ProcessExec};
    let plans = plans(&[
        Sketch::new("a", 1, &[("x", FileOpen), ("y", ProcessExec)]),
        Sketch::new("b", 9, &[("x", FileOpen)]),
    ]);
    let placement = place(&plans, &facts(), &Assignment::default());
    let shown: Vec<_> = placement
        .config
        .profiles
        .iter()
        .map(|p| {
            (
                p.index,
                p.name.as_str(),
                p.slots
                    .iter()
                    .map(|s| (s.slot, s.bit, s.event.as_str()))
                    .collect::<Vec<_>>(),
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            (0, "b", vec![(0, 0, "x")]),
            (1, "a", vec![(1, 1, "x"), (2, 0, "y")])
        ]
    );
    assert!(placement.refused.is_empty());
}

#[test]
fn edit_keeps_places_and_quarantines_what_it_frees() {
    use EventKind::{FileOpen, NetConnect};
    let before = place(
        &plans(&[Sketch::new("a", 1, &[("x", FileOpen), ("y", FileOpen)])]),
        &facts(),
        &Assignment::default(),
    );
    let edited = plans(&[Sketch::new("a", 5, &[("y", FileOpen), ("z", NetConnect)])]);
    let after = place(&edited, &facts(), &before.assignment);
    let y = |placement: &Placement| {
        placement.config.profiles[0]
            .slots
            .iter()
            .find(|s| s.event == "y")
            .map(|s| (s.slot, s.bit))
    };
    assert_eq!(y(&before), y(&after));
    let z = after.config.profiles[0]
        .slots
        .iter()
        .find(|s| s.event == "z")
        .unwrap();
    assert_eq!((z.slot, z.bit), (2, 0), "slot 0 was x's and is quarantined");
    assert_eq!(
        after.assignment.quarantined.slots,
        BTreeSet::from([(FileOpen, Place { slot: 0, bit: 0 })])
    );
    let mut next = after.assignment.clone();
    next.quarantined.release(&after.assignment.quarantined);
    assert!(next.quarantined.is_empty());
    let again = place(
        &plans(&[Sketch::new(
            "a",
            5,
            &[("n", FileOpen), ("y", FileOpen), ("z", NetConnect)],
        )]),
        &facts(),
        &next,
    );
    let n = again.config.profiles[0]
        .slots
        .iter()
        .find(|s| s.event == "n")
        .unwrap();
    assert_eq!((n.slot, n.bit), (0, 0));
}

#[test]
fn event_that_changes_its_kind_gets_another_slot() {
    let before = place(
        &plans(&[Sketch::new("a", 1, &[("x", EventKind::FileOpen)])]),
        &facts(),
        &Assignment::default(),
    );
    let after = place(
        &plans(&[Sketch::new("a", 1, &[("x", EventKind::ProcessExec)])]),
        &facts(),
        &before.assignment,
    );
    assert_eq!(after.config.profiles[0].slots[0].slot, 1);
}

#[test]
fn profile_of_the_same_name_and_another_uid_is_another_profile() {
    let first = Sketch::new("a", 1, &[("x", EventKind::FileOpen)]).plan();
    let before = place(std::slice::from_ref(&first), &facts(), &Assignment::default());
    let second = Plan {
        uid: "other".into(),
        ..first
    };
    let after = place(&[second], &facts(), &before.assignment);
    assert_eq!(
        (
            after.config.profiles[0].index,
            after.config.profiles[0].slots[0].slot
        ),
        (1, 1)
    );
}

#[test]
fn seventy_profiles_refuse_the_lowest_by_priority_then_name() {
    let sketches: Vec<Sketch> = (0..70)
        .map(|i| {
            Sketch::new(
                &format!("p{i:02}"),
                if i < 3 { 1 } else { 100 },
                &[("x", EventKind::ALL[i % 4])],
            )
        })
        .collect();
    let placement = place(&plans(&sketches), &facts(), &Assignment::default());
    assert_eq!(placement.config.profiles.len(), 64);
    let refused: Vec<(&str, ConditionReason)> = placement
        .refused
        .iter()
        .map(|r| (r.profile.as_str(), r.reason))
        .collect();
    let names = ["p00", "p01", "p02", "p67", "p68", "p69"];
    assert_eq!(
        refused,
        names.map(|name| (name, ConditionReason::TooManyProfiles))
    );
    assert!(placement.refused[0].message.contains("at most 64"));
}

#[test]
fn sixty_fifth_event_of_a_kind_is_refused_and_the_others_stay() {
    let names: Vec<String> = (0..64).map(|i| format!("e{i:02}")).collect();
    let many: Vec<(&str, EventKind)> = names
        .iter()
        .map(|name| (name.as_str(), EventKind::FileOpen))
        .collect();
    let sketches = [
        Sketch::new("big", 500, &many),
        Sketch::new(
            "small",
            1,
            &[("f", EventKind::FileOpen), ("x", EventKind::ProcessExec)],
        ),
    ];
    let placement = place(&plans(&sketches), &facts(), &Assignment::default());
    assert_eq!(placement.refused.len(), 1);
    let refusal = &placement.refused[0];
    assert_eq!(
        (refusal.profile.as_str(), refusal.event.as_deref(), refusal.reason),
        ("small", Some("f"), ConditionReason::TooManySlots)
    );
    assert_eq!(
        placement
            .config
            .profiles
            .iter()
            .map(|p| p.slots.len())
            .sum::<usize>(),
        65
    );
}

#[test]
fn newcomer_of_higher_priority_waits_until_the_freed_place_is_reusable() {
    let sketches: Vec<Sketch> = (0..64)
        .map(|i| Sketch::new(&format!("p{i:02}"), 100, &[("x", EventKind::ALL[i % 4])]))
        .collect();
    let before = place(&plans(&sketches), &facts(), &Assignment::default());
    let mut more = sketches;
    more.push(Sketch::new("vip", 900, &[("x", EventKind::FileOpen)]));
    let during = place(&plans(&more), &facts(), &before.assignment);
    let reasons: BTreeMap<&str, ConditionReason> = during
        .refused
        .iter()
        .map(|r| (r.profile.as_str(), r.reason))
        .collect();
    assert_eq!(
        reasons,
        BTreeMap::from([
            ("p63", ConditionReason::TooManyProfiles),
            ("vip", ConditionReason::Pending)
        ])
    );
    let after = place(&plans(&more), &facts(), &released(&during));
    assert!(after.config.profiles.iter().any(|p| p.name == "vip"));
    assert_eq!(after.refused.len(), 1);
}

#[test]
fn keyed_limits_take_tables_and_the_seventeenth_is_refused() {
    let mut sketches: Vec<Sketch> = (0..17)
        .map(|i| Sketch::new(&format!("p{i:02}"), 100, &[("x", EventKind::FileOpen)]))
        .collect();
    for sketch in sketches.iter_mut().take(15) {
        sketch.per_workload = true;
    }
    sketches[15]
        .events
        .insert("k".into(), (EventKind::ProcessExec, "Pod"));
    sketches[16]
        .events
        .insert("k".into(), (EventKind::ProcessExec, "Container"));
    let placement = place(&plans(&sketches), &facts(), &Assignment::default());
    let mut tables = BTreeSet::new();
    for profile in &placement.config.profiles {
        tables.extend(profile.per_workload.map(|limit| limit.table));
        tables.extend(
            profile
                .slots
                .iter()
                .filter_map(|slot| slot.limit.and_then(|limit| limit.table)),
        );
    }
    assert_eq!(tables, (0..16).collect());
    let [refusal] = placement.refused.as_slice() else {
        panic!("{:?}", placement.refused)
    };
    assert_eq!(
        (refusal.profile.as_str(), refusal.event.as_deref()),
        ("p16", Some("k"))
    );
    assert_eq!(refusal.reason, ConditionReason::TooManyKeyedLimits);
}

#[test]
fn profile_whose_per_workload_limit_does_not_fit_is_refused_whole() {
    let sketches: Vec<Sketch> = (0..17)
        .map(|i| Sketch {
            per_workload: true,
            ..Sketch::new(&format!("p{i:02}"), 100, &[("x", EventKind::FileOpen)])
        })
        .collect();
    let placement = place(&plans(&sketches), &facts(), &Assignment::default());
    assert_eq!(placement.config.profiles.len(), 16);
    assert_eq!(
        (
            placement.refused[0].profile.as_str(),
            placement.refused[0].event.as_deref()
        ),
        ("p16", None)
    );
}

#[test]
fn suspended_expired_and_foreign_profiles_hold_nothing() {
    let suspended = Sketch {
        mode: "Suspended",
        ..Sketch::new("s", 1, &[("x", EventKind::FileOpen)])
    }
    .plan();
    let expired = Plan {
        expires_at: Some(1_000),
        ..Sketch::new("e", 1, &[("x", EventKind::FileOpen)]).plan()
    };
    let running = Plan {
        expires_at: Some(1_001),
        ..Sketch::new("r", 1, &[("x", EventKind::FileOpen)]).plan()
    };
    let selector = crate::api::LabelSelector {
        match_labels: BTreeMap::from([("pool".into(), "gpu".into())]),
        ..Default::default()
    };
    let foreign = Plan {
        nodes: Some(selector),
        ..Sketch::new("f", 1, &[("x", EventKind::FileOpen)]).plan()
    };
    let all = [suspended, expired, running, foreign];
    let placement = place(&all, &facts(), &Assignment::default());
    let names: Vec<&str> = placement
        .config
        .profiles
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    assert_eq!(names, ["r"]);
    let idle: Vec<_> = placement
        .idle
        .iter()
        .map(|p| (p.name.as_str(), p.reason))
        .collect();
    assert_eq!(
        idle,
        [("e", ConditionReason::Expired), ("s", ConditionReason::Suspended)]
    );
    let gpu = NodeFacts {
        labels: Some(BTreeMap::from([("pool".into(), "gpu".into())])),
        ..facts()
    };
    assert_eq!(place(&all, &gpu, &Assignment::default()).config.profiles.len(), 2);
}

#[test]
fn expired_generation_stays_expired_when_the_clock_is_set_back_and_an_edit_starts_it() {
    let plan = Plan {
        expires_at: Some(900),
        ..Sketch::new("e", 1, &[("x", EventKind::FileOpen)]).plan()
    };
    let facts = NodeFacts {
        now: 10,
        ended: BTreeMap::from([("uid-e".into(), 1)]),
        ..facts()
    };
    let reason = |plan: &Plan| {
        let placement = place(std::slice::from_ref(plan), &facts, &Assignment::default());
        placement.idle.first().map(|idle| idle.reason)
    };
    assert_eq!(reason(&plan), Some(ConditionReason::Expired));
    let edited = Plan {
        generation: 2,
        ..plan.clone()
    };
    assert_eq!(reason(&edited), None);
    let made_anew = Plan {
        uid: "another".into(),
        ..plan
    };
    assert_eq!(reason(&made_anew), None);
}

#[test]
fn profile_with_a_node_selector_waits_while_the_labels_are_not_known() {
    let excluding: crate::api::LabelSelector = serde_json::from_value(json!({
        "matchExpressions": [{"key": "sensitive", "operator": "DoesNotExist"}]
    }))
    .unwrap();
    let excluding = Plan {
        nodes: Some(excluding),
        ..Sketch::new("e", 5, &[("x", EventKind::FileOpen)]).plan()
    };
    let everywhere = Sketch::new("r", 1, &[("x", EventKind::FileOpen)]).plan();
    let plans = [excluding, everywhere];
    let placed = |labels| {
        let facts = NodeFacts { labels, ..facts() };
        place(&plans, &facts, &Assignment::default())
    };
    let waiting = placed(None);
    let running = |placement: &Placement| -> Vec<String> {
        let profiles = placement.config.profiles.iter();
        profiles.map(|profile| profile.name.clone()).collect()
    };
    assert_eq!(running(&waiting), ["r"]);
    let [refusal] = waiting.refused.as_slice() else {
        panic!("{:?}", waiting.refused)
    };
    assert_eq!(
        (refusal.profile.as_str(), refusal.reason),
        ("e", ConditionReason::Pending)
    );
    assert_eq!(running(&placed(Some(BTreeMap::new()))), ["e", "r"]);
    let sensitive = placed(Some(BTreeMap::from([("sensitive".into(), String::new())])));
    assert_eq!(running(&sensitive), ["r"]);
    assert!(sensitive.refused.is_empty(), "{:?}", sensitive.refused);
}

#[test]
fn assignment_that_cannot_be_is_not_believed() {
    let key = |event: &str| SlotKey {
        uid: "uid-a".into(),
        event: event.into(),
        kind: EventKind::FileOpen,
    };
    let before = Assignment {
        slots: BTreeMap::from([
            (key("x"), Place { slot: 256, bit: 0 }),
            (key("y"), Place { slot: 7, bit: 7 }),
            (key("z"), Place { slot: 7, bit: 8 }),
        ]),
        profiles: BTreeMap::from([("uid-a".into(), 64)]),
        ..Assignment::default()
    };
    let events = [
        ("x", EventKind::FileOpen),
        ("y", EventKind::FileOpen),
        ("z", EventKind::FileOpen),
    ];
    let placement = place(&plans(&[Sketch::new("a", 1, &events)]), &facts(), &before);
    let profile = &placement.config.profiles[0];
    let places: Vec<_> = profile
        .slots
        .iter()
        .map(|s| (s.event.as_str(), s.slot, s.bit))
        .collect();
    assert_eq!(
        (profile.index, places),
        (0, vec![("x", 0, 0), ("z", 1, 1), ("y", 7, 7)])
    );
}

#[test]
fn dry_run_holds_its_slots() {
    let sketch = Sketch {
        mode: "DryRun",
        ..Sketch::new("d", 1, &[("x", EventKind::FileOpen)])
    };
    let placement = place(&plans(&[sketch]), &facts(), &Assignment::default());
    assert_eq!(placement.config.profiles[0].mode, Mode::DryRun);
    assert_eq!(placement.config.profiles[0].slots.len(), 1);
}

#[test]
fn unsupported_kind_gets_no_slot_and_is_reported() {
    let facts = NodeFacts {
        supported: BTreeSet::from([EventKind::FileOpen]),
        ..facts()
    };
    let sketch = Sketch::new(
        "a",
        1,
        &[("x", EventKind::FileOpen), ("y", EventKind::NetConnect)],
    );
    let placement = place(&plans(&[sketch]), &facts, &Assignment::default());
    assert_eq!(placement.config.profiles[0].slots.len(), 1);
    let [event] = placement.unsupported.as_slice() else {
        panic!("{:?}", placement.unsupported)
    };
    assert_eq!((event.event.as_str(), event.kind), ("y", EventKind::NetConnect));
}

#[test]
fn digest_follows_generation_but_not_time() {
    let plan = Sketch::new("a", 1, &[("x", EventKind::FileOpen)]).plan();
    let now = place(std::slice::from_ref(&plan), &facts(), &Assignment::default())
        .config
        .digest;
    let later = place(
        std::slice::from_ref(&plan),
        &NodeFacts::supporting_all(9_999_999),
        &Assignment::default(),
    )
    .config
    .digest;
    assert_eq!(now, later);
    let next = place(
        &[Plan {
            generation: 2,
            ..plan
        }],
        &facts(),
        &Assignment::default(),
    )
    .config
    .digest;
    assert_ne!(now, next);
}

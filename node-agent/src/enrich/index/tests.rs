use std::collections::BTreeMap;

use proptest::prelude::*;
use weir_profile::api::{HostScope, LabelSelector};
use weir_profile::plan::ScopeRule;

use super::super::cgroups::TOMBSTONE_NS;
use super::super::scope::Verdict;
use super::super::workloads::{self, Container, Owner};
use super::*;

const ID: &str = "3f4b0cbb6b0d2f4a4c3e8e9d8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a";

fn index() -> Index {
    Index::new(CgroupRoot::new("/sys/fs/cgroup".into(), b"/weir-node1", 7))
}

fn path(uid: &str, id: &str) -> Vec<u8> {
    format!("/weir-node1/kubepods/burstable/pod{uid}/{id}").into_bytes()
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn pod(uid: &str, pod_labels: &[(&str, &str)]) -> Pod {
    Pod {
        uid: uid.into(),
        cgroup_uid: uid.into(),
        namespace: "shop".into(),
        name: "web-0".into(),
        labels: labels(pod_labels),
        owner: Some(Owner {
            kind: "StatefulSet".into(),
            name: "web".into(),
        }),
        node: "node1".into(),
        containers: vec![Container {
            id: ID.into(),
            name: "app".into(),
            image: "shop/web:1".into(),
        }],
    }
}

fn selector(pairs: &[(&str, &str)]) -> LabelSelector {
    LabelSelector {
        match_labels: labels(pairs),
        ..LabelSelector::default()
    }
}

fn rule(profile: u32, app: &str) -> ProfileScope {
    let pod_selector = if app.is_empty() {
        None
    } else {
        Some(selector(&[("app", app)]))
    };
    let rule = ScopeRule {
        namespaces: vec![],
        exclude_namespaces: vec![],
        namespace_selector: None,
        pod_selector,
        host: HostScope::Exclude,
    };
    ProfileScope { profile, rule }
}

fn changes(index: &mut Index) -> Vec<ScopeChange> {
    let mut taken = Vec::new();
    index.take_scope_changes(|change| taken.push(change));
    taken
}

#[test]
fn container_known_before_its_pod_is_undecided_then_exact() {
    let mut index = index();
    index.set_rules(0, vec![rule(0, "web"), rule(1, "db"), rule(2, "")]);
    index.cgroup_made(7, &path("u1", ID), 1);
    let entry = index.cgroup(7).unwrap();
    assert_eq!(entry.attribution, Attribution::Pod);
    assert_eq!(
        entry.decisions[0],
        Decision {
            included: 0b100,
            undecided: 0b011
        }
    );
    let (pod_index, container_index) = (entry.pod_index, entry.container_index);
    assert!(pod_index > HOST_INDEX && container_index > HOST_INDEX);
    let admitted = |mask| {
        ScopeChange::Set(ScopeUpdate {
            cgroup_id: 7,
            profiles: [mask, 0],
            pod_index,
            container_index,
            foreign: false,
        })
    };
    assert_eq!(changes(&mut index), [admitted(0b111)]);
    index.pod_put(pod("u1", &[("app", "web")]));
    let entry = index.cgroup(7).unwrap();
    assert_eq!(entry.attribution, Attribution::Exact);
    assert_eq!(
        entry.decisions[0],
        Decision {
            included: 0b101,
            undecided: 0
        }
    );
    assert_eq!(changes(&mut index), [admitted(0b101)]);
    assert!(changes(&mut index).is_empty());
}

#[test]
fn pod_label_added_later_brings_the_pod_into_scope() {
    let mut index = index();
    index.set_rules(0, vec![rule(0, "web")]);
    index.cgroup_made(7, &path("u1", ID), 1);
    index.pod_put(pod("u1", &[]));
    assert_eq!(index.cgroup(7).unwrap().decisions[0].verdict(0), Verdict::Out);
    changes(&mut index);
    index.pod_put(pod("u1", &[("app", "web")]));
    assert_eq!(index.cgroup(7).unwrap().decisions[0].verdict(0), Verdict::In);
    assert_eq!(changes(&mut index).len(), 1);
    index.pod_put(pod("u1", &[("app", "web"), ("other", "x")]));
    assert!(changes(&mut index).is_empty(), "the kernel need not know");
}

#[test]
fn namespace_labels_settle_and_change_scope() {
    let mut index = index();
    let mut scope = rule(0, "");
    scope.rule.namespace_selector = Some(selector(&[("team", "a")]));
    index.set_rules(0, vec![scope]);
    index.cgroup_made(7, &path("u1", ID), 1);
    index.pod_put(pod("u1", &[]));
    assert_eq!(
        index.cgroup(7).unwrap().decisions[0].verdict(0),
        Verdict::Undecided
    );
    index.namespace_put("other", labels(&[("team", "a")]));
    assert_eq!(
        index.cgroup(7).unwrap().decisions[0].verdict(0),
        Verdict::Undecided
    );
    index.namespace_put("shop", labels(&[("team", "a")]));
    assert_eq!(index.cgroup(7).unwrap().decisions[0].verdict(0), Verdict::In);
    index.namespace_put("shop", labels(&[("team", "b")]));
    assert_eq!(index.cgroup(7).unwrap().decisions[0].verdict(0), Verdict::Out);
}

#[test]
fn host_and_foreign_cgroups_are_told_apart() {
    let mut index = index();
    let mut scope = rule(4, "");
    scope.rule.host = HostScope::Include;
    index.set_rules(1, vec![scope]);
    index.cgroup_made(1, b"/weir-node1/system.slice/containerd.service", 1);
    index.cgroup_made(2, format!("/weir-node2/kubepods/podu1/{ID}").as_bytes(), 1);
    index.cgroup_made(3, b"/", 1);
    let host = index.cgroup(1).unwrap();
    assert_eq!(
        (host.attribution, host.foreign, host.decisions[1].included),
        (Attribution::Host, false, 1 << 4)
    );
    for foreign in [2, 3] {
        let entry = index.cgroup(foreign).unwrap();
        assert!(entry.foreign && entry.workload.is_none(), "{entry:?}");
        assert_eq!(entry.decisions, [Decision::default(); 2]);
    }
    assert_eq!(
        changes(&mut index),
        [
            ScopeChange::Set(ScopeUpdate {
                cgroup_id: 1,
                profiles: [0, 1 << 4],
                pod_index: HOST_INDEX,
                container_index: HOST_INDEX,
                foreign: false
            }),
            ScopeChange::Set(ScopeUpdate {
                cgroup_id: 2,
                profiles: [0, 0],
                pod_index: 0,
                container_index: 0,
                foreign: true
            }),
            ScopeChange::Set(ScopeUpdate {
                cgroup_id: 3,
                profiles: [0, 0],
                pod_index: 0,
                container_index: 0,
                foreign: true
            }),
        ]
    );
}

#[test]
fn removed_cgroup_is_known_for_a_while_and_the_pod_for_longer() {
    let mut index = index();
    index.cgroup_made(7, &path("u1", ID), 1);
    index.pod_put(pod("u1", &[]));
    changes(&mut index);
    index.cgroup_removed(7, &path("u1", ID), 100);
    assert_eq!(changes(&mut index), [ScopeChange::Remove(7)]);
    index.cgroup_made(7, &path("u1", ID), 101);
    assert!(
        index.cgroup(7).unwrap().removed,
        "the walk saw it before its removal"
    );
    index.pod_deleted("u1", "u1", 100);
    index.expire(99 + TOMBSTONE_NS);
    assert_eq!(index.cgroup(7).unwrap().attribution, Attribution::Exact);
    index.expire(100 + TOMBSTONE_NS);
    assert!(index.cgroup(7).is_none());
    assert_eq!(index.pods_len(), 1);
    // A cgroup that is told of only now, such as the pod's own, still finds its pod.
    index.cgroup_made(8, &path("u1", ID), 200);
    assert_eq!(index.cgroup(8).unwrap().attribution, Attribution::Exact);
    index.cgroup_removed(8, &path("u1", ID), 200 + TOMBSTONE_NS);
    index.expire(u64::MAX / 2);
    index.expire(u64::MAX / 2 + workloads::TOMBSTONE_NS);
    assert_eq!((index.cgroups_len(), index.pods_len()), (0, 0));
}

#[test]
fn removal_of_a_cgroup_never_told_of_is_kept_as_such() {
    let mut index = index();
    index.cgroup_removed(7, &path("u1", ID), 100);
    assert!(index.cgroup(7).unwrap().removed);
    assert_eq!(changes(&mut index), [ScopeChange::Remove(7)]);
}

#[test]
fn complete_list_without_a_pod_deletes_it_but_keeps_what_was_known() {
    let mut index = index();
    index.cgroup_made(7, &path("u1", ID), 1);
    index.pod_put(pod("u1", &[]));
    index.pods_listed(vec![pod("u2", &[])], 5);
    assert_eq!(index.cgroup(7).unwrap().attribution, Attribution::Exact);
    index.cgroup_removed(7, &path("u1", ID), 10);
    index.expire(10 + TOMBSTONE_NS);
    index.expire(10 + TOMBSTONE_NS + workloads::TOMBSTONE_NS);
    assert_eq!(index.pods_len(), 1, "u2 alone");
}

/// A complete list in which the kubelet's next mirror stands for a static pod, and an impostor for another's.
#[test]
fn list_replaces_a_mirror_and_no_pod_by_an_impostor() {
    let mut index = index();
    for (cgroup, uid) in [(7, "hash"), (8, "u1")] {
        index.cgroup_made(cgroup, &path(uid, ID), 1);
    }
    let mirror = |uid: &str, cgroup_uid: &str| Pod {
        cgroup_uid: cgroup_uid.into(),
        name: uid.into(),
        ..pod(uid, &[])
    };
    index.pods_listed(vec![mirror("m1", "hash"), pod("u1", &[])], 5);
    index.pods_listed(
        vec![pod("u1", &[]), mirror("evil", "u1"), mirror("m2", "hash")],
        6,
    );
    let name = |cgroup| {
        let entry = index.cgroup(cgroup).unwrap();
        let workload = entry.workload.as_deref().map(WorkloadRef::workload).unwrap();
        workload.pod.clone()
    };
    assert_eq!((name(7).as_str(), name(8).as_str()), ("m2", "web-0"));
}

#[test]
fn counts_are_shared_with_other_threads_by_expire() {
    let mut index = index();
    let shared = index.shared_counts();
    for id in 0..5_000 {
        index.cgroup_made(id, &path(&format!("u{id}"), &format!("{id:064x}")), 1);
    }
    assert_eq!(shared.get(), IndexCounts::default());
    index.expire(2);
    assert_eq!(shared.get(), index.counts());
    let IndexCounts {
        pods_sharing,
        containers_sharing,
        pod_index_overflows,
        ..
    } = shared.get();
    assert_eq!(
        (pods_sharing, containers_sharing, pod_index_overflows),
        (906, 906, 906)
    );
}

#[test]
fn container_and_the_cgroups_below_it_share_an_index() {
    let mut index = index();
    let nested = [path("u1", ID), b"/init.scope".to_vec()].concat();
    index.cgroup_made(7, &path("u1", ID), 1);
    index.cgroup_made(8, &nested, 1);
    let shared = index.cgroup(7).unwrap().container_index;
    assert_eq!(index.cgroup(8).unwrap().container_index, shared);
    index.cgroup_removed(7, &path("u1", ID), 1);
    index.expire(1 + TOMBSTONE_NS);
    let other = path("u1", &ID.replace('3', "4"));
    index.cgroup_made(9, &other, 1);
    assert_ne!(index.cgroup(9).unwrap().container_index, shared);
}

#[derive(Debug, Clone)]
enum Step {
    Made(u64, usize),
    Removed(u64, usize),
    Put(usize, bool),
    Deleted(usize),
    Rules(usize, bool),
    Expire(u64),
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    let (id, which) = (0_u64..8, 0_usize..4);
    prop_oneof![
        (id.clone(), which.clone()).prop_map(|(id, which)| Step::Made(id, which)),
        (id, which.clone()).prop_map(|(id, which)| Step::Removed(id, which)),
        (which.clone(), any::<bool>()).prop_map(|(which, web)| Step::Put(which, web)),
        which.prop_map(Step::Deleted),
        (0_usize..2, any::<bool>()).prop_map(|(side, web)| Step::Rules(side, web)),
        (0_u64..2 * TOMBSTONE_NS).prop_map(Step::Expire),
        Just(Step::Take),
    ]
}

proptest! {
    /// A model of the kernel's map, fed only by the changes, holds for each cgroup what the index says of it.
    #[test]
    fn kernel_fed_by_changes_agrees_with_the_index(steps in proptest::collection::vec(step(), 0..120)) {
        let mut index = index();
        let mut kernel = BTreeMap::new();
        let mut now = 0;
        let name = |which: usize| format!("u{which}");
        for step in steps {
            now += 1;
            match step {
                Step::Made(id, which) => index.cgroup_made(id, &path(&name(which), ID), now),
                Step::Removed(id, which) => index.cgroup_removed(id, &path(&name(which), ID), now),
                Step::Put(which, web) => index.pod_put(pod(&name(which), if web { &[("app", "web")] } else { &[] })),
                Step::Deleted(which) => index.pod_deleted(&name(which), &name(which), now),
                Step::Rules(side, web) => index.set_rules(side, vec![rule(3, if web { "web" } else { "" })]),
                Step::Expire(by) => {
                    now += by;
                    index.expire(now);
                }
                Step::Take => index.take_scope_changes(|change| match change {
                    ScopeChange::Set(update) => drop(kernel.insert(update.cgroup_id, update)),
                    ScopeChange::Remove(id) => drop(kernel.remove(&id)),
                }),
            }
        }
        index.take_scope_changes(|change| match change {
            ScopeChange::Set(update) => drop(kernel.insert(update.cgroup_id, update)),
            ScopeChange::Remove(id) => drop(kernel.remove(&id)),
        });
        for id in 0..8 {
            let expected = index.cgroup(id).filter(|entry| !entry.removed).map(|entry| entry.update(id));
            prop_assert_eq!(kernel.get(&id).copied(), expected);
        }
    }
}

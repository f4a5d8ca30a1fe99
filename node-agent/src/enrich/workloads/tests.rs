use super::*;

fn pod(uid: &str) -> Pod {
    Pod {
        uid: uid.into(),
        cgroup_uid: uid.into(),
        namespace: "shop".into(),
        name: format!("{uid}-0"),
        labels: BTreeMap::new(),
        owner: None,
        node: "n".into(),
        containers: vec![],
    }
}

fn container(id: &str) -> Container {
    Container {
        id: id.into(),
        name: "app".into(),
        image: "img".into(),
    }
}

#[test]
fn pod_outlives_itself_by_the_tombstone_then_gives_its_index_back() {
    let mut table = Workloads::default();
    let id = table.attach("a", 7).unwrap();
    let index = table.get(id).unwrap().index;
    assert_eq!(table.put(pod("a")), Some(id));
    table.delete("a", "a", 10);
    table.expire(u64::MAX);
    assert!(table.get(id).is_some(), "its cgroup is still there");
    table.detach(id, 7, 20);
    table.expire(19 + TOMBSTONE_NS);
    assert_eq!(table.get(id).unwrap().pod.as_ref().unwrap().name, "a-0");
    let other = table.attach("b", 8).unwrap();
    assert_ne!(
        table.get(other).unwrap().index,
        index,
        "not reused during the tombstone"
    );
    table.expire(20 + TOMBSTONE_NS);
    assert!(table.find("a").is_none());
    let third = table.attach("c", 9).unwrap();
    assert_eq!(table.get(third).unwrap().index, index);
}

#[test]
fn pod_that_comes_back_is_not_buried_by_its_former_tombstone() {
    let mut table = Workloads::default();
    let id = table.attach("a", 7).unwrap();
    table.detach(id, 7, 10);
    table.attach("a", 8).unwrap();
    table.expire(u64::MAX);
    assert_eq!(table.find("a"), Some(id));
}

#[test]
fn full_table_gives_up_gone_pods_and_refuses_when_all_are_present() {
    let mut table = Workloads::default();
    let first = table.attach("first", 1).unwrap();
    for number in 1..WORKLOADS_MAX {
        table.put(pod(&format!("p{number}"))).unwrap();
    }
    assert!(table.attach("more", 2).is_none());
    assert_eq!(
        table.counts,
        WorkloadCounts {
            refused: 1,
            ..WorkloadCounts::default()
        }
    );
    table.detach(first, 1, 5);
    assert!(table.attach("more", 2).is_some());
    assert_eq!(
        table.counts,
        WorkloadCounts {
            evicted: 1,
            refused: 1,
            ..WorkloadCounts::default()
        }
    );
    assert_eq!(table.len(), WORKLOADS_MAX);
}

#[test]
fn put_keeps_restarted_containers_for_a_while_and_bounded() {
    let mut table = Workloads::default();
    for restart in 0..100 {
        table.put(Pod {
            containers: vec![container(&format!("id{restart}"))],
            ..pod("a")
        });
    }
    let known = table.get(table.find("a").unwrap()).unwrap().pod.clone().unwrap();
    assert_eq!(known.containers.len(), 1 + FORMER_CONTAINERS);
    assert!(known.container("id99").is_some() && known.container("id83").is_some());
    assert!(known.container("id82").is_none());
}

/// A pod that says that it mirrors the static pod `cgroup_uid`.
fn mirror(uid: &str, cgroup_uid: &str) -> Pod {
    Pod {
        cgroup_uid: cgroup_uid.into(),
        ..pod(uid)
    }
}

fn name(table: &Workloads, cgroup_uid: &str) -> String {
    let workload = table.get(table.find(cgroup_uid).unwrap()).unwrap();
    workload.pod.as_ref().unwrap().name.clone()
}

#[test]
fn pod_whose_uid_is_in_the_path_is_never_replaced_by_one_that_says_it_mirrors_it() {
    let mut table = Workloads::default();
    // The impostor may come first.
    table.put(mirror("evil", "a")).unwrap();
    table.put(pod("a")).unwrap();
    assert_eq!(name(&table, "a"), "a-0");
    assert_eq!(table.put(mirror("evil", "a")), None);
    assert_eq!((name(&table, "a").as_str(), table.counts.impostors), ("a-0", 1));
    // Nor does the impostor's end take anything away.
    table.delete("evil", "a", 10);
    table.expire(10 + TOMBSTONE_NS);
    assert_eq!(name(&table, "a"), "a-0");
    table.put(pod("a")).unwrap();
    // What the pod did is still being read after its end.
    table.delete("a", "a", 20);
    assert_eq!(table.put(mirror("evil", "a")), None);
    assert_eq!(name(&table, "a"), "a-0");
}

#[test]
fn static_pods_mirror_stays_while_it_is_there_and_the_kubelets_next_one_follows_it() {
    let mut table = Workloads::default();
    table.put(mirror("m1", "hash")).unwrap();
    assert_eq!(table.put(mirror("evil", "hash")), None);
    assert_eq!(name(&table, "hash"), "m1-0");
    table.delete("m1", "hash", 10);
    table.put(mirror("m2", "hash")).unwrap();
    assert_eq!(name(&table, "hash"), "m2-0");
    table.delete("m1", "hash", 20);
    table.expire(u64::MAX);
    assert_eq!(name(&table, "hash"), "m2-0", "a former mirror's end says nothing");
}

//! What holds for every placement, however profiles come and go.

use proptest::prelude::*;

use super::*;

fn any_sketch() -> impl Strategy<Value = Sketch> {
    let per = prop::sample::select(vec!["Node", "Node", "Node", "Pod", "Container"]);
    let kind = prop::sample::select(EventKind::ALL.to_vec());
    let events = prop::collection::btree_map("[a-d][0-9]", (kind, per), 1..12);
    let mode = prop::sample::select(vec!["Active", "Active", "Active", "DryRun", "Suspended"]);
    ("[a-z][0-9]", 0..3_i32, mode, prop::bool::weighted(0.2), events).prop_map(
        |(name, priority, mode, per_workload, events)| Sketch {
            name,
            priority,
            mode,
            per_workload,
            events,
        },
    )
}

fn any_fleet() -> impl Strategy<Value = Vec<Sketch>> {
    prop::collection::vec(any_sketch(), 0..90).prop_map(|sketches| {
        let mut seen = BTreeSet::new();
        sketches
            .into_iter()
            .filter(|sketch| seen.insert(sketch.name.clone()))
            .collect()
    })
}

/// What must hold of every placement.
fn check(placement: &Placement, before: &Assignment) -> Result<(), TestCaseError> {
    let (mut slots, mut bits, mut indices, mut tables) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for profile in &placement.config.profiles {
        prop_assert!(usize::from(profile.index) < MAX_PROFILES && indices.insert(profile.index));
        let keyed = profile.per_workload.map(|limit| limit.table);
        let keyed = keyed.into_iter().chain(
            profile
                .slots
                .iter()
                .filter_map(|slot| slot.limit.and_then(|limit| limit.table)),
        );
        for table in keyed {
            prop_assert!(usize::from(table) < MAX_KEYED_TABLES && tables.insert(table));
        }
        for slot in &profile.slots {
            prop_assert!(usize::from(slot.slot) < MAX_SLOTS && slots.insert(slot.slot));
            prop_assert!(usize::from(slot.bit) < MAX_SLOTS_PER_KIND && bits.insert((slot.kind, slot.bit)));
            let key = SlotKey {
                uid: profile.uid.clone(),
                event: slot.event.clone(),
                kind: slot.kind,
            };
            if let Some(place) = before.slots.get(&key) {
                prop_assert_eq!((place.slot, place.bit), (slot.slot, slot.bit), "kept places stay");
            }
            let per = slot.limit.map(|limit| limit.per).filter(|per| *per != Per::Node);
            prop_assert_eq!(slot.limit.and_then(|limit| limit.table).is_some(), per.is_some());
        }
        if let Some(index) = before.profiles.get(&profile.uid) {
            prop_assert_eq!(*index, profile.index);
        }
    }
    // Nothing that may still stand in a record is handed out.
    for (kind, place) in &placement.assignment.quarantined.slots {
        prop_assert!(!slots.contains(&place.slot) && !bits.contains(&(*kind, place.bit)));
    }
    prop_assert!(placement.assignment.quarantined.profiles.is_disjoint(&indices));
    prop_assert!(placement.assignment.quarantined.tables.is_disjoint(&tables));
    for (key, place) in &before.slots {
        let kept = placement.assignment.slots.get(key) == Some(place);
        prop_assert!(
            kept || placement
                .assignment
                .quarantined
                .slots
                .contains(&(key.kind, *place))
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn placement_is_pure_bounded_stable_and_blind_to_order(
        first in any_fleet(),
        second in any_fleet(),
        rotation in 0..90_usize,
        release in any::<bool>(),
    ) {
        let facts = facts();
        let start = Assignment::default();
        let plans_first = plans(&first);
        let one = place(&plans_first, &facts, &start);
        check(&one, &start)?;
        let mut rotated = plans_first.clone();
        if !rotated.is_empty() {
            let by = rotation % rotated.len();
            rotated.rotate_left(by);
        }
        prop_assert_eq!(&place(&rotated, &facts, &start), &one);

        // Placing the same again changes nothing.
        let same = place(&plans_first, &facts, &one.assignment);
        prop_assert_eq!(&same.config, &one.config);
        prop_assert_eq!(&same.assignment, &one.assignment);

        // An edit of everything keeps what stays, and what does not fit is named.
        let before = if release { released(&one) } else { one.assignment.clone() };
        let plans_second = plans(&second);
        let two = place(&plans_second, &facts, &before);
        check(&two, &before)?;
        let wanted: usize = plans_second.iter().filter(|plan| plan.mode != Mode::Suspended).map(|plan| plan.events.len()).sum();
        let placed: usize = two.config.profiles.iter().map(|profile| profile.slots.len()).sum();
        let whole: usize = two.refused.iter().filter(|r| r.event.is_none())
            .filter_map(|r| plans_second.iter().find(|plan| plan.uid == r.uid)).map(|plan| plan.events.len()).sum();
        let single = two.refused.iter().filter(|r| r.event.is_some()).count();
        // A profile that waits whole may have had events refused by rank before.
        prop_assert!(placed + whole + single >= wanted && placed <= wanted);

        // Once everything is reusable, only what does not fit by rank is refused: history is forgotten.
        let fresh = place(&plans_second, &facts, &Assignment::default());
        let settled = place(&plans_second, &facts, &released(&two));
        prop_assert_eq!(settled.refused, fresh.refused);
    }
}

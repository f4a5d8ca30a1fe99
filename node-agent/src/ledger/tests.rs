//! The ledger conserves events whatever the order of rounds, moves and cuts.

use proptest::prelude::*;

use weir_events::agent::{AgentLedger, LedgerCut};

use super::*;

fn info(event: &str) -> RowInfo {
    RowInfo {
        profile: "p".into(),
        uid: "u".into(),
        generation: 1,
        digest: "d".into(),
        event: event.into(),
        kind: "process.exec",
        slot: 0,
    }
}

#[derive(Debug, Clone)]
enum Step {
    Accept(u64),
    Move(Out, Out, u32),
    Close,
}

fn places() -> impl Strategy<Value = Out> {
    prop::sample::select(vec![
        Out::Queued,
        Out::Unacked,
        Out::Acked,
        Out::Shed,
        Out::Rejected,
        Out::Spooled,
    ])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1_u64..50).prop_map(Step::Accept),
        (places(), places(), 1_u32..20).prop_map(|(from, to, events)| Step::Move(from, to, events)),
        Just(Step::Close),
    ];
    proptest::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn counts_of_any_history_add_up_to_what_was_accepted(steps in steps()) {
        let ledger = Ledger::default();
        let row = ledger.open(info("e"));
        let (mut open, mut accepted_by_cut) = (1_u32, vec![0_u64; 2]);
        let mut in_place = std::collections::HashMap::<(u32, u8), u32>::new();
        let number = |place: Out| place as u8;
        for step in steps {
            match step {
                Step::Accept(events) => {
                    ledger.drained([(row, open, Drained { accepted: events, ..Drained::default() })]);
                    accepted_by_cut[open as usize] += events;
                    *in_place.entry((open, number(Out::Queued))).or_default() += u32::try_from(events).unwrap();
                }
                Step::Move(from, to, events) => {
                    // Only what is there moves, as in life; of any cut.
                    for cut in 1..=open {
                        let left = in_place.entry((cut, number(from))).or_default();
                        let events = events.min(*left);
                        *left -= events;
                        *in_place.entry((cut, number(to))).or_default() += events;
                        ledger.moved(&[SlotCount { row, cut, events }], from, to);
                    }
                }
                Step::Close => {
                    let closed = ledger.close(open);
                    let expected: u64 = accepted_by_cut[..=open as usize].iter().sum();
                    prop_assert_eq!(closed[0].1.out.sum(), expected);
                    open += 1;
                    accepted_by_cut.push(0);
                }
            }
            prop_assert_eq!(ledger.now()[0].1.out.sum(), accepted_by_cut.iter().sum::<u64>());
        }
    }
}

#[test]
fn close_sums_what_came_before_it_and_not_what_came_after() {
    let ledger = Ledger::default();
    let row = ledger.open(info("e"));
    ledger.drained([(
        row,
        1,
        Drained {
            accepted: 5,
            malformed: 1,
            ..Drained::default()
        },
    )]);
    ledger.drained([(
        row,
        2,
        Drained {
            accepted: 7,
            ..Drained::default()
        },
    )]);
    let closed = ledger.close(1);
    assert_eq!(closed[0].1.drained(), 6);
    assert_eq!(ledger.close(2)[0].1.drained(), 13);
}

#[test]
fn ledger_is_closed_only_if_every_ringed_record_arrived() {
    let ledger = Ledger::default();
    let row = ledger.open(info("e"));
    ledger.drained([(
        row,
        1,
        Drained {
            accepted: 3,
            ..Drained::default()
        },
    )]);
    let rows = ledger.close(1);
    let with_ringed = |ringed| {
        let mut kernel = [0; outcome_counters()];
        kernel[weir_node_agent_common::outcome::RINGED as usize] = ringed;
        let rows = rows
            .iter()
            .map(|(row, counts)| (row.clone(), kernel, *counts))
            .collect();
        assemble(Report {
            identity: AgentLedger::default(),
            cut: LedgerCut::default(),
            rows,
            hooks: Vec::new(),
        })
    };
    assert!(with_ringed(3).cut.closed);
    let open = with_ringed(4);
    assert!(!open.cut.closed);
    assert_eq!(open.profiles[0].slots[0].in_ring, 1);
}

/// *Scenario:* a profile is suspended and comes back, then is deleted and made again under another UID; another event of
/// its own comes with that.
/// *Guarantees:* one entry for the profile with the last one's generation, one for each event with the sum of its rows:
/// two series of one name would be an invalid scrape.
#[test]
fn rows_of_one_event_are_one_entry() {
    let ledger = Ledger::default();
    let of = |uid: &str, generation, event: &str| {
        ledger.open(RowInfo {
            uid: uid.to_owned(),
            generation,
            digest: format!("{uid}{generation}"),
            ..info(event)
        })
    };
    let rows = [of("u", 7, "e"), of("u", 9, "e"), of("v", 1, "e"), of("v", 1, "f")];
    let some = Drained {
        accepted: 3,
        ..Drained::default()
    };
    ledger.drained(rows.map(|row| (row, 1, some)));
    let mut kernel = [0; outcome_counters()];
    kernel[weir_node_agent_common::outcome::RINGED as usize] = 3;
    let rows = ledger.close(1).into_iter();
    let assembled = assemble(Report {
        identity: AgentLedger::default(),
        cut: LedgerCut::default(),
        rows: rows.map(|(row, counts)| (row, kernel, counts)).collect(),
        hooks: Vec::new(),
    });
    assert!(assembled.cut.closed);
    let [profile] = assembled.profiles.as_slice() else {
        panic!("{:?}", assembled.profiles)
    };
    assert_eq!((profile.generation, profile.digest.as_str()), (1, "v1"));
    let slots: Vec<_> = profile
        .slots
        .iter()
        .map(|slot| (slot.event.as_str(), slot.matched, slot.queued))
        .collect();
    assert_eq!(slots, [("e", 9, 9), ("f", 3, 3)]);
}

const fn outcome_counters() -> usize {
    weir_node_agent_common::outcome::COUNTERS
}

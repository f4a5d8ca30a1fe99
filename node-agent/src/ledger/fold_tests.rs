use proptest::prelude::*;
use weir_events::agent::{LedgerCut, LedgerHook};
use weir_events::{AgentEvent, AgentHeader, Encoding, encode_agent_event};

use super::*;
use crate::ledger::{Counts, KernelCounts, OutCounts, Report, RowInfo, assemble};

const MAX_PAYLOAD: usize = 1024 * 1024 - 4 * 1024;
const KINDS: [&str; 4] = ["process.exec", "process.exit", "net.connect", "file.open"];

fn row(profile: String, event: String, kind: usize, live: bool) -> Row {
    let info = RowInfo {
        uid: profile.clone(),
        profile,
        generation: u64::MAX,
        digest: "d".repeat(80),
        event,
        kind: KINDS[kind % KINDS.len()],
        slot: 0,
    };
    Row { info, live }
}

fn ledger(rows: &[Row], ringed: impl Fn(usize) -> u64) -> AgentLedger {
    let counted = |(index, row): (usize, &Row)| {
        let mut kernel = KernelCounts::default();
        kernel[weir_node_agent_common::outcome::RINGED as usize] = ringed(index);
        let counts = Counts {
            out: OutCounts {
                acked: ringed(index),
                ..OutCounts::default()
            },
            ..Counts::default()
        };
        (row.clone(), kernel, counts)
    };
    assemble(Report {
        identity: AgentLedger::default(),
        cut: LedgerCut::default(),
        rows: rows.iter().enumerate().map(counted).collect(),
        hooks: Vec::new(),
    })
}

fn slots(ledger: &AgentLedger) -> impl Iterator<Item = (&LedgerProfile, &LedgerSlot)> {
    let of = |profile| move |slot| (profile, slot);
    ledger
        .profiles
        .iter()
        .flat_map(move |profile| profile.slots.iter().map(of(profile)))
}

proptest! {
    #[test]
    fn fold_of_any_rows_keeps_what_is_live_and_every_sum(
        rows in proptest::collection::vec((0_u8..40, 0_u16..40, 0_usize..4, any::<bool>()), 0..900),
    ) {
        let rows: Vec<Row> = rows
            .into_iter()
            .enumerate()
            // A node runs 256 events at most.
            .map(|(at, (profile, event, kind, live))| {
                row(format!("p{profile}"), format!("e{event}"), kind, live && at < 256)
            })
            .collect();
        let whole = ledger(&rows, |index| index as u64);
        let folded = fold(&whole, &told(rows.iter()));
        prop_assert!(slots(&folded).count() <= TOLD_ROWS + KINDS.len());
        let sum = |ledger: &AgentLedger, kind: &str| -> (u64, u64) {
            slots(ledger)
                .filter(|(_, slot)| slot.kind == kind)
                .fold((0, 0), |(matched, acked), (_, slot)| (matched + slot.matched, acked + slot.acked))
        };
        for kind in KINDS {
            prop_assert_eq!(sum(&whole, kind), sum(&folded, kind));
        }
        for (profile, slot) in slots(&whole) {
            let is_live = rows.iter().any(|row| {
                row.live && row.info.profile == profile.name && row.info.event == slot.event && row.info.kind == slot.kind
            });
            let is_told = slots(&folded).any(|(_, told)| told == slot);
            prop_assert!(!is_live || is_told, "{} {}", profile.name, slot.event);
        }
        if slots(&whole).count() <= TOLD_ROWS {
            prop_assert_eq!(folded, whole);
        }
    }
}

#[test]
fn message_of_the_largest_ledger_that_is_told_fits_a_server_as_it_comes() {
    let long = |number: usize| format!("{number:0>63}");
    let rows: Vec<Row> = (0..5000)
        .map(|number| row(long(number), long(number), number, number % 20 == 0))
        .collect();
    let mut ledger = fold(&ledger(&rows, |_| 0), &told(rows.iter()));
    assert_eq!(slots(&ledger).count(), TOLD_ROWS + KINDS.len());
    let names: BTreeSet<&str> = ledger.profiles.iter().map(|profile| &*profile.name).collect();
    assert!(names.contains(long(4999).as_str()) && !names.contains(long(1).as_str()));
    // A count of a billion a second for a year has 17 digits.
    let most = 99_999_999_999_999_999;
    let largest = LedgerSlot {
        matched: most,
        sampled_out: most,
        limited_event: most,
        limited_profile: most,
        limited_workload: most,
        ring_full: most,
        dry_run: most,
        throttled: most,
        suppressed: most,
        ringed: most,
        in_ring: most,
        malformed: most,
        out_of_scope: most,
        filtered: most,
        held: most,
        accepted: most,
        acked: most,
        shed: most,
        rejected: most,
        queued: most,
        spooled: most,
        unacked: most,
        undecided: most,
        ..LedgerSlot::default()
    };
    for slot in ledger.profiles.iter_mut().flat_map(|profile| &mut profile.slots) {
        *slot = LedgerSlot {
            event: slot.event.clone(),
            kind: slot.kind.clone(),
            ..largest.clone()
        };
    }
    ledger.hooks = vec![
        LedgerHook {
            hook: "h".repeat(63),
            missed: Some(most),
            excluded: most,
            hook_error: most,
            untracked: most,
            ..LedgerHook::default()
        };
        32
    ];
    let header = AgentHeader {
        cluster: "c".repeat(253),
        node: "n".repeat(253),
        epoch: u64::MAX,
        sink: "s".repeat(63),
        seq: u64::MAX,
        time_unix_nanos: 0,
    };
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        let bytes = encode_agent_event(encoding, &header, &AgentEvent::Ledger(ledger.clone()))
            .payload
            .len();
        assert!(bytes <= MAX_PAYLOAD, "{bytes} bytes as {encoding:?}");
    }
}

#[test]
fn ledger_of_another_life_is_told_with_its_first_rows_and_the_sum_of_the_others() {
    let rows: Vec<Row> = (0..600)
        .map(|number| row("p".into(), format!("e{number}"), 0, false))
        .collect();
    let whole = ledger(&rows, |_| 1);
    let folded = fold(&whole, &first(&whole));
    assert_eq!(folded.profiles[0].slots[..], whole.profiles[0].slots[..TOLD_ROWS]);
    assert_eq!(folded.profiles[1].name, REMOVED);
    assert_eq!(folded.profiles[1].slots[0].acked, 600 - TOLD_ROWS as u64);
}

//! Puts kernel and agent counts of one cut together and checks that they agree.

use std::collections::BTreeMap;

use weir_events::agent::{AgentLedger, LedgerCut, LedgerHook, LedgerProfile, LedgerSlot};
use weir_node_agent_common::{hook, outcome};

use super::{Counts, Row, RowInfo};

/// Outcomes of one row, both lanes, less what the slot counted before the row had it.
pub type KernelCounts = [u64; outcome::COUNTERS];
/// A hook's name, its skipped runs and its counters.
pub type HookCounts = (&'static str, Option<u64>, [u64; hook::COUNTERS]);

/// What a cut found.
pub struct Report {
    /// Names of this node and epoch.
    pub identity: AgentLedger,
    /// The cut, `closed` not yet judged.
    pub cut: LedgerCut,
    /// Rows in order, with what the kernel and the agent counted.
    pub rows: Vec<(Row, KernelCounts, Counts)>,
    /// Hooks in order.
    pub hooks: Vec<HookCounts>,
}

/// Writes the ledger of a cut. `closed` says that for every row what the kernel ringed is what arrived.
#[must_use]
pub fn assemble(report: Report) -> AgentLedger {
    let Report {
        identity,
        mut cut,
        rows,
        hooks,
    } = report;
    cut.closed = rows
        .iter()
        .all(|(_, kernel, agent)| kernel[outcome::RINGED as usize] == agent.drained());
    AgentLedger {
        cut,
        hooks: hooks.into_iter().map(hook_row).collect(),
        profiles: profiles(rows),
        ..identity
    }
}

/// One entry for each profile's name, with one slot for each of its events: a profile that was suspended or deleted and
/// came back has a row for each time, and they count on where the one before stopped, as its `seq` does.
fn profiles(rows: Vec<(Row, KernelCounts, Counts)>) -> Vec<LedgerProfile> {
    let mut profiles: BTreeMap<String, LedgerProfile> = BTreeMap::new();
    let mut uids: BTreeMap<String, String> = BTreeMap::new();
    for (row, kernel, agent) in rows {
        let slot = slot(&row, &kernel, &agent);
        let RowInfo {
            profile: name,
            uid,
            generation,
            digest,
            event: _,
            kind: _,
            slot: _,
        } = row.info;
        let profile = profiles.entry(name.clone()).or_insert_with(|| LedgerProfile {
            name: name.clone(),
            ..LedgerProfile::default()
        });
        // Rows stand in the order in which they were opened, so that another UID is a later profile of the same name.
        let later = uids.insert(name, uid.clone()).is_none_or(|before| before != uid);
        if later || generation > profile.generation {
            profile.generation = generation;
            profile.digest = digest;
        }
        let same = |known: &&mut LedgerSlot| (&known.event, &known.kind) == (&slot.event, &slot.kind);
        match profile.slots.iter_mut().find(same) {
            Some(known) => add(known, &slot),
            None => profile.slots.push(slot),
        }
    }
    profiles.into_values().collect()
}

/// Adds the counts of another row of the same event. Every identity that holds for both holds for the sum.
pub(super) fn add(sum: &mut LedgerSlot, other: &LedgerSlot) {
    let LedgerSlot {
        event: _,
        kind: _,
        matched,
        sampled_out,
        limited_event,
        limited_profile,
        limited_workload,
        ring_full,
        dry_run,
        throttled,
        suppressed,
        ringed,
        in_ring,
        malformed,
        out_of_scope,
        filtered,
        held,
        accepted,
        acked,
        shed,
        rejected,
        queued,
        spooled,
        unacked,
        undecided,
    } = other;
    sum.matched += matched;
    sum.sampled_out += sampled_out;
    sum.limited_event += limited_event;
    sum.limited_profile += limited_profile;
    sum.limited_workload += limited_workload;
    sum.ring_full += ring_full;
    sum.dry_run += dry_run;
    sum.throttled += throttled;
    sum.suppressed += suppressed;
    sum.ringed += ringed;
    sum.in_ring += in_ring;
    sum.malformed += malformed;
    sum.out_of_scope += out_of_scope;
    sum.filtered += filtered;
    sum.held += held;
    sum.accepted += accepted;
    sum.acked += acked;
    sum.shed += shed;
    sum.rejected += rejected;
    sum.queued += queued;
    sum.spooled += spooled;
    sum.unacked += unacked;
    sum.undecided += undecided;
}

fn slot(row: &Row, kernel: &KernelCounts, agent: &Counts) -> LedgerSlot {
    let count = |outcome: u32| kernel[outcome as usize];
    let ringed = count(outcome::RINGED);
    LedgerSlot {
        event: row.info.event.clone(),
        kind: row.info.kind.to_owned(),
        matched: kernel[..outcome::OUTCOMES].iter().sum(),
        sampled_out: count(outcome::SAMPLED_OUT),
        limited_event: count(outcome::LIMITED_EVENT),
        limited_profile: count(outcome::LIMITED_PROFILE),
        limited_workload: count(outcome::LIMITED_WORKLOAD),
        ring_full: count(outcome::RING_FULL),
        dry_run: count(outcome::DRY_RUN),
        throttled: count(outcome::THROTTLED),
        suppressed: count(outcome::SUPPRESSED),
        ringed,
        in_ring: ringed.saturating_sub(agent.drained()),
        malformed: agent.malformed,
        out_of_scope: agent.out_of_scope,
        filtered: agent.filtered,
        held: agent.held,
        accepted: agent.out.sum(),
        acked: agent.out.acked,
        shed: agent.out.shed,
        rejected: agent.out.rejected,
        queued: agent.out.queued,
        spooled: agent.out.spooled,
        unacked: agent.out.unacked,
        undecided: count(outcome::UNDECIDED),
    }
}

fn hook_row((name, missed, counters): HookCounts) -> LedgerHook {
    let count = |counter: u32| counters[counter as usize];
    let reasons = [
        ("no_scratch_buffer", count(hook::ERROR_SCRATCH)),
        ("configuration_missing", count(hook::ERROR_CONFIG)),
        ("memory_unreadable", count(hook::ERROR_READ)),
        ("process_table_ring_full", count(hook::TABLE_RING_FULL)),
        ("control_ring_full", count(hook::CONTROL_RING_FULL)),
    ];
    let reasons: BTreeMap<String, u64> = reasons
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count))
        .collect();
    LedgerHook {
        hook: name.to_owned(),
        missed,
        excluded: count(hook::EXCLUDED),
        hook_error: reasons.values().sum(),
        untracked: count(hook::UNTRACKED),
        hook_error_reasons: reasons,
    }
}

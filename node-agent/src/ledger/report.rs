//! Puts kernel and agent counts of one cut together and checks that they agree.

use std::collections::BTreeMap;

use weir_events::agent::{AgentLedger, LedgerCut, LedgerHook, LedgerProfile, LedgerSlot};
use weir_node_agent_common::{hook, outcome};

use super::{Counts, Row};

/// Outcomes of one row, both lanes, less what the slot counted before the row had it.
pub type KernelCounts = [u64; outcome::COUNTERS];
/// A hook's name, its skipped runs and its counters.
pub type HookCounts = (&'static str, u64, [u64; hook::COUNTERS]);

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
    let mut profiles: BTreeMap<(String, String), LedgerProfile> = BTreeMap::new();
    for (row, kernel, agent) in rows {
        let key = (row.info.profile.clone(), row.info.uid.clone());
        let profile = profiles.entry(key).or_insert_with(|| LedgerProfile {
            name: row.info.profile.clone(),
            generation: row.info.generation,
            digest: row.info.digest.clone(),
            slots: Vec::new(),
        });
        if row.info.generation > profile.generation {
            profile.generation = row.info.generation;
            profile.digest.clone_from(&row.info.digest);
        }
        profile.slots.push(slot(&row, &kernel, &agent));
    }
    AgentLedger {
        cut,
        hooks: hooks.into_iter().map(hook_row).collect(),
        profiles: profiles.into_values().collect(),
        ..identity
    }
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

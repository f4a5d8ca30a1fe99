//! The ledger and attribution's tables as metrics: as of the last cut, read whenever somebody scrapes.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use weir_events::agent::{AgentLedger, LedgerHook, LedgerSlot};
use weir_runtime::metrics::Metrics;

use crate::control::view::View;
use crate::enrich::{CgroupCounts, IndexCounts, WorkloadCounts};

/// Events by outcome, see `docs/telemetry.md`.
const EVENTS: &str = "events";
/// Hook runs by outcome.
const HOOK_RUNS: &str = "hook_runs";
/// Events that are on their way.
const IN_FLIGHT: &str = "events_in_flight";
/// 1 when the last cut closed.
const CLOSED: &str = "ledger_closed";
/// What attribution's tables did not hold.
const ATTRIBUTION: &str = "attribution_dropped";
/// Workloads without a bucket of their own.
const SHARING: &str = "workloads_sharing_bucket";

#[derive(Debug)]
struct LedgerCollector {
    view: View,
}

/// Registers the ledger's metrics.
pub fn register(metrics: &Metrics, view: View) {
    metrics.register(|registry| registry.register_collector(Box::new(LedgerCollector { view })));
}

impl Collector for LedgerCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(ledger) = self.view.ledger() else {
            return Ok(());
        };
        events(&ledger, &mut encoder)?;
        in_flight(&ledger, &mut encoder)?;
        hooks(&ledger, &mut encoder)?;
        attribution(self.view.attribution(), &mut encoder)?;
        let closed = ConstGauge::new(i64::from(ledger.cut.closed));
        closed.encode(encoder.encode_descriptor(
            CLOSED,
            "Whether every record of the last ledger cut arrived (1) or not (0)",
            None,
            closed.metric_type(),
        )?)
    }
}

fn events(ledger: &AgentLedger, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(
        EVENTS,
        "Matched events by what became of them, as of the last ledger cut",
        None,
        ConstCounter::new(0_u64).metric_type(),
    )?;
    for profile in &ledger.profiles {
        for slot in &profile.slots {
            for (outcome, count) in outcomes(slot) {
                let labels = [
                    ("profile", profile.name.as_str()),
                    ("event", slot.event.as_str()),
                    ("kind", slot.kind.as_str()),
                    ("outcome", outcome),
                ];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn in_flight(ledger: &AgentLedger, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(
        IN_FLIGHT,
        "Accepted events that are not yet acknowledged, by place, as of the last ledger cut",
        None,
        ConstGauge::new(0_i64).metric_type(),
    )?;
    for profile in &ledger.profiles {
        for slot in &profile.slots {
            for (place, count) in [
                ("held", slot.held),
                ("queued", slot.queued),
                ("spooled", slot.spooled),
                ("unacked", slot.unacked),
            ] {
                let labels = [
                    ("profile", profile.name.as_str()),
                    ("event", slot.event.as_str()),
                    ("kind", slot.kind.as_str()),
                    ("place", place),
                ];
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                ConstGauge::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn hooks(ledger: &AgentLedger, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(
        HOOK_RUNS,
        "Hook runs outside the identities: missed, excluded, failed, untracked, as of the last ledger cut",
        None,
        ConstCounter::new(0_u64).metric_type(),
    )?;
    for LedgerHook {
        hook,
        missed,
        excluded,
        hook_error,
        untracked,
        hook_error_reasons: _,
    } in &ledger.hooks
    {
        for (outcome, count) in [
            // Where the kernel does not count, there is no number rather than a 0.
            ("missed", *missed),
            ("excluded", Some(*excluded)),
            ("error", Some(*hook_error)),
            ("untracked", Some(*untracked)),
        ] {
            let Some(count) = count else { continue };
            let labels = [("hook", hook.as_str()), ("outcome", outcome)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn attribution(counts: IndexCounts, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
    let IndexCounts {
        cgroups:
            CgroupCounts {
                evicted: cgroups_evicted,
                refused: cgroups_refused,
            },
        workloads:
            WorkloadCounts {
                evicted: pods_evicted,
                refused: pods_refused,
                impostors,
            },
        pod_index_overflows,
        container_index_overflows,
        namespaces_refused,
        pods_sharing,
        containers_sharing,
    } = counts;
    let mut family = encoder.encode_descriptor(
        ATTRIBUTION,
        "What attribution's tables did not take in or gave up early, as of the last ledger cut",
        None,
        ConstCounter::new(0_u64).metric_type(),
    )?;
    for (table, reason, count) in [
        ("cgroups", "full", cgroups_refused),
        ("cgroups", "evicted", cgroups_evicted),
        ("pods", "full", pods_refused),
        ("pods", "evicted", pods_evicted),
        ("pods", "impostor", impostors),
        ("namespaces", "full", namespaces_refused),
        ("pod_buckets", "full", pod_index_overflows),
        ("container_buckets", "full", container_index_overflows),
    ] {
        let labels = [("table", table), ("reason", reason)];
        ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
    }
    let mut family = encoder.encode_descriptor(
        SHARING,
        "Workloads that share one bucket of keyed limits for want of their own, as of the last ledger cut",
        None,
        ConstGauge::new(0_i64).metric_type(),
    )?;
    for (per, count) in [("pod", pods_sharing), ("container", containers_sharing)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        ConstGauge::new(count).encode(family.encode_family(&[("per", per)])?)?;
    }
    Ok(())
}

/// The final outcomes of a slot; with what is in flight they make up `matched`.
fn outcomes(slot: &LedgerSlot) -> [(&'static str, u64); 15] {
    [
        ("sampled_out", slot.sampled_out),
        ("limited_event", slot.limited_event),
        ("limited_profile", slot.limited_profile),
        ("limited_workload", slot.limited_workload),
        ("ring_full", slot.ring_full),
        ("dry_run", slot.dry_run),
        ("throttled", slot.throttled),
        ("suppressed", slot.suppressed),
        ("malformed", slot.malformed),
        ("out_of_scope", slot.out_of_scope),
        ("filtered", slot.filtered),
        ("acked", slot.acked),
        ("shed", slot.shed),
        ("rejected", slot.rejected),
        ("undecided", slot.undecided),
    ]
}

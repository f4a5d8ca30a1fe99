//! A ledger cut: flip the lane, wait for running programs, read the old lane, drain it, compare.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::oneshot;
use weir_events::AgentEvent;
use weir_events::agent::{AgentLedger, LedgerCut};
use weir_node_agent_common::config::Active;
use weir_runtime::readiness::State;

use super::{Control, ControlError, Cut};
use crate::bpf::maps::Outcomes;
use crate::drain::{Command, Stopped};
use crate::enrich::IndexCounts;
use crate::ledger::{Counts, KernelCounts, Report, Row, assemble, fold};

impl Control {
    /// Makes the configuration on `side` run on the other lane, and closes the present cut. The last ones seal
    /// open batches too.
    pub(super) async fn cut(
        &mut self,
        side: u32,
        config_id: u32,
        why: Cut,
    ) -> Result<AgentLedger, ControlError> {
        let cut = self.cut;
        let lane = cut & 1;
        let word = Active::new(side, lane ^ 1, config_id);
        self.side.switch(word)?;
        self.word = word;
        self.cut = cut + 1;
        for row in self.live.values() {
            let counted = self.side.outcomes(lane, row.slot)?;
            let own = since(&counted, &row.baseline[lane as usize]);
            if let Some(quiet) = self.quiet.get_mut(row.row.0 as usize) {
                quiet[lane as usize] = own;
            }
        }
        let (done, closed) = oneshot::channel();
        self.commands
            .send(Command::Close {
                cut,
                last: why != Cut::Running,
                done,
            })
            .await?;
        let closed = closed.await.map_err(|_| Stopped)?;
        self.moved.extend(closed.moved);
        let rows = self.ledger.close(cut);
        let rows: Vec<(Row, KernelCounts, Counts)> = rows
            .into_iter()
            .zip(&self.quiet)
            .map(|((row, counts), lanes)| (row, total(lanes), counts))
            .collect();
        let told = (rows.len() > fold::TOLD_ROWS).then(|| fold::told(rows.iter().map(|(row, ..)| row)));
        let now = SystemTime::now();
        let ledger = assemble(Report {
            identity: AgentLedger {
                cluster: self.identity.cluster.clone(),
                node: self.identity.node.clone(),
                epoch: self.identity.epoch,
                boot_id: self.boot_id.clone(),
                ..AgentLedger::default()
            },
            cut: LedgerCut {
                id: u64::from(cut),
                time_unix_nanos: now
                    .duration_since(UNIX_EPOCH)
                    .ok()
                    .and_then(|now| u64::try_from(now.as_nanos()).ok())
                    .unwrap_or(0),
                closed: false,
                is_final: why == Cut::Final,
                unknown_after: false,
            },
            rows,
            hooks: self.side.hooks()?,
        });
        if !ledger.cut.closed {
            tracing::error!(
                cut,
                "the ledger did not close: records that the kernel wrote did not arrive; this is a bug"
            );
        }
        match told {
            Some(told) => self.announce(&fold::fold(&ledger, &told), now),
            None => self.announce(&ledger, now),
        }
        let attribution = self.side.attribution();
        self.show_overflow(attribution);
        self.view.cut(ledger.clone(), closed.next_seq, attribution);
        Ok(ledger)
    }

    /// Shows that workloads share a bucket of keyed limits, while they do.
    fn show_overflow(&self, counts: IndexCounts) {
        const COMPONENT: &str = "workload limits";
        let IndexCounts {
            pods_sharing,
            containers_sharing,
            ..
        } = counts;
        if pods_sharing == 0 && containers_sharing == 0 {
            self.readiness.remove(COMPONENT);
            return;
        }
        let state = State::Degraded {
            reason: format!(
                "{pods_sharing} pods and {containers_sharing} containers share one bucket of each limit per workload"
            ),
            remedy: "run fewer pods on this node, or limit per: Node".into(),
        };
        self.readiness.set(COMPONENT, state, SystemTime::now());
    }

    /// Tells, once there are sinks, at which cut the life before this one is closed. What came after is unknown.
    pub fn announce_last_life(&mut self, ledger: &AgentLedger) {
        self.last_life = Some(fold::fold(ledger, &fold::first(ledger)));
    }

    fn announce(&mut self, ledger: &AgentLedger, now: SystemTime) {
        if let Some(before) = self.last_life.take_if(|_| !self.running_sinks.is_empty()) {
            for sink in self.running_sinks.keys() {
                let event = self
                    .identity
                    .event("last-life".into(), now, AgentEvent::Ledger(before.clone()));
                if !self.publish.agent_event(sink, event) {
                    tracing::debug!(%sink, "no such sink for the last life's ledger any more");
                }
            }
        }
        for sink in self.running_sinks.keys() {
            let event = self
                .identity
                .event("ledger".into(), now, AgentEvent::Ledger(ledger.clone()));
            if !self.publish.agent_event(sink, event) {
                tracing::debug!(%sink, "no such sink for the ledger any more");
            }
        }
    }
}

fn since(now: &Outcomes, baseline: &Outcomes) -> Outcomes {
    let mut own = *now;
    for (own, before) in own.iter_mut().zip(baseline) {
        *own = own.saturating_sub(*before);
    }
    own
}

fn total(lanes: &[Outcomes; 2]) -> Outcomes {
    let mut total = lanes[0];
    for (total, other) in total.iter_mut().zip(&lanes[1]) {
        *total += other;
    }
    total
}

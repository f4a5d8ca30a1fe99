//! A cluster in which nothing changes is left alone.

use std::time::Duration;

use weir_e2e::audit::Mark;
use weir_e2e::harness::Harness;
use weir_e2e::scenario::{self, TestResult};
use weir_e2e::wait::{Probe, holds, until};

const PERIOD: Duration = Duration::from_mins(1);
/// What other tests did has its last consequences: their pods take up to 30 s to end, and somewhat more to be cleared
/// away; that leaves the 60 s over which rates are told, and a moved rate is told after 75 s more.
const AFTERMATH: Duration = Duration::from_secs(195);
/// A write may have another one behind it: the operator follows what agents report.
const CALM: Duration = Duration::from_secs(25);
const CALM_LIMIT: Duration = Duration::from_mins(8);

/// Scenario: the quick start is ready and nobody changes anything for 60 s.
/// Guarantees: the API server's own audit log has no write of any of Weir's service accounts but for Leases.
#[tokio::test]
async fn steady_state_writes_nothing_for_a_minute() -> TestResult {
    scenario::run("steady", async |world| {
        let Some(harness) = Harness::of(&world.cluster) else {
            eprintln!("SKIPPED: only the local provider shows the audit log");
            return Ok(());
        };
        world.baseline().await?;
        let log = harness.audit_log();
        let mut mark = Mark::now(&log)?;
        let start = tokio::time::Instant::now();
        let mut since = start;
        until("the last consequences of what was before", CALM_LIMIT, || {
            let probe = mark.weir_writes().map(|writes| {
                let seen = format!("{writes:?}");
                if !writes.is_empty() {
                    since = tokio::time::Instant::now();
                    if let Ok(now) = Mark::now(&log) {
                        mark = now;
                    }
                }
                let calm = writes.is_empty() && since.elapsed() >= CALM && start.elapsed() >= AFTERMATH;
                Probe::when(calm, (), seen)
            });
            std::future::ready(probe)
        })
        .await?;

        let mark = Mark::now(&log)?;
        holds("no write of Weir", PERIOD, || {
            let writes = mark.weir_writes();
            std::future::ready(writes.map(|writes| Probe::when(writes.is_empty(), (), format!("{writes:?}"))))
        })
        .await?;
        Ok(())
    })
    .await
}

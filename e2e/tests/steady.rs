//! A cluster in which nothing changes is left alone.

use std::time::{Duration, Instant};

use weir_e2e::audit::Mark;
use weir_e2e::harness::Harness;
use weir_e2e::scenario::{self, TestResult};
use weir_e2e::wait::{Probe, until};

/// What a user is promised is 60 s; the rest keeps a minute between two writes from passing for silence.
const SILENCE: Duration = Duration::from_secs(90);
/// What other tests did has its last consequences: their pods take up to 30 s to end, that leaves the 60 s over which rates
/// are told, and a moved rate is told after 75 s more. A cluster that is not silent by then is not going to be.
const LIMIT: Duration = Duration::from_mins(7);

/// Scenario: the quick start is ready, and nobody changes anything.
/// Guarantees: the last consequences of what was before once told, the API server's own audit log has no write of any of
/// Weir's service accounts for 90 s, but for Leases.
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
        let mut since = Instant::now();
        let mut last = String::from("none");
        until("silence", LIMIT, || {
            let probe = mark.weir_writes().and_then(|writes| {
                if !writes.is_empty() {
                    last = format!("{writes:?}");
                    mark = Mark::now(&log)?;
                    since = Instant::now();
                }
                let silent = since.elapsed() >= SILENCE;
                Ok(Probe::when(
                    silent,
                    (),
                    format!("{} s after {last}", since.elapsed().as_secs()),
                ))
            });
            std::future::ready(probe)
        })
        .await?;
        Ok(())
    })
    .await
}

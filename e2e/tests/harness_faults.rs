//! Faults of the cluster that only the local provider can make. They disturb every other test, so they have a file of
//! their own, which cargo runs by itself.

use std::time::Duration;

use serde_json::json;
use weir_e2e::audit::Mark;
use weir_e2e::cluster::Cluster;
use weir_e2e::harness::Harness;
use weir_e2e::wait::{Probe, until};
use weir_e2e::workload::{TestNamespace, Workload};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Scenario: an object is written, then the API server is stopped and started again.
/// Guarantees: the audit log has exactly that write of that user; a running pod is not touched.
#[tokio::test]
async fn api_server_restart_keeps_pods_and_audit_log_counts_writes() -> TestResult {
    let Some(cluster) = Cluster::connect_or_skip().await? else {
        return Ok(());
    };
    let Some(harness) = Harness::require(&cluster, "only the local provider can stop an API server")? else {
        return Ok(());
    };
    let namespace = TestNamespace::create(&cluster, "harness-restart", &json!({})).await?;
    let before = Workload::new(&namespace.name, "survivor").start(&cluster).await?;

    let mark = Mark::now(&harness.audit_log())?;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "counted", "namespace": namespace.name},
    });
    cluster.apply(&map.to_string()).await?;
    let writes: Vec<_> = mark
        .writes_since(|user| user == "weir-admin")?
        .into_iter()
        .filter(|write| write.name == "counted")
        .collect();
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(
        (writes[0].verb.as_str(), writes[0].resource.as_str()),
        ("patch", "configmaps")
    );

    harness.stop("apiserver").await?;
    assert!(cluster.get_raw("/readyz").await.is_err());
    harness.start("apiserver").await?;
    until(
        "the API server to be ready again",
        Duration::from_secs(30),
        || async { cluster.get_raw("/readyz").await.map(Probe::Done) },
    )
    .await?;
    let after = Workload::new(&namespace.name, "survivor").start(&cluster).await?;
    let restarts = |pod: &k8s_openapi::api::core::v1::Pod| {
        let statuses = pod
            .status
            .clone()
            .unwrap_or_default()
            .container_statuses
            .unwrap_or_default();
        (
            pod.metadata.uid.clone(),
            statuses.iter().map(|status| status.restart_count).sum::<i32>(),
        )
    };
    assert_eq!(restarts(&after), restarts(&before));
    namespace.delete().await?;
    Ok(())
}

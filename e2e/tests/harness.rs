//! What every scenario takes for granted of the cluster: pods run on each node, see each other, and leave traces.
//!
//! Weir is not part of these tests. When one fails, the cluster is at fault, not Weir.

use std::time::Duration;

use serde_json::json;
use weir_e2e::cluster::Cluster;
use weir_e2e::node;
use weir_e2e::wait::{Probe, until};
use weir_e2e::workload::{TestNamespace, Workload};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// Scenario: a pod on each node serves a file, behind a service.
/// Guarantees: logs and exec work on each node; each pod reaches each other's service by name; a name outside the
/// cluster does not exist.
#[tokio::test]
async fn pods_of_all_nodes_reach_each_other_by_service_name() -> TestResult {
    let Some(cluster) = Cluster::connect_or_skip().await? else {
        return Ok(());
    };
    let namespace = TestNamespace::create(&cluster, "harness-services", &json!({})).await?;
    let nodes = node::list(&cluster).await?.workloads;
    assert!(!nodes.is_empty());
    for node in &nodes {
        let script = "echo serving; mkdir /www; hostname >/www/name; exec httpd -f -p 8080 -h /www";
        Workload::new(&namespace.name, node)
            .on(node)
            .label("app", node)
            .script(script)
            .start(&cluster)
            .await?;
        let service = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": node, "namespace": namespace.name},
            "spec": {"selector": {"app": node}, "ports": [{"port": 80, "targetPort": 8080}]},
        });
        cluster.apply(&service.to_string()).await?;
    }
    for from in &nodes {
        assert_eq!(
            cluster
                .kubectl(["logs", "--namespace", &namespace.name, from])
                .await?,
            "serving\n"
        );
        for to in &nodes {
            let url = format!("http://{to}.{}.svc/name", namespace.name);
            let what = format!("an answer to {from} from the service of {to}");
            // The service's rules reach the node a moment after the service exists.
            until(&what, Duration::from_secs(20), || async {
                let answer = cluster.exec(&namespace.name, from, &["wget", "-qO-", &url]).await;
                answer.map(|text| Probe::when(text.trim() == to, (), text))
            })
            .await?;
        }
        let outside = cluster
            .exec(&namespace.name, from, &["nslookup", "weir.invalid"])
            .await;
        assert!(outside.is_err(), "{outside:?}");
    }
    namespace.delete().await?;
    Ok(())
}

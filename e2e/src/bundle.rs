//! What a person needs to understand a failed test, in one folder: objects, logs, ledgers.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};

use crate::agent;
use crate::cluster::{Cluster, ClusterError, checkout};
use crate::harness::Harness;

/// Namespaces of the operator and the agents, with the port of their admin server and what it serves.
const NAMESPACES: [(&str, u16, &[&str]); 2] = [
    ("weir-system", 8080, &["metrics", "readyz"]),
    (
        agent::NAMESPACE,
        agent::ADMIN_PORT,
        &["ledger", "metrics", "readyz"],
    ),
];
const OBJECTS: [(&str, &str); 5] = [
    (
        "weir",
        "collectorprofiles.weir.dev,collectorsinks.weir.dev,collectornodes.weir.dev",
    ),
    ("nodes", "nodes"),
    ("pods", "pods"),
    ("workloads", "daemonsets,deployments,leases"),
    ("events", "events"),
];

/// A pod whose container does not run keeps the API server waiting for much longer.
const POD_LIMIT: Duration = Duration::from_secs(5);

/// A pod that was asked.
#[derive(Debug, thiserror::Error)]
#[error("no answer within {} s", POD_LIMIT.as_secs())]
struct Silent;

/// Collects everything into `target/e2e/NAME` and returns the folder.
///
/// It collects what it can: what could not be had is written down in `missing.txt`, so that a broken cluster, of
/// all things, does not prevent a look at it.
pub async fn collect(cluster: &Cluster, name: &str) -> std::io::Result<PathBuf> {
    let folder = checkout().join("target/e2e").join(sanitise(name));
    std::fs::create_dir_all(&folder)?;
    let mut missing = String::new();
    for (file, kinds) in OBJECTS {
        let arguments = [
            "get",
            kinds,
            "--all-namespaces",
            "--output=yaml",
            "--show-managed-fields",
        ];
        save(
            &folder.join(format!("{file}.yaml")),
            cluster.kubectl(arguments).await,
            &mut missing,
        )?;
    }
    for (namespace, port, paths) in NAMESPACES {
        let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
        match pods.list(&ListParams::default()).await {
            Ok(list) => {
                for pod in list {
                    let pod = pod.name_any();
                    collect_pod(cluster, &folder, namespace, &pod, &mut missing).await?;
                    for path in paths {
                        let answer = cluster.get_from_pod(namespace, &pod, port, path);
                        let Ok(answer) = tokio::time::timeout(POD_LIMIT, answer).await else {
                            note(&mut missing, &format!("{path} of {pod}"), &Silent);
                            continue;
                        };
                        save(&folder.join(format!("{pod}.{path}")), answer, &mut missing)?;
                    }
                }
            }
            Err(error) => note(&mut missing, &format!("pods of {namespace}"), &error),
        }
    }
    if let Some(harness) = Harness::of(cluster) {
        copy_folder(&harness.logs(), &folder.join("components"), &mut missing);
        copy(&harness.audit_log(), &folder.join("audit.log"), &mut missing);
    }
    if !missing.is_empty() {
        std::fs::write(folder.join("missing.txt"), missing)?;
    }
    Ok(folder)
}

async fn collect_pod(
    cluster: &Cluster,
    folder: &Path,
    namespace: &str,
    pod: &str,
    missing: &mut String,
) -> std::io::Result<()> {
    let logs = [
        "logs",
        "--namespace",
        namespace,
        pod,
        "--all-containers",
        "--timestamps",
    ];
    save(
        &folder.join(format!("{pod}.log")),
        cluster.kubectl(logs).await,
        missing,
    )?;
    let previous = [
        "logs",
        "--namespace",
        namespace,
        pod,
        "--all-containers",
        "--timestamps",
        "--previous",
    ];
    // Most pods never restarted, so that there are none is no news.
    if let Ok(text) = cluster.kubectl(previous).await {
        std::fs::write(folder.join(format!("{pod}.previous.log")), text)?;
    }
    Ok(())
}

fn save(path: &Path, content: Result<String, ClusterError>, missing: &mut String) -> std::io::Result<()> {
    match content {
        Ok(text) => std::fs::write(path, text),
        Err(error) => {
            note(missing, &path.display().to_string(), &error);
            Ok(())
        }
    }
}

fn note(missing: &mut String, what: &str, error: &dyn std::error::Error) {
    // Writing to a String cannot fail.
    writeln!(missing, "{what}: {}", crate::wait::chain(error)).unwrap_or_default();
}

/// Copies what can be copied: a log that is just rotated away must not cost the rest.
fn copy_folder(from: &Path, to: &Path, missing: &mut String) {
    let entries = std::fs::create_dir_all(to).and_then(|()| std::fs::read_dir(from));
    match entries {
        Ok(entries) => {
            for entry in entries.flatten() {
                copy(&entry.path(), &to.join(entry.file_name()), missing);
            }
        }
        Err(error) => note(missing, &from.display().to_string(), &error),
    }
}

fn copy(from: &Path, to: &Path, missing: &mut String) {
    if let Err(error) = std::fs::copy(from, to) {
        note(missing, &from.display().to_string(), &error);
    }
}

/// A test's name as a folder's: paths and odd characters do not escape.
fn sanitise(name: &str) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '-'
        }
    };
    name.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copy_folder_takes_what_it_can_and_notes_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        std::fs::create_dir_all(from.join("no-file")).unwrap();
        std::fs::write(from.join("etcd.log"), "why").unwrap();
        let mut missing = String::new();
        copy_folder(&from, &folder.path().join("to"), &mut missing);
        copy_folder(
            &folder.path().join("nowhere"),
            &folder.path().join("to"),
            &mut missing,
        );
        assert_eq!(
            std::fs::read_to_string(folder.path().join("to/etcd.log")).unwrap(),
            "why"
        );
        assert!(
            missing.contains("no-file") && missing.contains("nowhere"),
            "{missing}"
        );
    }

    #[test]
    fn sanitise_path_does_not_escape() {
        assert_eq!(
            sanitise("../../etc::deleted_profile goes"),
            "------etc--deleted_profile-goes"
        );
    }
}

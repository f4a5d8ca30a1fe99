//! Uninstalling leaves nothing, neither in the API server nor on the nodes. The last file: cargo runs them by name.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use weir_e2e::agent::{self, AgentPod};
use weir_e2e::cluster::{Cluster, ClusterError};
use weir_e2e::harness::Harness;
use weir_e2e::scenario::{self, TestResult, World, manifests};
use weir_e2e::told::until_told;
use weir_e2e::wait::{Probe, until};
use weir_e2e::{operator, programs};

const GONE_LIMIT: Duration = Duration::from_secs(90);
/// What a user is promised from the first `kubectl apply` to `Ready`, images being there.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// Every kind that the manifests make, but for pods and the like that go with their owners.
const KINDS: &str = "customresourcedefinitions,clusterroles,clusterrolebindings,roles,rolebindings,namespaces,\
    validatingadmissionpolicies,validatingadmissionpolicybindings,flowschemas,prioritylevelconfigurations";

async fn delete(cluster: &Cluster, folder: &str) -> Result<String, ClusterError> {
    let path = manifests(folder);
    let arguments = [
        "delete",
        "--ignore-not-found",
        "--wait=false",
        "--kustomize",
        &path,
    ];
    cluster.kubectl(arguments).await
}

/// What agents hold on their nodes while they run.
struct Held {
    pods: Vec<AgentPod>,
    programs: BTreeSet<u32>,
}

impl Held {
    async fn now(world: &World) -> TestResult<Self> {
        let pods: Vec<AgentPod> = agent::until_on(&world.cluster, &world.agent_nodes, GONE_LIMIT)
            .await?
            .into_values()
            .collect();
        let mut programs = BTreeSet::new();
        if let Some(harness) = Harness::of(&world.cluster) {
            for pod in &pods {
                programs.extend(programs::held_by(&pod.uid)?);
                assert!(!harness.cgroups_of(&pod.uid)?.is_empty(), "{pod:?} has no cgroup");
            }
            assert!(!programs.is_empty(), "no agent holds a BPF program");
        }
        Ok(Self { pods, programs })
    }

    /// What of it is still there.
    fn left(&self, harness: &Harness) -> TestResult<String> {
        let loaded = programs::loaded()?;
        let mut left: Vec<String> = loaded
            .intersection(&self.programs)
            .map(|id| format!("BPF program {id}"))
            .collect();
        for pod in &self.pods {
            let cgroups = harness.cgroups_of(&pod.uid)?;
            left.extend(cgroups.iter().map(|folder| folder.display().to_string()));
        }
        Ok(left.join(", "))
    }
}

async fn until_nothing_is_left(world: &World, held: &Held) -> TestResult {
    until("everything to be gone", GONE_LIMIT, || async {
        let all = ["get", KINDS, "--all-namespaces", "--output=name"];
        let left = world.cluster.kubectl(all).await;
        left.map(|left| {
            let ours: Vec<&str> = left.lines().filter(|name| name.contains("weir")).collect();
            // What a test itself has made goes on its own.
            let ours: Vec<&str> = ours.into_iter().filter(|name| !name.contains("/e2e-")).collect();
            Probe::when(ours.is_empty(), (), ours.join(" "))
        })
    })
    .await?;
    let Some(harness) = Harness::of(&world.cluster) else {
        return Ok(());
    };
    until("programs and cgroups to be gone", GONE_LIMIT, || async {
        match held.left(&harness) {
            Ok(left) => Probe::when(left.is_empty(), (), left),
            Err(error) => Probe::Never(error.to_string()),
        }
    })
    .await?;
    for node in &world.agent_nodes {
        for folder in [harness.weir_folder(node), harness.bpffs(node)?] {
            until(
                &format!("{} to be empty", folder.display()),
                GONE_LIMIT,
                || async { empty(&folder) },
            )
            .await?;
        }
    }
    Ok(())
}

/// What the kernel itself puts into every bpffs, to list all programs and maps.
const KERNELS: [&str; 2] = ["maps.debug", "progs.debug"];

fn empty(folder: &Path) -> Result<Probe<()>, std::io::Error> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        if !KERNELS.iter().any(|own| name == *own) {
            left.push(name);
        }
    }
    Ok(Probe::when(left.is_empty(), (), format!("{left:?}")))
}

/// As `docs/install.md` says: what the quick start made, then all profiles, then the rest.
async fn uninstall_as_documented(cluster: &Cluster) -> TestResult {
    let delete = async |arguments: &[&str]| {
        let arguments = ["delete", "--timeout=110s"].iter().chain(arguments);
        cluster.kubectl(arguments).await.map(drop)
    };
    delete(&["--kustomize", &manifests("quickstart")]).await?;
    delete(&["cprof", "--all"]).await?;
    delete(&["--kustomize", &manifests("default")]).await?;
    Ok(())
}

/// Installs everything but the definitions, and looks at what the operator says of it; then installs them as well.
async fn install_without_definitions(world: &World) -> TestResult {
    let whole = world
        .cluster
        .kubectl(["kustomize", &manifests("default")])
        .await?;
    let is_definition = |document: &&str| {
        document
            .lines()
            .any(|line| line == "kind: CustomResourceDefinition")
    };
    let (definitions, others): (Vec<&str>, Vec<&str>) = whole.split("\n---\n").partition(is_definition);
    assert_eq!(definitions.len(), 3, "the definitions were not found");
    // Namespaces that are just being deleted take nothing.
    until("the manifests to be taken", GONE_LIMIT, || async {
        world
            .cluster
            .apply(&others.join("\n---\n"))
            .await
            .map(Probe::Done)
    })
    .await?;
    let name = "collectorprofiles.weir.dev";
    let remedy = "apply the manifests' crds";
    until_told(&world.cluster, name, "CrdNotInstalled", remedy, GONE_LIMIT).await?;
    let pods = operator::pods(&world.cluster).await?;
    let crashed = operator::crashed(&[], &pods);
    assert!(!pods.is_empty() && crashed.is_empty(), "{crashed:?}");

    // By the manager that a user's `kubectl apply` has.
    world.install().await?;
    world.baseline().await?;
    Ok(())
}

/// Scenario: what was applied is deleted, in the documented order; then everything is installed again and deleted
/// with the operator gone first; then it is installed without the definitions, which come later.
/// Guarantees: no object, definition, role or namespace of Weir is left, no BPF program, pin or cgroup, and no file in the
/// nodes' state folders; from the first command of a fresh install to `Ready` on every node it takes at most 30 s; that
/// definitions are missing is told by an Event and the log with the remedy, nothing crashes, and it is ready once they come.
#[tokio::test]
async fn uninstall_leaves_nothing_with_and_without_an_operator() -> TestResult {
    scenario::run("uninstall", async |world| {
        world.baseline().await?;
        let held = Held::now(world).await?;
        uninstall_as_documented(&world.cluster).await?;
        until_nothing_is_left(world, &held).await?;

        let begin = Instant::now();
        world.install().await?;
        let object = world.baseline().await?.get().await?;
        let took = begin.elapsed();
        println!("a fresh install was ready after {:.1} s", took.as_secs_f64());
        assert!(
            took <= READY_LIMIT,
            "a fresh install was ready after {took:?} only"
        );
        let all = world.agent_nodes.len();
        assert_eq!(object["status"]["nodes"]["live"], all, "{}", object["status"]);

        let held = Held::now(world).await?;
        let operator = [
            "delete",
            "deployment/weir-operator",
            "--namespace=weir-system",
            "--cascade=foreground",
        ];
        world.cluster.kubectl(operator).await?;
        delete(&world.cluster, "quickstart").await?;
        delete(&world.cluster, "default").await?;
        until_nothing_is_left(world, &held).await?;

        install_without_definitions(world).await
    })
    .await
}

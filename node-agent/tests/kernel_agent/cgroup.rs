//! Pods as the kubelet lays out their cgroups, without a kubelet: attribution and limits of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::limit::assert_within;
use crate::agent::{Setup, may_test, until};
use crate::profile::profile;
use crate::stream::{Event, Stream};
use crate::workload::{marker, own_copy};

const UIDS: [&str; 3] = [
    "0f4c1c1e-7a51-4b39-9a0e-2f6f0b7c8d11",
    "5b1a7c52-9a43-4a4b-8f0a-6c1d2e3f4a5b",
    "c2f9e0d4-31b7-4c55-8a6d-7e8f9a0b1c2d",
];

/// Becomes an agent in a pod of a node that is a container, as kind's are: enters the node's cgroup, and there a cgroup
/// namespace with a mount of its own, enters the pod's cgroup through that, and there another cgroup namespace.
const IN_A_NODE: &str = r#"
hierarchy=$0; node=$1; pod=$2; shift 2
echo $$ > "$node/cgroup.procs" || exit 1
exec unshare --cgroup --mount /bin/sh -c '
umount -l "$0" && mount -t cgroup2 none "$0" || exit 1
echo $$ > "$0/$1/cgroup.procs" || exit 1
shift; exec unshare --cgroup "$@"' "$hierarchy" "$pod" "$@"
"#;

/// Where version 2 cgroups are.
fn hierarchy() -> Option<PathBuf> {
    let found = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.join("cgroup.subtree_control").is_file());
    assert!(
        found.is_some() || std::env::var_os("CI").is_none(),
        "this test needs a cgroup v2 hierarchy"
    );
    if found.is_none() {
        eprintln!("SKIPPED, nothing is proven: this test needs a cgroup v2 hierarchy");
    }
    found
}

/// A container's cgroup, and those above it that were made for it; removed when the test ends.
struct Container {
    made: Vec<PathBuf>,
    id: String,
}

/// A cgroup, removed when the test ends.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("makes a cgroup");
        Self(path)
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::remove_dir(&self.0).ok();
    }
}

impl Container {
    fn make(hierarchy: &Path, uid: &str, number: u32) -> Self {
        let id = format!("{number:064x}").replace('0', "a");
        let mut made = Vec::new();
        let mut path = hierarchy.to_path_buf();
        for part in ["kubepods", "besteffort", &format!("pod{uid}"), &id] {
            path.push(part);
            if !path.exists() {
                fs::create_dir(&path).expect("makes a cgroup");
                made.push(path.clone());
            }
        }
        Self { made, id }
    }

    fn path(&self) -> &Path {
        self.made.last().expect("was made")
    }

    /// Runs a shell in the container that becomes the program.
    fn run(&self, program: &Path, arguments: &[&str]) {
        let procs = self.path().join("cgroup.procs");
        let script = "echo $$ > \"$0\" && exec \"$@\"";
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script])
            .arg(procs)
            .arg(program)
            .args(arguments);
        assert!(command.status().expect("starts").success());
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        for path in self.made.iter().rev() {
            // Another test's pod may still be in one of those above.
            fs::remove_dir(path).ok();
        }
    }
}

/// *Scenario:* two pods' cgroups are made while the agent runs, and their first process starts a program at once; it
/// opens a file as fast as it can, under a limit of 200 a second for each pod.
///
/// *Guarantees:* the very first event of each names the pod and the container; each pod has its own limit in every
/// window, with the burst of the unknown's bucket before it; each open is counted.
#[test]
fn pods_are_known_before_their_first_event_and_limited_each_by_itself() {
    if !may_test() {
        return;
    }
    let Some(hierarchy) = hierarchy() else { return };
    let dir = tempfile::tempdir().expect("makes a directory");
    let (perl, file) = (own_copy("/usr/bin/perl", dir.path()), marker(dir.path(), "file"));
    let execs = format!(
        "{{name: execs, kind: process.exec, match: {{binaries: {{exact: [{}]}}}}}}",
        perl.display()
    );
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}, limit: {{eventsPerSecond: 200, per: Pod}}}}",
        file.display()
    );
    let mut agent = Setup::new(&profile("", &[&execs, &opens])).with_file().start();
    let program = "for (1..200000) { sysopen(my $f, $ARGV[0], 0) or die }";
    let path = file.display().to_string();
    let containers: Vec<Container> = std::thread::scope(|scope| {
        let numbered = UIDS[..2].iter().zip(1..);
        let pods: Vec<_> = numbered
            .map(|(uid, number)| {
                let (hierarchy, perl, path) = (&hierarchy, &perl, path.as_str());
                scope.spawn(move || {
                    let container = Container::make(hierarchy, uid, number);
                    container.run(perl, &["-e", program, "--", path]);
                    container
                })
            })
            .collect();
        pods.into_iter()
            .map(|pod| pod.join().expect("no thread panics"))
            .collect()
    });
    let ledger = until("every event is settled", || {
        let ledger = agent.cut();
        if ledger.under_way() == 0 {
            Ok(ledger)
        } else {
            Err(format!("{ledger:?}"))
        }
    });
    assert_eq!(ledger.slot("opens").count("matched"), 400_000, "{ledger:?}");
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
    for (uid, container) in UIDS.iter().zip(&containers) {
        let of = |name: &str| -> Vec<&Event> {
            let is_its = |event: &&Event| event.data()["workload"]["podUid"] == *uid;
            stream.named(name).into_iter().filter(is_its).collect()
        };
        let (execs, opens) = (of("execs"), of("opens"));
        assert_eq!(
            execs.len(),
            1,
            "the first program of {uid}: {:?}",
            stream.named("execs")
        );
        assert!(opens.len() >= 20, "{} of {uid}", opens.len());
        for event in execs.iter().chain(&opens) {
            assert_eq!(event.data()["workload"]["containerId"], container.id, "{event:?}");
        }
        // Until its first record was looked at, a new cgroup shares the bucket of the unknown, and then has its own.
        assert_within(&opens, 200, 2 * 20);
    }
    assert!(
        stream
            .events
            .iter()
            .all(|event| !event.data()["workload"].is_null()),
        "an event without its pod"
    );
}

/// *Scenario:* the agent runs in a pod of a node that is itself a container with a cgroup namespace of its own, so that
/// its cgroup mount begins at the node. Pods of this node, pods of another node on the same kernel, and the host open a
/// file; of both nodes' pods, one is older than the agent and one younger.
///
/// *Guarantees:* what this node's pods did is told, with its pod, and nothing else is: neither delivered nor counted.
#[test]
fn agent_in_a_node_that_is_a_container_tells_of_that_node_only() {
    if !may_test() {
        return;
    }
    let Some(hierarchy) = hierarchy() else { return };
    let dir = tempfile::tempdir().expect("makes a directory");
    let (perl, file) = (own_copy("/usr/bin/perl", dir.path()), marker(dir.path(), "file"));
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}}}",
        file.display()
    );
    let (node, other) = (
        Cgroup::make(hierarchy.join("weir-kernel-test-1")),
        Cgroup::make(hierarchy.join("weir-kernel-test-2")),
    );
    let [ours, other_older] = [(&node, UIDS[0], 1), (&other, UIDS[1], 2)]
        .map(|(node, uid, number)| Container::make(&node.0, uid, number));
    let own = Container::make(&node.0, UIDS[2], 3);
    let below = own.path().strip_prefix(&node.0).expect("is below");
    let [hierarchy, at, below] = [&hierarchy, &node.0, below].map(|path| path.display().to_string());
    let setup = Setup::new(&profile("", &[&opens])).with_file();
    let mut agent = setup
        .under(&["/bin/sh", "-c", IN_A_NODE, &hierarchy, &at, &below])
        .start();
    let ours_younger = Container::make(&node.0, UIDS[1], 4);
    let other_younger = Container::make(&other.0, UIDS[0], 5);
    let path = file.display().to_string();
    let program = "for (1..100) { sysopen(my $f, $ARGV[0], 0) or die }";
    for container in [&ours, &other_older, &ours_younger, &other_younger] {
        container.run(&perl, &["-e", program, "--", &path]);
    }
    let status = Command::new(&perl).args(["-e", program, "--", &path]).status();
    assert!(status.expect("starts").success());
    let ledger = until("every event is settled", || {
        let ledger = agent.cut();
        if ledger.under_way() == 0 {
            Ok(ledger)
        } else {
            Err(format!("{ledger:?}"))
        }
    });
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    assert_eq!(ledger.slot("opens").count("matched"), 200, "{ledger:?}");
    let stream = Stream::of_file(&agent.setup.events());
    for (uid, container) in [(UIDS[0], &ours), (UIDS[1], &ours_younger)] {
        let its = stream.events.iter().filter(|event| {
            let workload = &event.data()["workload"];
            workload["podUid"] == uid && workload["containerId"] == container.id
        });
        assert_eq!(its.count(), 100, "{uid}");
    }
    assert_eq!(stream.events.len(), 200);
}

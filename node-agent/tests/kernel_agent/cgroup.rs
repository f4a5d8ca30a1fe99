//! Pods as the kubelet lays out their cgroups, without a kubelet: attribution and limits of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::limit::assert_within;
use crate::agent::{Setup, may_test, until};
use crate::profile::profile;
use crate::stream::{Event, Stream};
use crate::workload::{marker, own_copy};

const UIDS: [&str; 2] = [
    "0f4c1c1e-7a51-4b39-9a0e-2f6f0b7c8d11",
    "5b1a7c52-9a43-4a4b-8f0a-6c1d2e3f4a5b",
];

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

    /// Runs a shell in the container that becomes the program.
    fn run(&self, program: &Path, arguments: &[&str]) {
        let procs = self.made.last().expect("was made").join("cgroup.procs");
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
        let numbered = UIDS.iter().zip(1..);
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

//! What a user may get wrong on the command line, in files and on the host: one clear message and the right exit code.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::agent::{BINARY, Setup, may_test, until};
use crate::mount::Mount;
use crate::profile::profile;

const EXECS: &str = "{name: execs, kind: process.exec}";

fn good() -> String {
    profile("", &[EXECS])
}

fn assert_refused(text: &str, arguments: &[&str], code: i32, expected: &[&str]) {
    let setup = Setup::new(text).with(arguments);
    let (found, said) = setup.run_to_end();
    assert_eq!(found, Some(code), "{said}");
    for word in expected {
        assert!(said.contains(word), "{word:?} is not in the message: {said}");
    }
    let messages = said.lines().filter(|line| line.contains("profile.yaml")).count();
    assert!(messages <= 1, "one mistake, {messages} messages: {said}");
}

/// *Scenario:* a profile file with each mistake of a list.
///
/// *Guarantees:* exit code 64, before anything is started; the message names the file, the field and the bound or
/// remedy.
#[test]
fn profile_with_a_mistake_is_refused_by_name_of_the_field() {
    let mut many = String::new();
    for number in 0..65 {
        write!(many, "\n    - {{name: e{number}, kind: process.exec}}").expect("a string takes it");
    }
    let file = "profile.yaml";
    let limited = |rate: &str| {
        profile(
            "",
            &[&format!(
                "{{name: a, kind: file.open, limit: {{eventsPerSecond: {rate}}}}}"
            )],
        )
    };
    let matching = "{name: a, kind: process.exec, match: {ports: [{from: 1}]}}";
    for (text, expected) in [
        ("spec: [", &[file][..]),
        (
            &good().replace("CollectorProfile", "Profile"),
            &[file, "Profile", "CollectorProfile"],
        ),
        (
            &good().replace("v1alpha1", "v9"),
            &[file, "weir.dev/v9", "weir.dev/v1alpha1"],
        ),
        (
            &good().replace("spec:", "spec:\n  colour: red"),
            &[file, "spec", "colour"],
        ),
        (
            &limited("0"),
            &[file, "spec.events[0].limit.eventsPerSecond", "1000000"],
        ),
        (
            &limited("1000001"),
            &[file, "spec.events[0].limit.eventsPerSecond", "1000000"],
        ),
        (
            &good().replace("    - {name: execs, kind: process.exec}", &many),
            &[file, "spec.events", "64"],
        ),
        (&profile("", &[EXECS, EXECS]), &[file, "spec.events", "execs"]),
        (
            &good().replace("process.exec", "process.dance"),
            &[file, "spec.events[0].kind", "process.dance"],
        ),
        (
            &profile("", &[matching]),
            &[file, "spec.events[0].match", "ports"],
        ),
        ("", &[file]),
    ] {
        assert_refused(text, &["--sink", "stdout"], 64, expected);
    }
}

/// *Scenario:* wrong arguments, a missing file, a sink that is none, a ring that is too small.
///
/// *Guarantees:* each exits with 64 and says what would be right.
#[test]
fn arguments_that_cannot_be_are_refused() {
    assert_refused(&good(), &["--sink", "ftp://x"], 64, &["--sink", "nats://"]);
    assert_refused(&good(), &[], 64, &["--sink"]);
    assert_refused(
        &good(),
        &["--sink", "stdout", "--source", "sky"],
        64,
        &["synthetic:RATE"],
    );
    assert_refused(
        &good(),
        &["--sink", "stdout", "--profile", "/nonexistent/p.yaml"],
        64,
        &["/nonexistent/p.yaml"],
    );
    assert_refused(
        &good(),
        &["--sink", "stdout", "--duration", "soon"],
        64,
        &["--duration"],
    );
    assert_refused(
        &good(),
        &["--sink", "stdout", "--ring-bytes", "4096"],
        64,
        &["4096", "--ring-bytes", "65536"],
    );
    assert_refused(
        &good(),
        &["--sink", "stdout", "--ring-bytes", "70000"],
        64,
        &["70000", "power of two"],
    );
}

/// *Scenario:* a second agent on the host while the first runs: with the same state directory, and with its own.
///
/// *Guarantees:* exit code 1 and a message that says so and names the first, which goes on; once it has ended, another
/// may start, and nothing of it is left in `/run`.
#[test]
fn second_agent_on_the_host_is_refused_and_the_first_goes_on() {
    if !may_test() {
        return;
    }
    let mut first = Setup::new(&good()).with_file().start();
    let state = first.setup.dir.path().join("state").display().to_string();
    assert_refused(
        &good(),
        &["--sink", "stdout", "--state-dir", &state],
        1,
        &["another weir-agent", &state, "stop it first"],
    );
    let holder = format!("(process {})", first.pid());
    assert_refused(
        &good(),
        &["--sink", "stdout"],
        1,
        &["another weir-agent", &holder, "stop it first"],
    );
    first.cut();
    assert!(first.stop().0.success());
    for entry in fs::read_dir("/run").expect("can be listed") {
        let path = entry.expect("can be read").path();
        let is_lock = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("weir-agent-"));
        // Somebody else's agent may have come in between.
        let holder = is_lock.then(|| fs::read_to_string(&path).unwrap_or_default());
        assert_ne!(
            holder.as_deref().map(str::trim),
            Some(&*first.pid().to_string()),
            "{path:?}"
        );
    }
    let mut next = Setup::new(&good()).with_file().start();
    assert!(next.stop().0.success());
}

/// *Scenario:* the disk of the state directory is full from the start; then it has room.
///
/// *Guarantees:* the agent runs and says so; once there is room, cuts are remembered.
#[test]
fn full_disk_of_the_state_directory_keeps_nothing_from_being_collected() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    // One page, which the lock's file takes.
    let tiny = Mount::tmpfs(dir.path().join("state"), "4k");
    let state = tiny.path().display().to_string();
    let mut agent = Setup::new(&good())
        .with(&["--state-dir", &state])
        .with_file()
        .start();
    agent.cut();
    assert!(
        agent.log().contains("this epoch is not remembered"),
        "{}",
        agent.log()
    );
    assert!(!tiny.path().join("agent.json").exists());
    tiny.resize("1m");
    let ledger = agent.cut();
    let written = until("a cut is remembered", || {
        fs::read_to_string(tiny.path().join("agent.json")).map_err(|error| error.to_string())
    });
    assert!(written.contains(&ledger.epoch().to_string()), "{written}");
    assert!(agent.stop().0.success());
}

/// *Scenario:* the agent is started by nobody, without any capability.
///
/// *Guarantees:* exit code 1; the message names what is missing.
#[test]
fn agent_without_root_says_which_capabilities_it_needs() {
    if !may_test() || !has("/usr/bin/setpriv") {
        return;
    }
    let setup = Setup::new(&good()).with_sink("stdout");
    let setup = setup.under(&[
        "/usr/bin/setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
    ]);
    let dir = setup.dir.path();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777)).expect("opens the directory");
    // Where the build is, nobody may not look.
    let agent = dir.join("weir-agent");
    fs::copy(BINARY, &agent).expect("copies");
    let (code, said) = setup.run_program_to_end(&agent);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("root") && said.contains("BPF") && said.contains("PERFMON"),
        "{said}"
    );
}

/// *Scenario:* a host where tracefs is hidden and cannot be mounted, and a profile of kinds that need it and kinds
/// that don't.
///
/// *Guarantees:* `/readyz` names the kinds that are lost, with code 200, and how to get them back; the others are
/// collected.
#[test]
fn host_without_tracefs_loses_only_the_kinds_that_need_it() {
    if !may_test() || !has("/usr/bin/setpriv") || !has("/usr/bin/unshare") {
        return;
    }
    let hide = "for at in /sys/kernel/tracing /sys/kernel/debug; do mount -t tmpfs none $at; done; \
                exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \"$@\"";
    let text = profile("", &[EXECS, "{name: opens, kind: file.open}"]);
    let setup = Setup::new(&text)
        .with_file()
        .under(&["/usr/bin/unshare", "--mount", "sh", "-c", hide, "sh"]);
    let mut agent = setup.start();
    let (code, body) = agent.until_ready_says("file.open");
    assert_eq!(code, 200, "{body}");
    assert!(
        body.contains("degraded") && body.contains("weir-agent probe"),
        "{body}"
    );
    assert!(agent.log().contains("mount -t tracefs"), "{}", agent.log());
    assert!(Path::new("/bin/true").is_file());
    assert!(
        std::process::Command::new("/bin/true")
            .status()
            .expect("starts")
            .success()
    );
    let ledger = agent.until_settled();
    assert!(ledger.slot("execs").count("acked") > 0, "{ledger:?}");
    assert!(agent.stop().0.success());
}

/// Whether a program of the system is there; loudly if not, and in CI it must be.
fn has(program: &str) -> bool {
    let found = Path::new(program).is_file();
    assert!(
        found || std::env::var_os("CI").is_none(),
        "this test needs {program}"
    );
    if !found {
        eprintln!("SKIPPED, nothing is proven: this test needs {program}");
    }
    found
}

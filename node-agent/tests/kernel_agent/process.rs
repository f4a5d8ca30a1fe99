//! Who it was: executable, parent and start, for programs, their children, and those who were there before.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::Signal;

use crate::agent::{Setup, may_test, until};
use crate::profile::profile;
use crate::server;
use crate::stream::{Event, Stream, number};
use crate::workload::{marker, own_copy};

fn wall_ns() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("is after 1970");
    i128::try_from(since.as_nanos()).expect("is small")
}

/// *Scenario:* programs end with code 0, with code 3, by SIGKILL and by SIGSEGV; one lives for a while; one has many
/// threads.
///
/// *Guarantees:* one exit each, with code or signal; the duration is that of the life; `signals` matches what it says.
#[test]
fn exits_tell_code_signal_and_duration_once_per_process() {
    if !may_test() {
        return;
    }
    let Some(server) = server::binary() else { return };
    let dir = tempfile::tempdir().expect("makes a directory");
    let perl = own_copy("/usr/bin/perl", dir.path());
    let threaded = own_copy(&server.display().to_string(), dir.path());
    let of = |path: &Path| format!("binaries: {{exact: [{}]}}", path.display());
    let events = [
        format!("{{name: exits, kind: process.exit, match: {{{}}}}}", of(&perl)),
        format!(
            "{{name: killed, kind: process.exit, match: {{{}, signals: [9]}}}}",
            of(&perl)
        ),
        format!(
            "{{name: threaded, kind: process.exit, match: {{{}}}}}",
            of(&threaded)
        ),
    ];
    let mut agent = Setup::new(&profile("", &events.each_ref().map(String::as_str)))
        .with_file()
        .start();
    let programs = [
        "exit 0",
        "exit 3",
        "kill 9, $$",
        "kill 11, $$; sleep 9",
        "select(undef, undef, undef, 0.3)",
    ];
    let mut lives = Vec::new();
    for program in programs {
        let begun = wall_ns();
        let mut child = Command::new(&perl).args(["-e", program]).spawn().expect("starts");
        let (pid, status) = (child.id(), child.wait().expect("ends"));
        lives.push((pid, status, wall_ns() - begun));
    }
    for _ in 0..20 {
        assert!(
            Command::new(&threaded)
                .arg("--version")
                .stdout(Stdio::null())
                .status()
                .expect("starts")
                .success()
        );
    }
    let ledger = agent.until_settled();
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    let exits = stream.named("exits");
    assert_eq!(exits.len(), programs.len(), "{exits:?}");
    for (event, (pid, status, longest_ns)) in exits.iter().zip(&lives) {
        let exit = &event.data()["processExit"];
        assert_eq!(event.pid(), u64::from(*pid), "{event:?}");
        let (code, signal) = (exit["exitCode"].as_i64(), exit["signal"].as_i64());
        assert_eq!(code, status.code().map(i64::from), "{event:?}");
        assert_eq!(signal, status.signal().map(i64::from), "{event:?}");
        let duration = i128::from(number(&exit["durationNanos"]));
        assert!(
            (1..=*longest_ns).contains(&duration),
            "{duration} of {longest_ns}: {event:?}"
        );
    }
    assert_eq!(exits[2].data()["processExit"]["signalName"], "SIGKILL");
    assert!(
        number(&exits[4].data()["processExit"]["durationNanos"]) >= 300_000_000,
        "{:?}",
        exits[4]
    );
    let killed: Vec<u64> = stream.named("killed").iter().map(|event| event.pid()).collect();
    assert_eq!(killed, [u64::from(lives[2].0)]);
    assert_eq!(
        stream.named("threaded").len(),
        20,
        "one exit per process, however many threads: {ledger:?}"
    );
}

/// A program that opens a file, forks a child that opens it too, and prints the child's id: when told to.
const FAMILY: &str = r"
$| = 1;
print qq(ready\n); <STDIN>;
sysopen(my $f, $ARGV[0], 0) or die;
my $child = fork();
if (!$child) { sysopen(my $g, $ARGV[0], 0) or die; exit 0 }
waitpid($child, 0);
print qq($child\n);
";

struct Family {
    child: Child,
    output: BufReader<ChildStdout>,
    started: (i128, i128),
}

impl Family {
    fn start(perl: &Path, file: &Path) -> Self {
        let begun = wall_ns();
        let mut command = Command::new(perl);
        command
            .args(["-e", FAMILY, "--"])
            .arg(file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let output = BufReader::new(child.stdout.take().expect("is piped"));
        let mut family = Self {
            child,
            output,
            started: (begun, 0),
        };
        assert_eq!(family.line(), "ready");
        family.started.1 = wall_ns();
        family
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("is told");
        line.trim().to_owned()
    }

    /// Has it open the file and fork; the child's id.
    fn go(&mut self) -> u64 {
        writeln!(self.child.stdin.as_mut().expect("is piped")).expect("is read");
        let child = self.line().parse().expect("is an id");
        assert!(self.child.wait().expect("ends").success());
        child
    }

    fn assert_told(&self, events: &[&Event], child: u64, exe: &Path) {
        let (own, parent) = (u64::from(self.child.id()), u64::from(std::process::id()));
        let of = |pid: u64| {
            let mut found = events.iter().filter(|event| event.pid() == pid);
            let event = found
                .next()
                .unwrap_or_else(|| panic!("nothing of {pid} in {events:?}"));
            assert!(found.next().is_none(), "more than one of {pid}");
            let process = &event.data()["process"];
            assert_eq!(process["exe"], exe.display().to_string(), "{event:?}");
            (
                number(&process["ppid"]),
                event.process_start_ns(),
                event.time_ns(),
            )
        };
        // Wall clock and boot clock are related to within a few microseconds; a clock may be stepped by more.
        let slack = 50_000_000;
        let (ppid, start, _) = of(own);
        assert_eq!(ppid, parent);
        assert!(
            start >= self.started.0 - slack && start <= self.started.1 + slack,
            "{start} {:?}",
            self.started
        );
        let (ppid, start, at) = of(child);
        assert_eq!(ppid, own);
        assert!(start > self.started.0 && start <= at, "{start} {at}");
    }
}

/// *Scenario:* a program started before the agent and one started after it open a file, and fork children that do the
/// same without starting a program.
///
/// *Guarantees:* all four have their executable, their parent and their start.
#[test]
fn executable_parent_and_start_are_known_for_old_and_new_and_forked() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let (perl, file) = (own_copy("/usr/bin/perl", dir.path()), marker(dir.path(), "file"));
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{exact: [{}]}}}}}}",
        file.display()
    );
    let execs = format!(
        "{{name: execs, kind: process.exec, match: {{binaries: {{exact: [{}]}}}}}}",
        perl.display()
    );
    let mut before = Family::start(&perl, &file);
    let mut agent = Setup::new(&profile("", &[&opens, &execs])).with_file().start();
    let mut after = Family::start(&perl, &file);
    let children = [before.go(), after.go()];
    let ledger = agent.until_settled();
    assert_eq!(ledger.slot("opens").count("matched"), 4, "{ledger:?}");
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    let opens = stream.named("opens");
    before.assert_told(&opens, children[0], &perl);
    after.assert_told(&opens, children[1], &perl);
    let execs = stream.named("execs");
    assert_eq!(execs.len(), 1, "{execs:?}");
    let exec = &execs[0].data()["processExec"];
    assert_eq!(exec["exe"], perl.display().to_string());
    let args: Vec<&str> = exec["args"]
        .as_array()
        .expect("has arguments")
        .iter()
        .filter_map(|arg| arg.as_str())
        .collect();
    let copy = perl.display().to_string();
    assert_eq!(
        args,
        [copy.as_str(), "-e", FAMILY, "--", &file.display().to_string()]
    );
}

/// *Scenario:* a profile takes every open below the agent's own directory; the agent reads its profile there again,
/// and so does the test.
///
/// *Guarantees:* nothing of the agent's is emitted, and what was left out is counted.
#[test]
fn agent_does_not_observe_itself_and_counts_that() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let setup = Setup::new("");
    let opens = format!(
        "{{name: opens, kind: file.open, match: {{paths: {{prefix: [{}/]}}}}}}",
        setup.dir.path().display()
    );
    std::fs::write(setup.profile(), profile("", &[&opens])).expect("writes");
    let sink = format!("file:{}", dir.path().join("events").display());
    let mut agent = setup.with_sink(&sink).start();
    let excluded = agent.cut().hook("sys_exit_openat", "excluded");
    agent.signal(Signal::HUP);
    until("the agent reads its profile again", || {
        let ledger = agent.cut();
        if ledger.hook("sys_exit_openat", "excluded") > excluded {
            Ok(())
        } else {
            Err(format!("{ledger:?}"))
        }
    });
    std::fs::read(agent.setup.profile()).expect("reads");
    let ledger = agent.until_settled();
    assert!(ledger.slot("opens").count("matched") > 0, "{ledger:?}");
    let agent_pid = u64::from(agent.pid());
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&dir.path().join("events"));
    let profile = agent.setup.profile();
    let read: Vec<u64> = stream
        .events
        .iter()
        .filter(|event| Path::new(event.path()) == profile)
        .map(Event::pid)
        .collect();
    assert_eq!(
        read,
        [u64::from(std::process::id())],
        "the test read the profile once"
    );
    assert!(
        stream.events.iter().all(|event| event.pid() != agent_pid),
        "the agent observed itself"
    );
}

/// *Scenario:* a program is started from a file that is on no disk, of `memfd_create(2)`.
///
/// *Guarantees:* its start and its end are matched by the file's name, which they show.
#[test]
fn program_on_no_disk_is_shown_by_the_name_of_its_file() {
    if !may_test() {
        return;
    }
    let name = format!("weir-{}", std::process::id());
    let path = format!("/memfd:{name}");
    let of = |kind: &str| {
        format!(
            "{{name: {kind}, kind: process.{kind}, match: {{binaries: {{prefix: ['/memfd:'], exact: ['{path}']}}}}}}"
        )
    };
    let mut agent = Setup::new(&profile("", &[&of("exec"), &of("exit")]))
        .with_file()
        .start();
    let program = std::fs::read("/bin/true").expect("reads");
    let mut file = std::fs::File::from(memfd_create(&name, MemfdFlags::CLOEXEC).expect("makes a file"));
    file.write_all(&program).expect("writes");
    // Ours, since the child's own descriptor is closed before it is looked up.
    let open = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let mut child = Command::new(open).spawn().expect("starts");
    let pid = u64::from(child.id());
    assert!(child.wait().expect("ends").success());
    let ledger = agent.until_settled();
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    assert!(agent.stop().0.success());
    let stream = Stream::of_file(&agent.setup.events());
    for kind in ["exec", "exit"] {
        let events = stream.named(kind);
        let mine: Vec<&&Event> = events.iter().filter(|event| event.pid() == pid).collect();
        assert_eq!(mine.len(), 1, "{events:?}");
        assert_eq!(mine[0].data()["process"]["exe"], path, "{mine:?}");
    }
    let started = stream.named("exec");
    assert_eq!(started[0].data()["processExec"]["exe"], path, "{started:?}");
}

/// *Scenario:* a program lies deeper than the kernel's side walks, below directories whose last part reads like the path of
/// another program. It opens a file, connects, and ends; the system's copy of it does the same.
///
/// *Guarantees:* what is left of its path matches nothing; where only that would decide, it is counted as undecided, and
/// not where another field rules it out. What needs no executable is told of both.
#[test]
fn programs_too_deep_to_be_told_are_counted_undecided_and_never_matched() {
    const WORK: &str = r"
use Socket;
sysopen(my $f, $ARGV[0], 0) or die;
socket(my $s, AF_INET, SOCK_STREAM, 0) or die $!;
connect($s, pack_sockaddr_in($ARGV[1], INADDR_LOOPBACK)) or die $!;
";
    if !may_test() {
        return;
    }
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("listens");
    let port = listener.local_addr().expect("has an address").port();
    let dir = tempfile::tempdir().expect("makes a directory");
    let file = marker(dir.path(), "file");
    // The walk ends before the directory above this one: 32 components, the program's name being one of them.
    let top = format!("weirtop-{}", std::process::id());
    let deep = dir.path().join("above").join(&top).join("d/".repeat(30));
    std::fs::create_dir_all(&deep).expect("makes directories");
    let perl = own_copy("/usr/bin/perl", &deep);

    let lure = format!("binaries: {{prefix: ['/{top}/']}}");
    let event = |name: &str, kind: &str, matches: &str| {
        format!("{{name: {name}, kind: {kind}, match: {{{matches}}}}}")
    };
    let path = |file: &Path| format!("paths: {{exact: [{}]}}", file.display());
    let ports = format!("ports: [{{from: {port}}}]");
    let events = [
        event("exec", "process.exec", &lure),
        event("exit", "process.exit", &lure),
        event("open", "file.open", &format!("{}, {lure}", path(&file))),
        event("connect", "net.connect", &format!("{ports}, {lure}")),
        event("opens", "file.open", &path(&file)),
        event("connects", "net.connect", &ports),
        event(
            "elsewhere",
            "file.open",
            &format!("{}, {lure}", path(Path::new("/weir/elsewhere"))),
        ),
        event("killed", "process.exit", &format!("signals: [9], {lure}")),
    ];
    let mut agent = Setup::new(&profile("", &events.each_ref().map(String::as_str)))
        .with_file()
        .start();
    for program in [perl.as_path(), Path::new("/usr/bin/perl")] {
        let mut command = Command::new(program);
        command.args(["-e", WORK, "--"]).arg(&file).arg(port.to_string());
        assert!(command.status().expect("starts").success());
    }
    let ledger = agent.until_settled();
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    assert!(agent.stop().0.success());
    for name in ["exec", "exit", "open", "connect"] {
        let slot = ledger.slot(name);
        assert_eq!(slot.count("undecided"), 1, "{name}: {ledger:?}");
        assert_eq!(slot.count("matched"), 0, "{name}: {ledger:?}");
    }
    for name in ["opens", "connects"] {
        let slot = ledger.slot(name);
        assert_eq!(slot.count("matched"), 2, "{name}: {ledger:?}");
        assert_eq!(slot.count("undecided"), 0, "{name}: {ledger:?}");
    }
    for name in ["elsewhere", "killed"] {
        let slot = ledger.slot(name);
        assert_eq!(slot.count("undecided"), 0, "{name}: {ledger:?}");
        assert_eq!(slot.count("matched"), 0, "{name}: {ledger:?}");
    }
}

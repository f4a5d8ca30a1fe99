//! `file.open`: every way to open, and everything that can be matched.

use std::path::Path;

use serde_json::{Value, json};

use crate::agent::{Setup, may_test};
use crate::profile::profile;
use crate::stream::{Event, Stream};
use crate::workload::{marker, own_copy, perl_says};

/// Every open is one system call, by number; x86-64.
const OPENS: &str = r#"
my ($dir, $long) = @ARGV;
chdir($dir) or die;
$0 = 'weirtest';
sub at { my ($path, $flags) = @_; syscall(257, -100, $path, 0 + $flags, 0644) }
at("$dir/file", 0);                                          # openat, read
at("$dir/file", 01 | 02000);                                 # openat, write, append
syscall(2, "$dir/file", 2);                                  # open, both
syscall(85, "$dir/made", 0644);                              # creat
my $how = pack('QQQ', 02000000, 0, 0);
syscall(437, -100, "$dir/file", $how, 24);                   # openat2, close on exec
at("$dir/missing", 0);                                       # ENOENT
at("file", 0);                                               # relative
syscall(2, 1, 0);                                            # EFAULT
syscall(437, -100, 1, $how, 24);                             # EFAULT
at($long, 0);                                                # longer than is kept
at("$dir/file", 010000000);                                  # O_PATH
$0 = 'weirother';
at("$dir/file", 0);
"#;

fn said(event: &Event) -> (String, String, u64) {
    let open = &event.data()["fileOpen"];
    let text = |field: &str| open[field].as_str().unwrap_or_default().to_owned();
    (
        text("path"),
        text("access"),
        open["errno"].as_u64().unwrap_or(9_999),
    )
}

/// *Scenario:* one process opens files by each system call there is, with results good and bad, paths absolute,
/// relative, unreadable and too long; events match by each field.
///
/// *Guarantees:* each call is one event with its path, access, flags and result; each field matches what it says;
/// where a path match cannot be evaluated, that is counted and nothing is emitted.
#[cfg(target_arch = "x86_64")]
#[test]
fn opens_by_each_call_are_told_and_matched() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    marker(dir.path(), "file");
    let root = dir.path().display().to_string();
    let long = format!("{root}/{}", "x/".repeat(400));
    let own = "comm: [weirtest]";
    let event =
        |name: &str, matches: &str| format!("{{name: {name}, kind: file.open, match: {{{matches}}}}}");
    let events = [
        event("all", own),
        event("below", &format!("{own}, paths: {{prefix: [{root}/]}}")),
        event("exact", &format!("{own}, paths: {{exact: [{root}/file]}}")),
        event("reads", &format!("{own}, access: Read")),
        event("writes", &format!("{own}, access: Write")),
        event("both", &format!("{own}, access: ReadWrite")),
        event("enoent", &format!("{own}, errnos: [2]")),
        event("other", "comm: [weirother]"),
    ];
    let mut agent = Setup::new(&profile("", &events.each_ref().map(String::as_str)))
        .with_file()
        .start();
    perl_says(OPENS, &[&root, &long]);
    let ledger = agent.until_settled();
    assert_eq!(ledger.hook_errors(), 0, "{ledger:?}");
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));

    let told = |name: &str| -> Vec<_> { stream.named(name).into_iter().map(said).collect() };
    let file = format!("{root}/file");
    let (read, write, both) = ("FILE_ACCESS_READ", "FILE_ACCESS_WRITE", "FILE_ACCESS_READ_WRITE");
    let expected = [
        (file.as_str(), read, 0),
        (&file, write, 0),
        (&file, both, 0),
        (&format!("{root}/made"), write, 0),
        (&file, read, 0),
        (&format!("{root}/missing"), read, 2),
        ("file", read, 0),
        ("", read, 14),
        ("", read, 14),
        (&long[..511], read, 2),
        (&file, "FILE_ACCESS_NONE", 0),
    ]
    .map(|(path, access, errno): (&str, &str, u64)| (path.to_owned(), access.to_owned(), errno));
    assert_eq!(told("all"), expected);
    let chosen =
        |indices: &[usize]| -> Vec<_> { indices.iter().map(|index| expected[*index].clone()).collect() };
    assert_eq!(told("below"), chosen(&[0, 1, 2, 3, 4, 5, 9, 10]));
    assert_eq!(told("exact"), chosen(&[0, 1, 2, 4, 10]));
    assert_eq!(told("writes"), chosen(&[1, 2, 3]));
    assert_eq!(told("both"), chosen(&[2]));
    assert_eq!(told("enoent"), chosen(&[5, 9]));
    assert_eq!(told("other"), chosen(&[0]));
    assert_eq!(told("reads"), chosen(&[0, 2, 4, 5, 6, 7, 8, 9]));
    // One is relative, two cannot be read.
    for name in ["below", "exact"] {
        assert_eq!(ledger.slot(name).count("undecided"), 3, "{name}: {ledger:?}");
    }
    assert_eq!(ledger.slot("all").count("undecided"), 0, "{ledger:?}");

    let all = stream.named("all");
    let field = |index: usize, field: &str| -> &Value { &all[index].data()["fileOpen"][field] };
    assert_eq!(field(1, "flagNames"), &json!(["O_APPEND"]));
    assert_eq!(field(3, "flagNames"), &json!(["O_CREAT", "O_TRUNC"]));
    assert_eq!(field(4, "flagNames"), &json!(["O_CLOEXEC"]));
    assert_eq!(field(5, "errnoName"), "ENOENT");
    assert_eq!(field(6, "pathRelative"), true);
    assert_eq!(field(7, "pathTruncated"), true);
    assert_eq!(field(9, "pathTruncated"), true);
    assert_eq!(field(0, "pathTruncated"), &Value::Null);
}

/// *Scenario:* a program under a path of its own opens a file, once as root and once as nobody; so does the system's.
///
/// *Guarantees:* `binaries` and `uids` match what they say, and the event names user, executable and thread.
#[test]
fn opens_are_matched_by_executable_and_user() {
    if !may_test() {
        return;
    }
    let dir = tempfile::tempdir().expect("makes a directory");
    let perl = own_copy("/usr/bin/perl", dir.path());
    let file = marker(Path::new("/tmp"), &format!("weir-open-{}", std::process::id()));
    let paths = format!("paths: {{exact: [{}]}}", file.display());
    let event =
        |name: &str, matches: &str| format!("{{name: {name}, kind: file.open, match: {{{paths}{matches}}}}}");
    let events = [
        event("all", ""),
        event("binary", &format!(", binaries: {{exact: [{}]}}", perl.display())),
        event(
            "prefix",
            &format!(", binaries: {{prefix: [{}/]}}", dir.path().display()),
        ),
        event("nobody", ", uids: [65534]"),
    ];
    let mut agent = Setup::new(&profile("", &events.each_ref().map(String::as_str)))
        .with_file()
        .start();
    let open = "sysopen(my $f, $ARGV[0], 0) or die; ($<, $>) = (65534, 65534); $0 = 'weirnobody'; sysopen(my $g, $ARGV[0], 0) or die; print $$;";
    let path = file.display().to_string();
    let own = std::process::Command::new(&perl)
        .args(["-e", open, "--", &path])
        .output()
        .expect("starts");
    assert!(own.status.success(), "{}", String::from_utf8_lossy(&own.stderr));
    perl_says(open, &[&path]);
    let ledger = agent.until_settled();
    let (status, _) = agent.stop();
    std::fs::remove_file(&file).expect("removes");
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    for (name, count) in [("all", 4), ("binary", 2), ("prefix", 2), ("nobody", 2)] {
        assert_eq!(ledger.slot(name).count("matched"), count, "{name}: {ledger:?}");
        assert_eq!(stream.named(name).len() as u64, count, "{name}");
    }
    let process = |index: usize| &stream.named("binary")[index].data()["process"];
    assert_eq!(process(0)["uid"], 0);
    assert_eq!(process(1)["uid"], 65_534);
    assert_eq!(process(1)["comm"], "weirnobody");
    assert_eq!(process(0)["exe"], perl.display().to_string());
    assert_eq!(
        process(0)["pid"].to_string(),
        String::from_utf8_lossy(&own.stdout)
    );
    assert!(
        stream
            .named("nobody")
            .iter()
            .all(|event| event.data()["process"]["uid"] == 65_534)
    );
}

//! What a parent process sees: exit codes on signals and on panics. The tests run themselves as a child.

#![expect(
    clippy::expect_used,
    reason = "a test helper that cannot go on fails its test"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use weir_runtime::exit::{self, Exit};
use weir_runtime::shutdown::Shutdown;
use weir_runtime::supervise::Supervisor;

const ROLE: &str = "WEIR_TEST_ROLE";

fn child(role: &str, test: &str) -> Child {
    Command::new(std::env::current_exe().expect("knows itself"))
        .args(["--exact", test, "--nocapture"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("starts")
}

fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

fn kill(child: &Child, signal: &str) {
    let status = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
}

fn wait_for_line(child: &mut Child, wanted: &str) -> impl BufRead + use<> {
    let mut output = BufReader::new(child.stdout.take().expect("is piped"));
    let mut line = String::new();
    while output.read_line(&mut line).expect("reads") > 0 {
        if line.contains(wanted) {
            return output;
        }
        line.clear();
    }
    panic!("the child ended without saying {wanted:?}");
}

/// Ends the child process, without the test harness' own exit code in between.
#[expect(clippy::exit, reason = "the child's code is what is tested")]
fn end(exit: Exit) -> ! {
    std::process::exit(i32::from(exit.code()))
}

fn run_supervised(finishes: bool) -> ! {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("builds");
    let outcome = runtime.block_on(async {
        let shutdown = Shutdown::listen(Duration::from_mins(1)).expect("listens");
        let mut supervisor = Supervisor::new(shutdown.clone());
        supervisor.spawn("task", async move {
            println!("task runs");
            shutdown.token().cancelled().await;
            println!("cancelled");
            if !finishes {
                std::future::pending::<()>().await;
            }
            Ok::<(), std::convert::Infallible>(())
        });
        supervisor.run().await
    });
    end(if outcome.is_ok() {
        Exit::Graceful
    } else {
        Exit::Failure
    })
}

fn code(status: ExitStatus) -> Option<i32> {
    status.code()
}

/// *Scenario:* a supervised process gets SIGTERM.
/// *Guarantees:* its task is cancelled, and the process ends with 0.
#[test]
fn process_terminated_ends_with_0() {
    if role().is_some() {
        run_supervised(true);
    }
    let mut child = child("terminated", "process_terminated_ends_with_0");
    let _output = wait_for_line(&mut child, "task runs");
    kill(&child, "-TERM");
    assert_eq!(code(child.wait().expect("ends")), Some(0));
}

/// *Scenario:* a process whose task ignores the first SIGINT gets a second one.
/// *Guarantees:* it ends at once with 1, long before its grace period is over.
#[test]
fn process_interrupted_twice_ends_at_once_with_1() {
    if role().is_some() {
        run_supervised(false);
    }
    let mut child = child("interrupted", "process_interrupted_twice_ends_at_once_with_1");
    let output = wait_for_line(&mut child, "task runs");
    kill(&child, "-INT");
    assert!(
        output
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("cancelled"))
    );
    kill(&child, "-INT");
    assert_eq!(code(child.wait().expect("ends")), Some(1));
}

/// *Scenario:* a thread that nobody joins panics.
/// *Guarantees:* the whole process ends with 1, not with a signal.
#[test]
fn process_with_a_panic_on_any_thread_ends_with_1() {
    if role().is_some() {
        exit::on_panic();
        std::thread::spawn(|| panic!("on purpose"));
        loop {
            std::thread::park();
        }
    }
    let mut child = child("panicking", "process_with_a_panic_on_any_thread_ends_with_1");
    assert_eq!(code(child.wait().expect("ends")), Some(1));
}

//! A child process that cannot outlive us, and whose log is shown when it fails.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::shell;
use crate::tools::{is_root, privileged};

/// How long a child may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// Lines of the log that a failure shows.
const LOG_LINES: usize = 20;

/// A running child in a process group of its own, so that Ctrl-C reaches only us and we end things in order.
pub(super) struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
    /// Holds the pid to signal, where sudo stands between us and the program.
    pid_file: Option<PathBuf>,
}

impl Process {
    /// Starts `command` as ourselves, with its output in `scratch`.
    pub(super) fn start(name: &'static str, mut command: Command, scratch: &Path) -> Result<Self> {
        let log = scratch.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let errors = output
            .try_clone()
            .with_context(|| format!("sharing {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("starting {}", shell::display(&command)))?;
        Ok(Self {
            name,
            child,
            log,
            pid_file: None,
        })
    }

    /// Starts `command` as root, through sudo where we are not.
    pub(super) fn start_as_root(name: &'static str, command: Command, scratch: &Path) -> Result<Self> {
        if is_root() {
            return Self::start(name, command, scratch);
        }
        // In the foreground, where a password can be typed; what is started below can not ask.
        println!("needs root: {}", shell::display(&command));
        shell::run(&mut privileged("true", &[])?)?;
        let pid_file = scratch.join(format!("{name}.pid"));
        let mut sudo = Command::new("sudo");
        // Root's signals only: so the shell notes its pid, which the program then takes over.
        sudo.args([
            "--non-interactive",
            "--",
            "sh",
            "-c",
            r#"echo $$ > "$0" && exec "$@""#,
        ])
        .arg(&pid_file);
        sudo.arg(command.get_program()).args(command.get_args());
        let mut process = Self::start(name, sudo, scratch)?;
        process.pid_file = Some(pid_file);
        Ok(process)
    }

    /// Fails with the end of the log if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        match self
            .child
            .try_wait()
            .with_context(|| format!("waiting for {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!("{} ended unexpectedly: {status}\n{}", self.name, self.log_tail()),
        }
    }

    /// Asks it to end, and waits; returns how long that took. One that does not end is killed, which is an error, as
    /// is a failing exit code.
    pub(super) fn stop(&mut self) -> Result<Duration> {
        let start = Instant::now();
        self.signal(Signal::TERM)?;
        let Some(status) = self.wait(PATIENCE)? else {
            self.signal(Signal::KILL)?;
            self.wait(PATIENCE)?;
            bail!(
                "{} did not end within {PATIENCE:?} of SIGTERM\n{}",
                self.name,
                self.log_tail()
            );
        };
        if !status.success() && !ended_by_our_signal(status) {
            bail!(
                "{} failed while it stopped: {status}\n{}",
                self.name,
                self.log_tail()
            );
        }
        Ok(start.elapsed())
    }

    /// The last lines of its log.
    pub(super) fn log_tail(&self) -> String {
        let text =
            fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(its log is unreadable: {error})"));
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("the end of its log:\n  {}", tail.join("\n  "))
    }

    fn wait(&mut self, patience: Duration) -> Result<Option<ExitStatus>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .with_context(|| format!("waiting for {}", self.name))?
            {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            thread::sleep(POLL);
        }
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return Ok(());
        }
        let Some(pid_file) = &self.pid_file else {
            return kill_process(Pid::from_child(&self.child), signal)
                .with_context(|| format!("sending {signal:?} to {}", self.name));
        };
        let pid = fs::read_to_string(pid_file).with_context(|| format!("reading {}", pid_file.display()))?;
        let number = signal.as_raw().to_string();
        let mut sudo = Command::new("sudo");
        shell::clean_up(sudo.args(["--non-interactive", "kill", "-s", &number, pid.trim()]))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Reached with a running child only when something else has failed, which is what the user must see.
        if matches!(self.child.try_wait(), Ok(None))
            && let Err(error) = self.stop()
        {
            eprintln!("cleaning up: {error:#}");
        }
    }
}

fn ended_by_our_signal(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(Signal::TERM.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell_script(script: &str, scratch: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("script", command, scratch).expect("sh starts")
    }

    #[test]
    fn check_ended_child_shows_its_log() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut process = shell_script("echo the reason; exit 3", scratch.path());
        process.wait(PATIENCE).expect("waits").expect("ends");
        let error = process.check().expect_err("it has ended");
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        assert!(error.to_string().contains("the reason"), "{error}");
    }

    #[test]
    fn drop_running_child_is_ended() {
        let scratch = tempfile::tempdir().expect("a directory");
        let process = shell_script("exec sleep 600", scratch.path());
        let directory = PathBuf::from(format!("/proc/{}", process.child.id()));
        assert!(directory.exists());
        drop(process);
        assert!(!directory.exists());
    }

    #[test]
    fn stop_failing_exit_code_is_an_error() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut process = shell_script(
            "trap 'exit 7' TERM; echo up; while :; do sleep 0.01; done",
            scratch.path(),
        );
        let deadline = Instant::now() + PATIENCE;
        while !process.log_tail().contains("up") {
            assert!(Instant::now() < deadline, "the script never came up");
            thread::yield_now();
        }
        let error = process.stop().expect_err("exit code 7");
        assert!(error.to_string().contains("exit status: 7"), "{error}");
    }
}

//! Running other programs: what was run is always part of the error, Ctrl-C stops us between them, and SIGTERM ends them.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::family;

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// Set by the signals that a terminal does not send to our children as well.
static TERMINATED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
/// How soon a signal is passed on, and a program's end noticed.
const POLL: Duration = Duration::from_millis(20);
/// What a program may take to end by itself: whoever stops a CI run gives it little more.
const GRACE: Duration = Duration::from_secs(3);

/// From here on SIGINT, SIGTERM and SIGHUP only set what [`interrupted`] reads, so that the caller can
/// clean up. Calling it twice is harmless.
pub(crate) fn catch_signals() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("installing a signal handler")?;
    }
    let flag = TERMINATED.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in [SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(flag)).context("installing a signal handler")?;
    }
    Ok(())
}

/// Fails once the user has asked us to stop.
pub(crate) fn interrupted() -> Result<()> {
    if INTERRUPTED.get().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs to the end with our terminal. A SIGTERM to us ends the program and all that it has started: otherwise they would
/// outlive us, and what they use with them.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {}", display(command)))?;
    let status = match TERMINATED.get() {
        Some(terminated) => wait(&mut child, terminated),
        None => child.wait(),
    };
    interrupted()?;
    check(
        status.with_context(|| format!("waiting for {}", display(command)))?,
        command,
    )
}

fn wait(child: &mut Child, terminated: &AtomicBool) -> std::io::Result<ExitStatus> {
    let mut told = None;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if terminated.load(Ordering::Relaxed) {
            let since = *told.get_or_insert_with(|| {
                family::signal(&family::with_descendants(child.id()), Signal::TERM);
                Instant::now()
            });
            if since.elapsed() > GRACE {
                family::signal(&family::with_descendants(child.id()), Signal::KILL);
            }
        }
        std::thread::sleep(POLL);
    }
}

fn check(status: ExitStatus, command: &Command) -> Result<()> {
    if !status.success() {
        bail!("{} failed: {status}", display(command));
    }
    Ok(())
}

/// As [`run`], also after the user has asked us to stop: for putting things back.
pub(crate) fn clean_up(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {}", display(command)))?;
    check(status, command)
}

/// Runs to the end and returns standard output; standard error becomes part of the error.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", display(command)))?;
    interrupted()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed: {}\n{}",
            display(command),
            output.status,
            stderr.trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} printed bytes that are not UTF-8", display(command)))
}

/// The command line as a person would type it.
pub(crate) fn display(command: &Command) -> String {
    let program = Path::new(command.get_program());
    // Which cargo it is never matters; where any other program is may.
    let name = program.file_name().filter(|name| *name == "cargo");
    let mut text = quote(name.unwrap_or(program.as_os_str()));
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&quote(argument));
    }
    text
}

/// Where `name` is on PATH, as an executable file.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| {
            candidate.is_file() && rustix::fs::access(candidate, rustix::fs::Access::EXEC_OK).is_ok()
        })
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    if !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_alphanumeric() || "-_./=:,+@%".contains(c))
    {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_odd_words_are_quoted() {
        let mut command = Command::new("cp");
        command.args(["a b", "it's", "", "/plain-1.0/x"]);
        assert_eq!(display(&command), r"cp 'a b' 'it'\''s' '' /plain-1.0/x");
    }

    #[test]
    fn run_failing_program_is_named_with_its_status() {
        let error = run(Command::new("false").arg("--really")).expect_err("false fails");
        assert!(
            error
                .to_string()
                .contains("false --really failed: exit status: 1"),
            "{error}"
        );
    }

    #[test]
    fn wait_ends_the_program_when_we_are_to_end() {
        let begin = Instant::now();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let status = wait(&mut child, &AtomicBool::new(true)).unwrap();
        assert!(
            !status.success() && begin.elapsed() < Duration::from_secs(30),
            "{status}"
        );
    }

    #[test]
    fn capture_failing_program_shows_its_stderr() {
        let error = capture(Command::new("sh").args(["-c", "echo remedy >&2; exit 3"])).expect_err("exit 3");
        assert!(error.to_string().contains("remedy"), "{error}");
    }

    #[test]
    fn which_missing_program_is_none() {
        assert!(which("sh").is_some());
        assert_eq!(which("no-such-program-anywhere"), None);
    }
}

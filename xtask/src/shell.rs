//! Running other programs: what was run is always part of the error, and Ctrl-C stops us between them.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on SIGINT, SIGTERM and SIGHUP only set what [`interrupted`] reads, so that the caller can
/// clean up. Calling it twice is harmless.
pub(crate) fn catch_signals() -> Result<()> {
    let flag = INTERRUPTED.get_or_init(|| Arc::new(AtomicBool::new(false)));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
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

/// Runs to the end with our terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let result = clean_up(command);
    interrupted()?;
    result
}

/// As [`run`], also after the user has asked us to stop: for putting things back.
pub(crate) fn clean_up(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {}", display(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", display(command));
    }
    Ok(())
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

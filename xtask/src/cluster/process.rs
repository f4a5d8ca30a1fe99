//! Long-running processes: started detached with a log file, known by a recorded identity, stopped for certain.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::command;
use super::layout::Layout;

/// How long a component may take to end by itself. Most need well under a second; an API server with clients waits
/// for them much longer, which no test gains from.
const STOP_GRACE: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(20);

/// A process that cannot be confused with a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) pid: u32,
    /// Clock ticks from boot to the start of the process, from `/proc/PID/stat`.
    started: u64,
}

impl Identity {
    fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&stat).map(|started| Self { pid, started })
    }

    pub(crate) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

/// The start time of a process that is not a zombie. `/proc/PID/stat`: the command may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let state = *fields.first()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    // Field 22 of the line; the first one here is field 3.
    fields.get(19)?.parse().ok()
}

/// Starts `command` so that it outlives this program, and records who it is. Init reaps it.
pub(crate) fn start(layout: &Layout, name: &str, command: &mut Command, stdin: Stdio) -> Result<u32> {
    let path = layout.log(name);
    command::write(&layout.pid(name), "")?;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    }
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("opening {}", path.display()))?;
    let errors = log
        .try_clone()
        .with_context(|| format!("sharing {}", path.display()))?;
    let child = command
        .stdin(stdin)
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let identity = Identity::of(child.id())
        .with_context(|| format!("{name} ended at once; its log is {}", path.display()))?;
    command::write(
        &layout.pid(name),
        format!("{} {}\n", identity.pid, identity.started),
    )?;
    Ok(identity.pid)
}

/// The recorded process of `name`, if it still runs.
pub(crate) fn running(layout: &Layout, name: &str) -> Option<Identity> {
    let text = fs::read_to_string(layout.pid(name)).ok()?;
    let (pid, started) = text.trim().split_once(' ')?;
    let identity = Identity {
        pid: pid.parse().ok()?,
        started: started.parse().ok()?,
    };
    identity.is_alive().then_some(identity)
}

/// Stops `name`, by force when it does not end by itself. That it does not run is fine.
pub(crate) fn stop(layout: &Layout, name: &str) -> Result<()> {
    if let Some(identity) = running(layout, name) {
        signal(identity.pid, Signal::TERM)?;
        if !ends_within(identity, STOP_GRACE) {
            signal(identity.pid, Signal::KILL)?;
            if !ends_within(identity, STOP_GRACE) {
                bail!("{name} (process {}) does not end even by SIGKILL", identity.pid);
            }
        }
    }
    let path = layout.pid(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Ends every process that `select` finds, again until none is left: a dying shim may still start something.
pub(crate) fn kill_all(select: impl Fn(u32) -> bool) -> Result<()> {
    let deadline = Instant::now() + STOP_GRACE;
    loop {
        let left: Vec<u32> = all()?
            .into_iter()
            .filter(|pid| select(*pid) && Identity::of(*pid).is_some())
            .collect();
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("these processes do not end even by SIGKILL: {left:?}");
        }
        for pid in left {
            signal(pid, Signal::KILL)?;
        }
        std::thread::sleep(POLL);
    }
}

/// Calls `check` until it gives a value; on time-out the error says what was waited for and the last reason.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(error)
                    .with_context(|| format!("{what} did not happen within {} s", limit.as_secs()));
            }
            Err(_) => crate::shell::interrupted()?,
        }
        std::thread::sleep(POLL * 5);
    }
}

fn ends_within(identity: Identity, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while identity.is_alive() {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
    true
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let Some(target) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        bail!("{pid} is not a process id");
    };
    match kill_process(target, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("sending a signal to process {pid}")),
    }
}

fn all() -> Result<Vec<u32>> {
    let entries = fs::read_dir("/proc").context("listing /proc")?;
    Ok(entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "42 (a b) c) S 1 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 10 18446744073709551615";

    #[test]
    fn start_time_is_found_behind_an_odd_name() {
        assert_eq!(parse_stat(STAT), Some(98765));
    }

    #[test]
    fn zombie_does_not_run() {
        assert_eq!(parse_stat(&STAT.replace(" S ", " Z ")), None);
    }

    #[test]
    fn started_process_is_known_until_it_is_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        let pid = start(
            &layout,
            "sleeper",
            Command::new("sleep").arg("1000"),
            Stdio::null(),
        )
        .unwrap();
        assert_eq!(
            running(&layout, "sleeper").map(|identity| identity.pid),
            Some(pid)
        );
        stop(&layout, "sleeper").unwrap();
        assert_eq!(running(&layout, "sleeper"), None);
        stop(&layout, "sleeper").unwrap();
    }

    #[test]
    fn recorded_number_of_another_process_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path());
        command::write(&layout.pid("gone"), format!("{} 1\n", std::process::id())).unwrap();
        assert_eq!(running(&layout, "gone"), None);
        stop(&layout, "gone").unwrap();
    }

    #[test]
    fn wait_that_fails_says_the_last_reason() {
        let error = wait_for::<()>("rain", Duration::ZERO, || bail!("the sky is blue")).unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("rain did not happen") && text.contains("the sky is blue"),
            "{text}"
        );
    }
}

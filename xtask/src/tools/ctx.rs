//! What every tool's `ensure` shares: where tools live, how to become root, and what was found or done.

use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{env, iter, thread};

use anyhow::{Context, Result, bail};

use crate::{shell, table};

const LOCK_POLL: Duration = Duration::from_millis(200);

/// One set-up. Of several at a time, only one installs; the others wait, and find what it has installed.
pub(crate) struct Ctx {
    tools: PathBuf,
    rows: RefCell<Vec<Row>>,
    apt_refreshed: Cell<bool>,
    bins: RefCell<Vec<PathBuf>>,
}

struct Row {
    name: String,
    version: String,
    place: String,
    took: Option<Duration>,
}

impl Ctx {
    /// Makes the tools directory.
    pub(crate) fn new() -> Result<Self> {
        let tools = cache_directory()?.join("weir/tools");
        fs::create_dir_all(&tools).with_context(|| format!("creating {}", tools.display()))?;
        Ok(Self {
            tools,
            rows: RefCell::default(),
            apt_refreshed: Cell::new(false),
            bins: RefCell::default(),
        })
    }

    /// Taken for each installation, and not for longer: builds that follow a set-up may run side by side.
    fn lock(&self) -> Result<File> {
        let path = self.tools.join(".lock");
        let lock = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        let mut waiting = false;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                // Not `lock()`, which Ctrl-C would not end.
                Err(TryLockError::WouldBlock) => {
                    if !waiting {
                        println!("waiting for another `cargo xtask` to finish an installation");
                        waiting = true;
                    }
                    thread::sleep(LOCK_POLL);
                    shell::interrupted()?;
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
        Ok(lock)
    }

    /// The directory of one version of one tool.
    pub(crate) fn directory(&self, name: &str, version: &str) -> PathBuf {
        self.tools.join(format!("{name}-{version}"))
    }

    /// The directory that holds all tools, for scratch files that must be on the same file system.
    pub(crate) fn tools(&self) -> &Path {
        &self.tools
    }

    /// Installs `name` by calling `how`, says so and why, and notes how long it took.
    pub(crate) fn install(
        &self,
        name: &str,
        version: &str,
        why: &str,
        place: &str,
        how: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        self.install_unless(name, version, why, place, || false, how)
    }

    /// As [`Self::install`], unless `is_there` once it is our turn: another set-up may just have installed it.
    pub(crate) fn install_unless(
        &self,
        name: &str,
        version: &str,
        why: &str,
        place: &str,
        is_there: impl Fn() -> bool,
        how: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let _lock = self.lock()?;
        if is_there() {
            self.found(name, version, place);
            return Ok(());
        }
        println!("installing {name} {version}: {why}");
        let start = Instant::now();
        how().with_context(|| format!("installing {name} {version}"))?;
        self.note(name, version, place, Some(start.elapsed()));
        Ok(())
    }

    /// Notes a tool that was there already.
    pub(crate) fn found(&self, name: &str, version: &str, place: &str) {
        self.note(name, version, place, None);
    }

    fn note(&self, name: &str, version: &str, place: &str, took: Option<Duration>) {
        self.rows.borrow_mut().push(Row {
            name: name.to_owned(),
            version: version.to_owned(),
            place: shorten(place, &env::var("HOME").unwrap_or_default()),
            took,
        });
    }

    /// Puts the directory of `program` in front of the PATH that [`Self::path`] gives.
    pub(crate) fn add_to_path(&self, program: &Path) {
        if let Some(directory) = program.parent() {
            self.bins.borrow_mut().push(directory.to_owned());
        }
    }

    /// PATH with every ensured tool in front, for commands that look tools up by name.
    pub(crate) fn path(&self) -> Result<OsString> {
        let old = env::var_os("PATH").unwrap_or_default();
        let bins = self.bins.borrow();
        let directories = bins.iter().cloned().chain(env::split_paths(&old));
        env::join_paths(directories).context("a directory on PATH contains a colon")
    }

    /// True for the first caller that wants the package lists refreshed.
    pub(crate) fn claim_apt_refresh(&self) -> bool {
        !self.apt_refreshed.replace(true)
    }

    /// Prints what is where, in one table.
    pub(crate) fn summary(&self) {
        let rows = self.rows.borrow();
        let installed = rows.iter().filter(|row| row.took.is_some()).count();
        let mut table = table::new(&["tool", "version", "where", ""], &[]);
        for row in rows.iter() {
            let state = row.took.map_or_else(
                || "present".to_owned(),
                |took| format!("installed in {:.0} s", took.as_secs_f64().ceil()),
            );
            table.add_row([&row.name, &row.version, &row.place, &state]);
        }
        println!("{table}");
        if installed == 0 {
            println!("set-up: everything is in place, nothing was installed");
        } else {
            println!("set-up: {installed} installed");
        }
    }
}

/// `program`, as root: directly when we are root, through sudo otherwise, saying so.
pub(crate) fn privileged(program: impl AsRef<OsStr>, args: &[&str]) -> Result<Command> {
    let program = program.as_ref();
    if is_root() {
        let mut command = Command::new(program);
        command.args(args);
        return Ok(command);
    }
    let mut wanted = Command::new(program);
    wanted.args(args);
    let wanted = shell::display(&wanted);
    if shell::which("sudo").is_none() {
        bail!("needs root, and sudo is not installed: run `{wanted}` as root, then try again");
    }
    println!("needs root, using sudo: {wanted}");
    let mut command = Command::new("sudo");
    command.args(iter::once(program).chain(args.iter().map(OsStr::new)));
    Ok(command)
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// `place` with the home directory as `~`.
fn shorten(place: &str, home: &str) -> String {
    match place.strip_prefix(home) {
        Some(rest) if !home.is_empty() && rest.starts_with('/') => format!("~{rest}"),
        _ => place.to_owned(),
    }
}

fn cache_directory() -> Result<PathBuf> {
    // The XDG rules: an empty or relative value counts as unset.
    if let Some(cache) = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
    {
        return Ok(cache);
    }
    let home = env::var_os("HOME").context("neither HOME nor XDG_CACHE_HOME says where tools can be kept")?;
    Ok(PathBuf::from(home).join(".cache"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorten_only_whole_components_of_home_become_a_tilde() {
        assert_eq!(shorten("/home/a/.cache", "/home/a"), "~/.cache");
        assert_eq!(shorten("/home/ab/x", "/home/a"), "/home/ab/x");
        assert_eq!(shorten("/usr/bin", ""), "/usr/bin");
    }
}

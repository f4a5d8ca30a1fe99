//! Processes that a measurement starts; none outlives it.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child as Started, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(5);
/// Bytes of a log that an error shows.
const TAIL: usize = 2_000;

/// A running child.
pub(crate) struct Child {
    name: &'static str,
    started: Started,
    log: Option<PathBuf>,
}

impl Child {
    /// Starts it with its output in a file of `directory`.
    pub(crate) fn logged(name: &'static str, mut command: Command, directory: &Path) -> Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let errors = output
            .try_clone()
            .with_context(|| format!("sharing {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let started = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name,
            started,
            log: Some(log),
        })
    }

    /// Starts it with standard output kept for [`Self::output`].
    pub(crate) fn piped(name: &'static str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let started = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name,
            started,
            log: None,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.started.id()
    }

    /// What it has written to its log.
    pub(crate) fn said(&self) -> String {
        self.log
            .as_ref()
            .and_then(|log| fs::read_to_string(log).ok())
            .unwrap_or_default()
    }

    /// Fails with the end of its log if it has ended.
    pub(crate) fn check(&mut self) -> Result<()> {
        match self
            .started
            .try_wait()
            .with_context(|| format!("waiting for {}", self.name))?
        {
            None => Ok(()),
            Some(status) => bail!("{} ended unexpectedly: {status}\n{}", self.name, self.tail()),
        }
    }

    /// Calls `look` until it gives a value, while the child runs.
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.check()?;
            let seen = look(self);
            if let Ok(Some(value)) = seen {
                return Ok(value);
            }
            if Instant::now() >= deadline {
                let error = seen.err().map(|error| format!("{error:#}")).unwrap_or_default();
                bail!(
                    "{}: not within {PATIENCE:?}: {what}; {error}\n{}",
                    self.name,
                    self.tail()
                );
            }
            thread::sleep(POLL);
        }
    }

    /// All of its standard output, once it has ended well.
    pub(crate) fn output(mut self) -> Result<String> {
        let mut text = String::new();
        if let Some(mut out) = self.started.stdout.take() {
            out.read_to_string(&mut text)
                .with_context(|| format!("reading from {}", self.name))?;
        }
        let status = self
            .started
            .wait()
            .with_context(|| format!("waiting for {}", self.name))?;
        if !status.success() {
            bail!("{} failed: {status}", self.name);
        }
        Ok(text)
    }

    /// Sends the signal and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> Result<()> {
        if self.started.try_wait()?.is_some() {
            return Ok(());
        }
        kill_process(Pid::from_child(&self.started), signal)
            .with_context(|| format!("sending {signal:?} to {}", self.name))?;
        let deadline = Instant::now() + PATIENCE;
        while self.started.try_wait()?.is_none() {
            if Instant::now() >= deadline {
                self.started.kill()?;
                self.started.wait()?;
                bail!(
                    "{} did not end within {PATIENCE:?} of {signal:?}\n{}",
                    self.name,
                    self.tail()
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn tail(&self) -> String {
        let said = self.said();
        let from = (said.len().saturating_sub(TAIL)..=said.len()).find(|&at| said.is_char_boundary(at));
        format!("the end of its log:\n{}", &said[from.unwrap_or(0)..])
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Reached with a running child only when something else has failed, which is what the user must see.
        if let Err(error) = self.end(Signal::TERM) {
            eprintln!("cleaning up: {error:#}");
        }
    }
}

//! The agent under demonstration: started as root, ended by SIGTERM.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::http;
use super::ledger::count;
use super::process::Process;
use crate::shell;
use crate::tools::is_root;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running agent; it ends when this is dropped.
pub(super) struct Agent {
    process: Process,
    admin: SocketAddr,
    // After the process: fields are dropped in this order.
    _state: State,
}

/// One cut of the ledger.
pub(super) struct Cut {
    /// Its number.
    pub(super) id: u64,
    /// Its identities held.
    pub(super) closed: bool,
}

impl Cut {
    /// In a word.
    pub(super) fn state(&self) -> &'static str {
        if self.closed { "closed" } else { "NOT CLOSED" }
    }
}

impl Agent {
    /// Starts it with its state in `scratch`.
    pub(super) fn start(program: &Path, profile: &Path, scratch: &Path) -> Result<Self> {
        let admin = free_address()?;
        let state = scratch.join("state");
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("--profile")
            .arg(profile)
            .arg("--state-dir")
            .arg(&state);
        command.args([
            "--node",
            "demo-node",
            "--cluster",
            "demo",
            "--admin",
            &admin.to_string(),
        ]);
        let process = Process::start_as_root("weir-agent", command, scratch)?;
        Ok(Self {
            process,
            admin,
            _state: State(state),
        })
    }

    /// Waits until its programs are in the kernel and its configuration is live.
    pub(super) fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            shell::interrupted()?;
            self.process.check()?;
            let answer = http::get(self.admin, "/readyz");
            if matches!(answer, Ok((200, _))) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!(
                    "the agent is not ready after {START_TIMEOUT:?}; last answer of /readyz: {answer:?}\n{}",
                    self.process.log_tail()
                );
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Fails with its log if it has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.process.check()
    }

    /// Has it cut its ledger now.
    pub(super) fn cut(&self) -> Result<Cut> {
        let (status, body) = http::get(self.admin, "/ledger?cut=now")?;
        ensure!(status == 200, "GET /ledger?cut=now: status {status}: {body}");
        let ledger: Value =
            serde_json::from_str(&body).with_context(|| format!("GET /ledger?cut=now: {body}"))?;
        let closed = ledger["cut"]["closed"]
            .as_bool()
            .context("GET /ledger?cut=now: no cut.closed")?;
        Ok(Cut {
            id: count(&ledger["cut"], "id")?,
            closed,
        })
    }

    /// Ends it; returns how long it took to drain.
    pub(super) fn stop(mut self) -> Result<Duration> {
        self.process.stop()
    }
}

/// The agent's state directory. It is root's; where we are root it goes with the scratch directory.
struct State(PathBuf);

impl Drop for State {
    fn drop(&mut self) {
        if !is_root() && self.0.exists() {
            let mut sudo = Command::new("sudo");
            sudo.args(["--non-interactive", "rm", "-rf", "--"]).arg(&self.0);
            if let Err(error) = shell::clean_up(&mut sudo) {
                eprintln!("cleaning up: {error:#}");
            }
        }
    }
}

fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free loopback port")?;
    listener.local_addr().context("asking for the free port's number")
}

//! A running `weir-agent` with a directory of its own, killed when the test ends.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::ledger::Ledger;

const DEADLINE: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_millis(10);
/// How long it is waited for an agent of somebody else, such as one of another checkout's tests, to end.
const TURN: Duration = Duration::from_mins(2);
pub const BINARY: &str = env!("CARGO_BIN_EXE_weir-agent");

/// Whether the kernel can be tested. Otherwise the test fails in CI and says loudly elsewhere that it proves nothing.
pub fn may_test() -> bool {
    let root = rustix::process::geteuid().is_root();
    let perl = Path::new("/usr/bin/perl").is_file();
    if root && perl {
        return true;
    }
    let missing = if root {
        "/usr/bin/perl"
    } else {
        "root, which alone may load BPF programs"
    };
    assert!(std::env::var_os("CI").is_none(), "this test needs {missing}");
    eprintln!("SKIPPED, nothing is proven: this test needs {missing}");
    false
}

/// Polls without a runtime until there is a value.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look() {
            Ok(value) => return value,
            Err(state) => {
                assert!(
                    Instant::now() < deadline,
                    "not within {DEADLINE:?}: {what}; last state: {state}"
                );
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

/// How an agent is to be started.
pub struct Setup {
    pub dir: TempDir,
    arguments: Vec<String>,
    wrapper: Vec<String>,
}

impl Setup {
    pub fn new(profile: &str) -> Self {
        let dir = tempfile::tempdir().expect("makes a directory");
        let setup = Self {
            dir,
            arguments: Vec::new(),
            wrapper: Vec::new(),
        };
        fs::write(setup.profile(), profile).expect("writes the profile");
        setup
    }

    pub fn profile(&self) -> PathBuf {
        self.dir.path().join("profile.yaml")
    }

    pub fn events(&self) -> PathBuf {
        self.dir.path().join("events.json")
    }

    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    pub fn with_sink(self, sink: &str) -> Self {
        self.with(&["--sink", sink])
    }

    pub fn with_file(self) -> Self {
        let sink = format!("file:{}", self.events().display());
        self.with_sink(&sink)
    }

    /// A program in front of the agent.
    pub fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    fn command(&self, agent: &Path) -> Command {
        let mut words = self.wrapper.iter().map(OsStr::new).chain([agent.as_os_str()]);
        let mut command = Command::new(words.next().expect("there is the agent"));
        command
            .args(words)
            .arg("run")
            .arg("--profile")
            .arg(self.profile());
        command.args(["--admin", "127.0.0.1:0", "--node", "node", "--cluster", "test"]);
        if !self.arguments.iter().any(|argument| argument == "--state-dir") {
            command.arg("--state-dir").arg(self.dir.path().join("state"));
        }
        command.args(&self.arguments).stdin(Stdio::null());
        command
    }

    /// Runs an agent that is expected to end by itself; its exit code and all it said.
    pub fn run_to_end(&self) -> (Option<i32>, String) {
        self.run_program_to_end(Path::new(BINARY))
    }

    /// The same with the agent's program at another place.
    pub fn run_program_to_end(&self, agent: &Path) -> (Option<i32>, String) {
        let output = self.command(agent).output().expect("the agent starts");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    /// Starts it and waits until its first profile runs.
    pub fn start(self) -> Agent {
        let agent = self.start_anyhow();
        agent.until_generation(1);
        agent
    }

    /// Starts it and waits until its admin server listens.
    pub fn start_anyhow(self) -> Agent {
        let log_path = self.dir.path().join("log");
        let mut agent = Agent {
            child: self.spawn(&log_path),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            setup: self,
            log_path,
        };
        let turn = Instant::now() + TURN;
        loop {
            let listens = until("the admin server listens", || agent.listens_or_ended());
            if let Some(address) = listens {
                agent.admin = address;
                return agent;
            }
            let log = agent.log();
            let is_second = log.contains("another weir-agent") && Instant::now() < turn;
            assert!(is_second, "the agent ended: {log}");
            agent.child = agent.setup.spawn(&agent.log_path);
        }
    }

    fn spawn(&self, log: &Path) -> Child {
        let log = File::create(log).expect("makes a log");
        let out = log.try_clone().expect("clones");
        let mut command = self.command(Path::new(BINARY));
        command.stdout(out).stderr(log).spawn().expect("the agent starts")
    }
}

pub struct Agent {
    child: Child,
    admin: SocketAddr,
    pub setup: Setup,
    log_path: PathBuf,
}

impl Agent {
    /// Where the admin server listens; none when the agent has ended.
    fn listens_or_ended(&mut self) -> Result<Option<SocketAddr>, String> {
        if self.child.try_wait().expect("can be asked").is_some() {
            return Ok(None);
        }
        let log = self.log();
        let address = log
            .lines()
            .find(|line| line.contains("admin server listens"))
            .and_then(|line| {
                let (_, rest) = line.split_once("127.0.0.1:")?;
                let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
                Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)))
            });
        address.map(Some).ok_or(log)
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_path).expect("reads the log")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signals the agent");
    }

    /// An HTTP GET: code and body.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let told = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(self.admin).map_err(told)?;
        stream.set_read_timeout(Some(DEADLINE)).map_err(told)?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: agent\r\n\r\n").map_err(told)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(told)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| answer.clone())?;
        let code = head
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| head.to_owned())?;
        Ok((code, body.to_owned()))
    }

    /// Waits until `/readyz` says this, and returns code and body.
    pub fn until_ready_says(&self, text: &str) -> (u16, String) {
        until(text, || match self.get("/readyz") {
            Ok((code, body)) if body.contains(text) => Ok((code, body)),
            other => Err(format!("{other:?}")),
        })
    }

    /// A cut of now; the identities of every slot are checked.
    pub fn cut(&self) -> Ledger {
        let (code, body) = self.get("/ledger?cut=now").expect("the agent answers");
        assert_eq!(code, 200, "{body}; {}", self.log());
        let value: Value = serde_json::from_str(&body).expect("is JSON");
        let ledger = Ledger::new(value);
        ledger.assert_exact();
        ledger
    }

    pub fn generation(&self) -> Result<u64, String> {
        let (_, body) = self.get("/ledger")?;
        let value: Value = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        let profiles = value["profiles"].as_array().ok_or("no profiles")?;
        profiles
            .iter()
            .filter_map(|profile| profile["generation"].as_u64())
            .max()
            .ok_or_else(|| body.clone())
    }

    pub fn until_generation(&self, generation: u64) {
        until("the generation runs", || match self.generation() {
            Ok(found) if found >= generation => Ok(()),
            other => Err(format!("{other:?}: {}", self.log())),
        });
    }

    /// Waits until nothing is under way: every accepted event has its final state.
    pub fn until_settled(&self) -> Ledger {
        until("every event is settled", || {
            let ledger = self.cut();
            if ledger.under_way() == 0 {
                Ok(ledger)
            } else {
                Err(format!("{ledger:?}: {:?}", self.get("/readyz")))
            }
        })
    }

    /// SIGTERM: exit status and how long the end took.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        let begun = Instant::now();
        self.signal(Signal::TERM);
        let status = until("the agent ends", || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            other => Err(format!("{other:?}: {}", self.log())),
        });
        (status, begun.elapsed())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(&self.log_path).unwrap_or_default();
            eprintln!("the agent's log:\n{log}");
        }
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

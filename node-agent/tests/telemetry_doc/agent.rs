//! A real agent with generated events and a sink of the test's choice.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::scrape::Scrape;

/// Longest wait for anything. An unanswered batch alone takes 5 s.
const DEADLINE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

const PROFILE: &str = "\
apiVersion: weir.dev/v1alpha1
kind: CollectorProfile
metadata: {name: telemetry}
spec:
  events:
    - {name: starts, kind: process.exec}
    - {name: opens, kind: file.open}
";

/// Ends with the test.
pub struct Agent {
    child: Child,
    output: Option<ChildStdout>,
    address: String,
    folder: TempDir,
}

impl Agent {
    /// Starts one. `sink` is relative to a folder of its own.
    pub fn start(name: &str, sink: &str, rate: u32) -> Self {
        let folder = tempfile::Builder::new()
            .prefix(&format!("weir-telemetry-{name}."))
            .tempdir()
            .expect("a folder");
        fs::write(folder.path().join("profile.yaml"), PROFILE).expect("the profile is written");
        let log = File::create(folder.path().join("log")).expect("a log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir-agent"))
            .args([
                "run",
                "--profile",
                "profile.yaml",
                "--state-dir",
                "state",
                "--admin",
                "127.0.0.1:0",
            ])
            .args([
                "--node",
                "n",
                "--cluster",
                "c",
                "--sink",
                sink,
                "--source",
                &format!("synthetic:{rate}"),
            ])
            .current_dir(folder.path())
            .env_remove("WEIR_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the agent starts");
        let output = child.stdout.take();
        let mut agent = Self {
            child,
            output,
            address: String::new(),
            folder,
        };
        agent.address = agent.wait("the admin server's address", Self::logged_address);
        agent
    }

    fn logged_address(&self) -> Option<String> {
        let lines = self
            .log()
            .into_iter()
            .filter_map(|line| serde_json::from_str::<Value>(&line).ok());
        let mut listening = lines.filter(|line| line["message"] == "admin server listens");
        listening
            .next()
            .and_then(|line| Some(line["address"].as_str()?.to_owned()))
    }

    /// The whole lines that it has logged.
    pub fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("log")).expect("the log can be read");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Code and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("the admin server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .expect("a request");
        let mut answer = BufReader::new(stream);
        let mut line = String::new();
        answer.read_line(&mut line).expect("a status line");
        let code = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .expect("a status code");
        let mut length = 0;
        loop {
            line.clear();
            answer.read_line(&mut line).expect("a header");
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        answer.read_exact(&mut body).expect("the body");
        (code, String::from_utf8(body).expect("the body is text"))
    }

    /// From now on nobody reads its standard output.
    pub fn close_output(&mut self) {
        self.output = None;
    }

    /// Scrapes until it shows what is wanted.
    pub fn until(&self, wanted: impl Fn(&Scrape) -> bool) -> Scrape {
        self.wait("metrics", |agent| {
            let (code, text) = agent.get("/metrics");
            assert_eq!(code, 200, "{text}");
            let scrape = Scrape::parse(&text);
            wanted(&scrape).then_some(scrape)
        })
    }

    fn wait<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            if Instant::now() >= end {
                let metrics = if self.address.is_empty() {
                    String::new()
                } else {
                    self.get("/metrics").1
                };
                panic!(
                    "{what} did not come in {DEADLINE:?}; last:\n{metrics}\n{}",
                    self.log().join("\n")
                );
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

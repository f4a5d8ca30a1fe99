//! What a supervisor sees of the process: exit codes and messages for bad configuration, patience with an API server
//! that is away, an orderly end.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

fn operator() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir-operator"));
    command
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env_remove("POD_NAME")
        .env("KUBECONFIG", "/nowhere/kubeconfig")
        .stdin(Stdio::null());
    command
}

fn ends(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

#[test]
fn bad_settings_end_with_64_and_name_the_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator.yaml");
    std::fs::write(&file, "agent: {maxUnavailable: 0%}\n").unwrap();
    let (code, text) = ends(operator().arg("--config").arg(&file));
    assert_eq!(code, Some(64), "{text}");
    assert!(
        text.contains("agent.maxUnavailable") && text.contains("operator.yaml"),
        "{text}"
    );
}

#[test]
fn unknown_argument_or_no_way_to_the_cluster_ends_with_64() {
    assert_eq!(ends(operator().arg("--leader-elected")).0, Some(64));
    let (code, text) = ends(operator().args(["--admin", "127.0.0.1:0"]));
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("KUBECONFIG"), "{text}");
    assert_eq!(ends(operator().arg("--help")).0, Some(0));
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{what} did not come");
        std::thread::yield_now();
    }
}

/// *Scenario:* nothing listens where the API server should be, then SIGTERM.
/// *Guarantees:* alive, not ready, no crash; the end is graceful.
#[test]
fn api_server_away_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("kubeconfig");
    let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n\
                clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
    std::fs::write(&config, text).unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let child = operator()
        .env("KUBECONFIG", &config)
        .args(["--admin", &format!("127.0.0.1:{port}")])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    until("an answer of /livez", || {
        get(port, "/livez").filter(|answer| answer.starts_with("HTTP/1.1 200"))
    });
    let ready = until("an answer of /readyz", || get(port, "/readyz"));
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("[-] crds"),
        "{ready}"
    );
    assert!(running.0.try_wait().unwrap().is_none());
    let signalled = Command::new("kill")
        .args(["-TERM", &running.0.id().to_string()])
        .status()
        .unwrap();
    assert!(signalled.success());
    let status = until("the end", || running.0.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

//! `docs/telemetry.md` and what a running operator shows must agree, both ways.
//!
//! The operator of this test finds no API server: what is measured of writes is told by the writer alone.

#![expect(clippy::expect_used, reason = "a test that cannot go on fails")]
#![expect(
    unreachable_pub,
    reason = "the helper modules of a test have no public interface"
)]
#![expect(
    dead_code,
    reason = "the helper modules are shared with the agent's test, which needs more of them"
)]

#[path = "../../node-agent/tests/telemetry_doc/page.rs"]
mod page;
#[path = "../../node-agent/tests/telemetry_doc/scrape.rs"]
mod scrape;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kube::Client;
use kube::api::{Api, ApiResource};
use kube::client::Body;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use tempfile::TempDir;
use weir_operator::write::Writer;
use weir_profile::CollectorProfile;
use weir_runtime::metrics::Metrics;

use crate::page::Page;
use crate::scrape::Scrape;

const DEADLINE: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(100);
const PREFIX: &str = "weir_operator_";
/// Shown from the first write on.
const WRITES: &str = "weir_operator_writes_total";

/// Nobody listens there: port 1 is reserved.
const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: 'http://127.0.0.1:1'}}]
users: [{name: none, user: {}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
";

/// Ends with the test.
struct Operator {
    child: Child,
    folder: TempDir,
}

impl Operator {
    fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("weir-telemetry.")
            .tempdir()
            .expect("a folder");
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, KUBECONFIG).expect("the kubeconfig is written");
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new(env!("CARGO_BIN_EXE_weir-operator"))
            .args(["--admin", "127.0.0.1:0", "--leader-elect=false"])
            .env("KUBECONFIG", kubeconfig)
            .env_remove("WEIR_LOG")
            .env_remove("POD_NAME")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the operator starts");
        Self { child, folder }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("the log can be read")
    }

    fn address(&self) -> Option<String> {
        let log = self.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let lines = whole
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut listening = lines.filter(|line| line["message"] == "admin server listens");
        listening
            .next()
            .and_then(|line| Some(line["address"].as_str()?.to_owned()))
    }

    fn scrape(&self) -> Scrape {
        let end = Instant::now() + DEADLINE;
        let address = loop {
            if let Some(address) = self.address() {
                break address;
            }
            assert!(Instant::now() < end, "no admin server; the log:\n{}", self.log());
            std::thread::sleep(LOOK);
        };
        let mut stream = TcpStream::connect(address).expect("the admin server accepts");
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(" 200 "), "{head}");
        Scrape::parse(body)
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What the counter of writes shows after every kind of write was tried.
async fn writes() -> Scrape {
    let (service, handle) = tower_test::mock::pair::<http::Request<Body>, http::Response<Body>>();
    // Whoever writes now, fails: a write is counted when it is tried.
    drop(handle);
    let client = Client::new(service, "default");
    let writer = Writer::default();
    let metrics = Metrics::new("operator", "test");
    metrics.register(|registry| registry.register("writes", "", writer.counter()));
    let resource = ApiResource::erase::<CollectorProfile>(&());
    let any: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let profiles: Api<CollectorProfile> = Api::all(client);
    let object = DynamicObject::new("a", &resource);
    assert!(writer.apply(&any, &object).await.is_err());
    assert!(writer.apply_status(&profiles, "a", &json!({})).await.is_err());
    assert!(writer.delete(&any, "a", "uid").await.is_err());
    Scrape::parse(&metrics.encode().expect("the metrics are text"))
}

/// Scenario: an operator without an API server, and a writer that tries every kind of write.
/// Guarantees: names, types, labels and values of all metrics are those of the page, and the page has no other.
#[tokio::test]
async fn metrics_shown_are_those_of_the_page() {
    let page = Page::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/telemetry.md"));
    let operator = Operator::start();
    let mut shown = operator.scrape();
    let first = shown.metrics();
    let missing: BTreeSet<String> = page
        .metrics(PREFIX)
        .into_keys()
        .filter(|name| !first.contains_key(name))
        .collect();
    assert!(
        missing.iter().all(|name| name == WRITES),
        "the page has {missing:?}, the operator not"
    );
    shown.merge(writes().await);
    assert_eq!(
        page.metrics(PREFIX),
        shown.metrics(),
        "left: the page, right: the operator"
    );
    for row in page.labels(PREFIX) {
        let values = shown.values(&row.label, &row.metrics);
        if row.label == "version" {
            assert!(row.values.is_empty() && !values.is_empty(), "{values:?}");
        } else {
            assert_eq!(
                row.values, values,
                "{} of {:?}; left: the page",
                row.label, row.metrics
            );
        }
    }
    let labels: BTreeSet<(String, String)> = shown.labels().collect();
    assert_eq!(
        page.label_uses(PREFIX),
        labels,
        "left: the page, right: the operator"
    );
}

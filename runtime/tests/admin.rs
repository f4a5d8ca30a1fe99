//! The admin server over a real socket.

#![expect(
    clippy::expect_used,
    reason = "a test helper that cannot go on fails its test"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::SystemTime;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weir_runtime::admin::{AdminError, AdminServer};
use weir_runtime::metrics::Metrics;
use weir_runtime::readiness::{Readiness, State};

async fn request(address: SocketAddr, path: &str, accept: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("connects");
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: weir\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("sends");
    let mut response = String::new();
    socket
        .read_to_string(&mut response)
        .await
        .expect("answers in UTF-8");
    response
}

/// *Scenario:* a process with a closed gate and a degraded sink; then the gate opens.
/// *Guarantees:* `/readyz` goes from 503 to 200 by the gate alone and its body names the sink's reason and remedy, as
/// text and as JSON; `/livez` is 200 throughout; `/metrics` is `OpenMetrics`; extra routes answer.
#[tokio::test]
async fn admin_answers_what_probes_and_scrapers_ask() {
    let server = AdminServer::bind((Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("binds");
    let address = server.local_addr();
    let (readiness, stop) = (Readiness::new(), CancellationToken::new());
    let gate = readiness.gate("configuration");
    let sink = State::Degraded {
        reason: "no server".into(),
        remedy: "start one".into(),
    };
    readiness.set("sink/default", sink, SystemTime::now());
    let extra = Router::new().route("/ledger", get(async || "the ledger"));
    let metrics = Metrics::new("agent", "1.2.3");
    let serving = tokio::spawn(server.serve(readiness, metrics, extra, stop.clone()));

    let closed = request(address, "/readyz", "*/*").await;
    assert!(closed.starts_with("HTTP/1.1 503 "), "{closed}");
    assert!(closed.contains("[-] configuration: not ready\n"), "{closed}");
    assert!(
        request(address, "/livez", "*/*")
            .await
            .starts_with("HTTP/1.1 200 ")
    );

    gate.open();
    let open = request(address, "/readyz", "*/*").await;
    assert!(open.starts_with("HTTP/1.1 200 "), "{open}");
    assert!(open.contains("no server; start one\n"), "{open}");
    let json = request(address, "/readyz", "application/json").await;
    let body = json.split_once("\r\n\r\n").expect("has a body").1;
    let body: serde_json::Value = serde_json::from_str(body).expect("is JSON");
    assert_eq!(body["components"]["sink/default"]["reason"], "no server");

    let metrics = request(address, "/metrics", "*/*").await;
    assert!(
        metrics.contains("content-type: application/openmetrics-text"),
        "{metrics}"
    );
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    assert!(request(address, "/ledger", "*/*").await.ends_with("the ledger"));
    assert!(
        request(address, "/nothing", "*/*")
            .await
            .starts_with("HTTP/1.1 404 ")
    );

    stop.cancel();
    serving.await.expect("does not panic").expect("ends well");
}

/// *Scenario:* the address is taken.
/// *Guarantees:* the error names the address and a remedy.
#[tokio::test]
async fn admin_bound_twice_says_which_address_is_taken() {
    let first = AdminServer::bind((Ipv4Addr::LOCALHOST, 0).into())
        .await
        .expect("binds");
    let error = AdminServer::bind(first.local_addr()).await.expect_err("is taken");
    assert!(matches!(error, AdminError::Bind { .. }), "{error:?}");
    assert!(
        error.to_string().contains(&first.local_addr().to_string()),
        "{error}"
    );
}

//! The admin server: `/livez`, `/readyz`, `/metrics`, and whatever routes the binary adds.
//!
//! It reads; it never changes anything. `/readyz`'s code follows the gates alone, its body shows everything. `/livez` fails
//! once a stage hangs.

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::{self, Metrics};
use crate::readiness::Readiness;

/// Why the admin server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be bound.
    #[error("the admin server cannot listen on {address}; choose another address, or end what listens there")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Serving ended.
    #[error("the admin server failed")]
    Serve(#[source] io::Error),
}

/// A bound, not yet serving admin server.
#[derive(Debug)]
pub struct AdminServer {
    listener: TcpListener,
    address: SocketAddr,
}

#[derive(Debug, Clone)]
struct Shared {
    readiness: Readiness,
    metrics: Metrics,
}

impl AdminServer {
    /// Binds `address`; port 0 takes a free one.
    pub async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let failed = |source| AdminError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled; `extra` are the binary's own routes.
    pub async fn serve(
        self,
        readiness: Readiness,
        metrics: Metrics,
        extra: Router,
        stop: CancellationToken,
    ) -> Result<(), AdminError> {
        tracing::info!(address = %self.address, "admin server listens");
        let routes = Router::new()
            .route("/livez", get(livez))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics_text))
            .with_state(Shared { readiness, metrics })
            .merge(extra);
        axum::serve(self.listener, routes)
            .with_graceful_shutdown(stop.cancelled_owned())
            .await
            .map_err(AdminError::Serve)
    }
}

async fn livez(State(shared): State<Shared>) -> Response {
    let stuck = shared.readiness.stuck();
    if stuck.is_empty() {
        return "ok\n".into_response();
    }
    let lines = stuck
        .iter()
        .map(|(name, age)| format!("[-] {name}: no sign of life for {} s\n", age.as_secs()));
    (StatusCode::SERVICE_UNAVAILABLE, lines.collect::<String>()).into_response()
}

async fn readyz(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let report = shared.readiness.report(SystemTime::now());
    let code = if report.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let wants_json = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("json"));
    if wants_json {
        (code, Json(report)).into_response()
    } else {
        (code, report.text()).into_response()
    }
}

async fn metrics_text(State(shared): State<Shared>) -> Response {
    match shared.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn livez_fails_once_a_stage_hangs_and_says_which() {
        let readiness = Readiness::new();
        let _beat = readiness.beat("drain");
        let shared = Shared {
            readiness: readiness.clone(),
            metrics: Metrics::new("agent", "0"),
        };
        assert_eq!(livez(State(shared.clone())).await.status(), StatusCode::OK);
        readiness.age("drain", Duration::from_secs(75));
        let failed = livez(State(shared)).await;
        assert_eq!(failed.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = axum::body::to_bytes(failed.into_body(), 1024).await.unwrap();
        assert_eq!(body, "[-] stage drain: no sign of life for 75 s\n");
    }
}

//! The agent's own route of the admin server: `GET /ledger`.

use std::collections::HashMap;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use tokio::sync::oneshot;

use crate::control::view::View;
use crate::control::{Request, Requests};

/// `GET /ledger` is the last cut, `GET /ledger?cut=now` makes one.
pub fn routes(view: View, requests: Requests) -> Router {
    Router::new()
        .route("/ledger", get(ledger))
        .with_state((view, requests))
}

async fn ledger(
    State((view, requests)): State<(View, Requests)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let unavailable = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    match query.get("cut").map(String::as_str) {
        None => match view.ledger() {
            Some(ledger) => Json((*ledger).clone()).into_response(),
            None => unavailable("no cut was made yet; ask again, or with ?cut=now\n"),
        },
        Some("now") => {
            let (answer, ledger) = oneshot::channel();
            if requests.send(Request::Cut(answer)).await.is_err() {
                return unavailable("the agent is ending\n");
            }
            match ledger.await {
                Ok(ledger) => Json(ledger).into_response(),
                Err(_) => unavailable("the agent is ending\n"),
            }
        }
        Some(other) => (
            StatusCode::BAD_REQUEST,
            format!("cut={other}: only cut=now is known\n"),
        )
            .into_response(),
    }
}

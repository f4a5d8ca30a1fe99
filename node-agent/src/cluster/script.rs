//! An API server for tests: answers by a script, records what was asked, leaves watches open.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tower_test::mock;

/// Far above anything that a test waits for.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// One request as it came.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Value,
}

type Answers = BTreeMap<(String, String), VecDeque<(StatusCode, Value)>>;

/// The server's side.
#[derive(Debug, Clone)]
pub(super) struct Script {
    answers: Arc<Mutex<Answers>>,
    asked: watch::Receiver<Vec<Asked>>,
}

impl Script {
    /// A client and the script that answers it. What is not scripted is answered 404.
    pub(super) fn start() -> (Client, Self) {
        let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
        let (record, asked) = watch::channel(Vec::new());
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let script = Self {
            answers: Arc::clone(&answers),
            asked,
        };
        tokio::spawn(async move {
            // Dropping it would end the watch.
            let mut watches = Vec::new();
            while let Some((request, send)) = handle.next_request().await {
                let (parts, body) = request.into_parts();
                let query = parts.uri.query().unwrap_or_default().to_owned();
                if query.contains("watch=true") {
                    watches.push(send);
                    continue;
                }
                let body = body.collect_bytes().await.unwrap();
                let body = if body.is_empty() {
                    Value::Null
                } else {
                    serde_json::from_slice(&body).unwrap()
                };
                let path = parts.uri.path().to_owned();
                let key = (parts.method.to_string(), path.clone());
                let answer = {
                    let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
                    // The last answer stays.
                    answers.get_mut(&key).and_then(|queue| {
                        if queue.len() > 1 {
                            queue.pop_front()
                        } else {
                            queue.front().cloned()
                        }
                    })
                };
                record.send_modify(|asked| {
                    asked.push(Asked {
                        method: parts.method,
                        path,
                        query,
                        body,
                    });
                });
                let (code, value) = answer.unwrap_or_else(|| (StatusCode::NOT_FOUND, failure(404)));
                let response = Response::builder()
                    .status(code)
                    .body(Body::from(serde_json::to_vec(&value).unwrap()));
                send.send_response(response.unwrap());
            }
        });
        (Client::new(service, "default"), script)
    }

    /// From now on (after the answers that are queued) a request is answered so.
    pub(super) fn answer(&self, method: &str, path: &str, code: u16, value: Value) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = answers.entry((method.to_owned(), path.to_owned())).or_default();
        queue.push_back((StatusCode::from_u16(code).unwrap(), value));
    }

    /// Waits until the requests so far fulfil a condition.
    pub(super) async fn wait(&self, what: &str, condition: impl FnMut(&Vec<Asked>) -> bool) -> Vec<Asked> {
        let mut asked = self.asked.clone();
        let outcome = tokio::time::timeout(DEADLINE, asked.wait_for(condition)).await;
        let Ok(asked) = outcome else {
            panic!("{what}: {:#?}", self.asked())
        };
        asked.unwrap().clone()
    }

    /// All requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }
}

/// What the API server says when it refuses.
pub(super) fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "Scripted", "message": "scripted"})
}

/// A metadata list of objects.
pub(super) fn list(objects: &[Value]) -> Value {
    let items: Vec<Value> = objects
        .iter()
        .map(|object| json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]}))
        .collect();
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {"resourceVersion": "1"}, "items": items})
}

//! An API server with a large fleet in it, as far as an operator can tell: lists with pages, watches, writes.
//!
//! It holds what is asked of it in memory and answers from there. Nothing of it knows how the operator works.

pub(crate) mod objects;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::response::Response;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use objects::Size;

/// Changes that a watch may be behind; more than any burst of a measurement.
const BEHIND: usize = 65_536;
const BODY_MAX: usize = 4 << 20;
/// How long a watch lasts that does not say.
const WATCH: Duration = Duration::from_mins(5);

/// One write that came.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) body: Value,
}

struct Watched {
    /// By name, as JSON.
    objects: BTreeMap<String, Arc<str>>,
    changes: broadcast::Sender<Bytes>,
}

/// All that the server holds.
pub(crate) struct Fleet {
    resources: Mutex<BTreeMap<&'static str, Watched>>,
    version: Mutex<u64>,
    writes: Mutex<Vec<Write>>,
}

impl Fleet {
    /// Starts serving on a free loopback port.
    pub(crate) async fn serve(size: Size) -> Result<(Arc<Self>, SocketAddr)> {
        let mut resources = BTreeMap::new();
        for (path, objects) in objects::all(size) {
            let objects = objects
                .into_iter()
                .map(|object| (name(&object).to_owned(), Arc::from(object.to_string())))
                .collect();
            let (changes, _) = broadcast::channel(BEHIND);
            resources.insert(path, Watched { objects, changes });
        }
        let fleet = Arc::new(Self {
            resources: Mutex::new(resources),
            version: Mutex::new(1_000),
            writes: Mutex::default(),
        });
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("binding the API server")?;
        let address = listener.local_addr().context("asking for its address")?;
        let router = Router::new().fallback(answer).with_state(Arc::clone(&fleet));
        tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the API server ended: {error}");
            }
        });
        Ok((fleet, address))
    }

    /// An object of a resource changes.
    pub(crate) fn change(&self, path: &str, mut object: Value) {
        object["metadata"]["resourceVersion"] = json!(self.next().to_string());
        let text: Arc<str> = object.to_string().into();
        let mut resources = self.resources();
        if let Some(watched) = resources.get_mut(path) {
            watched
                .objects
                .insert(name(&object).to_owned(), Arc::clone(&text));
            // Nobody may be watching.
            watched
                .changes
                .send(format!("{{\"type\":\"MODIFIED\",\"object\":{text}}}\n").into())
                .ok();
        }
    }

    /// An object as it is now.
    pub(crate) fn object(&self, path: &str, name: &str) -> Option<Value> {
        let resources = self.resources();
        let text = resources.get(path)?.objects.get(name)?;
        serde_json::from_str(text).ok()
    }

    /// The writes since there were `from` of them.
    pub(crate) fn writes(&self, from: usize) -> Vec<Write> {
        let writes = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        writes.get(from..).unwrap_or_default().to_vec()
    }

    /// How many writes there were.
    pub(crate) fn written(&self) -> usize {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn resources(&self) -> MutexGuard<'_, BTreeMap<&'static str, Watched>> {
        self.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> u64 {
        let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
        *version += 1;
        *version
    }

    fn list(&self, path: &str, query: &Query) -> Option<Response> {
        let resources = self.resources();
        let watched = resources.get(path)?;
        let (from, limit) = (query.number("continue"), query.number("limit"));
        let from = from.unwrap_or(0);
        let limit = limit.unwrap_or(usize::MAX);
        let page: Vec<&str> = watched
            .objects
            .values()
            .skip(from)
            .take(limit)
            .map(|object| &**object)
            .collect();
        let next = from + page.len();
        let more = if next < watched.objects.len() {
            next.to_string()
        } else {
            String::new()
        };
        let version = *self.version.lock().unwrap_or_else(PoisonError::into_inner);
        Some(respond(
            StatusCode::OK,
            format!(
                "{{\"apiVersion\":\"v1\",\"kind\":\"List\",\"metadata\":{{\"resourceVersion\":\"{version}\",\"continue\":\"{more}\"}},\
                 \"items\":[{}]}}",
                page.join(",")
            ),
        ))
    }

    fn watch(&self, path: &str, query: &Query) -> Option<Response> {
        let changes = self.resources().get(path)?.changes.subscribe();
        let seconds = query
            .number("timeoutSeconds")
            .and_then(|seconds| u64::try_from(seconds).ok());
        let end = tokio::time::Instant::now() + seconds.map_or(WATCH, Duration::from_secs);
        let lines = futures::stream::unfold(changes, move |mut changes| async move {
            // One that is too far behind ends, as the API server's own would.
            let line = tokio::time::timeout_at(end, changes.recv()).await.ok()?.ok()?;
            Some((Ok::<_, Infallible>(line), changes))
        });
        Some(Response::new(Body::from_stream(lines.boxed())))
    }

    /// Takes a write as server-side apply of all fields.
    fn write(&self, path: &str, body: Value) -> Response {
        self.writes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Write {
                at: Instant::now(),
                path: path.to_owned(),
                body: body.clone(),
            });
        let status_of = path
            .strip_suffix("/status")
            .and_then(|object| object.rsplit_once('/'));
        let mut stored = match status_of {
            Some((resource, name)) => {
                let mut object = self.object(resource, name).unwrap_or_default();
                object["status"] = body["status"].clone();
                object
            }
            None => body,
        };
        if stored["metadata"]["uid"].is_null() {
            stored["metadata"]["uid"] = json!(format!("uid-of-{}", name(&stored)));
        }
        let resource = status_of.map_or_else(
            || path.rsplit_once('/').map_or(path, |(resource, _)| resource),
            |(resource, _)| resource,
        );
        self.change(resource, stored.clone());
        let now = self.object(resource, name(&stored)).unwrap_or(stored);
        respond(StatusCode::OK, now.to_string())
    }
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// The query of a request; nothing in it is escaped that is looked at here.
struct Query(String);

impl Query {
    fn get(&self, key: &str) -> Option<&str> {
        self.0
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(found, value)| (found == key).then_some(value))
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.get(key)?.parse().ok()
    }
}

async fn answer(State(fleet): State<Arc<Fleet>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (path, query) = (
        parts.uri.path().to_owned(),
        Query(parts.uri.query().unwrap_or_default().to_owned()),
    );
    if parts.method == Method::GET {
        let found = if query.get("watch") == Some("true") {
            fleet.watch(&path, &query)
        } else {
            fleet.list(&path, &query)
        };
        let one = || {
            let (resource, name) = path.rsplit_once('/')?;
            let object = fleet.object(resource, name)?;
            Some(respond(StatusCode::OK, object.to_string()))
        };
        return found.or_else(one).unwrap_or_else(not_found);
    }
    let Ok(body) = to_bytes(body, BODY_MAX).await else {
        return respond(StatusCode::PAYLOAD_TOO_LARGE, String::new());
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    if path.contains("/events") || path.contains("/leases") {
        return respond(StatusCode::OK, body.to_string());
    }
    fleet.write(&path, body)
}

fn not_found() -> Response {
    let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": "not found"});
    respond(StatusCode::NOT_FOUND, status.to_string())
}

fn respond(code: StatusCode, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = code;
    response.headers_mut().insert(
        axum::http::header::CONTENT_TYPE,
        axum::http::HeaderValue::from_static("application/json"),
    );
    response
}

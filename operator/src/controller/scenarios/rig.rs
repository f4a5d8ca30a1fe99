//! The scripted API server, and a context whose stores hold what a test puts there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use http::{Request, Response};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::client::Body;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer as StoreWriter;
use kube::runtime::watcher::Event;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower_test::mock::{Handle, SendResponse};

use crate::context::{Context, Dirty, GuardedProfile, GuardedSink, Namespaces, Stores};
use crate::event::Events;
use crate::metrics::Failures;
use crate::rollup::Index;
use crate::settings::Settings;
use crate::trouble::Troubles;
use crate::write::Writer;

/// Long enough for a slow machine: a call that has not come by then never comes.
const LIMIT: Duration = Duration::from_secs(10);

/// What the API server holds when a test begins.
#[derive(Default)]
pub(super) struct World {
    pub(super) profiles: Vec<Value>,
    pub(super) sinks: Vec<Value>,
    pub(super) secrets: Vec<Value>,
    pub(super) gathered: Vec<Value>,
    pub(super) daemon_sets: Vec<Value>,
    pub(super) index: Index,
}

pub(super) struct Rig {
    pub(super) context: Arc<Context>,
    pub(super) server: Server,
    profiles: StoreWriter<GuardedProfile>,
}

/// The API server's side.
pub(super) struct Server {
    handle: Handle<Request<Body>, Response<Body>>,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) body: Value,
}

fn store<K>(objects: &[Value]) -> StoreWriter<K>
where
    K: kube::Resource<DynamicType = ()> + serde::de::DeserializeOwned + Clone + 'static,
{
    let mut writer = StoreWriter::default();
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(serde_json::from_value(object.clone()).unwrap()));
    }
    writer.apply_watcher_event(&Event::InitDone);
    writer
}

impl Rig {
    pub(super) fn new(world: World) -> Self {
        let (service, handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
        let client = Client::new(service, "default");
        let profiles = store(&world.profiles);
        let stores = Stores {
            profiles: profiles.as_reader(),
            sinks: store::<GuardedSink>(&world.sinks).as_reader(),
            secrets: store::<DeserializeGuard<Secret>>(&world.secrets).as_reader(),
            gathered: store::<DeserializeGuard<Secret>>(&world.gathered).as_reader(),
            daemon_sets: store::<DeserializeGuard<DaemonSet>>(&world.daemon_sets).as_reader(),
        };
        let (events, publisher) = Events::new(client.clone(), Some("test".to_owned()));
        tokio::spawn(publisher.run(CancellationToken::new()));
        let context = Context {
            events,
            client,
            namespaces: Namespaces {
                system: "weir-system".to_owned(),
                agents: "weir-agents".to_owned(),
            },
            settings: Settings::default(),
            image: "r.example/weir-agent:1".to_owned(),
            stores,
            dirty: Dirty::default(),
            writer: Writer::default(),
            failures: Failures::default(),
            index: Arc::new(Mutex::new(world.index)),
            troubles: Troubles::default(),
            crds_trouble: Mutex::default(),
        };
        Self {
            context: Arc::new(context),
            server: Server { handle },
            profiles,
        }
    }

    /// The watch brings a profile.
    pub(super) fn bring(&mut self, profile: &Value) -> Arc<GuardedProfile> {
        let profile: GuardedProfile = serde_json::from_value(profile.clone()).unwrap();
        self.profiles.apply_watcher_event(&Event::Apply(profile.clone()));
        Arc::new(profile)
    }
}

/// Runs both sides to their end; fails when a call that the script waits for does not come.
pub(super) fn play<'a, T: 'a, U: 'a>(
    acts: impl Future<Output = T> + 'a,
    script: impl Future<Output = U> + 'a,
) -> LocalBoxFuture<'a, (T, U)> {
    async { tokio::time::timeout(LIMIT, async { tokio::join!(acts, script) }).await }
        .map(|played| played.expect("an expected call did not come"))
        .boxed_local()
}

impl Server {
    /// The next call, which the script answers.
    pub(super) async fn next(&mut self) -> (Call, SendResponse<Response<Body>>) {
        let (request, answer) = self.handle.next_request().await.expect("the client is there");
        let (parts, body) = request.into_parts();
        let bytes = body.collect_bytes().await.unwrap();
        let call = Call {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            body: if bytes.is_empty() {
                Value::Null
            } else {
                serde_json::from_slice(&bytes).unwrap()
            },
        };
        (call, answer)
    }

    /// Expects a call and answers it with what was sent, as a successful write is, with a new resource version.
    pub(super) async fn accept(&mut self, method: &str, path: &str) -> Call {
        let (call, answer) = self.next().await;
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            (method, path),
            "{:#}",
            call.body
        );
        let mut object = call.body.clone();
        object["metadata"]["resourceVersion"] = json!("1000");
        if object.get("spec").is_none() && path.contains("weir.dev") {
            object["spec"] = json!({"events": [{"name": "a", "kind": "process.exec"}], "nats": {"servers": [], "stream": {"name": "S"}}});
        }
        answer.send_response(respond(200, &object));
        call
    }

    /// Expects a call and answers it with an object.
    pub(super) async fn give(&mut self, method: &str, path: &str, object: &Value) -> Call {
        let (call, answer) = self.next().await;
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            (method, path),
            "{:#}",
            call.body
        );
        answer.send_response(respond(200, object));
        call
    }

    /// Expects a call and refuses it.
    pub(super) async fn refuse(&mut self, method: &str, path: &str, code: u16, message: &str) -> Call {
        let (call, answer) = self.next().await;
        assert_eq!(
            (call.method.as_str(), call.path.as_str()),
            (method, path),
            "{:#}",
            call.body
        );
        let reason = match code {
            403 => "Forbidden",
            404 => "NotFound",
            409 => "Conflict",
            _ => message,
        };
        let status = json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message});
        answer.send_response(respond(code, &status));
        call
    }

    /// An Event is published about something.
    pub(super) async fn event(&mut self, namespace: &str, reason: &str) -> Call {
        let path = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let call = self.accept("POST", &path).await;
        assert_eq!(call.body["reason"], reason, "{:#}", call.body);
        call
    }

    /// No call is waiting.
    pub(super) fn is_silent(&mut self) -> bool {
        self.handle.next_request().now_or_never().is_none()
    }
}

pub(super) fn respond(code: u16, object: &Value) -> Response<Body> {
    Response::builder()
        .status(code)
        .body(Body::from(serde_json::to_vec(object).unwrap()))
        .unwrap()
}

/// A profile named `baseline` as the API server has it.
pub(super) fn profile() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorProfile",
        "metadata": {"name": "baseline", "uid": "profile-uid", "generation": 3, "resourceVersion": "10"},
        "spec": {"events": [{"name": "execs", "kind": "process.exec"}]},
    })
}

/// A sink named `default`.
pub(super) fn sink() -> Value {
    json!({
        "apiVersion": "weir.dev/v1alpha1", "kind": "CollectorSink",
        "metadata": {"name": "default", "uid": "sink-uid", "generation": 1, "resourceVersion": "11"},
        "spec": {"nats": {"servers": ["nats://127.0.0.1:1"], "stream": {"name": "WEIR"}}},
    })
}

/// A sink with credentials in a Secret `nats`, key `user.creds`.
pub(super) fn sink_with_credentials() -> Value {
    let mut sink = sink();
    sink["spec"]["nats"]["credentialsSecretRef"] = json!({"name": "nats", "key": "user.creds"});
    sink
}

/// That Secret, labelled.
pub(super) fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "nats", "namespace": "weir-system", "labels": {"weir.dev/sink-credentials": "true"}},
        "data": {"user.creds": "czNjcmV0", "other": "eA=="},
    })
}

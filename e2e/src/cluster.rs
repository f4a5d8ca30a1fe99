//! The cluster under test, as any user sees it: a kubeconfig, an API client, kubectl.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::process::Command;

use crate::command::{KUBECTL_LIMIT, output};
use crate::permit::{self, Refusal};
use crate::skip::{self, is_ci};

/// What goes wrong between a test and its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No cluster is there.
    #[error("no cluster: KUBECONFIG is unset and {} does not exist; `cargo xtask cluster up --nodes 2` makes one", .0.display())]
    Missing(PathBuf),
    /// The kubeconfig is not usable.
    #[error("reading the kubeconfig {}", .path.display())]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// The cluster is not one that tests may change.
    #[error(transparent)]
    NotPermitted(#[from] Refusal),
    /// A cluster is there, but not one in which the test can prove anything.
    #[error(
        "{0}, and in CI nothing may be skipped: run by `cargo xtask test`, or set WEIR_E2E_PROVIDER=other if this cluster is meant"
    )]
    Unfit(String),
    /// What the cluster shows contradicts itself.
    #[error("{0}")]
    Odd(String),
    /// The API server refused or did not answer.
    #[error("asking the API server for {what}")]
    Api {
        /// What was asked for.
        what: String,
        /// Its answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// The request could not be written down.
    #[error("building a request for {path}")]
    Request {
        /// Path of the request.
        path: String,
        /// Why not.
        #[source]
        source: http::Error,
    },
    /// An answer is not JSON.
    #[error("the answer to {path} is not JSON")]
    Json {
        /// What was asked for.
        path: String,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The API server refused what had to be accepted.
    #[error("{path} was refused with code {code}: {text}")]
    Refused {
        /// What was asked for.
        path: String,
        /// HTTP status.
        code: u16,
        /// The API server's reason.
        text: String,
    },
    /// A program did not start.
    #[error("starting {program}: is it installed?")]
    Start {
        /// The program.
        program: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A program did not end.
    #[error("{command} did not end within {limit:?}")]
    Hung {
        /// The command line.
        command: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// A program failed.
    #[error("{command} failed ({status}): {stderr}")]
    Failed {
        /// The command line.
        command: String,
        /// Exit status.
        status: std::process::ExitStatus,
        /// What it said.
        stderr: String,
    },
}

/// A cluster that tests may change. Every test uses names of its own, since tests run side by side.
#[derive(Clone)]
pub struct Cluster {
    /// Client with the administrator's rights.
    pub client: kube::Client,
    kubeconfig: PathBuf,
    /// Fixed at the start: whoever chooses another context meanwhile must not find the tests there.
    context: String,
    kubectl: PathBuf,
}

impl Cluster {
    /// Connects to the cluster that `KUBECONFIG` names, or to the one that `cargo xtask cluster up` made; refuses one that
    /// nobody has named for tests.
    pub async fn connect() -> Result<Self, ClusterError> {
        let kubeconfig = kubeconfig_path();
        if !kubeconfig.exists() {
            return Err(ClusterError::Missing(kubeconfig));
        }
        let current = read(&kubeconfig)?.current_context;
        let named = std::env::var(permit::VARIABLE).ok();
        let context = permit::check(&kubeconfig, current.as_deref(), &own_folder(), named.as_deref())?;
        let client = client(config(&kubeconfig, &context).await?)?;
        Ok(Self {
            client,
            kubectl: kubectl_path(&kubeconfig),
            kubeconfig,
            context,
        })
    }

    /// As [`Self::connect`]; without a cluster it is `None` and says so, but in CI it is an error.
    pub async fn connect_or_skip() -> Result<Option<Self>, ClusterError> {
        match Self::connect().await {
            Err(error @ ClusterError::Missing(_)) if !is_ci() => {
                skip::loudly(&error.to_string());
                Ok(None)
            }
            other => other.map(Some),
        }
    }

    /// The file that this cluster is reached by.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Runs kubectl and returns what it printed.
    pub async fn kubectl<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String, ClusterError> {
        self.kubectl_with_input(arguments, "").await
    }

    /// Applies manifests as a user would, with a field manager of its own.
    pub async fn apply(&self, yaml: &str) -> Result<String, ClusterError> {
        let arguments = [
            "apply",
            "--server-side",
            "--field-manager=weir-e2e",
            "--filename=-",
        ];
        self.kubectl_with_input(arguments, yaml).await
    }

    /// Runs a program in a pod's first container and returns what it printed.
    pub async fn exec(&self, namespace: &str, pod: &str, program: &[&str]) -> Result<String, ClusterError> {
        let mut arguments = vec!["exec", "--namespace", namespace, pod, "--"];
        arguments.extend(program);
        self.kubectl(arguments).await
    }

    /// As [`Self::exec`], in the container of that name; `pod` may be `deployment/NAME`.
    pub async fn exec_in(
        &self,
        namespace: &str,
        pod: &str,
        container: &str,
        program: &[&str],
    ) -> Result<String, ClusterError> {
        let mut arguments = vec![
            "exec",
            "--namespace",
            namespace,
            pod,
            "--container",
            container,
            "--",
        ];
        arguments.extend(program);
        self.kubectl(arguments).await
    }

    /// `GET http://POD:PORT/PATH` by way of the API server, so that a test needs no route into the cluster.
    pub async fn get_from_pod(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        path: &str,
    ) -> Result<String, ClusterError> {
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{}",
            path.trim_start_matches('/')
        );
        self.get_raw(&path).await
    }

    /// `GET` of any path of the API server.
    pub async fn get_raw(&self, path: &str) -> Result<String, ClusterError> {
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|source| ClusterError::Request {
                path: path.to_owned(),
                source,
            })?;
        self.client
            .request_text(request)
            .await
            .map_err(|source| ClusterError::Api {
                what: path.to_owned(),
                source: Box::new(source),
            })
    }

    /// As [`Self::get_raw`], for an answer in JSON.
    pub async fn get_json(&self, path: &str) -> Result<serde_json::Value, ClusterError> {
        let text = self.get_raw(path).await?;
        serde_json::from_str(&text).map_err(|source| ClusterError::Json {
            path: path.to_owned(),
            source,
        })
    }

    /// As [`Self::get_json`]; what is not there is null.
    pub async fn find_json(&self, path: &str) -> Result<serde_json::Value, ClusterError> {
        match self.get_json(path).await {
            Err(ClusterError::Api { source, .. }) if is_absence(&source) => Ok(serde_json::Value::Null),
            other => other,
        }
    }

    /// The same cluster with the rights of `token` alone.
    pub async fn with_token(&self, token: &str) -> Result<Self, ClusterError> {
        let mut config = config(&self.kubeconfig, &self.context).await?;
        let secret = serde_json::from_value(serde_json::json!({"token": token}));
        config.auth_info = secret.map_err(|source| ClusterError::Json {
            path: "a token".to_owned(),
            source,
        })?;
        Ok(Self {
            client: client(config)?,
            ..self.clone()
        })
    }

    /// Makes a request and returns the code of its answer with the text; a refusal is no error.
    pub async fn attempt(
        &self,
        method: &str,
        path: &str,
        content_type: &str,
        body: &serde_json::Value,
    ) -> Result<(u16, String), ClusterError> {
        let bytes = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", content_type)
            .body(bytes)
            .map_err(|source| ClusterError::Request {
                path: path.to_owned(),
                source,
            })?;
        match self.client.request_text(request).await {
            Ok(text) => Ok((200, text)),
            Err(kube::Error::Api(status)) => Ok((status.code, status.message.clone())),
            Err(source) => Err(ClusterError::Api {
                what: path.to_owned(),
                source: Box::new(source),
            }),
        }
    }

    /// Whether the API server would create an object, or what it says against it.
    pub async fn create_dry(
        &self,
        path: &str,
        object: &serde_json::Value,
    ) -> Result<Result<(), String>, ClusterError> {
        let path = format!("{path}?dryRun=All&fieldValidation=Strict");
        let (code, text) = self.attempt("POST", &path, "application/json", object).await?;
        Ok(if code == 200 { Ok(()) } else { Err(text) })
    }

    /// kubectl with this cluster's kubeconfig, for what runs on while a test goes on.
    #[must_use]
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--context", &self.context]);
        command
    }

    async fn kubectl_with_input<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        input: &str,
    ) -> Result<String, ClusterError> {
        let mut command = self.kubectl_command();
        command.args(arguments);
        output(&mut command, input, KUBECTL_LIMIT).await
    }
}

fn is_absence(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn read(kubeconfig: &Path) -> Result<Kubeconfig, ClusterError> {
    Kubeconfig::read_from(kubeconfig).map_err(|source| ClusterError::Kubeconfig {
        path: kubeconfig.to_owned(),
        source: Box::new(source),
    })
}

async fn config(kubeconfig: &Path, context: &str) -> Result<kube::Config, ClusterError> {
    let options = KubeConfigOptions {
        context: Some(context.to_owned()),
        ..KubeConfigOptions::default()
    };
    let config = kube::Config::from_custom_kubeconfig(read(kubeconfig)?, &options).await;
    config.map_err(|source| ClusterError::Kubeconfig {
        path: kubeconfig.to_owned(),
        source: Box::new(source),
    })
}

fn client(config: kube::Config) -> Result<kube::Client, ClusterError> {
    kube::Client::try_from(config).map_err(|source| ClusterError::Api {
        what: "a client".to_owned(),
        source: Box::new(source),
    })
}

/// The checkout that this test belongs to.
#[must_use]
pub fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where `cargo xtask cluster up` keeps its cluster.
fn own_folder() -> PathBuf {
    checkout().join("target/cluster")
}

fn kubeconfig_path() -> PathBuf {
    // Of several files, as kubectl allows, the first counts: a test must not guess which one is meant.
    let named = std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty());
    named
        .and_then(|value| std::env::split_paths(&value).next())
        .unwrap_or_else(|| own_folder().join("kubeconfig"))
}

/// The local cluster brings a kubectl of its own version.
fn kubectl_path(kubeconfig: &Path) -> PathBuf {
    let own = kubeconfig.with_file_name("bin").join("kubectl");
    if own.exists() {
        own
    } else {
        PathBuf::from("kubectl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkout_holds_this_crate() {
        assert!(checkout().join("e2e/Cargo.toml").exists());
    }
}

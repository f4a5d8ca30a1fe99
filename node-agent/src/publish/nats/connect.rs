//! One attempt to connect to one of the servers, and what its failure means.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerAddr, ServerError};
use rand::seq::SliceRandom;
use tokio_util::sync::CancellationToken;
use weir_runtime::error::{chain, is_tls};
use weir_runtime::login::Login;

use crate::publish::credentials::{Credentials, CredentialsError};
use crate::publish::settings::{NatsSettings, ServerUrl};
use crate::publish::state::{Trouble, TroubleKind};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Two unanswered pings end a connection: a dead link is noticed within half a minute.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// Commands that the client holds; the window is smaller, so that publishing never waits for a place.
const CLIENT_COMMANDS: usize = 512;
/// The client tries once more by itself before it ends, at an unneeded moment: late enough to find itself dropped.
const UNWANTED_RECONNECT_DELAY: Duration = Duration::from_millis(500);

/// What the client's events say, for the session.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The connection is gone, or the server will close it.
    pub(super) lost: CancellationToken,
    /// The server asks its clients to move.
    pub(super) leaving: AtomicBool,
    refused: Mutex<Option<String>>,
}

impl Signals {
    fn take_event(&self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.lost.cancel(),
            Event::LameDuckMode => self.leaving.store(true, Ordering::Relaxed),
            Event::ServerError(ServerError::Other(text))
                if text.to_lowercase().contains("permissions violation") && !is_question(text) =>
            {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.clone());
            }
            _ => {}
        }
    }

    /// What the server last forbade, once.
    pub(super) fn take_refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Whether a refusal is of a question to the server, such as what its streams are. Publishing needs no such permission, and
/// the question goes without an answer.
fn is_question(text: &str) -> bool {
    text.contains("\"$JS.API.")
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) signals: Arc<Signals>,
    server: String,
}

/// The servers to try: those of the settings, and those that a server of the cluster told of.
#[derive(Debug)]
pub(super) struct Servers {
    configured: Vec<ServerAddr>,
    discovered: BTreeMap<String, ServerAddr>,
    last: Option<String>,
}

impl Servers {
    pub(super) fn new(configured: &[ServerUrl]) -> Self {
        let configured = configured.iter().map(|server| server.0.clone()).collect();
        Self {
            configured,
            discovered: BTreeMap::new(),
            last: None,
        }
    }

    pub(super) fn learn(&mut self, connection: &Connection) {
        let urls = connection.client.server_info().connect_urls;
        self.discovered = urls
            .into_iter()
            .filter_map(|url| Some((url.clone(), url.parse().ok()?)))
            .collect();
        self.last = Some(connection.server.clone());
    }

    /// In random order, so that a fleet spreads; the one that was just lost comes last.
    fn order(&self) -> Vec<ServerAddr> {
        let mut order = self.configured.clone();
        for (url, server) in &self.discovered {
            if !order.iter().any(|known| shown(known) == *url) {
                order.push(server.clone());
            }
        }
        order.shuffle(&mut rand::rng());
        order.sort_by_key(|server| Some(shown(server)) == self.last);
        order
    }
}

fn shown(server: &ServerAddr) -> String {
    format!("{}:{}", server.host(), server.port())
}

/// Tries each server once.
pub(super) async fn connect(
    settings: &NatsSettings,
    credentials: &Result<Credentials, CredentialsError>,
    servers: &Servers,
) -> Result<Connection, Trouble> {
    let credentials = credentials.as_ref().map_err(|error| Trouble {
        kind: TroubleKind::BadCredentials,
        message: chain(error),
        remedy: "correct the files in the credentials directory; they are read again within a second"
            .to_owned(),
    })?;
    if settings.credentials_required && credentials.login == Login::Anonymous && credentials.client.is_none()
    {
        return Err(Trouble {
            kind: TroubleKind::CredentialsMissing,
            message: "the sink names credentials, and none are mounted yet".to_owned(),
            remedy: "wait for the mount, or check the Secret that the sink names and its label".to_owned(),
        });
    }
    let tls = &settings.tls;
    let named = tls.ca.iter().chain(
        tls.client
            .iter()
            .flat_map(|(certificate, key)| [certificate, key]),
    );
    if let Some(missing) = named.into_iter().find(|path| !path.exists()) {
        return Err(Trouble {
            kind: TroubleKind::CredentialsMissing,
            message: format!("the TLS file {} is not there yet", missing.display()),
            remedy: "wait for the mount, or check the Secret that the sink names and its label".to_owned(),
        });
    }
    let mut worst = None;
    for server in servers.order() {
        let (options, signals) = options(settings, credentials, &server)?;
        match options.connect(server.clone()).await {
            Ok(client) => {
                return Ok(Connection {
                    client,
                    signals,
                    server: shown(&server),
                });
            }
            Err(error) => {
                let trouble = trouble(&error, &shown(&server));
                tracing::debug!(
                    server = shown(&server),
                    error = chain(&error),
                    "connecting failed"
                );
                // A server that answers and refuses says more than one that does not answer.
                let keep = matches!(
                    worst,
                    Some(Trouble {
                        kind: TroubleKind::WrongCredentials | TroubleKind::Tls,
                        ..
                    })
                );
                if !keep {
                    worst = Some(trouble);
                }
            }
        }
    }
    Err(worst.unwrap_or_else(|| Trouble {
        kind: TroubleKind::Unreachable,
        message: "the sink has no server".to_owned(),
        remedy: "give the sink at least one server".to_owned(),
    }))
}

fn options(
    settings: &NatsSettings,
    credentials: &Credentials,
    server: &ServerAddr,
) -> Result<(ConnectOptions, Arc<Signals>), Trouble> {
    let signals = Arc::new(Signals::default());
    let (heard, connected_before) = (Arc::clone(&signals), AtomicBool::new(false));
    let mut options = ConnectOptions::new()
        .name(&settings.client_name)
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .client_capacity(CLIENT_COMMANDS)
        .ignore_discovered_servers()
        .max_reconnects(1)
        .reconnect_delay_callback(move |_attempt| {
            if connected_before.swap(true, Ordering::Relaxed) {
                UNWANTED_RECONNECT_DELAY
            } else {
                Duration::ZERO
            }
        })
        .event_callback(move |event| {
            heard.take_event(&event);
            std::future::ready(())
        })
        .require_tls(settings.tls.required);
    if settings.tls.first {
        options = options.tls_first();
    }
    if let Some(ca) = credentials.ca.as_ref().or(settings.tls.ca.as_ref()) {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = credentials.client.as_ref().or(settings.tls.client.as_ref()) {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    // A server's URL may say who we are, where no file does.
    let login = match (&credentials.login, server.username(), server.password()) {
        (Login::Anonymous, Some(user), Some(password)) => Login::User(user.to_owned(), password.to_owned()),
        (Login::Anonymous, Some(token), None) => Login::Token(token.to_owned()),
        (login, ..) => login.clone(),
    };
    let options = login.apply(options).map_err(|error| Trouble {
        kind: TroubleKind::BadCredentials,
        message: format!("the .creds file cannot be used: {}", chain(&error)),
        remedy: "mount the file as `nsc generate creds` wrote it".to_owned(),
    })?;
    Ok((options, signals))
}

fn trouble(error: &ConnectError, server: &str) -> Trouble {
    let text = chain(error);
    let lower = text.to_lowercase();
    let (kind, remedy) = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => credentials_refused(),
        _ if lower.contains("authentication") || lower.contains("authorization") => credentials_refused(),
        ConnectErrorKind::Dns => (
            TroubleKind::Unresolvable,
            "correct the server's name in the sink, or the node's DNS",
        ),
        ConnectErrorKind::Tls => tls_failed(),
        _ if is_tls(error) => tls_failed(),
        _ => (
            TroubleKind::Unreachable,
            "start nats-server there, or correct the address in the sink, or let the node reach it",
        ),
    };
    Trouble {
        kind,
        message: format!("{server}: {text}"),
        remedy: remedy.to_owned(),
    }
}

fn credentials_refused() -> (TroubleKind, &'static str) {
    let remedy = "put valid credentials into the credentials directory (they are read again within a second), or allow \
                  the user on the server";
    (TroubleKind::WrongCredentials, remedy)
}

fn tls_failed() -> (TroubleKind, &'static str) {
    (
        TroubleKind::Tls,
        "check the server's certificate and name against the sink's CA, and the client certificate",
    )
}

//! One connection to a sink's servers with credentials that came from Secrets and never touch a disk.

use std::fmt;
use std::time::Duration;

use async_nats::rustls::pki_types::pem::{self, PemObject};
use async_nats::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use async_nats::rustls::{self, ClientConfig, RootCertStore};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions};
use weir_profile::api::ConditionReason;
use weir_runtime::error::{chain, is_tls};
use weir_runtime::login::Login;

use super::StreamTrouble;
use super::denial::Denials;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach a sink's servers.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `nats://host:port` or `tls://host:port`.
    pub servers: Vec<String>,
    /// How to log in.
    pub login: Login,
    /// Refuse a server without TLS.
    pub require_tls: bool,
    /// PEM certificates to trust instead of the system's.
    pub ca: Option<Vec<u8>>,
    /// PEM client certificate and key.
    pub client: Option<(Vec<u8>, Vec<u8>)>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("servers", &self.servers)
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

/// A connection, and what is forbidden on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) denial: Denials,
}

impl Access {
    pub(super) async fn connect(&self) -> Result<Connection, StreamTrouble> {
        let (heard, denial) = Denials::channel();
        let mut options = ConnectOptions::new()
            .name("weir-operator")
            .connection_timeout(CONNECT_TIMEOUT)
            // The client counts each server that it tries: with fewer it would not come to the last one.
            .max_reconnects(self.servers.len())
            .require_tls(self.require_tls)
            .event_callback(move |event| {
                heard(&event);
                std::future::ready(())
            });
        if self.ca.is_some() || self.client.is_some() {
            options = options.tls_client_config(self.tls()?);
        }
        let options = self.login.apply(options).map_err(|error| {
            let message = format!(
                "the Secret's content is not a NATS credentials file: {}; replace it",
                chain(&error)
            );
            StreamTrouble::new(ConditionReason::AuthenticationFailed, true, message)
        })?;
        match options.connect(self.servers.clone()).await {
            Ok(client) => Ok(Connection { client, denial }),
            Err(error) => Err(trouble(&error, &self.servers)),
        }
    }

    fn tls(&self) -> Result<ClientConfig, StreamTrouble> {
        let bad = |what: &str, error: &dyn fmt::Display| {
            let message = format!("{what} is not usable: {error}; replace it in the Secret");
            StreamTrouble::new(ConditionReason::AuthenticationFailed, true, message)
        };
        let roots = match &self.ca {
            Some(ca) => given(ca).map_err(|error| bad("caSecretRef", &chain(&error)))?,
            None => system(),
        };
        let builder = ClientConfig::builder().with_root_certificates(roots);
        match &self.client {
            None => Ok(builder.with_no_client_auth()),
            Some((certificate, key)) => {
                let what = "clientCertificateSecretRef";
                let chain = CertificateDer::pem_slice_iter(certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| bad(what, &error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| bad(what, &error))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| bad(what, &error))
            }
        }
    }
}

/// Why a Secret's authorities cannot be used.
#[derive(Debug, thiserror::Error)]
enum AuthorityError {
    #[error("it is no PEM")]
    Pem(#[from] pem::Error),
    #[error("it holds something else than an authority")]
    Certificate(#[from] rustls::Error),
    #[error("it holds no PEM certificate")]
    Empty,
}

/// The authorities of a Secret.
fn given(ca: &[u8]) -> Result<RootCertStore, AuthorityError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca) {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err(AuthorityError::Empty);
    }
    Ok(roots)
}

/// The authorities of the system: in an image those that it was made with.
fn system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(
            error = chain(error),
            "some of the system's authorities cannot be read"
        );
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

fn trouble(error: &ConnectError, servers: &[String]) -> StreamTrouble {
    let text = chain(error);
    let lower = text.to_lowercase();
    let servers = servers.join(", ");
    let (reason, permanent, remedy) = match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => refused(),
        _ if lower.contains("authorization") || lower.contains("authentication") => refused(),
        ConnectErrorKind::Dns => (
            ConditionReason::SinkUnreachable,
            false,
            "correct the server's name in the sink, or the cluster's DNS",
        ),
        ConnectErrorKind::Tls => tls_failed(),
        _ if is_tls(error) => tls_failed(),
        _ => (
            ConditionReason::SinkUnreachable,
            false,
            "start nats-server there, correct the address in the sink, or let network policies pass",
        ),
    };
    StreamTrouble::new(
        reason,
        permanent,
        format!("cannot connect to {servers}: {text}; {remedy}"),
    )
}

fn tls_failed() -> (ConditionReason, bool, &'static str) {
    (
        ConditionReason::SinkUnreachable,
        false,
        "check the server's certificate and name against tls.caSecretRef, and the client's certificate",
    )
}

fn refused() -> (ConditionReason, bool, &'static str) {
    (
        ConditionReason::AuthenticationFailed,
        true,
        "correct the Secret's content, or allow the user on the server",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_never_shows_a_secret() {
        let access = Access {
            login: Login::User("u".to_owned(), "hunter2".to_owned()),
            ..Access::default()
        };
        assert!(!format!("{access:?}").contains("hunter2"));
    }

    /// *Scenario:* the server's name does not exist.
    /// *Guarantees:* an answer with reason and remedy, not an endless wait.
    #[tokio::test]
    async fn connect_to_a_name_that_does_not_exist_is_unreachable() {
        let access = Access {
            servers: vec!["nats://no-such-host.invalid:4222".to_owned()],
            ..Access::default()
        };
        let trouble = access.connect().await.unwrap_err();
        assert_eq!(trouble.reason, ConditionReason::SinkUnreachable);
        assert!(trouble.message.contains("no-such-host.invalid"), "{trouble}");
        assert!(!trouble.permanent);
    }
}

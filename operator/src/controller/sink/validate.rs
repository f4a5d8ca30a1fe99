//! Judges a sink and the Secrets that it names. Pure.

use weir_profile::CollectorSink;
use weir_profile::api::{ConditionReason, Manage, SecretKeyRef};
use weir_profile::plan::{NatsTarget, gathered_secrets, sink_plan};
use weir_runtime::login::Login;

use super::{FoundSecret, Inputs};
use crate::context::GuardedSink;
use crate::names::SINK_CREDENTIALS_LABEL;
use crate::stream::Access;

/// Size of one key of a Secret that a sink names. Credentials, and the certificates of all public authorities, are below
/// it; all sinks' together have to fit into one Secret of 1 MiB.
pub const MAX_KEY_BYTES: usize = 256 * 1024;

/// A sink that can be acted upon.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedSink {
    /// Where its events go.
    pub target: NatsTarget,
    /// How the operator reaches it.
    pub access: Access,
    /// Who makes the stream.
    pub manage: Manage,
}

/// Why it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For a condition.
    pub reason: ConditionReason,
    /// With the field and the remedy.
    pub message: String,
}

/// Judges a sink.
pub fn validate(guarded: &GuardedSink, inputs: &Inputs) -> Result<ValidatedSink, Refusal> {
    let sink = guarded.0.as_ref().map_err(|error| Refusal {
        reason: ConditionReason::InvalidSpec,
        message: format!(
            "the spec cannot be read by this operator: {error}; apply the operator that fits the CRD"
        ),
    })?;
    let plan = sink_plan(sink).map_err(|errors| Refusal {
        reason: errors.reason(),
        message: errors.to_string().replace('\n', "; "),
    })?;
    let Some(target) = plan.nats().cloned() else {
        let message = "spec.nats: is missing; a CollectorSink delivers to NATS JetStream".to_owned();
        return Err(Refusal {
            reason: ConditionReason::InvalidSpec,
            message,
        });
    };
    for wanted in gathered_secrets(sink) {
        secret(inputs, wanted.path, &wanted.secret, &wanted.key)?;
    }
    let access = access(sink, inputs, &target)?;
    let manage = target.stream.manage;
    Ok(ValidatedSink {
        target,
        access,
        manage,
    })
}

fn access(sink: &CollectorSink, inputs: &Inputs, target: &NatsTarget) -> Result<Access, Refusal> {
    let nats = &sink.spec.nats;
    let admin = nats.stream.admin_credentials_secret_ref.as_ref();
    let login = match (admin, nats.credentials_secret_ref.as_ref()) {
        (Some(admin), _) => login(inputs, "spec.nats.stream.adminCredentialsSecretRef", admin)?,
        (None, Some(own)) => login(inputs, "spec.nats.credentialsSecretRef", own)?,
        (None, None) => Login::Anonymous,
    };
    let mut access = Access {
        servers: target.servers.clone(),
        login,
        require_tls: target.tls.required,
        ca: None,
        client: None,
    };
    if let Some(tls) = &nats.tls {
        if let Some(ca) = &tls.ca_secret_ref {
            access.ca = Some(secret(inputs, "spec.nats.tls.caSecretRef", &ca.name, &ca.key)?.to_vec());
        }
        if let Some(client) = &tls.client_certificate_secret_ref {
            let key = |key: &str| {
                secret(
                    inputs,
                    "spec.nats.tls.clientCertificateSecretRef",
                    &client.name,
                    key,
                )
                .map(<[u8]>::to_vec)
            };
            access.client = Some((key("tls.crt")?, key("tls.key")?));
        }
    }
    Ok(access)
}

fn login(inputs: &Inputs, path: &str, reference: &SecretKeyRef) -> Result<Login, Refusal> {
    let bytes = secret(inputs, path, &reference.name, &reference.key)?;
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.trim().is_empty() => Ok(Login::from_text(text)),
        _ => Err(Refusal {
            reason: ConditionReason::AuthenticationFailed,
            message: format!(
                "{path}: key '{}' of Secret '{}' is empty or not text; put the credentials there",
                reference.key, reference.name
            ),
        }),
    }
}

fn secret<'a>(inputs: &'a Inputs, path: &str, name: &str, key: &str) -> Result<&'a [u8], Refusal> {
    let refuse = |reason, what: String| {
        Err(Refusal {
            reason,
            message: format!("{path}: {what}"),
        })
    };
    match inputs.secrets.get(name) {
        Some(FoundSecret::Labelled(data)) => match data.get(key) {
            Some(value) if value.len() > MAX_KEY_BYTES => refuse(
                ConditionReason::SecretTooLarge,
                format!(
                    "key '{key}' of Secret '{name}' has {} bytes, above {MAX_KEY_BYTES}; put no more there than the \
                     sink needs",
                    value.len()
                ),
            ),
            Some(value) => Ok(value),
            None => refuse(
                ConditionReason::SecretKeyMissing,
                format!("Secret '{name}' has no key '{key}'; add the key, or change the reference"),
            ),
        },
        Some(FoundSecret::Unlabelled) => refuse(
            ConditionReason::SecretNotLabelled,
            format!(
                "Secret '{name}' lacks the label {SINK_CREDENTIALS_LABEL}=true; add it if the Secret is meant for Weir"
            ),
        ),
        Some(FoundSecret::Missing) | None => refuse(
            ConditionReason::SecretNotFound,
            format!(
                "Secret '{name}' is not there; create it in the operator's namespace with the label {SINK_CREDENTIALS_LABEL}=true"
            ),
        ),
    }
}

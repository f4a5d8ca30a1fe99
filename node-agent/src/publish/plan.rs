//! From a planned sink to what the publisher has to know about it.

use std::io;
use std::path::Path;

use weir_profile::api::{Compression, Encoding as PlanEncoding, Manage};
use weir_profile::plan::{NatsTarget, SinkPlan, SinkTarget, TlsPlan};
use weir_runtime::stream::StreamSettings;

use super::settings::{Encoding, NatsSettings, ServerUrl, SinkSettings, Target, TlsSettings};

/// A planned sink that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A server's address is malformed.
    #[error(
        "server {server:?} of the sink `{sink}` is no address; write nats://host:port or tls://host:port"
    )]
    Server {
        /// The sink.
        sink: String,
        /// The address.
        server: String,
        /// What is wrong with it.
        #[source]
        source: io::Error,
    },
}

impl SinkSettings {
    /// The settings for a planned sink. `credentials_dir` is where its files are mounted; `manage_stream` is for agents
    /// without an operator, which ensure the stream themselves where the sink asks for that.
    pub fn from_plan(
        plan: &SinkPlan,
        credentials_dir: Option<&Path>,
        manage_stream: bool,
        client_name: &str,
    ) -> Result<Self, PlanError> {
        let SinkPlan {
            name,
            target,
            encoding,
            compression,
            batch: _,
        } = plan;
        let target = match target {
            SinkTarget::Stdout => Target::Stdout,
            SinkTarget::File(path) => Target::File(path.clone()),
            SinkTarget::Nats(nats) => Target::Nats(Box::new(NatsSettings {
                compress: *compression == Compression::Zstd,
                client_name: client_name.to_owned(),
                ..nats_settings(name, nats, credentials_dir, manage_stream)?
            })),
        };
        Ok(Self {
            name: name.as_str().into(),
            subject_prefix: plan.subject_prefix().into(),
            encoding: match encoding {
                PlanEncoding::Json => Encoding::Json,
                PlanEncoding::Protobuf => Encoding::Protobuf,
            },
            target,
        })
    }
}

fn nats_settings(
    sink: &str,
    nats: &NatsTarget,
    credentials_dir: Option<&Path>,
    manage_stream: bool,
) -> Result<NatsSettings, PlanError> {
    let NatsTarget {
        servers,
        tls,
        credentials,
        subject_prefix: _,
        stream,
    } = nats;
    let parse = |server: &String| {
        server.parse::<ServerUrl>().map_err(|source| PlanError::Server {
            sink: sink.to_owned(),
            server: server.clone(),
            source,
        })
    };
    Ok(NatsSettings {
        servers: servers.iter().map(parse).collect::<Result<_, _>>()?,
        tls: tls_settings(tls, credentials_dir),
        credentials_dir: credentials_dir.map(Path::to_path_buf),
        credentials_required: credentials.is_some(),
        stream: Some(stream.name.clone()),
        ensure: (manage_stream && stream.manage == Manage::Ensure).then(|| StreamSettings::of(nats)),
        compress: false,
        client_name: String::new(),
    })
}

/// Without a directory the named files are looked for where they cannot be, so that their absence is told.
fn tls_settings(tls: &TlsPlan, credentials_dir: Option<&Path>) -> TlsSettings {
    let TlsPlan { required, ca, client } = tls;
    let file = |name: &String| {
        credentials_dir
            .unwrap_or(Path::new("(no credentials directory)"))
            .join(name)
    };
    TlsSettings {
        required: *required,
        first: false,
        ca: ca.as_ref().map(file),
        client: client
            .as_ref()
            .map(|(certificate, key)| (file(certificate), file(key))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(url: &str, manage_stream: bool) -> SinkSettings {
        let plan = SinkPlan::from_url(url).expect("is a sink URL");
        SinkSettings::from_plan(
            &plan,
            Some(Path::new("/credentials")),
            manage_stream,
            "weir-agent n",
        )
        .expect("is usable")
    }

    #[test]
    fn plan_of_a_nats_url_ensures_its_stream_only_without_an_operator() {
        let url = "nats://127.0.0.1:4222?stream=KERNEL&prefix=acme.weir";
        let Target::Nats(nats) = settings(url, true).target else {
            panic!("is NATS")
        };
        assert_eq!(
            nats.servers.iter().map(ServerUrl::shown).collect::<Vec<_>>(),
            ["127.0.0.1:4222"]
        );
        assert_eq!(
            (nats.stream.as_deref(), nats.client_name.as_str()),
            (Some("KERNEL"), "weir-agent n")
        );
        let ensure = nats.ensure.expect("ensures");
        assert_eq!(
            (ensure.name.as_str(), ensure.subjects),
            ("KERNEL", vec!["acme.weir.>".to_owned()])
        );
        let Target::Nats(nats) = settings(url, false).target else {
            panic!("is NATS")
        };
        assert_eq!(nats.ensure, None);
    }

    #[test]
    fn plan_of_other_urls_names_their_target() {
        assert_eq!(settings("stdout", true).target, Target::Stdout);
        assert_eq!(
            settings("file:/tmp/events", true).target,
            Target::File("/tmp/events".into())
        );
    }
}

//! Checks what goes into the gathered Secret. Pure.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use weir_profile::CollectorProfile;

use super::Inputs;
use crate::names::FLEET_SIZE_KEY;
use crate::rollup::fleet_size;

/// The API server takes 1 MiB of data; keys and encoding need some of it.
const MAX_GATHERED_BYTES: usize = 1000 * 1024;

/// What the agents' objects are built from.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedAgents {
    /// All profiles; empty means that no agent is needed.
    pub owners: Vec<OwnerReference>,
    /// Content of the gathered Secret.
    pub gathered: BTreeMap<String, ByteString>,
}

/// Why nothing can be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentsInvalid {
    /// The Secrets are too large together.
    #[error(
        "the Secrets that sinks name hold {bytes} bytes together, above {MAX_GATHERED_BYTES}; name fewer or smaller ones"
    )]
    TooLarge {
        /// How many bytes.
        bytes: usize,
    },
}

/// Gathers what is there. What is missing is the sink's own condition, and keeps no other sink from its credentials.
pub fn validate(inputs: &Inputs) -> Result<ValidatedAgents, AgentsInvalid> {
    let Inputs {
        profiles,
        wanted,
        secrets,
        kept,
        nodes,
    } = inputs;
    let owners = profiles
        .iter()
        .map(|(name, uid)| OwnerReference {
            api_version: CollectorProfile::api_version(&()).into_owned(),
            kind: CollectorProfile::kind(&()).into_owned(),
            name: name.clone(),
            uid: uid.clone(),
            // Nobody's deletion waits for the agents.
            block_owner_deletion: None,
            controller: None,
        })
        .collect();
    let mut gathered: BTreeMap<String, ByteString> = wanted
        .iter()
        .filter_map(|wanted| {
            let value = secrets.get(&wanted.secret)?.get(&wanted.key)?;
            Some((wanted.file.clone(), ByteString(value.clone())))
        })
        .collect();
    gathered.extend(
        kept.iter()
            .map(|(file, value)| (file.clone(), ByteString(value.clone()))),
    );
    gathered.insert(
        FLEET_SIZE_KEY.to_owned(),
        ByteString(fleet_size(*nodes).to_string().into_bytes()),
    );
    let bytes = gathered
        .iter()
        .map(|(key, value)| key.len() + value.0.len())
        .sum();
    if bytes > MAX_GATHERED_BYTES {
        return Err(AgentsInvalid::TooLarge { bytes });
    }
    Ok(ValidatedAgents { owners, gathered })
}

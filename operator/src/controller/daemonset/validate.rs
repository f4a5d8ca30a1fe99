//! Checks what goes into the gathered Secret. Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use weir_profile::CollectorProfile;

use super::Inputs;
use crate::controller::sink::MAX_KEY_BYTES;
use crate::names::FLEET_SIZE_KEY;
use crate::rollup::fleet_size;

/// The API server takes 1 MiB of data; keys and encoding need some of it.
const MAX_GATHERED_BYTES: usize = 1000 * 1024;

/// What the agents' objects are built from.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedAgents {
    /// All profiles; empty means that no agent is needed.
    pub owners: Vec<OwnerReference>,
    /// UID of the `DaemonSet`, once it is there.
    pub daemon_set_uid: Option<String>,
    /// Content of the gathered Secret.
    pub gathered: BTreeMap<String, ByteString>,
    /// Files that did not fit.
    pub left_out: BTreeSet<String>,
}

/// Gathers what is there. What is missing is the sink's own condition, and keeps no other sink from its credentials;
/// neither does what is too large: the largest are left out first.
#[must_use]
pub fn validate(inputs: &Inputs) -> ValidatedAgents {
    let Inputs {
        profiles,
        wanted,
        secrets,
        kept,
        nodes,
        daemon_set_uid,
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
            // The sink itself says so.
            let fits = value.len() <= MAX_KEY_BYTES;
            fits.then(|| (wanted.file.clone(), ByteString(value.clone())))
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
    let left_out = leave_out(&mut gathered);
    ValidatedAgents {
        owners,
        daemon_set_uid: daemon_set_uid.clone(),
        gathered,
        left_out,
    }
}

/// Takes out the largest files until the rest fits. Returns their names.
fn leave_out(gathered: &mut BTreeMap<String, ByteString>) -> BTreeSet<String> {
    let size = |(file, value): (&String, &ByteString)| file.len() + value.0.len();
    let mut left_out = BTreeSet::new();
    let mut bytes: usize = gathered.iter().map(size).sum();
    while bytes > MAX_GATHERED_BYTES {
        let Some(largest) = gathered
            .iter()
            .max_by_key(|entry| size(*entry))
            .map(|(file, _)| file.clone())
        else {
            break;
        };
        let removed = gathered.remove_entry(&largest);
        bytes -= removed.as_ref().map_or(0, |(file, value)| size((file, value)));
        left_out.insert(largest);
    }
    left_out
}

//! Announces, to the old sink and to the new one, that a profile's events go elsewhere, and from which `seq` on.

use std::time::SystemTime;

use weir_events::AgentEvent;
use weir_events::agent::{AgentProfile, ProfileState};
use weir_profile::NodeConfig;
use weir_profile::api::Mode;

use super::Control;
use crate::drain::Moved;

impl Control {
    /// Tells of the boundaries that the last cut drew. Both sinks must still be in use.
    pub(super) fn announce_moves(&mut self, config: &NodeConfig) {
        let now = SystemTime::now();
        for moved in std::mem::take(&mut self.moved) {
            let Some(event) = event(&moved, config) else {
                continue;
            };
            tracing::info!(profile = %moved.profile, from = %moved.from, to = %moved.to, next_seq = moved.next_seq, "profile changed its sink");
            for sink in [&moved.from, &moved.to] {
                // Each boundary is told, however often the profile moved while a sink was away.
                let key = format!("profile/{}/{}", moved.profile, moved.next_seq);
                let event = self.identity.event(key, now, AgentEvent::Profile(event.clone()));
                if !self.publish.agent_event(sink, event) {
                    tracing::debug!(%sink, "no such sink for the profile's boundary any more");
                }
            }
        }
    }
}

fn event(moved: &Moved, config: &NodeConfig) -> Option<AgentProfile> {
    let profile = config
        .profiles
        .iter()
        .find(|profile| *profile.name == *moved.profile)?;
    Some(AgentProfile {
        profile: profile.name.clone(),
        uid: profile.uid.clone(),
        generation: profile.generation.unsigned_abs(),
        digest: profile.digest.clone(),
        state: match profile.mode {
            Mode::DryRun => ProfileState::DryRun,
            Mode::Active | Mode::Suspended => ProfileState::Active,
        },
        reason: String::new(),
        message: String::new(),
        sink: moved.to.to_string(),
        next_seq: moved.next_seq,
    })
}

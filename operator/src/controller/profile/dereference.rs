//! Looks up what a profile names, its sink, and what keeps the operator from its work.

use std::sync::Arc;

use weir_profile::plan::sink_name;

use crate::context::{Context, GuardedProfile, GuardedSink};
use crate::trouble::Trouble;

/// What a profile's status depends on besides itself and its nodes.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The sink that it names, if it is there.
    pub sink: Option<Arc<GuardedSink>>,
    /// What keeps the operator from its work.
    pub trouble: Option<Trouble>,
    /// Why what nodes do is not known.
    pub blindness: Option<Trouble>,
}

pub(super) fn dereference(context: &Context, profile: &GuardedProfile) -> Inputs {
    let sink = profile.0.as_ref().ok().and_then(|profile| {
        let wanted = sink_name(profile);
        context
            .stores
            .sinks
            .find(|sink| kube::Resource::meta(sink).name.as_deref() == Some(wanted))
    });
    Inputs {
        sink,
        trouble: context.troubles.first(),
        blindness: context.troubles.blindness(),
    }
}

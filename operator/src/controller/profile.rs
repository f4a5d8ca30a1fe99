//! A profile's visit: is it acceptable, and what do the nodes do? A profile has no children of its own: one `DaemonSet`
//! serves all, so that there is no `apply` step here.

mod build;
mod dereference;
mod update_status;
mod validate;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::controller::Action;
use tokio_util::sync::CancellationToken;
use weir_profile::api::ConditionReason;

use crate::budget::WriteBudget;
use crate::context::{Context, GuardedProfile};
use crate::error::{ApiError, chain};
use crate::metrics::Failing;
use crate::retry::Retries;

pub use build::{Status, build};
pub use dereference::Inputs;
pub use update_status::{Written, change};
pub use validate::{ValidatedProfile, validate};

/// Even when nothing tells us to, a profile is looked at this often: time itself changes what nodes are expected.
const REVISIT: Duration = Duration::from_mins(5);

/// What is remembered of each profile between visits, by UID.
#[derive(Debug)]
struct Memory {
    budget: WriteBudget,
    written: Option<Written>,
}

/// The profiles' controller.
pub struct Profiles {
    context: Arc<Context>,
    retries: Retries,
    memory: Mutex<HashMap<String, Memory>>,
    start: tokio::time::Instant,
}

/// Visits profiles until `stop`.
pub async fn run(context: Arc<Context>, stop: CancellationToken) {
    let profiles = Arc::new(Profiles::new(Arc::clone(&context)));
    context.dirty.profiles.add(context.profile_names());
    let nodes = Arc::clone(&context);
    super::visit(
        "profile",
        context
            .dirty
            .profiles
            .stream(move || super::settle(nodes.index().node_count())),
        context.stores.profiles.clone(),
        profiles,
        stop.cancelled_owned(),
        |profile, profiles: Arc<Profiles>| Box::pin(async move { profiles.reconcile(&profile).await }),
        |profile, error: &ApiError, profiles| {
            profiles.context.failures.count(Failing::Profile);
            if error.is_forbidden() {
                // Where the status itself is refused, no condition can say so.
                let reason = ConditionReason::PermissionDenied.as_str();
                profiles.context.tell_of_operator(reason, &chain(error));
            }
            Action::requeue(profiles.retries.failed(&profile.name_any(), rand::random()))
        },
    )
    .await;
}

impl Profiles {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self {
            context,
            retries: Retries::default(),
            memory: Mutex::default(),
            start: tokio::time::Instant::now(),
        }
    }

    pub(super) async fn reconcile(&self, profile: &GuardedProfile) -> Result<Action, ApiError> {
        if profile.metadata_deleted() {
            return Ok(Action::await_change());
        }
        let now = jiff::Timestamp::now().as_second();
        let inputs = dereference::dereference(&self.context, profile);
        let validated = validate(profile, &inputs);
        let uid = profile.meta_uid();
        let written = self.written(&uid);
        let status = build(&self.context.index(), &validated, &inputs, written.as_ref(), now);
        let next = status
            .changes_at
            .map(|at| Duration::from_secs(u64::try_from(at - now).unwrap_or(0)));
        let wait = update_status::update_status(self, profile, &uid, &status).await?;
        // A write that has to wait is none that succeeded.
        if wait.is_none() {
            self.retries.forget(&profile.name_any());
        }
        let soonest = [next, wait]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(REVISIT)
            .min(REVISIT);
        Ok(Action::requeue(soonest.max(Duration::from_millis(100))))
    }

    fn written(&self, uid: &str) -> Option<Written> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.get(uid).and_then(|memory| memory.written.clone())
    }

    fn with_memory<T>(&self, uid: &str, with: impl FnOnce(&mut Memory, Duration) -> T) -> T {
        let now = self.start.elapsed();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if memory.len() > 2 * self.context.stores.profiles.len() + 16 {
            // Deleted profiles are forgotten together; nobody needs to tell of each.
            let known: std::collections::HashSet<String> = self
                .context
                .stores
                .profiles
                .state()
                .iter()
                .map(|profile| profile.meta_uid())
                .collect();
            memory.retain(|uid, _| known.contains(uid));
        }
        let entry = memory.entry(uid.to_owned()).or_insert_with(|| Memory {
            budget: WriteBudget::new(now),
            written: None,
        });
        with(entry, now)
    }
}

/// What is asked of metadata, whether or not the object could be read.
pub(crate) trait Meta {
    fn metadata_deleted(&self) -> bool;
    fn meta_uid(&self) -> String;
}

impl<K: kube::Resource> Meta for K {
    fn metadata_deleted(&self) -> bool {
        self.meta().deletion_timestamp.is_some()
    }

    fn meta_uid(&self) -> String {
        self.meta().uid.clone().unwrap_or_default()
    }
}

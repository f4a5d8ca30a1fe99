//! What is shown while an edit waits that the kernel did not take. Pure.

use weir_profile::api::ConditionReason;
use weir_profile::place::Refusal;
use weir_profile::{NodeConfig, PlacedProfile, Placement};

/// The placement that runs, with each profile of which something else is wanted as refused, because of `why`.
pub(super) fn placement(
    placed: &Placement,
    running: &NodeConfig,
    wanted: &NodeConfig,
    why: &str,
) -> Placement {
    let refused = |profile: &PlacedProfile, what: &str| Refusal {
        profile: profile.name.clone(),
        uid: profile.uid.clone(),
        generation: profile.generation,
        event: None,
        reason: ConditionReason::ProgrammingFailed,
        message: format!("{what}; what ran before goes on, and it is tried again: {why}"),
    };
    let edited = wanted
        .profiles
        .iter()
        .filter(|profile| find(running, &profile.uid) != Some(profile))
        .map(|profile| {
            refused(
                profile,
                &format!("generation {} is not applied", profile.generation),
            )
        });
    let gone = running
        .profiles
        .iter()
        .filter(|profile| find(wanted, &profile.uid).is_none())
        .map(|profile| refused(profile, "its end is not applied"));
    let mut waiting: Vec<Refusal> = edited.chain(gone).collect();
    let before = placed
        .refused
        .iter()
        .filter(|refusal| waiting.iter().all(|waiting| waiting.uid != refusal.uid))
        .cloned()
        .collect::<Vec<_>>();
    waiting.extend(before);
    let mut priorities = placed.priorities.clone();
    priorities.extend(
        wanted
            .profiles
            .iter()
            .map(|profile| (profile.uid.clone(), profile.priority)),
    );
    Placement {
        refused: waiting,
        priorities,
        ..placed.clone()
    }
}

fn find<'a>(config: &'a NodeConfig, uid: &str) -> Option<&'a PlacedProfile> {
    config.profiles.iter().find(|profile| profile.uid == uid)
}

#[cfg(test)]
mod tests {
    use weir_profile::{Assignment, Document, NodeFacts, Plan, SinkPlan, load, plan_with_sink};

    use super::*;

    fn plan(name: &str, generation: i64) -> Plan {
        let text = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {{name: {name}}}\nspec:\n  events:\n    \
             - {{name: execs, kind: process.exec, limit: {{eventsPerSecond: {}}}}}\n",
            generation * 10
        );
        let Some(Document::Profile(mut profile)) = load(&text).unwrap().pop() else {
            panic!("{text}");
        };
        profile.metadata.uid = Some(format!("uid-{name}"));
        profile.metadata.generation = Some(generation);
        plan_with_sink(&profile, SinkPlan::from_url("stdout").unwrap()).unwrap()
    }

    fn placed(plans: &[Plan]) -> Placement {
        weir_profile::place(plans, &NodeFacts::supporting_all(0), &Assignment::default())
    }

    #[test]
    fn edit_that_waits_is_shown_for_each_profile_that_it_concerns_and_no_other() {
        let running = placed(&[plan("edited", 1), plan("gone", 4), plan("same", 2)]);
        let wanted = placed(&[plan("edited", 2), plan("fresh", 1), plan("same", 2)]);
        let shown = placement(&running, &running.config, &wanted.config, "no memory");
        let told: Vec<(&str, i64)> = shown
            .refused
            .iter()
            .map(|refusal| (refusal.profile.as_str(), refusal.generation))
            .collect();
        assert_eq!(told, [("edited", 2), ("fresh", 1), ("gone", 4)]);
        for refusal in &shown.refused {
            assert_eq!(refusal.reason, ConditionReason::ProgrammingFailed);
            assert!(refusal.message.ends_with("no memory"), "{}", refusal.message);
        }
        assert_eq!(shown.config, running.config);
        let again = placement(&shown, &running.config, &wanted.config, "still none");
        assert_eq!(again.refused.len(), 3, "{:?}", again.refused);
    }
}

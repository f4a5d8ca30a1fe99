//! The bounds of what a cluster may ask for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Mutex;
use weir_e2e::profile::{Profile, condition, is_current};
use weir_e2e::scenario::{self, TestResult};
use weir_e2e::wait::{Probe, until};

const STATUS_LIMIT: Duration = Duration::from_secs(90);
const PROFILES: usize = 70;
/// Each counts places on a node, and so must not meet the other's profiles.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// Nodes that a problem names, the first ones by name, as the API server lists them.
const EXAMPLES: usize = 3;
/// Profiles that run on a node at one time.
const PLACES: usize = 64;

/// Scenario: 70 profiles of one priority, besides the quick start's, which has a higher one by its name.
/// Guarantees: 64 run; the others are refused by name, the last ones in the order of names, with the reason and each
/// node as example; when one that runs is deleted, the first of the refused takes its place.
#[tokio::test]
async fn excess_profiles_are_refused_by_name() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("many", async |world| {
        let spec = json!({
            "workloads": {"namespaces": ["nowhere"], "host": "Exclude"},
            "events": [{"name": "execs", "kind": "process.exec"}],
        });
        let mut profiles: Vec<Profile> = Vec::new();
        for number in 0..PROFILES {
            profiles.push(world.profile(&format!("{number:02}"), spec.clone()).await?);
        }
        let list = world
            .cluster
            .get_json("/apis/weir.dev/v1alpha1/collectorprofiles")
            .await?;
        let total = list["items"].as_array().map_or(0, Vec::len);
        let excess = total - PLACES;
        let (running, refused) = profiles.split_at(PROFILES - excess);
        until_split(world, running, refused).await?;
        for profile in refused {
            let object = profile.get().await?;
            let problem = &object["status"]["problems"][0];
            let nodes = world.agent_nodes.len();
            let examples: Vec<&String> = world.agent_nodes.iter().take(EXAMPLES).collect();
            assert_eq!(problem["nodes"], nodes, "{problem}");
            assert_eq!(problem["examples"], json!(examples), "{problem}");
            let message = problem["message"].as_str().unwrap_or_default();
            let says =
                message.contains(&format!("at most {PLACES} profiles")) && message.contains("priority");
            assert!(says, "{problem}");
        }

        running[0].delete().await?;
        until_split(
            world,
            &profiles[1..=running.len()],
            &profiles[running.len() + 1..],
        )
        .await?;
        Ok(())
    })
    .await
}

/// Waits until exactly `running` are ready and exactly `refused` are told so.
async fn until_split(world: &scenario::World, running: &[Profile], refused: &[Profile]) -> TestResult {
    let names = |profiles: &[Profile]| {
        profiles
            .iter()
            .map(|profile| profile.name.clone())
            .collect::<BTreeSet<_>>()
    };
    let (running, refused) = (names(running), names(refused));
    until("the excess to be refused", STATUS_LIMIT, || async {
        let list = world
            .cluster
            .get_json("/apis/weir.dev/v1alpha1/collectorprofiles")
            .await;
        list.map(|list| {
            let items: Vec<&Value> = list["items"].as_array().into_iter().flatten().collect();
            let those = |is: &dyn Fn(&Value) -> bool| -> BTreeSet<String> {
                let all = items.iter().filter(|item| is_current(item) && is(item));
                let names = all.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned));
                names
                    .filter(|name| running.contains(name) || refused.contains(name))
                    .collect()
            };
            let ready = those(&|item| condition(item, "Ready")["status"] == "True");
            let told = those(&|item| {
                let problem = &item["status"]["problems"][0];
                condition(item, "Ready")["status"] == "False" && problem["reason"] == "TooManyProfiles"
            });
            let seen = format!("{} ready, {} refused: {told:?}", ready.len(), told.len());
            Probe::when(ready == running && told == refused, (), seen)
        })
    })
    .await?;
    Ok(())
}

/// Scenario: a profile of nearly 128 KiB, and one of more.
/// Guarantees: the first runs; the second is refused with the limit named.
#[tokio::test]
async fn profile_of_128_kib_runs_and_a_larger_one_is_told_the_limit() -> TestResult {
    let _alone = ONE_AT_A_TIME.lock().await;
    scenario::run("large", async |world| {
        let spec = |path_chars: usize| {
            let path = |event: usize, number: usize| format!("/{event:02}{number:02}{}", "x".repeat(path_chars - 5));
            let paths = |event| (0..16).map(|number| path(event, number)).collect::<Vec<_>>();
            let events: Vec<Value> = (0..60)
                .map(|event| json!({"name": format!("e{event}"), "kind": "file.open", "match": {"paths": {"exact": paths(event)}}}))
                .collect();
            json!({"workloads": {"namespaces": ["nowhere"], "host": "Exclude"}, "events": events})
        };
        let size = |spec: &Value| spec.to_string().len();
        let limit = 128 * 1024;
        let (fits, exceeds) = (spec(126), spec(150));
        assert!((limit * 9 / 10..limit).contains(&size(&fits)), "{}", size(&fits));
        assert!(size(&exceeds) > limit);

        let profile = world.profile("p", fits).await?;
        profile.until_ready(Duration::from_secs(30)).await?;
        profile.edit(exceeds).await?;
        let object = profile.until_condition("Accepted", "False", Some("SpecTooLarge"), Duration::from_secs(30)).await?;
        let message = condition(&object, "Accepted")["message"].to_string();
        assert!(message.contains("131072"), "{message}");
        Ok(())
    })
    .await
}

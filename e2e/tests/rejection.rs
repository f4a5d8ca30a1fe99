//! Bad profiles are refused when they are applied, and what only shows later is told in the status.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use weir_e2e::profile::{condition, kstatus};
use weir_e2e::scenario::{self, TestResult};

const STATUS_LIMIT: Duration = Duration::from_secs(15);
const READY_LIMIT: Duration = Duration::from_secs(30);
/// At least so many profiles of the table are for the API server.
const AT_LEAST: usize = 20;

/// A row of the table that the offline tests use too.
#[derive(Deserialize)]
struct Bad {
    name: String,
    /// Who refuses it; `Schema` and `Cel` are the API server.
    by: String,
    path: String,
    document: String,
}

/// Scenario: every bad profile of the table is created, as a dry run.
/// Guarantees: the API server refuses each one, and its message names the field that is wrong.
#[tokio::test]
async fn bad_profiles_are_refused_with_the_field_named() -> TestResult {
    scenario::run("rejection", async |world| {
        let table: Vec<Bad> =
            serde_saphyr::from_str(include_str!("../../profile/testdata/bad-profiles.yaml"))?;
        let mut tried = 0;
        let mut wrong = Vec::new();
        for bad in table.iter().filter(|bad| bad.by == "Schema" || bad.by == "Cel") {
            let object: Value = serde_saphyr::from_str(&bad.document)?;
            tried += 1;
            match world
                .cluster
                .create_dry("/apis/weir.dev/v1alpha1/collectorprofiles", &object)
                .await?
            {
                Ok(()) => wrong.push(format!("{}: accepted", bad.name)),
                Err(message) if names(&message, &bad.path) => {}
                Err(message) => wrong.push(format!("{}: {} is not named in: {message}", bad.name, bad.path)),
            }
        }
        assert!(tried >= AT_LEAST, "only {tried} profiles were tried");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
    .await
}

/// Whether a message names a field: by its path, or by the path of what holds it and its own name.
fn names(message: &str, path: &str) -> bool {
    let (parent, field) = path.rsplit_once('.').unwrap_or(("", path));
    let field = field.split('[').next().unwrap_or(field);
    // A rule stands where it can see all it needs, which may be further up.
    let mut holder = parent;
    loop {
        if message.contains(path) || (message.contains(holder) && message.contains(field)) {
            return true;
        }
        let Some((above, _)) = holder.rsplit_once(['.', '[']) else {
            return false;
        };
        holder = above;
    }
}

/// Scenario: a profile names a sink that does not exist; then the sink is made; then it is deleted.
/// Guarantees: `Accepted=False` with the reason and the sink's name, `Failed` to kstatus; it recovers by itself; the
/// deletion is told too.
#[tokio::test]
async fn missing_sink_is_told_and_recovers_when_it_appears() -> TestResult {
    scenario::run("missing-sink", async |world| {
        let sink = world.named("late");
        let profile = world
            .profile(
                "orphan",
                json!({
                    "workloads": {"namespaces": ["nowhere"], "host": "Exclude"},
                    "events": [{"name": "execs", "kind": "process.exec"}],
                    "sinkRef": {"name": sink},
                }),
            )
            .await?;
        let object = profile
            .until_condition("Accepted", "False", Some("SinkNotFound"), STATUS_LIMIT)
            .await?;
        let message = condition(&object, "Accepted")["message"].to_string();
        assert!(message.contains(&sink), "{message}");
        assert_eq!(
            condition(&object, "Ready")["status"],
            "False",
            "{}",
            object["status"]
        );
        assert_eq!(kstatus(&object), "Failed", "{}", object["status"]);

        let default = world
            .cluster
            .get_json("/apis/weir.dev/v1alpha1/collectorsinks/default")
            .await?;
        world.sink("late", default["spec"].clone()).await?;
        let object = profile.until_ready(READY_LIMIT).await?;
        assert_eq!(
            condition(&object, "Accepted")["status"],
            "True",
            "{}",
            object["status"]
        );

        world
            .cluster
            .kubectl(["delete", "collectorsinks.weir.dev", &sink])
            .await?;
        profile
            .until_condition("Accepted", "False", Some("SinkNotFound"), STATUS_LIMIT)
            .await?;
        Ok(())
    })
    .await
}

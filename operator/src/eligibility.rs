//! Whether an agent may run on a node: what the scheduler would say of the `DaemonSet`'s pods, without asking it.

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};
use std::collections::BTreeMap;

use crate::settings::AgentSettings;

/// The label without which a node is no Linux node; agents run on no other.
pub const OS_LABEL: (&str, &str) = ("kubernetes.io/os", "linux");
/// Taints that the `DaemonSet` controller itself makes every one of its pods tolerate.
const ALWAYS_TOLERATED: [&str; 6] = [
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
    "node.kubernetes.io/disk-pressure",
    "node.kubernetes.io/memory-pressure",
    "node.kubernetes.io/pid-pressure",
    "node.kubernetes.io/unschedulable",
];

/// Whether the settings let an agent run on this node.
#[must_use]
pub fn eligible(
    settings: &AgentSettings,
    name: &str,
    labels: &BTreeMap<String, String>,
    taints: &[Taint],
) -> bool {
    let has = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
    has(OS_LABEL.0, OS_LABEL.1)
        && settings.node_selector.iter().all(|(key, value)| has(key, value))
        && affinity(settings, name, labels)
        && taints.iter().all(|taint| tolerated(&settings.tolerations, taint))
}

fn affinity(settings: &AgentSettings, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let required = settings
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|node| node.required_during_scheduling_ignored_during_execution.as_ref());
    required.is_none_or(|required| {
        required.node_selector_terms.iter().any(
            |NodeSelectorTerm {
                 match_expressions,
                 match_fields,
             }| {
                let (expressions, fields) = (match_expressions.as_deref(), match_fields.as_deref());
                // An empty term matches nothing, as the scheduler has it.
                let empty = expressions.is_none_or(<[_]>::is_empty) && fields.is_none_or(<[_]>::is_empty);
                !empty
                    && expressions
                        .into_iter()
                        .flatten()
                        .all(|term| holds(term, labels.get(&term.key).map(String::as_str)))
                    && fields
                        .into_iter()
                        .flatten()
                        .all(|term| holds(term, (term.key == "metadata.name").then_some(name)))
            },
        )
    })
}

fn holds(term: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = term.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let number = |text: Option<&str>| text.and_then(|text| text.parse::<i64>().ok());
    let ordered = number(value).zip(number(values.first().map(String::as_str)));
    match term.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => ordered.is_some_and(|(has, bound)| has > bound),
        "Lt" => ordered.is_some_and(|(has, bound)| has < bound),
        _ => false,
    }
}

fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    taint.effect == "PreferNoSchedule"
        || ALWAYS_TOLERATED.contains(&taint.key.as_str())
        || tolerations.iter().any(|toleration| {
            let effect = toleration.effect.as_deref().unwrap_or_default();
            let key = toleration.key.as_deref().unwrap_or_default();
            let exists = toleration.operator.as_deref() == Some("Exists");
            (effect.is_empty() || effect == taint.effect)
                && ((key.is_empty() && exists) || key == taint.key)
                && (exists
                    || toleration.value.as_deref().unwrap_or_default()
                        == taint.value.as_deref().unwrap_or_default())
        })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::Settings;

    fn agent(yaml: &str) -> AgentSettings {
        Settings::parse(yaml, Path::new("test")).unwrap().agent
    }

    fn linux(more: &[(&str, &str)]) -> BTreeMap<String, String> {
        more.iter()
            .chain([&OS_LABEL])
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn taint(key: &str, effect: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            ..Taint::default()
        }
    }

    #[test]
    fn node_of_another_system_is_never_eligible() {
        assert!(eligible(&agent(""), "n", &linux(&[]), &[]));
        assert!(!eligible(&agent(""), "n", &BTreeMap::new(), &[]));
    }

    #[test]
    fn tainted_node_is_eligible_only_when_tolerated() {
        let tainted = [taint("dedicated", "NoSchedule")];
        assert!(
            eligible(&agent(""), "n", &linux(&[]), &tainted),
            "by default agents run everywhere"
        );
        let none = agent("agent: {tolerations: []}");
        assert!(!eligible(&none, "n", &linux(&[]), &tainted));
        assert!(eligible(
            &none,
            "n",
            &linux(&[]),
            &[taint("node.kubernetes.io/not-ready", "NoExecute")]
        ));
        assert!(eligible(
            &none,
            "n",
            &linux(&[]),
            &[taint("soft", "PreferNoSchedule")]
        ));
        let one = agent("agent: {tolerations: [{key: dedicated, operator: Exists, effect: NoSchedule}]}");
        assert!(eligible(&one, "n", &linux(&[]), &tainted));
        assert!(!eligible(
            &one,
            "n",
            &linux(&[]),
            &[taint("dedicated", "NoExecute")]
        ));
    }

    #[test]
    fn selector_and_affinity_are_both_needed() {
        let settings = agent(
            "agent:\n  nodeSelector: {pool: web}\n  affinity:\n    nodeAffinity:\n      \
             requiredDuringSchedulingIgnoredDuringExecution:\n        nodeSelectorTerms:\n        - matchExpressions:\n          \
             - {key: cpus, operator: Gt, values: ['4']}\n        - matchFields:\n          \
             - {key: metadata.name, operator: In, values: [special]}\n",
        );
        assert!(eligible(
            &settings,
            "n",
            &linux(&[("pool", "web"), ("cpus", "8")]),
            &[]
        ));
        assert!(!eligible(
            &settings,
            "n",
            &linux(&[("pool", "web"), ("cpus", "4")]),
            &[]
        ));
        assert!(eligible(&settings, "special", &linux(&[("pool", "web")]), &[]));
        assert!(!eligible(&settings, "special", &linux(&[]), &[]));
    }
}

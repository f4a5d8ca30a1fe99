//! What a status says while something keeps the operator from its work.

use super::*;

#[test]
fn status_of_nodes_that_may_not_be_watched_claims_nothing_and_keeps_the_counts() {
    let index = fleet(3);
    let before = roll(&index);
    let (subject, verdict, tally) = (subject(), accepted(), Index::default().tally(&subject(), NOW));
    let denied = (R::PermissionDenied, "watch-nodes: not allowed".to_owned());
    let input = Input {
        subject: &subject,
        verdict: &verdict,
        tally: &tally,
        ready_percent: 100,
        trouble: Some(&denied),
        blindness: Some(&denied),
    };
    let blind = status(&input, Some(&before), Timestamp::from_unix_seconds(NOW).unwrap());
    for type_ in [T::Ready, T::Programmed, T::Delivering, T::Complete] {
        assert_eq!(says(&blind, type_), (UNKNOWN, R::PermissionDenied), "{type_}");
    }
    assert_eq!(says(&blind, T::Accepted), (TRUE, R::Accepted));
    assert_eq!(says(&blind, T::Degraded), (TRUE, R::PermissionDenied));
    assert_eq!(blind.nodes, before.nodes);
    assert_eq!(blind.conditions.len(), T::ALL.len());
}

#[test]
fn status_agents_that_cannot_be_deployed_are_every_profiles_problem() {
    let index = fleet(1);
    let (subject, verdict) = (subject(), accepted());
    let tally = index.tally(&subject, NOW);
    let trouble = (R::PermissionDenied, "cannot apply weir-agent".to_owned());
    let input = Input {
        subject: &subject,
        verdict: &verdict,
        tally: &tally,
        ready_percent: 100,
        trouble: Some(&trouble),
        blindness: None,
    };
    let status = status(&input, None, Timestamp::from_unix_seconds(NOW).unwrap());
    assert_eq!(says(&status, T::Degraded), (TRUE, R::PermissionDenied));
    assert_eq!(status.problems[0].reason, R::PermissionDenied);
}

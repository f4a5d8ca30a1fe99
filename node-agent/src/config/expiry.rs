//! When the next plan ends by itself; the caller passes the time in and sets the timer.

use weir_profile::Plan;

/// The earliest expiration that is still to come, seconds since 1970. When it is reached, place the plans anew: an
/// expired one is idle then.
#[must_use]
pub fn next(plans: &[Plan], now_unix_seconds: i64) -> Option<i64> {
    plans
        .iter()
        .filter_map(|plan| plan.expires_at)
        .filter(|&at| at > now_unix_seconds)
        .min()
}

#[cfg(test)]
mod tests {
    use weir_profile::plan::SinkPlan;
    use weir_profile::{Document, load, plan_with_sink};

    use super::*;

    fn plan(name: &str, expires: &str) -> Plan {
        let text = format!(
            "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {{name: {name}}}\n\
             spec: {{events: [{{name: a, kind: process.exec}}]{expires}}}\n"
        );
        match load(&text).unwrap().pop() {
            Some(Document::Profile(profile)) => {
                plan_with_sink(&profile, SinkPlan::from_url("stdout").unwrap()).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn next_is_the_earliest_that_is_still_to_come() {
        let plans = [
            plan("never", ""),
            plan("past", ", expirationTime: \"1970-01-01T00:00:50Z\""),
            plan("later", ", expirationTime: \"1970-01-01T00:03:20Z\""),
            plan("soon", ", expirationTime: \"1970-01-01T00:01:41Z\""),
        ];
        assert_eq!(next(&plans, 50), Some(101));
        assert_eq!(next(&plans, 101), Some(200));
        assert_eq!(next(&plans, 200), None);
    }
}

use weir_profile::api::{NodeProfile, NodeSink, NodeSinkState, Window};

use super::*;

fn fleet() -> Fleet {
    Fleet { nodes: 10_000 }
}

fn status(epoch: i64, rate: i64) -> CollectorNodeStatus {
    let window = Window {
        events_per_second: rate,
        limited_per_second: 0,
        lost_per_second: 0,
    };
    CollectorNodeStatus {
        epoch: Some(epoch),
        window: Some(window),
        ..CollectorNodeStatus::default()
    }
}

fn with_sink(epoch: i64, state: NodeSinkState) -> CollectorNodeStatus {
    let sink = NodeSink {
        name: "default".into(),
        state,
        reason: None,
        message: None,
    };
    CollectorNodeStatus {
        sinks: vec![sink],
        ..status(epoch, 0)
    }
}

/// Writes what is current, as the shell does.
fn write(report: &mut Report, now_ms: u64) {
    let status = report.current().unwrap().clone();
    report.written(status, now_ms);
}

#[test]
fn first_state_and_state_changes_are_due_at_once() {
    let mut report = Report::new(fleet());
    assert_eq!(report.due_ms(0), None);
    report.update(status(1, 0), 0, 1_000);
    assert_eq!(
        (report.due_ms(1_000), report.unwritten_since_ms()),
        (Some(1_000), Some(1_000))
    );
    write(&mut report, 1_500);
    assert_eq!((report.due_ms(2_000), report.unwritten_since_ms()), (None, None));
    report.update(status(2, 0), 0, 3_000);
    assert_eq!(report.due_ms(3_000), Some(3_000));
}

#[test]
fn quiet_node_writes_nothing() {
    let mut report = Report::new(fleet());
    report.update(status(1, 480), 0, 0);
    write(&mut report, 0);
    for second in 0..3_600 {
        report.update(
            status(1, 450 + i64::try_from(second % 90).unwrap()),
            0,
            second * 1_000,
        );
        assert_eq!(report.due_ms(second * 1_000), None);
    }
}

#[test]
fn rate_that_begins_waits_for_the_interval_since_the_last_write() {
    let mut report = Report::new(fleet());
    report.update(status(1, 0), 0, 0);
    write(&mut report, 10_000);
    report.update(status(1, 500), 0, 11_000);
    assert_eq!(report.due_ms(11_000), Some(10_000 + 200_000));
    assert_eq!(
        report.unwritten_since_ms(),
        None,
        "readiness does not wait for rates"
    );
    // A state change takes the rate along.
    report.update(status(2, 500), 0, 12_000);
    assert_eq!(report.due_ms(12_000), Some(12_000));
    write(&mut report, 12_000);
    assert_eq!(report.due_ms(12_000), None);
}

#[test]
fn burst_writes_nothing_and_what_lasts_is_written_without_another_update() {
    let mut report = Report::new(Fleet { nodes: 10 });
    report.update(status(1, 10), 0, 0);
    write(&mut report, 0);
    report.update(status(1, 500), 0, 100_000);
    report.update(status(1, 10), 0, 160_000);
    assert_eq!((report.look_ms(), report.due_ms(160_000)), (None, None));
    report.update(status(1, 0), 0, 200_000);
    let look = report.look_ms().unwrap();
    assert_eq!((look, report.due_ms(look - 1)), (275_000, None));
    report.look(0, look);
    assert_eq!(report.due_ms(look), Some(60_000), "it is due since long");
    assert_eq!(report.current().unwrap().window.unwrap().events_per_second, 0);
}

#[test]
fn sink_changes_are_spread_over_the_fleet_once() {
    let mut report = Report::new(fleet());
    report.update(with_sink(1, NodeSinkState::Delivering), 0, 0);
    write(&mut report, 0);
    report.update(with_sink(1, NodeSinkState::Waiting), u32::MAX, 1_000);
    assert_eq!(report.due_ms(1_000), Some(1_000 + 20_000));
    report.update(with_sink(1, NodeSinkState::Shedding), u32::MAX, 15_000);
    assert_eq!(
        report.due_ms(15_000),
        Some(1_000 + 20_000),
        "a further change does not put it off"
    );
    report.update(with_sink(2, NodeSinkState::Shedding), u32::MAX, 16_000);
    assert_eq!(
        report.due_ms(16_000),
        Some(16_000),
        "a local change is due at once"
    );
    report.update(with_sink(1, NodeSinkState::Delivering), 0, 17_000);
    assert_eq!(report.due_ms(17_000), None, "it is as it was");
}

/// In the largest fleets the spread is longer than what is pending may be.
#[test]
fn report_that_waits_for_its_turn_is_not_late_before_that() {
    let mut report = Report::new(Fleet { nodes: 100_000 });
    report.update(with_sink(1, NodeSinkState::Delivering), 0, 0);
    write(&mut report, 0);
    report.update(with_sink(1, NodeSinkState::Waiting), u32::MAX, 1_000);
    assert_eq!(report.due_ms(1_000), Some(201_000));
    for now in [2_000, 100_000, 200_000] {
        report.update(with_sink(1, NodeSinkState::Waiting), 0, now);
        assert_eq!(report.unwritten_since_ms(), Some(201_000), "at {now}");
    }
    // A local change is not put off by it.
    report.update(with_sink(2, NodeSinkState::Waiting), 0, 200_500);
    assert_eq!(report.unwritten_since_ms(), Some(200_500));
    report.update(with_sink(2, NodeSinkState::Shedding), 0, 230_000);
    assert_eq!(report.unwritten_since_ms(), Some(200_500));
}

fn with_profile(state: NodeProfileState, reason: Option<ConditionReason>) -> CollectorNodeStatus {
    let profile = NodeProfile {
        name: "p".into(),
        uid: "u".into(),
        generation: 1,
        digest: Some("d".into()),
        state,
        reason,
        message: reason.map(|reason| reason.as_str().to_owned()),
        kinds: vec![],
        incomplete: None,
        window: None,
    };
    let live = u8::from(state == NodeProfileState::Live);
    CollectorNodeStatus {
        summary: Some(format!("{live}/1")),
        profiles: vec![profile],
        ..status(1, 0)
    }
}

#[test]
fn sink_deleted_under_running_profiles_is_spread_like_its_trouble() {
    let mut report = Report::new(fleet());
    report.update(with_profile(NodeProfileState::Live, None), 0, 0);
    write(&mut report, 0);
    let gone = with_profile(NodeProfileState::Degraded, Some(ConditionReason::SinkNotFound));
    report.update(gone.clone(), u32::MAX, 1_000);
    assert_eq!(report.due_ms(1_000), Some(21_000));
    write(&mut report, 21_000);
    assert_eq!(report.due_ms(21_000), None);
    report.update(with_profile(NodeProfileState::Live, None), u32::MAX, 30_000);
    assert_eq!(
        report.due_ms(30_000),
        Some(50_000),
        "nor does its return come at once"
    );
    // What this node alone has is told at once.
    let failed = with_profile(NodeProfileState::Degraded, Some(ConditionReason::HookFailed));
    report.update(failed, u32::MAX, 31_000);
    assert_eq!(report.due_ms(31_000), Some(31_000));
}

#[test]
fn flapping_state_is_bounded() {
    let mut report = Report::new(fleet());
    let mut writes = 0;
    for tick in 0..600 {
        let now = tick * 100;
        report.update(status(i64::try_from(tick).unwrap(), 0), 0, now);
        if report.due_ms(now).is_some_and(|due| due <= now) {
            write(&mut report, now);
            writes += 1;
        }
    }
    assert!((15..=18).contains(&writes), "{writes} writes in a minute");
}

#[test]
fn report_that_somebody_changed_is_written_again() {
    let mut report = Report::new(fleet());
    report.update(status(1, 0), 0, 0);
    write(&mut report, 0);
    report.found(Some(status(1, 0)), 1);
    assert_eq!(report.due_ms(1), None);
    report.found(None, 2);
    assert_eq!(
        (report.due_ms(2), report.unwritten_since_ms()),
        (Some(2), Some(2))
    );
}

use super::*;

fn wanted() -> StreamSettings {
    StreamSettings {
        name: "WEIR".into(),
        subjects: vec!["weir.events.>".into()],
        replicas: 1,
        storage: Storage::File,
        max_bytes: Some(1 << 30),
        max_age: Some(Duration::from_hours(1)),
        duplicate_window: Duration::from_mins(2),
    }
}

fn grown(plan: Plan) -> Config {
    assert_eq!(plan.conflicts, []);
    *plan.update.expect("grows")
}

fn fields(plan: &Plan) -> Vec<&'static str> {
    plan.conflicts.iter().map(|difference| difference.field).collect()
}

#[test]
fn plan_for_what_was_just_created_keeps_it() {
    assert_eq!(plan(&wanted().fresh(), &wanted()), Plan::default());
}

#[test]
fn plan_grows_bounds_and_subjects() {
    let has = Config {
        subjects: vec!["weir.events.a.>".into(), "other".into()],
        max_bytes: 5,
        max_age: Duration::from_secs(5),
        duplicate_window: Duration::from_secs(5),
        ..wanted().fresh()
    };
    let bigger = StreamSettings {
        replicas: 3,
        ..wanted()
    };
    let config = grown(plan(&has, &bigger));
    assert_eq!(config.subjects, ["other", "weir.events.>"]);
    assert_eq!(
        (config.num_replicas, config.max_bytes, config.max_age),
        (3, 1 << 30, Duration::from_hours(1))
    );
    assert_eq!(config.duplicate_window, Duration::from_mins(2));

    let unbounded = StreamSettings {
        max_bytes: None,
        max_age: None,
        ..wanted()
    };
    let config = grown(plan(&wanted().fresh(), &unbounded));
    assert_eq!((config.max_bytes, config.max_age), (-1, Duration::ZERO));
}

#[test]
fn plan_never_shrinks() {
    let has = Config {
        num_replicas: 3,
        max_bytes: 2 << 30,
        max_age: Duration::ZERO,
        duplicate_window: Duration::from_hours(1),
        ..wanted().fresh()
    };
    let plan = plan(&has, &wanted());
    assert_eq!(fields(&plan), ["replicas", "maxBytes", "maxAgeSeconds"]);
    assert_eq!(plan.update, None);
    assert_eq!(
        plan.conflicts[2].to_string(),
        "maxAgeSeconds is unbounded, asked for is 3600"
    );
}

#[test]
fn plan_with_a_bound_that_cannot_shrink_still_adds_the_missing_subject() {
    let has = Config {
        subjects: vec!["other".into()],
        max_bytes: -1,
        ..wanted().fresh()
    };
    let plan = plan(&has, &wanted());
    assert_eq!(fields(&plan), ["maxBytes"]);
    let update = plan.update.expect("grows");
    assert_eq!(update.subjects, ["other", "weir.events.>"]);
    assert_eq!(update.max_bytes, -1);
}

#[test]
fn plan_leaves_another_kind_of_stream_alone() {
    let has = Config {
        subjects: vec!["other".into()],
        storage: StorageType::Memory,
        retention: RetentionPolicy::WorkQueue,
        no_ack: true,
        sealed: true,
        ..wanted().fresh()
    };
    let plan = plan(&has, &wanted());
    assert_eq!(fields(&plan), ["storage", "retention", "noAck", "sealed"]);
    assert_eq!(plan.update, None);
}

#[test]
fn covers_follows_the_wildcards() {
    let table = [
        ("weir.events.>", "weir.events.a.process.exec", true),
        ("weir.events.>", "weir.events", false),
        ("weir.events.>", "weir.events.>", true),
        ("weir.events.*.b", "weir.events.a.b", true),
        ("weir.events.*", "weir.events.a.b", false),
        ("weir.*.>", "weir.events.a", true),
        ("weir.*", "weir.>", false),
        ("weir.a", "weir.*", false),
        (">", "a.b", true),
        ("a", "a.b", false),
    ];
    for (filter, subject, expected) in table {
        assert_eq!(covers(filter, subject), expected, "{filter} covers {subject}");
    }
}

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
    match plan {
        Plan::Grow(config) => *config,
        other => panic!("expected growth, got {other:?}"),
    }
}

#[test]
fn plan_for_what_was_just_created_keeps_it() {
    assert_eq!(plan(&fresh(&wanted()), &wanted()), Plan::Keep);
}

#[test]
fn plan_grows_bounds_and_subjects() {
    let mut has = fresh(&wanted());
    has.subjects = vec!["weir.events.a.>".into(), "other".into()];
    has.max_bytes = 5;
    has.max_age = Duration::from_secs(5);
    has.duplicate_window = Duration::from_secs(5);
    let config = grown(plan(&has, &wanted()));
    assert_eq!(config.subjects, ["other", "weir.events.>"]);
    assert_eq!(
        (config.max_bytes, config.max_age),
        (1 << 30, Duration::from_hours(1))
    );
    assert_eq!(config.duplicate_window, Duration::from_mins(2));

    let unbounded = StreamSettings {
        max_bytes: None,
        max_age: None,
        ..wanted()
    };
    let config = grown(plan(&fresh(&wanted()), &unbounded));
    assert_eq!((config.max_bytes, config.max_age), (-1, Duration::ZERO));
}

#[test]
fn plan_never_shrinks_or_replaces() {
    let fields = |plan: Plan| match plan {
        Plan::Conflict(differences) => differences
            .iter()
            .map(|difference| difference.field)
            .collect::<Vec<_>>(),
        other => panic!("expected a conflict, got {other:?}"),
    };
    let mut has = fresh(&wanted());
    has.num_replicas = 3;
    has.storage = StorageType::Memory;
    has.max_bytes = 2 << 30;
    has.max_age = Duration::ZERO;
    assert_eq!(
        fields(plan(&has, &wanted())),
        ["storage", "replicas", "max_bytes", "max_age"]
    );

    let mut has = fresh(&wanted());
    has.retention = RetentionPolicy::WorkQueue;
    has.no_ack = true;
    assert_eq!(fields(plan(&has, &wanted())), ["retention", "no_ack"]);
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

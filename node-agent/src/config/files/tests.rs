use super::*;

fn profile(name: &str, rate: u32) -> String {
    format!(
        "apiVersion: weir.dev/v1alpha1\nkind: CollectorProfile\nmetadata: {{name: {name}, uid: copied, generation: 77}}\n\
         spec: {{events: [{{name: a, kind: process.exec, limit: {{eventsPerSecond: {rate}}}}}]}}\n---\n"
    )
}

fn sink(name: &str) -> String {
    format!(
        "apiVersion: weir.dev/v1alpha1\nkind: CollectorSink\nmetadata: {{name: {name}}}\n\
         spec: {{nats: {{servers: [\"nats://127.0.0.1:4222\"], stream: {{name: WEIR}}}}}}\n---\n"
    )
}

fn files(count: usize) -> Files {
    Files::new(
        (0..count).map(|number| format!("{number}.yaml").into()).collect(),
        Some("stdout"),
    )
    .unwrap()
}

/// Takes good texts in and returns the (name, generation, rate) of each plan.
fn state(files: &Files) -> Vec<(String, i64, u32)> {
    files
        .plans()
        .iter()
        .map(|plan| {
            (
                plan.name.clone(),
                plan.generation,
                plan.events[0].limit.unwrap().rate,
            )
        })
        .collect()
}

fn take(files: &mut Files, texts: &[&str]) -> Vec<String> {
    let texts = texts.iter().map(|text| Some(Ok((*text).to_owned()))).collect();
    files.take(texts).iter().map(ToString::to_string).collect()
}

fn row(name: &str, generation: i64, rate: u32) -> (String, i64, u32) {
    (name.to_owned(), generation, rate)
}

#[test]
fn pipe_is_read_once() {
    use std::io::Write as _;
    use std::os::fd::AsRawFd as _;

    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(profile("a", 10).as_bytes()).unwrap();
    drop(writer);
    let path = PathBuf::from(format!("/proc/self/fd/{}", reader.as_raw_fd()));
    let mut files = Files::new(vec![path], Some("stdout")).unwrap();
    files.start().unwrap();
    let again = files.reread();
    assert_eq!(again.errors, [""; 0]);
    assert_eq!(state(&files), [row("a", 1, 10)]);
}

#[test]
fn generation_counts_accepted_edits_of_each_profile() {
    let mut files = files(1);
    let both = profile("a", 10) + &profile("b", 10);
    assert!(take(&mut files, &[&both]).is_empty());
    assert_eq!(state(&files), [row("a", 1, 10), row("b", 1, 10)]);
    assert_eq!(files.plans()[0].uid, "a");
    assert!(take(&mut files, &[&format!("# a comment\n{both}")]).is_empty());
    assert_eq!(
        state(&files),
        [row("a", 1, 10), row("b", 1, 10)],
        "nothing changed"
    );
    take(&mut files, &[&(profile("a", 20) + &profile("b", 10))]);
    assert_eq!(state(&files), [row("a", 2, 20), row("b", 1, 10)]);
}

#[test]
fn bad_edit_keeps_the_last_good_profiles_and_says_why_once() {
    let mut files = files(1);
    take(&mut files, &[&profile("a", 10)]);
    let errors = take(&mut files, &[&profile("a", 0)]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].starts_with("0.yaml: document 1"), "{errors:?}");
    assert!(errors[0].contains("eventsPerSecond"), "{errors:?}");
    assert_eq!(state(&files), [row("a", 1, 10)]);
    assert!(!take(&mut files, &["{not yaml"]).is_empty());
    assert_eq!(state(&files), [row("a", 1, 10)]);
    assert!(take(&mut files, &[&profile("a", 30)]).is_empty());
    assert_eq!(state(&files), [row("a", 2, 30)]);
}

#[test]
fn one_bad_file_does_not_hold_up_another() {
    let mut files = files(2);
    take(&mut files, &[&profile("a", 10), &profile("b", 10)]);
    let errors = files.take(vec![
        Some(Ok(profile("a", 11))),
        Some(Err(ConfigError::Read {
            file: "1.yaml".into(),
            source: std::io::ErrorKind::NotFound.into(),
        })),
    ]);
    assert_eq!(errors.len(), 1);
    assert_eq!(
        state(&files),
        [row("a", 2, 11), row("b", 1, 10)],
        "absence of a file is no deletion"
    );
}

#[test]
fn profile_gone_from_its_file_is_deleted_and_comes_back_with_the_next_generation() {
    let mut files = files(1);
    take(&mut files, &[&(profile("a", 10) + &profile("b", 10))]);
    take(&mut files, &[&profile("b", 10)]);
    assert_eq!(state(&files), [row("b", 1, 10)]);
    take(&mut files, &[&(profile("a", 10) + &profile("b", 10))]);
    assert_eq!(state(&files), [row("a", 2, 10), row("b", 1, 10)]);
}

#[test]
fn name_in_two_files_is_an_error_and_the_first_holds() {
    let mut files = files(2);
    let errors = take(&mut files, &[&profile("a", 10), &profile("a", 20)]);
    assert_eq!(
        errors,
        ["1.yaml: CollectorProfile \"a\" already stands in 0.yaml; rename or remove one"]
    );
    assert_eq!(state(&files), [row("a", 1, 10)]);
}

#[test]
fn selectors_are_an_error_without_a_cluster() {
    let mut files = files(1);
    let text = profile("a", 10).replace(
        "spec: {",
        "spec: {workloads: {podSelector: {matchLabels: {app: web}}}, ",
    );
    let errors = take(&mut files, &[&text]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("spec.workloads.podSelector") && errors[0].contains("standalone"),
        "{errors:?}"
    );
    assert!(state(&files).is_empty());
}

#[test]
fn sink_comes_from_any_file_and_its_edit_is_a_new_generation() {
    let mut files = Files::new(vec!["0.yaml".into(), "1.yaml".into()], None).unwrap();
    let errors = take(&mut files, &[&profile("a", 10), &sink("other")]);
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].contains("sinkRef") && errors[0].ends_with("or give --sink"),
        "{errors:?}"
    );
    assert!(take(&mut files, &[&profile("a", 10), &sink("default")]).is_empty());
    assert_eq!(state(&files), [row("a", 1, 10)]);
    let edited = sink("default").replace("4222", "4333");
    assert!(take(&mut files, &[&profile("a", 10), &edited]).is_empty());
    assert_eq!(state(&files), [row("a", 2, 10)]);
    let errors = take(&mut files, &[&profile("a", 10), &sink("other")]);
    assert_eq!(
        errors.len(),
        1,
        "a sink in use that is gone keeps the last good one: {errors:?}"
    );
    assert_eq!(
        files.plans()[0].sink.nats().unwrap().servers,
        ["nats://127.0.0.1:4333"]
    );
}

#[test]
fn start_with_sinks_only_asks_for_a_profile() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sink.yaml");
    std::fs::write(&path, sink("default")).unwrap();
    let errors = Files::new(vec![path], None).unwrap().start().unwrap_err();
    assert!(
        errors[0].to_string().starts_with("no CollectorProfile in "),
        "{errors:?}"
    );
}

#[test]
fn read_file_is_bounded_and_wants_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    std::fs::write(&path, b"abc\xff").unwrap();
    assert!(matches!(
        read_file(&path),
        Err(ConfigError::NotText { valid_up_to: 3, .. })
    ));
    assert!(matches!(
        read_file(Path::new("/dev/zero")),
        Err(ConfigError::TooLarge { .. })
    ));
    assert!(matches!(read_file(dir.path()), Err(ConfigError::Read { .. })));
}

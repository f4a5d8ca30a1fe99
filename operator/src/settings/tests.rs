use super::*;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, Path::new("operator.yaml"))
}

#[test]
fn settings_empty_file_is_the_defaults() {
    for text in ["", "---\n", "# nothing\n", "agent: {}\n"] {
        assert_eq!(parse(text).unwrap(), Settings::default(), "{text:?}");
    }
    let agent = Settings::default().agent;
    assert_eq!(agent.max_unavailable, MaxUnavailable::Percent("10%".to_owned()));
    assert!(!agent.network, "NET_ADMIN is opt-in");
}

#[test]
fn settings_full_file_is_read() {
    let settings = parse(
        "clusterName: prod-eu\nagent:\n  image: example.org/weir-agent:2\n  maxUnavailable: 3\n  network: true\n  ringBytes: 1048576\n  \
         nodeSelector: {pool: web}\n  tolerations: [{key: dedicated, operator: Exists}]\n  resources:\n    \
         requests: {cpu: '0.1'}\n    limits: {memory: 1Gi}\n",
    )
    .unwrap();
    assert_eq!(
        settings.agent_image(Some("x/weir-operator:1")),
        "example.org/weir-agent:2"
    );
    assert_eq!(settings.agent.max_unavailable, MaxUnavailable::Nodes(3));
    assert_eq!(settings.agent.tolerations.len(), 1);
    assert!(settings.agent.network);
    assert_eq!(settings.agent.ring_bytes, Some(1 << 20));
}

#[test]
fn settings_bad_values_are_all_named_with_their_field() {
    let error = parse(
        "clusterName: Not_A_Label\nagent:\n  image: 'a b'\n  imagePullPolicy: Sometimes\n  maxUnavailable: 0%\n  \
         terminationGracePeriodSeconds: 1\n  ringBytes: 100000\n  tolerations: [{operator: Equals}]\n  resources: {limits: {memory: lots}}\n",
    )
    .unwrap_err()
    .to_string();
    for field in [
        "clusterName:",
        "agent.image:",
        "agent.imagePullPolicy:",
        "agent.maxUnavailable:",
        "agent.terminationGracePeriodSeconds:",
        "agent.resources.limits.memory:",
        "agent.ringBytes:",
        "agent.tolerations[0]:",
    ] {
        assert!(error.contains(field), "{field} is not in: {error}");
    }
}

#[test]
fn settings_unknown_field_is_an_error_that_names_it() {
    let error = parse("agent:\n  imagee: x\n").unwrap_err().to_string();
    assert!(
        error.contains("imagee") && error.contains("operator.yaml"),
        "{error}"
    );
}

#[test]
fn settings_missing_file_is_an_error_that_names_it() {
    let error = Settings::load(Some(Path::new("/nowhere/operator.yaml")))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("/nowhere/operator.yaml") && error.contains("--config"),
        "{error}"
    );
}

#[test]
fn agent_image_follows_the_operators_registry_and_tag() {
    let settings = Settings::default();
    let released = format!("ghcr.io/weir-dev/weir-agent:{}", env!("CARGO_PKG_VERSION"));
    let this = format!("r.example/weir-agent:{}", env!("CARGO_PKG_VERSION"));
    for (own, agent) in [
        (
            "localhost:5000/a/weir-operator:1.2",
            "localhost:5000/a/weir-agent:1.2",
        ),
        ("weir-operator:dev", "weir-agent:dev"),
        (
            "r.example/acme-weir-operator:7@sha256:ab",
            "r.example/acme-weir-agent:7",
        ),
        ("r.example/something-else:7", released.as_str()),
        ("r.example/weir-operator@sha256:ab", this.as_str()),
    ] {
        assert_eq!(settings.agent_image(Some(own)), agent, "{own}");
    }
    assert_eq!(settings.agent_image(None), released);
}

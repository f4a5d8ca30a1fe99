//! The real validate, build and status steps on documents as users write them.

use std::collections::BTreeMap;

use weir_profile::api::{ConditionReason as R, ConditionStatus, ConditionType, Manage};
use weir_runtime::login::Login;
use weir_runtime::stream::Ensured;

use super::{FoundSecret, Inputs, Outcome, build, status, validate};
use crate::context::GuardedSink;
use crate::stream::{Settled, StreamTrouble};

const FULL: &str = "
apiVersion: weir.dev/v1alpha1
kind: CollectorSink
metadata: {name: primary, uid: u, generation: 4}
spec:
  nats:
    servers: [tls://nats.example.org:4222]
    subjectPrefix: acme.kernel
    credentialsSecretRef: {name: publisher, key: user.creds}
    tls:
      caSecretRef: {name: authority, key: root.pem}
      clientCertificateSecretRef: {name: client}
    stream: {name: KERNEL, adminCredentialsSecretRef: {name: admin, key: login}, maxBytes: 2Gi, maxAgeSeconds: 600}
";

fn sink(text: &str) -> GuardedSink {
    serde_saphyr::from_str(text).unwrap()
}

fn labelled(keys: &[(&str, &str)]) -> FoundSecret {
    FoundSecret::Labelled(
        keys.iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect(),
    )
}

fn secrets() -> BTreeMap<String, FoundSecret> {
    [
        ("publisher", labelled(&[("user.creds", "publish-token")])),
        ("authority", labelled(&[("root.pem", "PEM")])),
        ("client", labelled(&[("tls.crt", "CRT"), ("tls.key", "KEY")])),
        ("admin", labelled(&[("login", "root:hunter2")])),
    ]
    .map(|(name, secret)| (name.to_owned(), secret))
    .into()
}

#[test]
fn sink_full_uses_the_admin_login_for_the_stream() {
    let inputs = Inputs {
        secrets: secrets(),
        profiles: 2,
    };
    let resources = build(&validate(&sink(FULL), &inputs).unwrap());
    assert_eq!(
        resources.access.login,
        Login::User("root".to_owned(), "hunter2".to_owned())
    );
    assert_eq!(resources.access.ca.as_deref(), Some(&b"PEM"[..]));
    assert_eq!(resources.access.client, Some((b"CRT".to_vec(), b"KEY".to_vec())));
    assert!(resources.access.require_tls);
    assert_eq!(
        (resources.stream.name.as_str(), resources.manage),
        ("KERNEL", Manage::Ensure)
    );
    assert_eq!(resources.stream.subjects, ["acme.kernel.>"]);
    assert_eq!(
        (
            resources.stream.max_bytes,
            resources.stream.max_age.unwrap().as_secs()
        ),
        (Some(2 << 30), 600)
    );
}

#[test]
fn sink_with_any_secret_amiss_names_the_field_and_the_secret() {
    for (name, found, reason) in [
        ("publisher", FoundSecret::Missing, R::SecretNotFound),
        ("authority", FoundSecret::Unlabelled, R::SecretNotLabelled),
        ("client", labelled(&[("tls.crt", "CRT")]), R::SecretKeyMissing),
        ("admin", labelled(&[("login", " ")]), R::AuthenticationFailed),
    ] {
        let mut secrets = secrets();
        secrets.insert(name.to_owned(), found);
        let refusal = validate(&sink(FULL), &Inputs { secrets, profiles: 0 }).unwrap_err();
        assert_eq!(refusal.reason, reason, "{name}");
        assert!(
            refusal.message.starts_with("spec.nats.") && refusal.message.contains(&format!("'{name}'")),
            "{}",
            refusal.message
        );
    }
}

/// One Secret that is too large is one sink's trouble: it must not fill the Secret of all.
#[test]
fn sink_whose_secret_is_too_large_is_refused_by_itself() {
    for (size, refused) in [(super::MAX_KEY_BYTES, false), (super::MAX_KEY_BYTES + 1, true)] {
        let mut secrets = secrets();
        secrets.insert(
            "authority".to_owned(),
            labelled(&[("root.pem", &"x".repeat(size))]),
        );
        let found = validate(&sink(FULL), &Inputs { secrets, profiles: 0 });
        assert_eq!(found.is_err(), refused, "{size}");
        if let Err(refusal) = found {
            assert_eq!(refusal.reason, R::SecretTooLarge);
            assert!(
                refusal
                    .message
                    .starts_with("spec.nats.tls.caSecretRef: key 'root.pem'"),
                "{}",
                refusal.message
            );
        }
    }
}

#[test]
fn sink_external_looks_with_the_admin_login() {
    let text = FULL.replace("name: KERNEL,", "name: KERNEL, manage: External,");
    let inputs = Inputs {
        secrets: secrets(),
        profiles: 1,
    };
    let resources = build(&validate(&sink(&text), &inputs).unwrap());
    assert_eq!(resources.manage, Manage::External);
    assert_eq!(
        resources.access.login,
        Login::User("root".to_owned(), "hunter2".to_owned())
    );
}

#[test]
fn sink_out_of_bounds_names_the_field() {
    let refusal = validate(
        &sink(&FULL.replace("2Gi", "'0'")),
        &Inputs {
            secrets: secrets(),
            profiles: 0,
        },
    )
    .unwrap_err();
    assert_eq!(refusal.reason, R::InvalidSpec);
    assert!(
        refusal.message.contains("spec.nats.stream.maxBytes"),
        "{}",
        refusal.message
    );
}

fn ready(
    outcome: &Outcome,
    old: Option<&weir_profile::CollectorSinkStatus>,
) -> (
    weir_profile::CollectorSinkStatus,
    Vec<(ConditionType, ConditionStatus, R)>,
) {
    let status = status(&sink(FULL), None, Some(outcome), 2, old, 1000);
    let all = status
        .conditions
        .iter()
        .map(|found| (found.type_, found.status, found.reason))
        .collect();
    (status, all)
}

#[test]
fn sink_status_follows_the_outcome() {
    use ConditionStatus::{False, True};
    use ConditionType as T;
    let trouble = |reason, permanent| {
        Err(StreamTrouble {
            reason,
            message: "m".to_owned(),
            permanent,
        })
    };
    let (first, all) = ready(
        &Outcome::sample("KERNEL", Ok(Settled::Seen(Ensured::Created))),
        None,
    );
    assert_eq!(
        all,
        [
            (T::Ready, True, R::StreamReady),
            (T::Accepted, True, R::Accepted),
            (T::Reconciling, False, R::UpToDate),
            (T::Stalled, False, R::Healthy)
        ]
    );
    assert_eq!((first.observed_generation, first.profiles), (Some(4), Some(2)));

    let (_, all) = ready(
        &Outcome::sample("KERNEL", trouble(R::SinkUnreachable, false)),
        None,
    );
    assert_eq!(all[0], (T::Ready, False, R::SinkUnreachable));
    assert_eq!(
        all[2],
        (T::Reconciling, True, R::SinkUnreachable),
        "a new sink is still on its way"
    );
    assert_eq!(all[3].1, False);

    let (_, all) = ready(
        &Outcome::sample("KERNEL", trouble(R::SinkUnreachable, false)),
        Some(&first),
    );
    assert_eq!(
        all[2].1, False,
        "it was there once for this generation: the server's absence is no change of the spec"
    );

    let unverified = Settled::Unverified("allow it".to_owned());
    let (_, all) = ready(&Outcome::sample("KERNEL", Ok(unverified)), None);
    assert_eq!(
        all,
        [
            (T::Ready, True, R::StreamUnverified),
            (T::Accepted, True, R::Accepted),
            (T::Reconciling, False, R::UpToDate),
            (T::Stalled, False, R::Healthy)
        ],
        "who waits for the sink is not kept waiting for what never comes"
    );

    let (_, all) = ready(&Outcome::sample("KERNEL", trouble(R::StreamConflict, true)), None);
    assert_eq!((all[2].1, all[3]), (False, (T::Stalled, True, R::StreamConflict)));
}

//! Names on the stream: subjects, message ids, `CloudEvents` sources and ids.

use std::fmt::Write as _;

use crate::kind::Kind;

/// The subject token, and first part of the id's profile, of the agent's own events. No profile can have this name:
/// DNS labels hold no underscore.
pub const AGENT_TOKEN: &str = "_agent";

/// The subject of a profile's events of a kind: `<prefix>.<profile>.<kind>`.
///
/// Each token of the result can be published to: what a NATS subject cannot hold becomes `_`, as does an empty token.
#[must_use]
pub fn subject(prefix: &str, profile: &str, kind: Kind) -> String {
    let mut subject = String::with_capacity(prefix.len() + profile.len() + kind.name().len() + 2);
    for token in prefix.split('.') {
        push_token(&mut subject, token);
        subject.push('.');
    }
    push_token(&mut subject, profile);
    subject.push('.');
    subject.push_str(kind.name());
    subject
}

/// The subject of the agent's own events of a kind: `<prefix>._agent.<kind>`.
#[must_use]
pub fn agent_subject(prefix: &str, kind: Kind) -> String {
    subject(prefix, AGENT_TOKEN, kind)
}

/// The `Nats-Msg-Id` of a batch, by which `JetStream` drops repeats: `<cluster>/<node>/<epoch>/<profile>/<base>`.
///
/// Parts are percent-encoded where they would break the id or a NATS header, so that different parts never give
/// the same id.
#[must_use]
pub fn message_id(cluster: &str, node: &str, epoch: u64, profile: &str, base: u64) -> String {
    let mut id = String::with_capacity(cluster.len() + node.len() + profile.len() + 44);
    push_encoded(&mut id, cluster);
    id.push('/');
    push_encoded(&mut id, node);
    push_number(&mut id, epoch);
    id.push('/');
    push_encoded(&mut id, profile);
    push_number(&mut id, base);
    id
}

/// The `CloudEvents` source of a node: `/weir/<cluster>/<node>`, percent-encoded as a URI reference must be.
#[must_use]
pub fn source(cluster: &str, node: &str) -> String {
    let mut source = String::from("/weir/");
    push_encoded(&mut source, cluster);
    source.push('/');
    push_encoded(&mut source, node);
    source
}

/// The `CloudEvents` id but for the sequence number: `<epoch>/<profile>/`.
pub(crate) fn event_id_prefix(epoch: u64, profile: &str) -> String {
    let mut id = itoa::Buffer::new().format(epoch).to_owned();
    id.push('/');
    push_encoded(&mut id, profile);
    id.push('/');
    id
}

/// The profile in ids of the agent's own events: their sequence is per sink.
pub(crate) fn agent_profile(sink: &str) -> String {
    format!("{AGENT_TOKEN}.{sink}")
}

fn push_number(id: &mut String, number: u64) {
    id.push('/');
    id.push_str(itoa::Buffer::new().format(number));
}

fn push_token(subject: &mut String, token: &str) {
    if token.is_empty() {
        subject.push('_');
    }
    subject.extend(token.chars().map(|c| match c {
        '.' | '*' | '>' => '_',
        c if c.is_ascii_graphic() => c,
        _ => '_',
    }));
}

fn push_encoded(text: &mut String, part: &str) {
    for byte in part.bytes() {
        match byte {
            // RFC 3986's unreserved characters.
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => {
                // Writing to a String cannot fail.
                let written = write!(text, "%{byte:02X}");
                debug_assert!(written.is_ok());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_of_usual_names_is_prefix_profile_kind() {
        assert_eq!(
            subject("weir.events", "baseline", Kind::ProcessExec),
            "weir.events.baseline.process.exec"
        );
        assert_eq!(
            agent_subject("weir.events", Kind::AgentLedger),
            "weir.events._agent.agent.ledger"
        );
    }

    #[test]
    fn subject_of_hostile_names_has_the_same_tokens() {
        assert_eq!(
            subject("a..b>", "x.*\r\ny z", Kind::FileOpen),
            "a._.b_.x____y_z.file.open"
        );
        assert_eq!(subject("", "", Kind::FileOpen), "_._.file.open");
        assert_eq!(subject("w", "é", Kind::FileOpen), "w._.file.open");
    }

    #[test]
    fn message_ids_of_different_parts_differ() {
        assert_eq!(
            message_id("prod", "node-1.eu", 17, "baseline", 42),
            "prod/node-1.eu/17/baseline/42"
        );
        assert_eq!(message_id("a/b", "c", 1, "p", 2), "a%2Fb/c/1/p/2");
        assert_eq!(message_id("a", "b/c", 1, "p", 2), "a/b%2Fc/1/p/2");
        assert_eq!(message_id("a%2Fb", "c\r\n", 1, "p", 2), "a%252Fb/c%0D%0A/1/p/2");
    }

    #[test]
    fn source_and_id_are_the_documented_ones() {
        assert_eq!(source("prod", "node 1"), "/weir/prod/node%201");
        assert_eq!(event_id_prefix(17, "baseline"), "17/baseline/");
        assert_eq!(agent_profile("default"), "_agent.default");
    }
}

//! As many events as a kind may have, and one more.

use crate::agent::{Setup, may_test};
use crate::profile::profile;
use crate::stream::Stream;
use crate::workload::{marked, perl_says};

const OPENS: u64 = 500;

/// *Scenario:* a profile has 64 events of one kind that all match; another, of lower priority, has one more.
///
/// *Guarantees:* each open is 64 events, each with accounts of its own; the profile that has no place is shown by name
/// with what to do, and does not disturb the other.
#[test]
fn kind_with_every_slot_in_use_serves_each_and_refuses_one_more_by_name() {
    if !may_test() {
        return;
    }
    let (_dir, file) = marked();
    let opens = |name: String| {
        format!(
            "{{name: {name}, kind: file.open, match: {{paths: {{exact: [{}]}}}}}}",
            file.display()
        )
    };
    let events: Vec<String> = (0..64).map(|number| opens(format!("e{number}"))).collect();
    let full = profile(
        "priority: 200",
        &events.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    let more = profile("priority: 100", &[&opens("more".into())]).replace("name: p}", "name: q}");
    let mut agent = Setup::new(&format!("{full}---\n{more}")).with_file().start();
    let (code, body) = agent.until_ready_says("degraded");
    assert_eq!(code, 200, "{body}");
    assert!(body.contains("profile q") && body.contains("64"), "{body}");
    perl_says(
        &format!("for (1..{OPENS}) {{ sysopen(my $f, $ARGV[0], 0) or die }}"),
        &[&file.display().to_string()],
    );
    let ledger = agent.until_settled();
    for number in 0..64 {
        assert_eq!(
            ledger.slot(&format!("e{number}")).count("matched"),
            OPENS,
            "{ledger:?}"
        );
    }
    assert!(ledger.rows("more").is_empty(), "{ledger:?}");
    assert_eq!(
        ledger.total("acked") + ledger.total("ring_full"),
        64 * OPENS,
        "{ledger:?}"
    );
    let (status, _) = agent.stop();
    assert!(status.success(), "{status}");
    let stream = Stream::of_file(&agent.setup.events());
    assert_eq!(stream.assert_sequences(), 0);
    assert_eq!(stream.events.len() as u64, ledger.total("acked"));
}

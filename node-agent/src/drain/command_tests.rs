use std::sync::Arc;
use std::time::Duration;

use weir_node_agent_common::kind;
use weir_node_agent_common::record::{Exit, Header};
use weir_runtime::metrics::Metrics;
use weir_runtime::readiness::Readiness;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::*;
use crate::drain::source::Source;
use crate::drain::synthetic::{Generator, Shared};
use crate::drain::{DrainParts, Identity};
use crate::enrich::{CgroupRoot, Index, Processes};
use crate::ledger::Ledger;
use crate::publish::metrics::PublishMetrics;
use crate::publish::{AgentIdentity, Outcomes, Publisher, PublisherParts};

fn drain() -> (Drain, Publisher) {
    let ledger = Arc::new(Ledger::default());
    let identity = Arc::new(AgentIdentity {
        cluster: "c".into(),
        node: "n".into(),
        epoch: 1,
    });
    let publisher = Publisher::start(PublisherParts {
        memory_bytes: 1 << 20,
        retire_grace: Duration::ZERO,
        outcomes: Arc::clone(&ledger) as Arc<dyn Outcomes>,
        encode_losses: identity.losses(),
        readiness: Readiness::new(),
        metrics: PublishMetrics::register(&Metrics::new("agent", "0")),
    })
    .unwrap();
    let (_, commands, wake) = channel().unwrap();
    let drain = Drain::new(DrainParts {
        source: Source::Synthetic(Box::new(Generator::new(1, Arc::new(Shared::default()))), wake),
        scope: None,
        index: Index::new(CgroupRoot::new("/sys/fs/cgroup".into(), b"", 1)),
        processes: Processes::new(16),
        identity: Identity {
            cluster: "c".into(),
            node: "n".into(),
            epoch: 1,
        },
        publish: publisher.handle(),
        ledger,
        commands,
        stop: tokio_util::sync::CancellationToken::new(),
    });
    (drain.unwrap(), publisher)
}

fn prepare(drain: &mut Drain, id: u32, side: u32) {
    let (done, _answer) = oneshot::channel();
    let table = Box::new(Table {
        id,
        side,
        slots: Vec::new(),
    });
    let rules = Vec::new();
    drain.obey(Command::Prepare { table, rules, done });
}

/// *Scenario:* a record is held for each of two configurations, one on each side; then a third one takes the first's side.
/// *Guarantees:* what the first admitted is decided before the third's rules are in place, which say nothing of it; the
/// second's, which still runs, goes on waiting.
#[test]
fn configuration_prepared_on_a_side_finds_nothing_held_there() {
    let (mut drain, _publisher) = drain();
    for (id, side) in [(1, 0), (2, 1)] {
        prepare(&mut drain, id, side);
        let mut header = Header::new_zeroed();
        (header.kind, header.config_id) = (kind::PROCESS_EXIT, id);
        let record = [header.as_bytes(), Exit::new_zeroed().as_bytes()].concat();
        drain.held.hold(&record, 1, id, 1, clock::boot_ns());
    }
    prepare(&mut drain, 3, 0);
    let held: Vec<u32> = drain.held.take().iter().map(|record| record.config_id).collect();
    assert_eq!(held, [2]);
}

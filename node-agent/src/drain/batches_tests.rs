use std::sync::Mutex;

use proptest::prelude::*;
use weir_events::view::{Attribution, PayloadView, ProcessExecView, ProcessExitView, ProcessView};
use weir_events::{Encoding, EventView};
use weir_runtime::metrics::Metrics;
use weir_runtime::readiness::Readiness;

use super::*;
use crate::ledger::{Ledger, Out};
use crate::publish::metrics::PublishMetrics;
use crate::publish::{AgentIdentity, Loss, Outcomes, Publisher, PublisherParts};

/// Without sinks every batch is lost at once, and told with its sink and numbers.
#[derive(Default)]
struct Sealed(Mutex<Vec<Loss>>);

impl Outcomes for Sealed {
    fn moved(&self, _: &[SlotCount], _: Out, _: Out) {}

    fn lost(&self, loss: Loss) {
        self.0.lock().unwrap().push(loss);
    }
}

struct Rig {
    sealed: Arc<Sealed>,
    batches: Batches,
    tally: Tally,
    /// The newest configuration is the last.
    tables: Vec<BoundTable>,
    boundaries: Vec<Moved>,
    added: u64,
    _publisher: Publisher,
}

impl Rig {
    fn new() -> Self {
        let identity = Arc::new(AgentIdentity {
            cluster: "c".into(),
            node: "n".into(),
            epoch: 1,
        });
        let sealed = Arc::new(Sealed::default());
        let publisher = Publisher::start(PublisherParts {
            memory_bytes: 1 << 20,
            retire_grace: Duration::ZERO,
            outcomes: Arc::clone(&sealed) as Arc<dyn Outcomes>,
            encode_losses: identity.losses(),
            readiness: Readiness::new(),
            metrics: PublishMetrics::register(&Metrics::new("agent", "0")),
        })
        .unwrap();
        let names = Identity {
            cluster: "c".into(),
            node: "n".into(),
            epoch: 1,
        };
        let mut rig = Self {
            sealed,
            batches: Batches::new(names, publisher.handle()),
            tally: Tally::new(Arc::new(Ledger::default())),
            tables: Vec::new(),
            boundaries: Vec::new(),
            added: 0,
            _publisher: publisher,
        };
        rig.edit("a", true);
        rig
    }

    /// Another configuration, whose boundary is not drawn yet; `both` kinds or one.
    fn edit(&mut self, sink: &str, both: bool) {
        self.edit_with(sink, both, u64::MAX);
    }

    fn edit_with(&mut self, sink: &str, both: bool, linger_ns: u64) {
        self.cut();
        let sink = Arc::new(SinkFacts {
            name: sink.into(),
            subject_prefix: sink.into(),
            encoding: Encoding::Json,
            max_events: 3,
            max_bytes: 1 << 16,
            linger_ns,
        });
        let slot = |(kind_number, kind)| Slot {
            kind_number,
            bit: 0,
            kind,
            row: RowId(0),
            profile_index: 0,
            profile: "p".into(),
            event: "e".into(),
            generation: 1,
            weight: 1,
            priority: 1,
            sink: Arc::clone(&sink),
        };
        let kinds = [(0, Kind::ProcessExec), (1, Kind::ProcessExit)];
        let table = Table {
            id: 0,
            side: 0,
            slots: kinds.into_iter().take(1 + usize::from(both)).map(slot).collect(),
        };
        let table = self.batches.resolve(table);
        self.tables.push(table);
        if self.tables.len() > 2 {
            self.tables.remove(0);
        }
    }

    fn cut(&mut self) {
        self.boundaries.extend(self.batches.leave_all(&mut self.tally));
        let used = self.tables.iter().flat_map(BoundTable::batches).collect();
        self.batches.sweep(&used, &mut self.tally);
    }

    /// An event that the newest configuration admitted, or the one before.
    fn add(&mut self, old: bool, exit: bool) {
        let table = if old {
            self.tables.first()
        } else {
            self.tables.last()
        };
        let Some(bound) = table.unwrap().slot(u8::from(exit), 0) else {
            return;
        };
        let payload = if exit {
            PayloadView::ProcessExit(ProcessExitView::default())
        } else {
            PayloadView::ProcessExec(ProcessExecView::default())
        };
        let view = EventView {
            time_unix_nanos: 0,
            time_error_nanos: 0,
            kind: payload.kind(),
            event: "e",
            generation: 1,
            attribution: Attribution::Host,
            process: ProcessView::default(),
            workload: None,
            weight: 1,
            synthetic: false,
            payload,
        };
        self.batches
            .add(bound.batch, RowId(0), 1, 0, &view, &mut self.tally);
        self.added += 1;
    }

    fn finish(mut self) -> Result<(), TestCaseError> {
        self.cut();
        self.batches.seal_all(&mut self.tally);
        let mut next = FIRST_SEQ;
        for loss in self.sealed.0.lock().unwrap().iter() {
            prop_assert_eq!(loss.base, next);
            let home = |seq| {
                let last = self.boundaries.iter().rev().find(|moved| moved.next_seq <= seq);
                last.map_or("a", |moved| &*moved.to)
            };
            prop_assert_eq!(&*loss.sink, home(loss.base));
            next += u64::from(loss.events);
            prop_assert_eq!(&*loss.sink, home(next - 1));
        }
        prop_assert_eq!(next - FIRST_SEQ, self.added);
        for pair in self.boundaries.windows(2) {
            prop_assert_eq!(&pair[0].to, &pair[1].from);
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Step {
    Add { old: bool, exit: bool },
    SealIdle,
    Edit { sink: &'static str, both: bool },
    Cut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => any::<(bool, bool)>().prop_map(|(old, exit)| Step::Add { old, exit }),
        1 => Just(Step::SealIdle),
        2 => (prop::sample::select(vec!["a", "b", "c"]), any::<bool>())
            .prop_map(|(sink, both)| Step::Edit { sink, both }),
        1 => Just(Step::Cut),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However edits, late events and seals follow each other: every `seq` goes to the sink that the boundaries tell.
    #[test]
    fn sequence_of_a_profile_that_changes_its_sink_is_parted_where_it_is_told(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut rig = Rig::new();
        for step in steps {
            match step {
                Step::Add { old, exit } => rig.add(old, exit),
                Step::SealIdle => rig.batches.seal_due(0, Duration::ZERO, true, &mut rig.tally),
                Step::Edit { sink, both } => rig.edit(sink, both),
                Step::Cut => rig.cut(),
            }
        }
        rig.finish()?;
    }
}

#[test]
fn linger_that_was_edited_away_is_forgotten_and_edits_pile_nothing_up() {
    let mut rig = Rig::new();
    for linger_ms in [1, 5, 6, 7, 8, 9] {
        rig.edit_with("a", true, linger_ms * 1_000_000);
        rig.add(false, false);
    }
    rig.edit_with("a", true, 10_000_000);
    rig.cut();
    // Two configurations are known at a time: their batches, and none of those before.
    assert_eq!(rig.batches.least_linger_ns(), Some(9_000_000));
    assert!(rig.batches.open.len() <= 6, "{}", rig.batches.open.len());
    rig.finish().unwrap();
}

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn batch(priority: u16, bytes: usize, base: u64) -> Arc<SealedBatch> {
    Arc::new(SealedBatch {
        sink: "sink".into(),
        subject: "weir.events.p.process.exec".into(),
        message_id: format!("c/n/1/p/{base}"),
        headers: Vec::new(),
        payload: Bytes::from(vec![0; bytes]),
        profile: "p".into(),
        priority,
        base,
        events: 1,
        counts: Vec::new(),
    })
}

fn bases(batches: &[Arc<SealedBatch>]) -> Vec<u64> {
    batches.iter().map(|batch| batch.base).collect()
}

fn queue(batches: usize) -> QueueCore {
    QueueCore::new(Bounds {
        bytes: usize::MAX,
        batches,
    })
}

#[test]
fn queue_full_sheds_the_oldest_of_the_lowest_priority() {
    let mut queue = queue(3);
    for (base, priority) in [(0, 100), (1, 50), (2, 50)] {
        assert!(queue.push(batch(priority, 1, base)).is_empty());
    }
    assert_eq!(bases(&queue.push(batch(100, 1, 3))), [1]);
    assert_eq!(bases(&queue.push(batch(100, 1, 4))), [2]);
    assert_eq!(
        bases(&queue.push(batch(100, 1, 5))),
        [0],
        "equal priority: the oldest goes"
    );
}

#[test]
fn queue_full_sheds_the_pushed_batch_when_it_is_the_lowest() {
    let mut queue = queue(1);
    assert!(queue.push(batch(100, 1, 0)).is_empty());
    assert_eq!(bases(&queue.push(batch(99, 1, 1))), [1]);
}

#[test]
fn queue_full_sheds_nothing_in_vain() {
    let mut queue = QueueCore::new(Bounds {
        bytes: 4 * (100 + BATCH_OVERHEAD_BYTES),
        batches: 9,
    });
    for (base, priority) in [(0, 1), (1, 9), (2, 9), (3, 9)] {
        assert!(queue.push(batch(priority, 100, base)).is_empty());
    }
    let shed = queue.push(batch(5, 100 + BATCH_OVERHEAD_BYTES + 1, 4));
    assert_eq!(
        bases(&shed),
        [4],
        "room for it needs a batch of higher priority to go, so nothing else goes"
    );
    assert_eq!(queue.level().held_batches, 4);
}

#[test]
fn queue_full_prefers_to_shed_what_was_never_sent() {
    let now = Instant::now();
    let mut queue = queue(2);
    assert!(queue.push(batch(5, 1, 0)).is_empty());
    let taken = queue.take(now).expect("one is held");
    assert!(queue.push(batch(5, 1, 1)).is_empty());
    assert!(queue.give_back(taken.ticket, None));
    assert_eq!(bases(&queue.push(batch(5, 1, 2))), [1]);
    assert_eq!(
        queue.take(now).map(|taken| (taken.batch.base, taken.attempt)),
        Some((0, 1))
    );
}

#[test]
fn queue_holds_a_retry_back_until_its_time() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let mut queue = queue(9);
    assert!(queue.push(batch(5, 1, 0)).is_empty());
    assert!(queue.push(batch(5, 1, 1)).is_empty());
    let first = queue.take(now).expect("is held");
    assert!(queue.give_back(first.ticket, Some(later)));
    assert_eq!(queue.next_retry(), Some(later));
    assert_eq!(queue.take(now).map(|taken| taken.batch.base), Some(1));
    assert!(queue.take(now).is_none());
    assert_eq!(queue.take(later).map(|taken| taken.batch.base), Some(0));
}

#[test]
fn queue_cleared_forgets_what_was_taken() {
    let mut queue = queue(9);
    assert!(queue.push(batch(5, 1, 0)).is_empty());
    assert!(queue.push(batch(5, 1, 1)).is_empty());
    let taken = queue.take(Instant::now()).expect("is held");
    let (held, unanswered) = queue.clear();
    assert_eq!((bases(&held), bases(&unanswered)), (vec![1], vec![0]));
    assert!(
        queue.settle(taken.ticket).is_none(),
        "a late answer finds nothing"
    );
    assert!(!queue.give_back(taken.ticket, None));
    assert!(queue.is_idle());
    queue.close();
    assert_eq!(bases(&queue.push(batch(5, 1, 2))), [2]);
}

#[test]
fn queue_whose_bounds_shrink_keeps_what_it_has_until_it_is_wanted() {
    let mut queue = queue(6);
    for (base, priority) in [(0, 5), (1, 3), (2, 5), (3, 5), (4, 5), (5, 5)] {
        assert!(queue.push(batch(priority, 1, base)).is_empty());
    }
    let bounds = |batches| Bounds {
        bytes: usize::MAX,
        batches,
    };
    queue.set_bounds(bounds(3));
    assert_eq!(queue.level().held_batches, 6);
    assert_eq!(
        bases(&queue.push(batch(5, 1, 6))),
        [1],
        "it makes room for itself only"
    );
    let wanted = |batches| Bounds { bytes: 0, batches };
    assert_eq!(bases(&queue.trim(wanted(1))), [0]);
    assert_eq!(bases(&queue.trim(wanted(9))), [2, 3], "its own share is its own");
    assert!(queue.trim(wanted(9)).is_empty());
}

#[derive(Debug, Clone)]
enum Step {
    Push { priority: u16, bytes: usize },
    Take,
    Settle(usize),
    GiveBack(usize, u64),
    Bound { bytes: usize, batches: usize },
    Trim { bytes: usize, batches: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_u16..4, 0_usize..4_000).prop_map(|(priority, bytes)| Step::Push { priority, bytes }),
        3 => Just(Step::Take),
        2 => any::<usize>().prop_map(Step::Settle),
        2 => (any::<usize>(), 0_u64..5).prop_map(|(which, delay)| Step::GiveBack(which, delay)),
        1 => (1_000_usize..40_000, 1_usize..12).prop_map(|(bytes, batches)| Step::Bound { bytes, batches }),
        1 => (0_usize..10_000, 0_usize..4).prop_map(|(bytes, batches)| Step::Trim { bytes, batches }),
    ]
}

proptest! {
    /// Conservation: what was pushed is held, taken, settled or shed, each once. The bounds hold; where lowering them left
    /// more than they allow, nothing is added. Nothing of lower priority stays when a held batch is shed; a pushed one
    /// is shed itself only if all that is of lower priority, or older and equal, would not make room for it.
    #[test]
    fn queue_conserves_batches_and_keeps_its_bounds(steps in prop::collection::vec(step(), 1..200)) {
        let start = Instant::now();
        let mut bounds = Bounds { bytes: 20_000, batches: 8 };
        let mut queue = QueueCore::new(bounds);
        let (mut pushed, mut settled, mut shed) = (0_u64, 0_u64, BTreeSet::new());
        let mut clock = start;
        for step in steps {
            clock += Duration::from_secs(1);
            let (before, pushed_before) = (queue.level(), pushed);
            let mut gone = Vec::new();
            match step {
                Step::Push { priority, bytes } => {
                    gone = queue.push(batch(priority, bytes, pushed));
                    pushed += 1;
                }
                Step::Take => {
                    let ready = |entry: &&Entry| entry.not_before.is_none_or(|time| time <= clock);
                    let oldest = queue.held.values().find(ready).map(|entry| entry.batch.base);
                    prop_assert_eq!(queue.take(clock).map(|taken| taken.batch.base), oldest);
                }
                Step::Settle(which) => {
                    let taken = queue.taken();
                    if !taken.is_empty() {
                        prop_assert!(queue.settle(taken[which % taken.len()].ticket).is_some());
                        settled += 1;
                    }
                }
                Step::GiveBack(which, delay) => {
                    let taken = queue.taken();
                    if !taken.is_empty() {
                        let ticket = taken[which % taken.len()].ticket;
                        prop_assert!(queue.give_back(ticket, Some(clock + Duration::from_secs(delay))));
                    }
                }
                Step::Bound { bytes, batches } => {
                    bounds = Bounds { bytes, batches };
                    queue.set_bounds(bounds);
                    prop_assert_eq!(queue.level(), before, "lower bounds alone cost nothing");
                }
                Step::Trim { bytes, batches } => {
                    gone = queue.trim(Bounds { bytes, batches });
                    prop_assert!(gone.is_empty() || !before.fits(bounds), "what fits is not taken back");
                }
            }
            let lowest_held = queue.held.values().map(|entry| entry.batch.priority).min();
            for batch in gone {
                if Some(&batch.base) == pushed.checked_sub(1).as_ref() && pushed > pushed_before {
                    let bytes = batch.payload.len() + BATCH_OVERHEAD_BYTES;
                    let mut without = queue.level();
                    without.held_bytes += bytes;
                    without.held_batches += 1;
                    for entry in queue.held.values() {
                        if entry.batch.priority < batch.priority || (entry.batch.priority == batch.priority && entry.attempts == 0) {
                            without.held_bytes -= entry.bytes;
                            without.held_batches -= 1;
                        }
                    }
                    prop_assert!(!without.fits(before.widened(bounds)), "{without:?} would fit {bounds:?}");
                } else {
                    prop_assert!(lowest_held.is_none_or(|lowest| batch.priority <= lowest));
                }
                prop_assert!(shed.insert(batch.base), "shed twice");
            }
            let level = queue.level();
            prop_assert!(level.fits(before.widened(bounds)), "{before:?} became {level:?} with {bounds:?}");
            let held_bytes: usize = queue.held.values().map(|entry| entry.bytes).sum();
            let taken_bytes: usize = queue.taken.values().map(|entry| entry.bytes).sum();
            prop_assert_eq!((level.held_bytes, level.taken_bytes), (held_bytes, taken_bytes));
            prop_assert_eq!((level.held_batches, level.taken_batches), (queue.held.len(), queue.taken.len()));
            prop_assert_eq!(queue.shed_order.len(), queue.held.len());
            prop_assert_eq!(queue.ready.len() + queue.delayed.len(), queue.held.len());
            let next = queue.held.values().filter_map(|entry| entry.not_before).min();
            prop_assert_eq!(queue.next_retry(), next);
            let inside = u64::try_from(queue.held.len() + queue.taken.len() + shed.len()).expect("is small");
            prop_assert_eq!(pushed, inside + settled);
        }
    }
}

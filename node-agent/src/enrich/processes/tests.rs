use proptest::prelude::*;

use super::*;

const SHELL: &[u8; 16] = b"bash\0\0\0\0\0\0\0\0\0\0\0\0";
const INIT: &[u8; 16] = b"systemd\0\0\0\0\0\0\0\0\0";

fn subject(tgid: u32, ppid: u32, start_ns: u64, boot_ns: u64) -> Subject<'static> {
    Subject {
        tgid,
        ppid,
        start_ns,
        boot_ns,
        comm: SHELL,
    }
}

fn exe(table: &mut Processes, subject: Subject<'_>) -> Option<(Vec<u8>, bool)> {
    table
        .lookup(subject)
        .map(|facts| (facts.exe.to_vec(), facts.inherited))
}

fn own(path: &str) -> (Vec<u8>, bool) {
    (path.into(), false)
}

fn inherited(path: &str) -> (Vec<u8>, bool) {
    (path.into(), true)
}

#[test]
fn lookup_other_start_time_is_another_process() {
    let mut table = Processes::default();
    table.exec(subject(10, 1, 100, 150), b"/bin/a", false);
    assert_eq!(exe(&mut table, subject(10, 1, 100, 200)), Some(own("/bin/a")));
    assert_eq!(exe(&mut table, subject(10, 1, 101, 200)), None);
    assert_eq!(
        table.counts(),
        ProcessCounts {
            found: 1,
            unknown: 1,
            ..ProcessCounts::default()
        }
    );
}

#[test]
fn lookup_record_from_before_the_exec_gives_the_earlier_executable() {
    let mut table = Processes::default();
    table.exec(subject(5, 1, 50, 55), b"/bin/bash", false);
    table.exec(subject(10, 5, 100, 150), b"/bin/ls", true);
    assert_eq!(
        exe(&mut table, subject(10, 5, 100, 149)),
        Some(inherited("/bin/bash"))
    );
    assert_eq!(exe(&mut table, subject(10, 5, 100, 150)), Some(own("/bin/ls")));
    assert!(table.lookup(subject(10, 5, 100, 150)).unwrap().exe_truncated);
    table.exec(subject(10, 5, 100, 200), b"/bin/cat", false);
    assert_eq!(exe(&mut table, subject(10, 5, 100, 180)), Some(own("/bin/ls")));
    assert_eq!(exe(&mut table, subject(10, 5, 100, 201)), Some(own("/bin/cat")));
}

#[test]
fn lookup_forked_child_inherits_and_outlives_its_parent() {
    let mut table = Processes::default();
    table.exec(subject(5, 1, 50, 55), b"/bin/bash", false);
    assert_eq!(
        exe(&mut table, subject(10, 5, 100, 110)),
        Some(inherited("/bin/bash"))
    );
    table.exit(5, 50, 200);
    table.expire(200 + TOMBSTONE_NS);
    assert_eq!(
        exe(&mut table, subject(10, 1, 100, 300)),
        Some(inherited("/bin/bash"))
    );
    // A grandchild inherits from what was inherited.
    assert_eq!(
        exe(&mut table, subject(11, 10, 120, 310)),
        Some(inherited("/bin/bash"))
    );
}

#[test]
fn lookup_child_with_a_later_parent_of_the_same_pid_inherits_nothing() {
    let mut table = Processes::default();
    table.exec(subject(5, 1, 500, 505), b"/bin/bash", false);
    assert_eq!(exe(&mut table, subject(10, 5, 100, 600)), None);
}

#[test]
fn lookup_reparented_child_does_not_get_the_new_parents_executable() {
    let mut table = Processes::default();
    table.seed(
        Subject {
            comm: INIT,
            ..subject(1, 0, 1, 1)
        },
        b"/sbin/init",
        false,
    );
    assert_eq!(exe(&mut table, subject(10, 1, 100, 110)), None);
}

#[test]
fn fork_record_is_exact_whatever_the_name() {
    let mut table = Processes::default();
    table.seed(
        Subject {
            comm: INIT,
            ..subject(1, 0, 1, 1)
        },
        b"/sbin/init",
        false,
    );
    table.fork(subject(10, 1, 100, 100));
    assert_eq!(
        exe(&mut table, subject(10, 7, 100, 110)),
        Some(inherited("/sbin/init"))
    );
}

#[test]
fn seed_does_not_undo_what_an_exec_told() {
    let mut table = Processes::default();
    table.exec(subject(10, 1, 100, 150), b"/bin/new", false);
    table.seed(subject(10, 1, 100, 160), b"/bin/old", false);
    table.seed(subject(10, 1, 90, 160), b"/bin/older", false);
    assert_eq!(exe(&mut table, subject(10, 1, 100, 170)), Some(own("/bin/new")));
    table.seed(subject(10, 1, 180, 190), b"/bin/next", false);
    assert_eq!(exe(&mut table, subject(10, 1, 180, 190)), Some(own("/bin/next")));
    assert_eq!(table.len(), 1);
}

#[test]
fn exit_keeps_the_process_for_late_records_then_forgets_it() {
    let mut table = Processes::default();
    table.exec(subject(10, 1, 100, 150), b"/bin/a", false);
    table.exit(10, 99, 200);
    table.expire(u64::MAX);
    assert_eq!(
        table.len(),
        1,
        "the exit of another process of that pid changes nothing"
    );
    table.exit(10, 100, 200);
    table.exit(10, 100, 201);
    table.expire(199 + TOMBSTONE_NS);
    assert_eq!(exe(&mut table, subject(10, 1, 100, 199)), Some(own("/bin/a")));
    table.expire(200 + TOMBSTONE_NS);
    assert!(table.is_empty());
}

#[test]
fn exit_then_pid_reused_keeps_the_new_process() {
    let mut table = Processes::default();
    table.exec(subject(10, 1, 100, 150), b"/bin/a", false);
    table.exit(10, 100, 200);
    table.exec(subject(10, 1, 210, 220), b"/bin/b", false);
    table.expire(u64::MAX);
    assert_eq!(exe(&mut table, subject(10, 1, 210, 230)), Some(own("/bin/b")));
}

#[test]
fn full_table_gives_up_exited_ones_first_and_counts() {
    let mut table = Processes::new(3);
    for pid in 1..=3 {
        table.exec(subject(pid, 0, 100, 150), b"/bin/a", false);
    }
    table.exit(2, 100, 200);
    table.exec(subject(4, 0, 100, 150), b"/bin/a", false);
    assert_eq!(exe(&mut table, subject(2, 0, 100, 200)), None);
    assert_eq!(table.counts().evicted_exited, 1);
    table.exec(subject(5, 0, 100, 150), b"/bin/a", false);
    assert_eq!(table.counts().evicted_running, 1);
    assert_eq!(table.len(), 3);
    assert_eq!(exe(&mut table, subject(5, 0, 100, 200)), Some(own("/bin/a")));
}

#[test]
fn many_exits_are_bounded() {
    let mut table = Processes::default();
    for pid in 1..=20_000 {
        table.exec(subject(pid, 0, 100, 150), b"/bin/a", false);
        table.exit(pid, 100, 200);
    }
    assert_eq!(table.len(), TOMBSTONES_MAX);
    assert_eq!(table.counts().evicted_exited, 20_000 - TOMBSTONES_MAX as u64);
}

#[derive(Debug, Clone)]
enum Step {
    Exec(u32, u64),
    Exit(u32, u64),
    Fork(u32, u32, u64),
    Look(u32, u32, u64),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let (pid, start) = (0_u32..6, 0_u64..4);
    prop_oneof![
        (pid.clone(), start.clone()).prop_map(|(pid, start)| Step::Exec(pid, start)),
        (pid.clone(), start.clone()).prop_map(|(pid, start)| Step::Exit(pid, start)),
        (pid.clone(), pid.clone(), start.clone())
            .prop_map(|(pid, parent, start)| Step::Fork(pid, parent, start)),
        (pid.clone(), pid, start).prop_map(|(pid, parent, start)| Step::Look(pid, parent, start)),
        Just(Step::Expire),
    ]
}

proptest! {
    /// Whatever happens, the bound holds and an own executable is never another process's.
    #[test]
    fn any_history_is_bounded_and_never_mixes_processes(steps in proptest::collection::vec(step(), 0..200)) {
        let mut table = Processes::new(4);
        for (now, step) in (1_000_u64..).zip(steps) {
            match step {
                Step::Exec(pid, start) => table.exec(subject(pid, 0, start, now), format!("/{pid}/{start}").as_bytes(), false),
                Step::Exit(pid, start) => table.exit(pid, start, now),
                Step::Fork(pid, parent, start) => table.fork(subject(pid, parent, start, now)),
                Step::Look(pid, parent, start) => {
                    if let Some((path, false)) = exe(&mut table, subject(pid, parent, start, now)) {
                        prop_assert_eq!(path, format!("/{pid}/{start}").into_bytes());
                    }
                }
                Step::Expire => table.expire(now + TOMBSTONE_NS),
            }
            prop_assert!(table.len() <= 4);
        }
    }
}

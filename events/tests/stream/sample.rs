//! One realistic event of each kind, with every field set, and one with as little as there can be.

use std::collections::BTreeMap;

use weir_events::agent::{
    AgentHealth, AgentLedger, AgentLoss, AgentProfile, HealthState, LedgerCut, LedgerHook, LedgerProfile,
    LedgerSlot, LossRange, LossReason, ProfileState,
};
use weir_events::{
    AgentEvent, AgentHeader, Attribution, BatchHeader, EventView, FileOpenView, Kind, NetConnectView,
    PayloadView, ProcessExecView, ProcessExitView, ProcessView, Workload, WorkloadRef,
};

/// 2026-01-02T03:04:05.678901234Z.
pub(crate) const TIME: u64 = 1_767_323_045_678_901_234;

pub(crate) const EPOCH: u64 = 1_767_300_000_000;

pub(crate) fn header(kind: Kind) -> BatchHeader {
    BatchHeader {
        cluster: "prod".to_owned(),
        node: "node-1.example".to_owned(),
        epoch: EPOCH,
        profile: "baseline".to_owned(),
        kind,
    }
}

pub(crate) fn workload() -> WorkloadRef {
    let workload = Workload {
        namespace: "shop".to_owned(),
        pod: "cart-6d5f8b7c9-x2x7p".to_owned(),
        pod_uid: "0f4c1c1e-7a51-4b39-9a0e-2f6f0b7c8d11".to_owned(),
        container: "cart".to_owned(),
        container_id: "4a1f0c9be2d34f5aa6b7c8d9e0f1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3".to_owned(),
        image: "registry.example/shop/cart:1.4.2".to_owned(),
        owner_kind: "ReplicaSet".to_owned(),
        owner_name: "cart-6d5f8b7c9".to_owned(),
        node: "node-1.example".to_owned(),
    };
    WorkloadRef::new(7, workload)
}

fn full<'a>(
    kind: Kind,
    event: &'a str,
    workload: &'a WorkloadRef,
    payload: PayloadView<'a>,
) -> EventView<'a> {
    EventView {
        time_unix_nanos: TIME,
        time_error_nanos: 1500,
        kind,
        event,
        generation: 3,
        attribution: Attribution::Exact,
        process: ProcessView {
            pid: 4242,
            tid: 4243,
            ppid: 4200,
            uid: Some(0),
            gid: Some(1000),
            comm: b"curl",
            exe: b"/usr/bin/curl",
            args: b"curl\0-s\0\0https://example.org/?q=\"a\\b\"\0",
            args_truncated: true,
            start_time_unix_nanos: TIME - 2_000_000_001,
        },
        workload: Some(workload),
        weight: 10,
        synthetic: true,
        payload,
    }
}

fn sparse(kind: Kind, payload: PayloadView<'_>) -> EventView<'_> {
    EventView {
        time_unix_nanos: TIME + 1_000_000_000,
        time_error_nanos: 0,
        kind,
        event: "other",
        generation: 4,
        attribution: Attribution::Unknown,
        process: ProcessView::default(),
        workload: None,
        weight: 1,
        synthetic: false,
        payload,
    }
}

/// The events in the golden file of a kind; none for the agent's own kinds.
pub(crate) fn views(kind: Kind, workload: &WorkloadRef) -> Vec<EventView<'_>> {
    let (event, every, least) = match kind {
        Kind::ProcessExec => (
            "execs",
            PayloadView::ProcessExec(ProcessExecView {
                exe: b"bin/\xffcurl\n",
                exe_truncated: true,
                args: b"curl\0-s\0caf\xc3\xa9 \xf0\x9f\xa6\x80\0\x01\x7f",
                args_truncated: true,
            }),
            PayloadView::ProcessExec(ProcessExecView::default()),
        ),
        Kind::ProcessExit => (
            "exits",
            PayloadView::ProcessExit(ProcessExitView {
                status: 0x0b | 0x80,
                duration_nanos: Some(12_345_678_901),
            }),
            PayloadView::ProcessExit(ProcessExitView::default()),
        ),
        Kind::NetConnect => (
            "connects",
            PayloadView::NetConnect(NetConnectView {
                protocol: 6,
                destination: "[2001:db8::1:0:5]:443".parse().unwrap(),
                source: Some("[fe80::1]:50123".parse().unwrap()),
                errno: 111,
                latency_nanos: Some(1_234_567),
            }),
            PayloadView::NetConnect(NetConnectView {
                protocol: 17,
                destination: "10.0.200.7:53".parse().unwrap(),
                source: None,
                errno: 0,
                latency_nanos: None,
            }),
        ),
        Kind::FileOpen => (
            "opens",
            PayloadView::FileOpen(FileOpenView {
                path: b"../etc/shadow",
                path_truncated: true,
                // O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, which all architectures number alike.
                flags: 0o2_001_102,
                errno: 13,
            }),
            PayloadView::FileOpen(FileOpenView::default()),
        ),
        Kind::AgentLedger | Kind::AgentLoss | Kind::AgentProfile | Kind::AgentHealth => return Vec::new(),
    };
    vec![full(kind, event, workload, every), sparse(kind, least)]
}

pub(crate) fn agent_header() -> AgentHeader {
    AgentHeader {
        cluster: "prod".to_owned(),
        node: "node-1.example".to_owned(),
        epoch: EPOCH,
        sink: "default".to_owned(),
        seq: 42,
        time_unix_nanos: TIME,
    }
}

/// The event in the golden file of one of the agent's own kinds.
pub(crate) fn agent_event(kind: Kind) -> Option<AgentEvent> {
    match kind {
        Kind::AgentLedger => Some(AgentEvent::Ledger(ledger())),
        Kind::AgentLoss => Some(AgentEvent::Loss(AgentLoss {
            profile: "baseline".to_owned(),
            epoch: EPOCH,
            ranges: vec![
                LossRange {
                    reason: LossReason::QueueFull,
                    base: 1000,
                    count: 512,
                },
                LossRange {
                    reason: LossReason::Rejected,
                    base: 2000,
                    count: 1,
                },
            ],
        })),
        Kind::AgentProfile => Some(AgentEvent::Profile(AgentProfile {
            profile: "baseline".to_owned(),
            uid: "5b1a7c52-9a43-4a4b-8f0a-6c1d2e3f4a5b".to_owned(),
            generation: 3,
            digest: "sha256:0123456789abcdef".to_owned(),
            state: ProfileState::Degraded,
            reason: "HookUnavailable".to_owned(),
            message: "file.open: no hook works: tracefs is not mounted".to_owned(),
            sink: "default".to_owned(),
            next_seq: 1513,
        })),
        Kind::AgentHealth => Some(AgentEvent::Health(AgentHealth {
            state: HealthState::Degraded,
            component: "publish".to_owned(),
            reason: "SinkUnreachable".to_owned(),
            message: "nats://127.0.0.1:4222: connection refused".to_owned(),
            agent_version: "0.1.0".to_owned(),
            kernel_release: "6.12.0".to_owned(),
        })),
        Kind::ProcessExec | Kind::ProcessExit | Kind::NetConnect | Kind::FileOpen => None,
    }
}

pub(crate) fn ledger() -> AgentLedger {
    AgentLedger {
        cluster: "prod".to_owned(),
        node: "node-1.example".to_owned(),
        epoch: EPOCH,
        boot_id: "9f0d7a4e-1b2c-4d5e-8f60-718293a4b5c6".to_owned(),
        cut: LedgerCut {
            id: 17,
            time_unix_nanos: TIME - 5,
            closed: true,
            is_final: true,
            unknown_after: true,
        },
        hooks: vec![
            LedgerHook {
                hook: "sys_exit_openat".to_owned(),
                missed: Some(1),
                excluded: 2,
                hook_error: 7,
                untracked: 4,
                hook_error_reasons: BTreeMap::from([
                    ("no_scratch".to_owned(), 3),
                    ("read_failed".to_owned(), 4),
                ]),
            },
            LedgerHook {
                hook: "sched_process_exec".to_owned(),
                missed: Some(0),
                ..LedgerHook::default()
            },
            LedgerHook {
                hook: "sys_exit_open".to_owned(),
                missed: None,
                ..LedgerHook::default()
            },
        ],
        profiles: vec![LedgerProfile {
            name: "baseline".to_owned(),
            generation: 3,
            digest: "sha256:0123456789abcdef".to_owned(),
            slots: vec![
                LedgerSlot {
                    event: "execs".to_owned(),
                    kind: "process.exec".to_owned(),
                    matched: 103,
                    sampled_out: 104,
                    limited_event: 105,
                    limited_profile: 106,
                    limited_workload: 107,
                    ring_full: 108,
                    dry_run: 109,
                    throttled: 110,
                    suppressed: 111,
                    ringed: 112,
                    in_ring: 113,
                    malformed: 114,
                    out_of_scope: 115,
                    filtered: 116,
                    held: 117,
                    accepted: 118,
                    acked: 119,
                    shed: 120,
                    rejected: 121,
                    queued: 122,
                    spooled: 123,
                    unacked: 124,
                    undecided: u64::MAX,
                },
                LedgerSlot {
                    event: "opens".to_owned(),
                    kind: "file.open".to_owned(),
                    ..LedgerSlot::default()
                },
            ],
        }],
    }
}

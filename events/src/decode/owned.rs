//! Views as owned events: what tests compare with, and what a benchmark of prost has to build.

use pbjson_types::Timestamp;

use super::generated as wire;
use crate::batch::BatchHeader;
use crate::fact::{errno, network, open, signal};
use crate::view::{
    EventView, FileOpenView, NetConnectView, PayloadView, ProcessExecView, ProcessExitView, ProcessView,
    arguments,
};
use crate::workload::Workload;

impl wire::UnifiedEvent {
    /// The event as a consumer gets it, when its batch was sealed so that it is number `seq`.
    #[must_use]
    pub fn from_view(header: &BatchHeader, seq: u64, view: &EventView<'_>) -> Self {
        let BatchHeader {
            cluster,
            node,
            epoch,
            profile,
            kind: _,
        } = header;
        Self {
            id: Some(wire::EventId {
                node: node.clone(),
                epoch: *epoch,
                profile: profile.clone(),
                seq,
            }),
            time: Some(timestamp(view.time_unix_nanos)),
            time_error_nanos: view.time_error_nanos,
            kind: view.kind.name().to_owned(),
            class: signed(view.kind.class().wire().0),
            severity: signed(view.kind.severity().wire().0),
            cluster: cluster.clone(),
            node: node.clone(),
            profile: profile.clone(),
            event: Some(view.event.to_owned()),
            generation: Some(view.generation),
            attribution: signed(view.attribution.wire().0),
            process: Some(process(&view.process)),
            workload: view.workload.map(|workload| workload.workload().into()),
            workload_index: 0,
            sampling_weight: view.weight,
            synthetic: view.synthetic,
            payload: Some(match &view.payload {
                PayloadView::ProcessExec(view) => wire::unified_event::Payload::ProcessExec(exec(view)),
                PayloadView::ProcessExit(view) => wire::unified_event::Payload::ProcessExit(exit(*view)),
                PayloadView::NetConnect(view) => wire::unified_event::Payload::NetConnect(connect(view)),
                PayloadView::FileOpen(view) => wire::unified_event::Payload::FileOpen(file(view)),
            }),
        }
    }
}

impl From<&Workload> for wire::Workload {
    fn from(workload: &Workload) -> Self {
        let Workload {
            namespace,
            pod,
            pod_uid,
            container,
            container_id,
            image,
            owner_kind,
            owner_name,
            node,
        } = workload.clone();
        Self {
            namespace,
            pod,
            pod_uid,
            container,
            container_id,
            image,
            owner_kind,
            owner_name,
            node,
        }
    }
}

fn process(view: &ProcessView<'_>) -> wire::Process {
    wire::Process {
        pid: view.pid,
        tid: view.tid,
        ppid: view.ppid,
        uid: view.uid,
        gid: view.gid,
        comm: text(view.comm),
        exe: text(view.exe),
        args: arguments(view.args).map(text).collect(),
        args_truncated: view.args_truncated,
        start_time: (view.start_time_unix_nanos != 0).then(|| timestamp(view.start_time_unix_nanos)),
    }
}

fn exec(view: &ProcessExecView<'_>) -> wire::ProcessExec {
    wire::ProcessExec {
        exe: text(view.exe),
        args: arguments(view.args).map(text).collect(),
        args_truncated: view.args_truncated,
        exe_relative: !view.exe.is_empty() && !view.exe.starts_with(b"/"),
        exe_truncated: view.exe_truncated,
    }
}

fn exit(view: ProcessExitView) -> wire::ProcessExit {
    let signal = view.status & 0x7f;
    wire::ProcessExit {
        exit_code: (signal == 0).then_some((view.status >> 8) & 0xff),
        signal,
        signal_name: signal::name(signal).to_owned(),
        core_dumped: view.status & 0x80 != 0,
        duration_nanos: view.duration_nanos,
    }
}

fn connect(view: &NetConnectView) -> wire::NetConnect {
    wire::NetConnect {
        network_transport: network::transport(view.protocol).to_owned(),
        network_type: if view.destination.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        }
        .to_owned(),
        destination_address: view.destination.ip().to_string(),
        destination_port: view.destination.port().into(),
        source_address: view
            .source
            .map(|source| source.ip().to_string())
            .unwrap_or_default(),
        source_port: view.source.map_or(0, |source| source.port().into()),
        errno: Some(view.errno),
        errno_name: errno::name(view.errno).to_owned(),
        latency_nanos: view.latency_nanos,
    }
}

fn file(view: &FileOpenView<'_>) -> wire::FileOpen {
    wire::FileOpen {
        path: text(view.path),
        path_truncated: view.path_truncated,
        path_relative: !view.path.is_empty() && !view.path.starts_with(b"/"),
        flags: view.flags,
        flag_names: open::flag_names(view.flags).map(text).collect(),
        access: signed(open::access(view.flags).0),
        errno: Some(view.errno),
        errno_name: errno::name(view.errno).to_owned(),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn timestamp(unix_nanos: u64) -> Timestamp {
    // Both fit: 2^64 ns are 18 446 744 073 s, and a remainder is below 10^9.
    Timestamp {
        seconds: i64::try_from(unix_nanos / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: i32::try_from(unix_nanos % 1_000_000_000).unwrap_or(i32::MAX),
    }
}

/// Enum values on the wire are small.
fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or_default()
}

//! Pushing an event allocates nothing once the buffers have grown, and sealing no payload once some were sent.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use weir_events::{
    Attribution, BatchBuilder, BatchHeader, Encoding, EventView, FileOpenView, Kind, NetConnectView,
    PayloadView, Payloads, ProcessExecView, ProcessExitView, ProcessView, Workload, WorkloadRef,
};

fn payloads() -> [PayloadView<'static>; 5] {
    [
        PayloadView::ProcessExec(ProcessExecView {
            exe: b"/bin/\xff\"sh\"",
            args: b"sh\0-c\0echo \xc3\x28\0",
            ..ProcessExecView::default()
        }),
        PayloadView::ProcessExit(ProcessExitView {
            status: 9,
            duration_nanos: Some(1),
        }),
        PayloadView::NetConnect(NetConnectView {
            protocol: 6,
            destination: "10.1.2.3:443".parse().unwrap(),
            source: None,
            errno: 115,
            latency_nanos: None,
        }),
        PayloadView::NetConnect(NetConnectView {
            protocol: 17,
            destination: "[2001:db8::ffff:1]:53".parse().unwrap(),
            source: Some("[::ffff:10.0.0.1]:1".parse().unwrap()),
            errno: 0,
            latency_nanos: Some(7),
        }),
        PayloadView::FileOpen(FileOpenView {
            path: b"/etc/passwd\n",
            flags: 0o2_001_101,
            ..FileOpenView::default()
        }),
    ]
}

fn fill(builder: &mut BatchBuilder, kind: Kind, payload: PayloadView<'_>, workloads: &[WorkloadRef]) {
    for (step, workload) in (0..).zip(workloads.iter().cycle().take(1000)) {
        builder.push(&EventView {
            time_unix_nanos: 1_767_323_045_678_901_234 + step * 1_000_003,
            time_error_nanos: 1000,
            kind,
            event: if step % 2 == 0 { "even" } else { "odd" },
            generation: 1 + step % 3,
            attribution: Attribution::Exact,
            process: ProcessView {
                pid: 300,
                comm: b"a\xffb",
                exe: b"/usr/bin/x",
                args: b"x\0\"\0",
                start_time_unix_nanos: 1_767_000_000_000_000_000 + step,
                ..ProcessView::default()
            },
            workload: Some(workload),
            weight: 1,
            synthetic: false,
            payload,
        });
    }
}

#[test]
fn push_in_steady_state_allocates_nothing() {
    let workloads: Vec<WorkloadRef> = (0..300)
        .map(|identity| {
            WorkloadRef::new(
                identity,
                Workload {
                    pod: format!("pod-{identity}"),
                    ..Workload::default()
                },
            )
        })
        .collect();
    for encoding in [Encoding::Json, Encoding::Protobuf] {
        for payload in payloads() {
            let kind = payload.kind();
            let header = BatchHeader {
                cluster: "c".to_owned(),
                node: "n".to_owned(),
                epoch: 1,
                profile: "p".to_owned(),
                kind,
            };
            let mut builder = BatchBuilder::new(encoding, header);
            let first = allocation_counter::measure(|| fill(&mut builder, kind, payload, &workloads));
            assert!(first.count_total > 0, "the counter does not count");
            let mut sealed = Payloads::default();
            let payload_bytes = builder.seal(1, &mut sealed).payload.len() as u64;
            let steady = allocation_counter::measure(|| fill(&mut builder, kind, payload, &workloads));
            assert_eq!(steady.count_total, 0, "{encoding:?} {kind:?}");

            // Once some were sent, sealing allocates a message's headers and no payload.
            for base in 2..20 {
                drop(builder.seal(base, &mut sealed));
                fill(&mut builder, kind, payload, &workloads);
            }
            let sealing = allocation_counter::measure(|| drop(builder.seal(20, &mut sealed)));
            assert!(
                sealing.bytes_total < payload_bytes / 10,
                "{encoding:?} {kind:?}: {} B allocated for {payload_bytes} B",
                sealing.bytes_total
            );
        }
    }
}

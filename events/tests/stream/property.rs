//! Arbitrary events, with the bytes a kernel or an attacker can put in them, survive both encodings.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use weir_events::decode::{decode_json, decode_protobuf};
use weir_events::{
    Attribution, BatchHeader, Encoding, EventView, FileOpenView, Kind, NetConnectView, PayloadView,
    ProcessExecView, ProcessExitView, ProcessView, Workload, WorkloadRef,
};

use crate::{read, sample};

/// What a view borrows.
#[derive(Clone, Debug)]
struct Owned {
    numbers: [u64; 4],
    event: String,
    attribution: Attribution,
    process: (u32, u32, u32, Option<u32>, Option<u32>),
    texts: [Vec<u8>; 4],
    flags: [bool; 4],
    workload: Option<usize>,
    payload: Payload,
}

#[derive(Clone, Debug)]
enum Payload {
    Exec,
    Exit(u32, Option<u64>),
    Connect(u8, SocketAddr, Option<SocketAddr>, Option<u64>),
    Open(u32),
}

impl Owned {
    fn view<'a>(&'a self, workloads: &'a [WorkloadRef]) -> EventView<'a> {
        let [time, start, generation, small] = self.numbers;
        let (pid, tid, parent, uid, gid) = self.process;
        let [comm, exe, args, path] = &self.texts;
        let errno = u32::try_from(small % 600).unwrap();
        let payload = match &self.payload {
            Payload::Exec => PayloadView::ProcessExec(ProcessExecView {
                exe: path,
                exe_truncated: self.flags[2],
                args,
                args_truncated: self.flags[3],
            }),
            Payload::Exit(status, duration_nanos) => PayloadView::ProcessExit(ProcessExitView {
                status: *status,
                duration_nanos: *duration_nanos,
            }),
            Payload::Connect(protocol, destination, source, latency_nanos) => {
                PayloadView::NetConnect(NetConnectView {
                    protocol: *protocol,
                    destination: *destination,
                    source: *source,
                    errno,
                    latency_nanos: *latency_nanos,
                })
            }
            Payload::Open(flags) => PayloadView::FileOpen(FileOpenView {
                path,
                path_truncated: self.flags[2],
                flags: *flags,
                errno,
            }),
        };
        EventView {
            time_unix_nanos: time,
            time_error_nanos: u32::try_from(small >> 32).unwrap(),
            kind: payload.kind(),
            event: &self.event,
            generation,
            attribution: self.attribution,
            process: ProcessView {
                pid,
                tid,
                ppid: parent,
                uid,
                gid,
                comm,
                exe,
                args,
                args_truncated: self.flags[0],
                start_time_unix_nanos: start,
            },
            workload: self.workload.and_then(|place| workloads.get(place)),
            weight: errno,
            synthetic: self.flags[1],
            payload,
        }
    }
}

/// Any bytes, biased towards what breaks encoders.
fn bytes(longest: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => vec(any::<u8>(), 0..12),
        2 => "[ -~]{0,40}".prop_map(String::into_bytes),
        1 => any::<String>().prop_map(String::into_bytes),
        1 => vec(prop_oneof![Just(0), Just(b'"'), Just(b'\\'), Just(0x1f), Just(0x7f), Just(0xc3), Just(0xff)], 0..20),
        1 => (any::<u8>(), 0..longest).prop_map(|(byte, length)| vec![byte; length]),
    ];
    vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

fn edge_u32() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(127), Just(128), Just(u32::MAX), any::<u32>()]
}

fn edge_u64() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        any::<u64>(),
        any::<u32>().prop_map(u64::from)
    ]
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        Just(Payload::Exec),
        (edge_u32(), option::of(edge_u64())).prop_map(|(status, duration)| Payload::Exit(status, duration)),
        (
            any::<u8>(),
            any::<SocketAddr>(),
            option::of(any::<SocketAddr>()),
            option::of(edge_u64())
        )
            .prop_map(|(protocol, to, from, latency)| Payload::Connect(protocol, to, from, latency)),
        edge_u32().prop_map(Payload::Open),
    ]
}

fn attribution() -> impl Strategy<Value = Attribution> {
    prop_oneof![
        Just(Attribution::Exact),
        Just(Attribution::Pod),
        Just(Attribution::Late),
        Just(Attribution::Host),
        Just(Attribution::Unknown),
    ]
}

fn owned() -> impl Strategy<Value = Owned> {
    (
        [edge_u64(), edge_u64(), edge_u64(), edge_u64()],
        any::<String>(),
        attribution(),
        (
            edge_u32(),
            edge_u32(),
            edge_u32(),
            option::of(edge_u32()),
            option::of(edge_u32()),
        ),
        [bytes(20), bytes(300), bytes(40_000), bytes(5000)],
        any::<[bool; 4]>(),
        option::of(0..3_usize),
        payload(),
    )
        .prop_map(
            |(numbers, event, attribution, process, texts, flags, workload, payload)| Owned {
                numbers,
                event,
                attribution,
                process,
                texts,
                flags,
                workload,
                payload,
            },
        )
}

fn workloads() -> impl Strategy<Value = Vec<WorkloadRef>> {
    vec(any::<(String, String, String, String)>(), 3).prop_map(|names| {
        let make = |(identity, (namespace, pod, container, image))| {
            let workload = Workload {
                namespace,
                pod,
                container,
                image,
                ..Workload::default()
            };
            WorkloadRef::new(identity, workload)
        };
        (0..).step_by(64).zip(names).map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_events_are_read_back_from_both_encodings(
        events in vec(owned(), 0..6),
        workloads in workloads(),
        names in any::<(String, String, String)>(),
        epoch in edge_u64(),
        base in 1..u64::MAX - 10,
        kind in proptest::sample::select(&Kind::ALL[..4]),
    ) {
        let (cluster, node, profile) = names;
        let header = BatchHeader { cluster, node, epoch, profile, kind };
        let views: Vec<EventView<'_>> = events.iter().map(|event| event.view(&workloads)).collect();
        read::assert_read_back(&header, base, &views);
    }

    #[test]
    fn damaged_messages_are_errors_or_events_and_never_a_panic(
        kind in proptest::sample::select(&Kind::ALL[..4]),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let workload = sample::workload();
        let views = sample::views(kind, &workload);
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let mut bytes = read::seal(encoding, &sample::header(kind), 1, &views).payload.to_vec();
            for (place, byte) in &damage {
                let place = place.index(bytes.len());
                bytes[place] = *byte;
            }
            bytes.truncate(cut.index(bytes.len() * 2));
            match encoding {
                Encoding::Protobuf => drop(decode_protobuf(&bytes)),
                Encoding::Json => drop(decode_json(&bytes)),
            }
        }
    }
}

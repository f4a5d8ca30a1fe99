//! Batches: limits, reuse, sequence numbers, headers.

use weir_events::{BatchBuilder, Encoding, Kind, Payloads, Push, Workload, WorkloadRef};

use crate::{read, sample};

const BOTH: [Encoding; 2] = [Encoding::Json, Encoding::Protobuf];

#[test]
fn a_batch_after_a_sealed_one_starts_afresh() {
    let workload = sample::workload();
    let views = sample::views(Kind::FileOpen, &workload);
    let header = sample::header(Kind::FileOpen);
    for encoding in BOTH {
        let mut reused = BatchBuilder::new(encoding, header.clone());
        reused.push(&views[1]);
        reused.push(&views[0]);
        assert_eq!((reused.events(), reused.is_empty()), (2, false));
        assert_eq!(reused.seal(1, &mut Payloads::default()).events, 2);
        assert_eq!((reused.events(), reused.is_empty()), (0, true));
        reused.push(&views[0]);
        let again = reused.seal(99, &mut Payloads::default());
        assert_eq!(
            again.payload,
            read::seal(encoding, &header, 99, &views[..1]).payload
        );
        assert_eq!(again.events, 1);
    }
}

#[test]
fn an_empty_batch_is_valid_and_holds_nothing() {
    let header = sample::header(Kind::ProcessExit);
    read::assert_read_back(&header, 1, &[]);
}

#[test]
fn numbers_of_every_width_fill_their_places() {
    let workload = sample::workload();
    let views = sample::views(Kind::ProcessExit, &workload);
    let header = sample::header(Kind::ProcessExit);
    for base in [
        1,
        9,
        10,
        99,
        4_294_967_295,
        9_999_999_999_999_999_999,
        u64::MAX - 1,
    ] {
        let sealed = read::seal(Encoding::Json, &header, base, &views[..1]);
        assert_eq!(read::json(&sealed.payload)[0].data.id.as_ref().unwrap().seq, base);
        let text = std::str::from_utf8(&sealed.payload).unwrap();
        assert!(text.contains(&format!("\"seq\":\"{base}\"")), "{text}");
        assert!(text.contains(&format!("/baseline/{base}\"")), "{text}");
    }
}

#[test]
fn push_within_a_limit_keeps_the_payload_below_it_and_leaves_no_trace_of_what_did_not_fit() {
    let header = sample::header(Kind::NetConnect);
    let workloads: Vec<WorkloadRef> = (0..200)
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
    for encoding in BOTH {
        for limit in [1500, 3000, 10_000] {
            let mut builder = BatchBuilder::new(encoding, header.clone());
            let mut taken = Vec::new();
            for workload in workloads.iter().cycle() {
                let view = sample::views(Kind::NetConnect, workload)[0];
                match builder.push_within(&view, limit) {
                    Push::Added => taken.push(view),
                    Push::Full => break,
                    Push::TooLong => panic!("one event is longer than {limit}"),
                }
            }
            assert_eq!(builder.events() as usize, taken.len());
            assert!(!taken.is_empty());
            let last = sample::views(Kind::NetConnect, &workloads[0])[1];
            let small = builder.push_within(&last, limit + 2000);
            assert_eq!(small, Push::Added);
            taken.push(last);
            let payload = builder.seal(1, &mut Payloads::default()).payload;
            assert!(payload.len() <= limit + 2000);
            assert_eq!(payload, read::seal(encoding, &header, 1, &taken).payload);
        }
        let mut builder = BatchBuilder::new(encoding, header.clone());
        let view = sample::views(Kind::NetConnect, &workloads[0])[0];
        assert_eq!(builder.push_within(&view, 100), Push::TooLong);
        assert!(builder.is_empty());
        assert_eq!(builder.push_within(&view, 5000), Push::Added);
        assert_eq!(
            builder.seal(1, &mut Payloads::default()).payload,
            read::seal(encoding, &header, 1, &[view]).payload
        );
    }
}

#[test]
fn an_event_of_another_kind_keeps_its_kind() {
    let workload = sample::workload();
    let views = [
        sample::views(Kind::FileOpen, &workload)[0],
        sample::views(Kind::ProcessExec, &workload)[0],
    ];
    read::assert_read_back(&sample::header(Kind::FileOpen), 1, &views);
}

#[test]
fn event_of_generation_zero_or_without_a_name_is_not_given_the_batchs() {
    let workload = sample::workload();
    let mut views = sample::views(Kind::FileOpen, &workload);
    views[1].generation = 0;
    views[1].event = "";
    read::assert_read_back(&sample::header(Kind::FileOpen), 1, &views);
    views.reverse();
    read::assert_read_back(&sample::header(Kind::FileOpen), 1, &views);
}

#[test]
fn headers_say_what_the_payload_is() {
    let workload = sample::workload();
    let views = sample::views(Kind::FileOpen, &workload);
    let header = sample::header(Kind::FileOpen);
    let json = read::seal(Encoding::Json, &header, 5, &views).headers;
    assert_eq!(
        json,
        [("content-type", "application/cloudevents-batch+json".to_owned())]
    );
    let protobuf = read::seal(Encoding::Protobuf, &header, 5, &views).headers;
    let expected = [
        ("content-type", "application/protobuf"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1767300000000/baseline/5"),
        ("ce-source", "/weir/prod/node-1.example"),
        ("ce-type", "dev.weir.file.open.v1"),
        ("ce-dataschema", "urn:weir:proto:weir.v1.EventBatch"),
    ];
    assert_eq!(protobuf, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn a_workload_is_in_a_protobuf_batch_once() {
    let workload = sample::workload();
    let view = sample::views(Kind::ProcessExit, &workload)[0];
    let one = read::seal(Encoding::Protobuf, &sample::header(Kind::ProcessExit), 1, &[view])
        .payload
        .len();
    let hundred = read::seal(
        Encoding::Protobuf,
        &sample::header(Kind::ProcessExit),
        1,
        &vec![view; 100],
    )
    .payload
    .len();
    assert!(
        (hundred - one) / 99 <= 160,
        "{} bytes per event",
        (hundred - one) / 99
    );
}

use super::*;
use crate::flags::NodeFlags;
use crate::id::{Epoch, NodeId, NodeIp, ShardId};
use crate::slot_set::SlotSet;
use proptest::prelude::*;
use protocol::Slot;

/// A parsed message that owns what [`Message`] borrows.
#[derive(Clone, Debug)]
struct Owned {
    header: Header<'static>,
    body: Body<'static>,
}

fn leak<T: ?Sized>(value: Box<T>) -> &'static T {
    Box::leak(value)
}

fn node_id() -> impl Strategy<Value = NodeId> {
    any::<u64>().prop_map(|seed| NodeId::random(&mut fastrand::Rng::with_seed(seed)))
}

fn slots() -> impl Strategy<Value = &'static crate::slot_set::SlotBitmap> {
    proptest::collection::vec(0u16..16384, 0..20).prop_map(|slots| {
        leak(Box::new(*slots.into_iter().filter_map(Slot::new).collect::<SlotSet>().bitmap()))
    })
}

fn ip() -> impl Strategy<Value = NodeIp> {
    any::<[u8; 4]>().prop_map(|octets| NodeIp::from(std::net::IpAddr::from(octets)))
}

fn bytes(max: usize) -> impl Strategy<Value = &'static [u8]> {
    proptest::collection::vec(any::<u8>(), 0..max).prop_map(|v| leak(v.into_boxed_slice()))
}

fn text() -> impl Strategy<Value = &'static [u8]> {
    proptest::collection::vec(b'a'..=b'z', 1..30).prop_map(|v| leak(v.into_boxed_slice()))
}

prop_compose! {
    fn header()(
        ids in (node_id(), proptest::option::of(node_id())),
        epochs in any::<(u64, u64, u64)>(),
        slots in slots(), ip in ip(),
        ports in any::<(u16, u16, u16)>(),
        flags in any::<u16>(), bools in any::<(bool, bool, bool)>(),
    ) -> Header<'static> {
        Header {
            sender: ids.0, master: ids.1,
            current_epoch: Epoch(epochs.0), config_epoch: Epoch(epochs.1), repl_offset: epochs.2,
            slots, ip, port: ports.0, second_port: ports.1, bus_port: ports.2,
            flags: NodeFlags::from_bits(flags), state_ok: bools.0,
            message_flags: MessageFlags { paused: bools.1, force_ack: bools.2 },
        }
    }
}

prop_compose! {
    fn gossip()(node in node_id(), times in any::<(u32, u32)>(), ip in ip(),
                ports in any::<(u16, u16, u16)>(), flags in any::<u16>()) -> Gossip {
        Gossip {
            node, ping_sent_s: times.0, pong_received_s: times.1, ip, port: ports.0, bus_port: ports.1,
            flags: NodeFlags::from_bits(flags), second_port: ports.2,
        }
    }
}

fn extension() -> impl Strategy<Value = Extension<'static>> {
    prop_oneof![
        text().prop_map(Extension::Hostname),
        text().prop_map(Extension::HumanNodename),
        (node_id(), any::<u64>()).prop_map(|(node, ttl_s)| Extension::ForgottenNode { node, ttl_s }),
        any::<u64>().prop_map(|s| Extension::ShardId(ShardId::random(&mut fastrand::Rng::with_seed(s)))),
    ]
}

fn body() -> impl Strategy<Value = Body<'static>> {
    let kind = prop_oneof![Just(Heartbeat::Ping), Just(Heartbeat::Pong), Just(Heartbeat::Meet)];
    prop_oneof![
        (kind, proptest::collection::vec(gossip(), 0..8), proptest::collection::vec(extension(), 0..5))
            .prop_map(|(kind, gossip, extensions)| Body::Heartbeat { kind, gossip, extensions }),
        node_id().prop_map(|node| Body::Fail { node }),
        (bytes(50), bytes(200), any::<bool>()).prop_map(|(channel, message, sharded)| Body::Publish {
            channel,
            message,
            sharded
        }),
        Just(Body::AuthRequest),
        Just(Body::AuthAck),
        Just(Body::MfStart),
        (any::<u64>(), node_id(), slots()).prop_map(|(e, node, slots)| Body::Update {
            config_epoch: Epoch(e),
            node,
            slots
        }),
        (any::<[u8; 8]>(), any::<u8>(), bytes(100)).prop_map(|(module, kind, payload)| Body::Module {
            module,
            kind,
            payload
        }),
    ]
}

fn owned() -> impl Strategy<Value = Owned> {
    (header(), body()).prop_map(|(header, body)| Owned { header, body })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_encoded_is_decoded(owned in owned()) {
        let message = Message { header: owned.header, body: owned.body };
        let frame = message.encode();
        prop_assert_eq!(frame_len(&frame, usize::MAX), Ok(Some(frame.len())));
        prop_assert_eq!(Message::decode(&frame), Ok(message));
    }

    #[test]
    fn mutated_frames_do_not_panic(owned in owned(), flips in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..12), cut in any::<usize>()) {
        let mut frame = Message { header: owned.header, body: owned.body }.encode();
        for (at, byte) in flips {
            // Half of the flips land in the fields that shape the message.
            let len = frame.len();
            let at = match at % 4 { 0 => at % 16, 1 => 2214 + at % (len - 2214), _ => at % len };
            frame[at] = byte;
        }
        let _ = Message::decode(&frame);
        frame.truncate(cut % (frame.len() + 1));
        let len = frame.len() as u32;
        if frame.len() >= 8 {
            frame[4..8].copy_from_slice(&len.to_be_bytes());
        }
        let _ = Message::decode(&frame);
    }

    #[test]
    fn noise_does_not_panic(noise in proptest::collection::vec(any::<u8>(), 0..6000)) {
        let _ = Message::decode(&noise);
        let mut deframer = Deframer::new(1 << 20);
        deframer.push(&noise);
        let _ = deframer.next_frame();
    }
}

#[test]
fn the_cap_is_checked_on_eight_bytes() {
    let mut head = *b"RCmb\0\0\0\0";
    assert_eq!(frame_len(&head, 1 << 20), Err(WireError::TooShort { len: 0 }));
    head[4..].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(frame_len(&head, 1 << 20), Err(WireError::TooLong { len: u32::MAX, max: 1 << 20 }));
    assert_eq!(frame_len(b"RC", 1 << 20), Ok(None));
    assert_eq!(frame_len(b"GET /", 1 << 20), Err(WireError::BadSignature));
}

#[test]
fn a_frame_may_arrive_byte_by_byte() {
    let slots = SlotSet::default();
    let frame = Message { header: plain_header(&slots), body: Body::MfStart }.encode();
    let mut deframer = Deframer::default();
    for byte in &frame[..frame.len() - 1] {
        deframer.push(&[*byte]);
        assert_eq!(deframer.next_frame(), Ok(None));
    }
    deframer.push(&[frame[frame.len() - 1]]);
    deframer.push(&frame);
    assert_eq!(deframer.next_frame(), Ok(Some(&frame[..])));
    assert_eq!(deframer.next_frame(), Ok(Some(&frame[..])));
    assert_eq!(deframer.next_frame(), Ok(None));
    assert_eq!(deframer.buffered(), 0);
}

#[test]
fn unknown_extensions_are_skipped_and_never_written() {
    let slots = SlotSet::default();
    let body = Body::Heartbeat {
        kind: Heartbeat::Ping,
        gossip: Vec::new(),
        extensions: vec![Extension::Unknown { extension_type: 4 }, Extension::Hostname(b"h")],
    };
    let mut frame = Message { header: plain_header(&slots), body }.encode();
    let Body::Heartbeat { extensions, .. } = Message::decode(&frame).unwrap().body else { panic!() };
    assert_eq!(extensions, [Extension::Hostname(b"h")]);
    // A peer that sends type 4: the frame stays valid.
    frame[HEADER_LEN + 5] = 4;
    let Body::Heartbeat { extensions, .. } = Message::decode(&frame).unwrap().body else { panic!() };
    assert_eq!(extensions, [Extension::Unknown { extension_type: 4 }]);
}

fn plain_header(slots: &SlotSet) -> Header<'_> {
    Header {
        sender: NodeId::random(&mut fastrand::Rng::with_seed(7)),
        master: None,
        current_epoch: Epoch(1),
        config_epoch: Epoch(1),
        slots: slots.bitmap(),
        repl_offset: 0,
        ip: NodeIp::EMPTY,
        port: 7000,
        second_port: 0,
        bus_port: 17000,
        flags: NodeFlags::MASTER,
        state_ok: true,
        message_flags: MessageFlags::default(),
    }
}

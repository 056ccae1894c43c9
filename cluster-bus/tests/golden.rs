//! Bytes a stock 7.0.15 server sent: a PING and a PONG with gossip and a host name. Rewritten by
//! `BALAS_CAPTURE=<path> cargo test -p balas-cluster-bus --test stock a_mixed`.

use balas_cluster_bus::NodeFlags;
use balas_cluster_bus::wire::{Body, Deframer, Extension, Heartbeat, Message};

const CAPTURED: &[u8] = include_bytes!("fixtures/heartbeats-7.0.15.bin");

fn frames() -> Vec<Vec<u8>> {
    let mut deframer = Deframer::default();
    deframer.push(CAPTURED);
    std::iter::from_fn(|| deframer.next_frame().unwrap().map(<[u8]>::to_vec)).collect()
}

#[test]
fn stock_bytes_are_understood() {
    let frames = frames();
    assert_eq!(frames.len(), 2);
    for (frame, expected_kind) in frames.iter().zip([Heartbeat::Ping, Heartbeat::Pong]) {
        let message = Message::decode(frame).unwrap();
        let header = &message.header;
        assert!(header.flags.any(NodeFlags::MASTER.with(NodeFlags::MYSELF)));
        assert!(header.ip.is_empty() && header.master.is_none() && header.state_ok);
        assert_eq!(header.bus_port, header.port + 10_000);
        let Body::Heartbeat { kind, gossip, extensions } = &message.body else { panic!("{message:?}") };
        assert_eq!(*kind, expected_kind);
        assert_eq!(extensions, &[Extension::Hostname(b"stock.example")]);
        assert!(!gossip.is_empty());
        assert!(gossip.iter().all(|entry| entry.ip.as_str() == "127.0.0.1" && entry.pong_received_s > 0));
    }
}

#[test]
fn stock_bytes_are_written_likewise() {
    for frame in frames() {
        assert_eq!(Message::decode(&frame).unwrap().encode(), frame);
    }
}

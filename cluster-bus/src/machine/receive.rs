//! Messages by type.

use super::node::{NodeIdx, Refusals};
use super::{Action, Cx, LinkId, LogLevel, Machine, log, notice};
use crate::id::{Epoch, NodeId};
use crate::slot_set::SlotBitmap;
use crate::wire::{Body, Header, Message};

impl Machine {
    pub(super) fn packet(&mut self, cx: &mut Cx<'_>, link: LinkId, frame: &[u8]) {
        if self.links.get(link).is_none() {
            return;
        }
        let message = match Message::decode(frame) {
            Ok(message) => message,
            Err(error) => {
                self.stats.malformed_frames += 1;
                return log(cx, LogLevel::Warning, format!("Received invalid packet: {error}"));
            }
        };
        self.stats.count_received(message.body.message_type());
        let header = &message.header;
        let sender = self.find_sender(cx, link, header);
        if let Some(sender) = sender {
            self.hear_header(cx, sender, header);
        }
        match &message.body {
            Body::Heartbeat { kind, gossip, extensions } => {
                self.hear_heartbeat(cx, link, sender, header, *kind, gossip, extensions);
            }
            Body::Fail { node } => self.hear_fail(cx, sender, header, node),
            Body::Publish { channel, message, sharded } => {
                if sender.is_some() {
                    let (channel, message) = (channel.to_vec(), message.to_vec());
                    cx.out.push(Action::DeliverPublish { channel, message, sharded: *sharded });
                }
            }
            Body::AuthRequest => {
                if let Some(sender) = sender {
                    self.vote_if_due(cx, sender, header);
                }
            }
            Body::AuthAck => {
                if let Some(sender) = sender {
                    self.hear_vote(sender, header);
                }
            }
            Body::MfStart => {
                if let Some(sender) = sender {
                    self.hear_mf_start(cx, sender);
                }
            }
            Body::Update { config_epoch, node, slots } => {
                if sender.is_some() {
                    self.hear_update(cx, *config_epoch, node, slots);
                }
            }
            // Modules are not supported; their messages are counted and dropped, as stock without the module.
            Body::Module { .. } => {}
        }
    }

    /// The node that sent a message, by the id in it. An incoming link is bound to its node on the way.
    fn find_sender(&mut self, cx: &mut Cx<'_>, link: LinkId, header: &Header<'_>) -> Option<NodeIdx> {
        let sender = self.nodes.find(&header.sender).filter(|idx| *idx != self.me)?;
        let bound_to = self.links.get(link)?.node;
        match bound_to {
            None => self.bind_incoming(cx, link, sender),
            // The peer took a new name (CLUSTER RESET HARD) and kept the connection.
            Some(other) if link.is_incoming() && other != sender => {
                self.nodes[other].inbound = None;
                self.bind_incoming(cx, link, sender);
            }
            _ => {}
        }
        Some(sender)
    }

    /// What every header of a known node tells: that it lives, its epochs and its offset.
    fn hear_header(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, header: &Header<'_>) {
        let node = &mut self.nodes[sender];
        node.data_received_ms = cx.now_ms;
        node.seen_alive = true;
        if node.inbound.is_some() {
            node.refusals = Refusals::default();
        }
        if node.in_handshake() {
            return;
        }
        node.repl_offset = header.repl_offset;
        if header.config_epoch > node.config_epoch {
            node.config_epoch = header.config_epoch;
            self.todo.save_and_sync();
        }
        self.current_epoch = self.current_epoch.max(header.current_epoch);
        self.hear_paused_offset(cx, sender, header);
    }

    fn hear_fail(&mut self, cx: &mut Cx<'_>, sender: Option<NodeIdx>, header: &Header<'_>, node: &NodeId) {
        let Some(sender) = sender else {
            let from = header.sender;
            return notice(cx, format!("Ignoring FAIL message from unknown node {from} about {node}"));
        };
        if let Some(failing) = self.nodes.find(node) {
            self.hear_fail_message(cx, sender, failing);
        }
    }

    /// A third node tells that a claim of this one is old.
    fn hear_update(&mut self, cx: &mut Cx<'_>, config_epoch: Epoch, node: &NodeId, slots: &SlotBitmap) {
        let Some(idx) = self.nodes.find(node) else { return };
        if self.nodes[idx].config_epoch >= config_epoch {
            return;
        }
        if idx == self.me {
            return notice(cx, "Discarding UPDATE message about myself.".to_owned());
        }
        if self.nodes[idx].is_replica() {
            self.set_node_as_master(idx);
        }
        self.nodes[idx].config_epoch = config_epoch;
        self.todo.save_and_sync();
        self.hear_claims(cx, idx, config_epoch, slots);
    }
}

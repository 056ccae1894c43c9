//! Building and sending messages.

use super::node::{Dialect, NodeIdx};
use super::{Action, Cx, LinkId, Machine};
use crate::flags::NodeFlags;
use crate::slot_set::{SLOT_BITMAP_LEN, SlotBitmap};
use crate::wire::{Body, Extension, Header, Heartbeat, Message, MessageFlags, MessageType};
use std::sync::Arc;

/// Whom a PONG without a PING goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Everybody,
    /// The replicas of this node's own shard.
    MyShard,
}

impl Machine {
    /// The header of every message: who this node is and what it claims. A replica speaks for its master.
    fn header(&self, message_flags: MessageFlags) -> Header<'_> {
        let me = self.me();
        let speaks_for = me.master.filter(|_| me.is_replica()).map_or(me, |master| &self.nodes[master]);
        let (port, second_port) = self.ports_for_wire(self.config.tcp_port, self.config.tls_port);
        Header {
            sender: me.id,
            master: me.master.map(|master| self.nodes[master].id),
            current_epoch: self.current_epoch,
            config_epoch: speaks_for.config_epoch,
            slots: speaks_for.slots.bitmap(),
            repl_offset: self.replication.repl_offset,
            ip: self.config.announce_ip.unwrap_or_default(),
            port,
            second_port,
            bus_port: self.config.bus_port,
            flags: me.flags,
            state_ok: self.state.ok,
            message_flags,
        }
    }

    /// Flags of an ordinary message: PAUSED only once writes really stand still.
    fn usual_flags(&self) -> MessageFlags {
        MessageFlags { paused: self.me().is_master() && self.manual.writes_paused(), force_ack: false }
    }

    fn frame(&self, body: Body<'_>, message_flags: MessageFlags) -> Arc<[u8]> {
        Message { header: self.header(message_flags), body }.encode_shared()
    }

    fn post(&mut self, cx: &mut Cx<'_>, link: LinkId, message_type: MessageType, frame: Arc<[u8]>) {
        self.stats.count_sent(message_type);
        cx.out.push(Action::Send { link, frame });
    }

    /// Sends PING, PONG or MEET with gossip and extensions on an established link.
    pub(super) fn send_heartbeat(&mut self, cx: &mut Cx<'_>, link: LinkId, kind: Heartbeat) {
        let Some(entry) = self.links.get(link).filter(|entry| entry.up) else { return };
        let peer = entry.node;
        if let (Some(idx), Heartbeat::Ping, false) = (peer, kind, link.is_incoming()) {
            self.nodes[idx].ping_sent_ms = cx.now_ms;
        }
        let gossip = self.pick_gossip(cx);
        let body = Body::Heartbeat { kind, gossip, extensions: self.extensions_for(peer, cx.now_ms) };
        let message_type = body.message_type();
        let frame = self.frame(body, self.usual_flags());
        self.post(cx, link, message_type, frame);
    }

    /// A 7.0 peer logs a warning for every extension but the host name, so it gets no other.
    fn extensions_for(&self, peer: Option<NodeIdx>, now_ms: i64) -> Vec<Extension<'_>> {
        let me = self.me();
        let mut extensions = Vec::new();
        if !me.hostname.is_empty() {
            extensions.push(Extension::Hostname(me.hostname.as_bytes()));
        }
        if peer.is_some_and(|idx| self.nodes[idx].dialect == Dialect::HostnamesOnly) {
            return extensions;
        }
        if !me.human_nodename.is_empty() {
            extensions.push(Extension::HumanNodename(me.human_nodename.as_bytes()));
        }
        for (node, until_ms) in self.blacklist.iter().filter(|(_, until_ms)| **until_ms > now_ms) {
            let ttl_s = (until_ms - now_ms).unsigned_abs().div_ceil(1000);
            extensions.push(Extension::ForgottenNode { node: *node, ttl_s });
        }
        extensions.push(Extension::ShardId(me.shard));
        extensions
    }

    /// PONGs nobody asked for, to spread a change at once.
    pub(super) fn broadcast_pong(&mut self, cx: &mut Cx<'_>, audience: Audience) {
        for idx in self.nodes.indices() {
            let (node, me) = (&self.nodes[idx], self.me());
            let mate = node.is_replica()
                && node.master.is_some_and(|master| master == self.me || me.master == Some(master));
            if idx == self.me || node.in_handshake() || (audience == Audience::MyShard && !mate) {
                continue;
            }
            if let Some(link) = self.link_to(idx) {
                self.send_heartbeat(cx, link, Heartbeat::Pong);
            }
        }
    }

    /// One frame to every node there is a link to.
    fn broadcast(&mut self, cx: &mut Cx<'_>, message_type: MessageType, frame: &Arc<[u8]>) {
        for idx in self.nodes.indices() {
            if self.nodes[idx].has(NodeFlags::MYSELF.with(NodeFlags::HANDSHAKE)) {
                continue;
            }
            if let Some(link) = self.link_to(idx) {
                self.post(cx, link, message_type, frame.clone());
            }
        }
    }

    pub(super) fn broadcast_fail(&mut self, cx: &mut Cx<'_>, failing: NodeIdx) {
        let frame = self.frame(Body::Fail { node: self.nodes[failing].id }, self.usual_flags());
        self.broadcast(cx, MessageType::Fail, &frame);
    }

    /// Asks everybody to vote for this replica; masters with slots answer.
    pub(super) fn broadcast_auth_request(&mut self, cx: &mut Cx<'_>) {
        let flags = MessageFlags { paused: false, force_ack: self.manual.is_active() };
        let frame = self.frame(Body::AuthRequest, flags);
        self.broadcast(cx, MessageType::AuthRequest, &frame);
    }

    pub(super) fn send_auth_ack(&mut self, cx: &mut Cx<'_>, candidate: NodeIdx) {
        self.send_to(cx, candidate, Body::AuthAck);
    }

    pub(super) fn send_mf_start(&mut self, cx: &mut Cx<'_>, master: NodeIdx) {
        self.send_to(cx, master, Body::MfStart);
    }

    /// Tells `to` what `owner` serves, without the slots the owner stopped claiming.
    pub(super) fn send_update(&mut self, cx: &mut Cx<'_>, to: NodeIdx, owner: NodeIdx) {
        let node = &self.nodes[owner];
        let unclaimed = self.slots.unclaimed.bitmap();
        let claimed: SlotBitmap =
            std::array::from_fn::<u8, SLOT_BITMAP_LEN, _>(|i| node.slots.bitmap()[i] & !unclaimed[i]);
        let (config_epoch, node) = (node.config_epoch, node.id);
        self.send_to(cx, to, Body::Update { config_epoch, node, slots: &claimed });
    }

    fn send_to(&mut self, cx: &mut Cx<'_>, to: NodeIdx, body: Body<'_>) {
        let Some(link) = self.link_to(to) else { return };
        let message_type = body.message_type();
        let frame = self.frame(body, self.usual_flags());
        self.post(cx, link, message_type, frame);
    }

    /// Spreads a published message: to every node, or within the shard when `sharded`.
    pub fn publish(&mut self, cx: &mut Cx<'_>, channel: &[u8], message: &[u8], sharded: bool) {
        let body = Body::Publish { channel, message, sharded };
        let message_type = body.message_type();
        let frame = self.frame(body, self.usual_flags());
        if !sharded {
            return self.broadcast(cx, message_type, &frame);
        }
        let shard_master = self.my_master();
        for idx in self.nodes.indices() {
            let node = &self.nodes[idx];
            let master = if node.is_replica() { node.master } else { Some(idx) };
            if idx == self.me || node.in_handshake() || master != shard_master {
                continue;
            }
            if let Some(link) = self.link_to(idx) {
                self.post(cx, link, message_type, frame.clone());
            }
        }
    }
}

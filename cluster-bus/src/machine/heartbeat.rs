//! PING, PONG and MEET: introductions, liveness, roles, claims.

use super::node::{Dialect, Node, NodeIdx};
use super::role::Role;
use super::{Cx, LinkId, LogLevel, Machine, log};
use crate::flags::NodeFlags;
use crate::id::{Address, ShardId};
use crate::wire::{Extension, Gossip, Header, Heartbeat};

impl Machine {
    #[expect(clippy::too_many_arguments, reason = "the parts of one message")]
    pub(super) fn hear_heartbeat(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        sender: Option<NodeIdx>,
        header: &Header<'_>,
        kind: Heartbeat,
        gossip: &[Gossip],
        extensions: &[Extension<'_>],
    ) {
        self.note_dialect(sender, extensions);
        if kind != Heartbeat::Pong {
            self.learn_own_ip(cx, link, kind == Heartbeat::Meet);
            if sender.is_none() && kind == Heartbeat::Meet {
                self.take_in(cx, link, header);
            }
            self.send_heartbeat(cx, link, Heartbeat::Pong);
        }
        if !link.is_incoming() && !self.introduced(cx, link, sender, header, extensions) {
            return;
        }
        let Some(sender) = sender else { return };
        self.copy_no_failover(sender, header);
        if kind == Heartbeat::Ping && !self.nodes[sender].in_handshake() {
            self.follow_address(cx, sender, link, header);
        }
        if kind == Heartbeat::Pong && !link.is_incoming() {
            self.hear_pong(cx, sender);
        }
        self.hear_role(cx, sender, header);
        self.hear_slots(cx, sender, header);
        self.resolve_epoch_collision(cx, sender, header);
        self.hear_gossip(cx, sender, gossip);
        self.hear_extensions(cx, sender, extensions);
    }

    fn note_dialect(&mut self, sender: Option<NodeIdx>, extensions: &[Extension<'_>]) {
        let Some(sender) = sender else { return };
        let full = extensions.iter().any(|ext| matches!(ext, Extension::ShardId(_)));
        self.nodes[sender].dialect = if full { Dialect::Full } else { Dialect::HostnamesOnly };
    }

    /// A stranger asks to be taken in. Its name comes with the PONG to the ping it is now sent.
    fn take_in(&mut self, cx: &mut Cx<'_>, link: LinkId, header: &Header<'_>) {
        if header.sender == self.me().id {
            return;
        }
        if let Some(address) = self.announced_address(link, header) {
            self.start_handshake(cx, address, NodeFlags::NONE);
        }
    }

    /// Adds a node under a placeholder name. False when one is there for this address already.
    pub(super) fn start_handshake(&mut self, cx: &mut Cx<'_>, address: Address, extra: NodeFlags) -> bool {
        let port = self.client_port(&address);
        let in_progress = self.nodes.iter().any(|(_, node)| {
            node.in_handshake()
                && node.address.ip == address.ip
                && self.client_port(&node.address) == port
                && node.address.bus_port == address.bus_port
        });
        if in_progress || self.nodes.is_full() {
            return false;
        }
        let name = crate::id::NodeId::random(cx.rng);
        let flags = NodeFlags::HANDSHAKE.with(extra);
        let mut node = Node::new(name, ShardId::random(cx.rng), flags, cx.now_ms);
        node.address = address;
        node.met_ms = extra.any(NodeFlags::MEET).then_some(cx.now_ms);
        self.nodes.add(node);
        self.todo.save();
        self.todo.routing = true;
        true
    }

    /// Settles who is at the other end of an outgoing link. False when the message is used up by that.
    fn introduced(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        sender: Option<NodeIdx>,
        header: &Header<'_>,
        extensions: &[Extension<'_>],
    ) -> bool {
        let Some(idx) = self.links.get(link).and_then(|entry| entry.node) else { return false };
        if self.nodes[idx].in_handshake() {
            if self.finish_handshake(cx, link, idx, sender, header) {
                self.note_dialect(Some(idx), extensions);
            }
            return false;
        }
        if self.nodes[idx].id == header.sender {
            return true;
        }
        // Somebody else lives there now.
        let text = format!("PONG contains mismatching sender ID. About node {}", self.nodes[idx].id);
        log(cx, LogLevel::Debug, text);
        let node = &mut self.nodes[idx];
        node.flags.insert(NodeFlags::NOADDR);
        node.address = Address::default();
        self.close_link(cx, link);
        self.todo.save();
        self.todo.routing = true;
        false
    }

    /// The node met gives its name. False when it turns out to be known already.
    fn finish_handshake(
        &mut self,
        cx: &mut Cx<'_>,
        link: LinkId,
        idx: NodeIdx,
        sender: Option<NodeIdx>,
        header: &Header<'_>,
    ) -> bool {
        if sender.is_some() || header.sender == self.me().id {
            if let Some(sender) = sender {
                let label = self.label(sender);
                let text =
                    format!("Handshake: we already know node {label}, updating the address if needed.");
                log(cx, LogLevel::Verbose, text);
                self.follow_address(cx, sender, link, header);
            }
            self.delete_node(cx, idx);
            return false;
        }
        log(cx, LogLevel::Debug, format!("Handshake with node {} completed.", header.sender));
        self.nodes.rename(idx, header.sender);
        let node = &mut self.nodes[idx];
        node.flags.remove(NodeFlags::HANDSHAKE);
        node.flags.insert(header.flags.only(NodeFlags::ROLE));
        node.pong_received_ms = cx.now_ms;
        node.ping_sent_ms = 0;
        node.seen_alive = true;
        self.todo.save();
        self.todo.routing = true;
        true
    }

    /// The wish not to be promoted changes at any time, and counts in the ranks of its fellow replicas.
    fn copy_no_failover(&mut self, sender: NodeIdx, header: &Header<'_>) {
        let node = &mut self.nodes[sender];
        node.flags.remove(NodeFlags::NOFAILOVER);
        node.flags.insert(header.flags.only(NodeFlags::NOFAILOVER));
    }

    /// The answer to this node's ping.
    fn hear_pong(&mut self, cx: &mut Cx<'_>, sender: NodeIdx) {
        let node = &mut self.nodes[sender];
        node.pong_received_ms = cx.now_ms;
        node.ping_sent_ms = 0;
        if node.is_pfail() {
            node.flags.remove(NodeFlags::PFAIL);
            self.todo.save_and_update();
        } else if node.is_failed() {
            self.clear_failure_if_due(cx, sender);
        }
    }

    fn hear_role(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, header: &Header<'_>) {
        let role = match header.master {
            None => Role::Master,
            Some(master) => Role::Replica(self.nodes.find(&master)),
        };
        self.set_role(cx, sender, role);
    }

    fn hear_extensions(&mut self, cx: &mut Cx<'_>, sender: NodeIdx, extensions: &[Extension<'_>]) {
        let (mut hostname, mut human_nodename, mut shard) = ("", "", None);
        for extension in extensions {
            match extension {
                Extension::Hostname(name) => hostname = printable(name),
                Extension::HumanNodename(name) => human_nodename = printable(name),
                Extension::ShardId(id) => shard = Some(*id),
                Extension::ForgottenNode { node, ttl_s } => self.hear_forgotten(cx, sender, node, *ttl_s),
                Extension::Unknown { extension_type } => {
                    let text = format!("Received unknown extension type {extension_type}");
                    log(cx, LogLevel::Debug, text);
                }
            }
        }
        let node = &mut self.nodes[sender];
        if node.hostname != hostname || node.human_nodename != human_nodename {
            node.hostname = hostname.to_owned();
            node.human_nodename = human_nodename.to_owned();
            self.todo.save();
            self.todo.routing = true;
        }
        // A node that does not speak of shards is in its master's.
        let master = self.nodes[sender].master.unwrap_or(sender);
        let shard = shard.unwrap_or(self.nodes[master].shard);
        self.set_shard(sender, shard);
    }
}

/// Names end up in log lines and in nodes.conf, so only harmless text is taken.
fn printable(name: &[u8]) -> &str {
    let clean = name.iter().all(|b| b.is_ascii_graphic() && !matches!(b, b',' | b'=' | b'"' | b'\''));
    if clean { std::str::from_utf8(name).unwrap_or_default() } else { "" }
}

//! Links: who is connected, dialling, and what a refusal proves.

use super::node::{NodeIdx, Refusals};
use super::{Action, Cx, LinkId, LogLevel, Machine, log};
use crate::flags::NodeFlags;
use crate::id::NodeIp;
use crate::wire::Heartbeat;
use std::collections::HashMap;

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// The peer: known from the start on outgoing links, after the first message on incoming ones.
    pub node: Option<NodeIdx>,
    /// Messages can be sent.
    pub up: bool,
    pub created_ms: i64,
    pub peer_ip: NodeIp,
    pub local_ip: NodeIp,
}

/// All connections.
#[derive(Default)]
pub(crate) struct Links {
    by_id: HashMap<LinkId, Link>,
    dialled: u64,
}

impl Links {
    pub fn get(&self, link: LinkId) -> Option<&Link> {
        self.by_id.get(&link)
    }

    pub fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.by_id.get_mut(&link)
    }

    pub fn is_up(&self, link: LinkId) -> bool {
        self.get(link).is_some_and(|link| link.up)
    }

    pub fn open_incoming(&mut self, link: LinkId, peer_ip: NodeIp, local_ip: NodeIp, now_ms: i64) {
        debug_assert!(link.is_incoming());
        self.by_id.insert(link, Link { node: None, up: true, created_ms: now_ms, peer_ip, local_ip });
    }

    fn open_outgoing(&mut self, node: NodeIdx, ip: NodeIp, now_ms: i64) -> LinkId {
        self.dialled += 1;
        let link = LinkId::outgoing(self.dialled);
        let entry =
            Link { node: Some(node), up: false, created_ms: now_ms, peer_ip: ip, local_ip: NodeIp::EMPTY };
        self.by_id.insert(link, entry);
        link
    }
}

impl Machine {
    /// The established outgoing link to a node.
    pub(super) fn link_to(&self, idx: NodeIdx) -> Option<LinkId> {
        self.nodes[idx].link.filter(|link| self.links.is_up(*link))
    }

    /// The announced host name of the node a link was dialled to. A caller whose dial to the address fails
    /// may resolve it and dial that instead: the id in the answer tells whether it is the right node.
    pub fn link_hostname(&self, link: LinkId) -> Option<&str> {
        let idx = self.links.get(link)?.node?;
        Some(self.nodes[idx].hostname.as_str()).filter(|name| !name.is_empty())
    }

    /// Dials a node. The dial counts as a ping, so that a host which swallows packets times out too.
    pub(super) fn dial(&mut self, cx: &mut Cx<'_>, idx: NodeIdx) {
        let address = self.nodes[idx].address;
        let link = self.links.open_outgoing(idx, address.ip, cx.now_ms);
        let node = &mut self.nodes[idx];
        node.link = Some(link);
        if node.ping_sent_ms == 0 {
            node.ping_sent_ms = cx.now_ms;
        }
        cx.out.push(Action::Connect { link, ip: address.ip, bus_port: address.bus_port });
    }

    /// The first message on a new link is MEET for a node to be met, else PING.
    pub(super) fn link_up(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some(entry) = self.links.get_mut(link) else { return };
        let Some(idx) = entry.node else { return };
        entry.up = true;
        let node = &mut self.nodes[idx];
        node.refusals = Refusals::default();
        let pending_since_ms = node.ping_sent_ms;
        let kind = if node.has(NodeFlags::MEET) { Heartbeat::Meet } else { Heartbeat::Ping };
        self.send_heartbeat(cx, link, kind);
        let node = &mut self.nodes[idx];
        // A ping that was pending before the reconnect still counts from when it was sent.
        if pending_since_ms != 0 {
            node.ping_sent_ms = pending_since_ms;
        }
        node.flags.remove(NodeFlags::MEET);
    }

    pub(super) fn link_down(&mut self, _cx: &mut Cx<'_>, link: LinkId) {
        self.detach(link);
    }

    pub(super) fn connect_refused(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let node = self.links.get(link).and_then(|entry| entry.node);
        self.detach(link);
        let Some(idx) = node else { return };
        let node = &mut self.nodes[idx];
        if node.refusals.count == 0 {
            node.refusals.since_ms = cx.now_ms;
        }
        node.refusals.count += 1;
        self.weigh_refusals(cx, idx);
    }

    pub(super) fn link_overflowed(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        let Some(entry) = self.links.get(link) else { return };
        let peer = entry.node.map_or(String::new(), |idx| self.nodes[idx].id.to_string());
        let way = if link.is_incoming() { "from" } else { "to" };
        let text =
            format!("Freeing cluster link({way} node {peer}) due to exceeding send buffer memory limit.");
        log(cx, LogLevel::Warning, text);
        self.stats.links_buffer_limit_exceeded += 1;
        self.detach(link);
    }

    /// Tells the caller to close a link, and forgets it.
    pub(super) fn close_link(&mut self, cx: &mut Cx<'_>, link: LinkId) {
        if self.detach(link) {
            cx.out.push(Action::Close { link });
        }
    }

    /// Closes the links to and from a node, as far as asked for: a tool for tests. False when there is no such node.
    pub fn kill_links(&mut self, cx: &mut Cx<'_>, id: &[u8], to: bool, from: bool) -> bool {
        let Some(idx) = self.lookup(id) else { return false };
        let (link, inbound) = (self.nodes[idx].link, self.nodes[idx].inbound);
        for link in link.filter(|_| to).into_iter().chain(inbound.filter(|_| from)) {
            self.close_link(cx, link);
        }
        true
    }

    /// Forgets a link. False when it was not there.
    fn detach(&mut self, link: LinkId) -> bool {
        let Some(entry) = self.links.by_id.remove(&link) else { return false };
        if let Some(idx) = entry.node {
            let node = &mut self.nodes[idx];
            node.link = node.link.filter(|other| *other != link);
            node.inbound = node.inbound.filter(|other| *other != link);
        }
        true
    }

    /// An incoming link turned out to belong to this node. A node has one; the older is likely dead.
    pub(super) fn bind_incoming(&mut self, cx: &mut Cx<'_>, link: LinkId, idx: NodeIdx) {
        if let Some(old) = self.nodes[idx].inbound.filter(|old| *old != link) {
            self.close_link(cx, old);
        }
        self.nodes[idx].inbound = Some(link);
        self.nodes[idx].met_ms = None;
        if let Some(entry) = self.links.get_mut(link) {
            entry.node = Some(idx);
        }
    }
}

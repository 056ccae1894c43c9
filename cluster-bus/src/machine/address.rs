//! Addresses: learning one's own, following those of others.

use super::node::NodeIdx;
use super::role::replication_target;
use super::{Cx, LinkId, Machine, notice};
use crate::flags::NodeFlags;
use crate::id::Address;
use crate::wire::Header;

impl Machine {
    /// `(port, second_port)` of the wire: the bus's own transport comes first.
    pub(super) fn ports_for_wire(&self, tcp_port: u16, tls_port: u16) -> (u16, u16) {
        if self.config.tls_cluster { (tls_port, tcp_port) } else { (tcp_port, tls_port) }
    }

    /// `(tcp_port, tls_port)` from the wire's `(port, second_port)`.
    pub(super) fn ports_from_wire(&self, port: u16, second_port: u16) -> (u16, u16) {
        if self.config.tls_cluster { (second_port, port) } else { (port, second_port) }
    }

    /// The client port that goes with the bus's transport.
    pub(super) fn client_port(&self, address: &Address) -> u16 {
        if self.config.tls_cluster { address.tls_port } else { address.tcp_port }
    }

    /// Where the sender of a message says it is, or else where it is seen.
    pub(super) fn announced_address(&self, link: LinkId, header: &Header<'_>) -> Option<Address> {
        let seen = self.links.get(link)?.peer_ip;
        let ip = if header.ip.is_empty() { seen } else { header.ip };
        let (tcp_port, tls_port) = self.ports_from_wire(header.port, header.second_port);
        let address = Address { ip, tcp_port, tls_port, bus_port: header.bus_port };
        (!ip.is_empty() && address.bus_port != 0).then_some(address)
    }

    /// Follows a node that moved. Only what arrives on a link other than the one this side dialled says
    /// something new about the address.
    pub(super) fn follow_address(
        &mut self,
        cx: &mut Cx<'_>,
        idx: NodeIdx,
        link: LinkId,
        header: &Header<'_>,
    ) {
        if self.nodes[idx].link == Some(link) || idx == self.me {
            return;
        }
        let Some(address) = self.announced_address(link, header) else { return };
        if self.nodes[idx].address == address {
            return;
        }
        if let Some(old) = self.nodes[idx].link {
            self.close_link(cx, old);
        }
        let node = &mut self.nodes[idx];
        node.address = address;
        node.flags.remove(NodeFlags::NOADDR);
        let label = self.label(idx);
        let port = self.client_port(&address);
        notice(cx, format!("Address updated for node {label}, now {}:{port}", address.ip));
        if self.me().is_replica() && self.me().master == Some(idx) {
            cx.out.push(replication_target(&self.nodes[idx], &self.config));
            self.replicating = true;
        }
        self.todo.save_and_update();
    }

    /// Peers dial the address that works: whoever meets this node has found it under its official one.
    pub(super) fn learn_own_ip(&mut self, cx: &mut Cx<'_>, link: LinkId, is_meet: bool) {
        let Some(local_ip) = self.links.get(link).map(|entry| entry.local_ip) else { return };
        let wanted = is_meet || self.me().address.ip.is_empty();
        if !wanted || self.config.announce_ip.is_some() || local_ip.is_empty() {
            return;
        }
        if self.me().address.ip != local_ip {
            self.me_mut().address.ip = local_ip;
            notice(cx, format!("IP address for this node updated to {local_ip}"));
            self.todo.save();
            self.todo.routing = true;
        }
    }
}

//! Who becomes a master of which slots, and who replicates whom.

use crate::address::Address;
use crate::error::Error;
use crate::topology::SlotRange;
use protocol::SLOT_COUNT;
use std::collections::BTreeMap;

/// Fewer cannot elect: a majority of two masters is both.
pub const MASTERS_MIN: usize = 3;

/// A cluster to be made; the numbers are places in the list of addresses it was planned from.
#[derive(PartialEq, Eq, Debug)]
pub struct Plan {
    pub masters: Vec<PlannedMaster>,
}

#[derive(PartialEq, Eq, Debug)]
pub struct PlannedMaster {
    pub node: usize,
    pub slots: SlotRange,
    pub replicas: Vec<usize>,
}

/// Cuts all slots into `masters` runs whose lengths differ by one at most, at the places where `redis-cli` cuts:
/// each end is the exact share, rounded.
pub fn split_slots(masters: usize) -> Vec<SlotRange> {
    let share = SLOT_COUNT as f64 / masters as f64;
    let mut first = 0;
    (1..=masters)
        .map(|i| {
            let end = if i == masters { SLOT_COUNT } else { (share * i as f64).round() as usize };
            let range = SlotRange { first: first as u16, last: (end - 1) as u16 };
            first = end;
            range
        })
        .collect()
}

/// Plans a cluster of these nodes with at least `replicas` replicas each; nodes left over become further
/// replicas. Masters are dealt out over the hosts in turn, and a replica sits on another host than its master and
/// its siblings wherever that can be had.
pub fn plan(nodes: &[Address], replicas: usize) -> Result<Plan, Error> {
    let master_count = nodes.len() / (replicas + 1);
    if master_count < MASTERS_MIN {
        return Err(Error::Usage(format!(
            "a cluster needs at least {MASTERS_MIN} masters: {} nodes with {replicas} replicas each make \
             {master_count}; give at least {} nodes",
            nodes.len(),
            MASTERS_MIN * (replicas + 1)
        )));
    }
    let order = over_hosts_in_turn(nodes);
    let (master_nodes, replica_nodes) = order.split_at(master_count);
    let mut masters: Vec<PlannedMaster> = master_nodes
        .iter()
        .zip(split_slots(master_count))
        .map(|(&node, slots)| PlannedMaster { node, slots, replicas: Vec::new() })
        .collect();
    for layer in replica_nodes.chunks(master_count) {
        for &replica in layer {
            place(&mut masters, replica, nodes);
        }
        // What was placed first took the best places; exchanging mends what that left to the last.
        spread(&mut masters, nodes);
    }
    Ok(Plan { masters })
}

/// The first node of each host, then the second of each, and so on; hosts in the order they were named in.
fn over_hosts_in_turn(nodes: &[Address]) -> Vec<usize> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut order: Vec<(usize, usize)> = Vec::with_capacity(nodes.len());
    for (i, node) in nodes.iter().enumerate() {
        let turn = seen.entry(node.host.as_str()).or_default();
        order.push((*turn, i));
        *turn += 1;
    }
    order.sort();
    order.into_iter().map(|(_, node)| node).collect()
}

/// What it costs to lose one host: a replica beside its master is far worse than two replicas side by side.
fn host_cost(master: &PlannedMaster, nodes: &[Address]) -> usize {
    let host = |node: usize| nodes[node].host.as_str();
    let beside_master = master.replicas.iter().filter(|&&replica| host(replica) == host(master.node)).count();
    let pairs =
        master.replicas.iter().enumerate().flat_map(|(i, &a)| {
            master.replicas[i + 1..].iter().map(move |&b| usize::from(host(a) == host(b)))
        });
    beside_master * nodes.len() * nodes.len() + pairs.sum::<usize>()
}

/// Gives the replica to a master that has the fewest, among those to the one where it costs least.
fn place(masters: &mut [PlannedMaster], replica: usize, nodes: &[Address]) {
    let cost_with = |master: &PlannedMaster| {
        let replicas = master.replicas.iter().copied().chain([replica]).collect();
        host_cost(&PlannedMaster { node: master.node, slots: master.slots, replicas }, nodes)
    };
    let best = masters.iter_mut().min_by_key(|master| (master.replicas.len(), cost_with(master)));
    best.expect("a plan has masters").replicas.push(replica);
}

/// Exchanges replicas between masters as long as that lowers the cost.
fn spread(masters: &mut [PlannedMaster], nodes: &[Address]) {
    let mut better = true;
    while better {
        better = false;
        for a in 0..masters.len() {
            for b in a + 1..masters.len() {
                for i in 0..masters[a].replicas.len() {
                    for j in 0..masters[b].replicas.len() {
                        better |= swap_if_cheaper(masters, nodes, (a, i), (b, j));
                    }
                }
            }
        }
    }
}

fn swap_if_cheaper(
    masters: &mut [PlannedMaster],
    nodes: &[Address],
    (a, i): (usize, usize),
    (b, j): (usize, usize),
) -> bool {
    let cost = |masters: &[PlannedMaster]| host_cost(&masters[a], nodes) + host_cost(&masters[b], nodes);
    let before = cost(masters);
    let exchange = |masters: &mut [PlannedMaster]| {
        let (one, other) = (masters[a].replicas[i], masters[b].replicas[j]);
        masters[a].replicas[i] = other;
        masters[b].replicas[j] = one;
    };
    exchange(masters);
    let cheaper = cost(masters) < before;
    if !cheaper {
        exchange(masters);
    }
    cheaper
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(hosts: &[&str]) -> Vec<Address> {
        hosts.iter().enumerate().map(|(i, host)| Address::new(host, 7000 + i as u16)).collect()
    }

    fn beside_master(nodes: &[Address], replicas: usize) -> usize {
        let plan = plan(nodes, replicas).unwrap();
        let beside = |master: &PlannedMaster| {
            master.replicas.iter().filter(|&&replica| nodes[replica].host == nodes[master.node].host).count()
        };
        plan.masters.iter().map(beside).sum()
    }

    #[test]
    fn three_masters_get_the_documented_slots() {
        let ranges: Vec<String> = split_slots(3).iter().map(SlotRange::to_string).collect();
        assert_eq!(ranges, ["0-5460", "5461-10922", "10923-16383"]);
    }

    #[test]
    fn any_number_of_masters_covers_all_slots_evenly() {
        for masters in (1..200).chain([1000, 16_384]) {
            let ranges = split_slots(masters);
            assert_eq!(ranges[0].first, 0);
            assert_eq!(usize::from(ranges[masters - 1].last), SLOT_COUNT - 1);
            assert!(ranges.windows(2).all(|pair| pair[0].last + 1 == pair[1].first), "{masters}");
            let lens = || ranges.iter().map(|range| range.len());
            assert!(lens().max().unwrap() - lens().min().unwrap() <= 1, "{masters}");
        }
    }

    #[test]
    fn on_one_host_the_order_given_is_the_order_used() {
        let plan = plan(&addresses(&["h"; 6]), 1).unwrap();
        let pairs: Vec<_> = plan.masters.iter().map(|m| (m.node, m.replicas.clone())).collect();
        assert_eq!(pairs, [(0, vec![3]), (1, vec![4]), (2, vec![5])]);
    }

    #[test]
    fn nodes_left_over_become_replicas() {
        let plan = plan(&addresses(&["h"; 8]), 1).unwrap();
        let counts: Vec<usize> = plan.masters.iter().map(|m| m.replicas.len()).collect();
        assert_eq!(counts, [1, 1, 1, 1]);
        let plan = super::plan(&addresses(&["h"; 7]), 1).unwrap();
        assert_eq!(plan.masters.iter().map(|m| m.replicas.len()).sum::<usize>(), 4);
    }

    #[test]
    fn replicas_sit_on_other_hosts_than_their_masters() {
        for hosts in [
            &["a", "b", "c", "a", "b", "c"][..],
            &["a", "a", "b", "b", "c", "c"],
            &["a", "a", "a", "b", "b", "b"],
            &["a", "b", "b", "c", "c", "c"],
        ] {
            assert_eq!(beside_master(&addresses(hosts), 1), 0, "{hosts:?}");
        }
        assert_eq!(beside_master(&addresses(&["a", "b", "c", "a", "b", "c", "a", "b", "c"]), 2), 0);
        // With one host there is no other place.
        assert_eq!(beside_master(&addresses(&["a"; 6]), 1), 3);
    }

    #[test]
    fn siblings_are_apart_where_there_are_hosts_enough() {
        let nodes = addresses(&["a", "a", "a", "b", "b", "b", "c", "c", "c"]);
        for master in plan(&nodes, 2).unwrap().masters {
            let mut hosts: Vec<&str> = master.replicas.iter().map(|&i| nodes[i].host.as_str()).collect();
            hosts.push(&nodes[master.node].host);
            hosts.sort();
            assert_eq!(hosts, ["a", "b", "c"]);
        }
    }

    #[test]
    fn fewer_than_three_masters_are_refused() {
        for (nodes, replicas) in [(0, 0), (2, 0), (5, 1), (8, 2)] {
            let error = plan(&addresses(&vec!["h"; nodes]), replicas).unwrap_err().to_string();
            assert!(error.contains("at least 3 masters"), "{error}");
        }
        assert!(plan(&addresses(&["h"; 3]), 0).is_ok());
    }
}

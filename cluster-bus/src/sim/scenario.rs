//! The scenario of a run: form a cluster, make it suffer, heal it, and see that it converges; then kill a
//! master for good and see its replica take over.

use super::check::Violation;
use super::net::{Delays, Host};
use super::world::{Power, World, WorldConfig};
use crate::{
    Address, CommandError, Cx, Epoch, FailoverMode, LineFor, Machine, NodeFlags, NodeId, NodeRecord,
    NodesConf, ShardId, SlotSet,
};
use protocol::{SLOT_COUNT, Slot};
use std::collections::BTreeMap;
use std::ops::Range;

/// Time a healthy cluster has to agree.
const CONVERGE_MS: i64 = 120_000;

/// What to simulate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub masters: usize,
    pub replicas_per_master: usize,
    /// Form the cluster by MEET and commands, else from prepared nodes.conf files.
    pub by_meet: bool,
    /// Slots an operator moves, one behind the other, before any fault.
    pub moves: usize,
    /// Faults, one after the other; healing counts too.
    pub faults: usize,
    /// Kill a master at the end and wait for its replica.
    pub final_failover: bool,
    /// Print what the nodes log.
    pub verbose: bool,
}

impl Plan {
    /// Three masters, three replicas, the documented cluster. Every fourth seed forms it by MEET.
    pub fn six(seed: u64) -> Plan {
        Plan {
            masters: 3,
            replicas_per_master: 1,
            by_meet: seed.is_multiple_of(4),
            moves: 0,
            faults: 12,
            final_failover: true,
            verbose: false,
        }
    }

    /// A cluster of any size, from prepared files.
    pub fn sized(masters: usize, replicas_per_master: usize, faults: usize) -> Plan {
        Plan {
            masters,
            replicas_per_master,
            by_meet: false,
            moves: 0,
            faults,
            final_failover: true,
            verbose: false,
        }
    }

    /// The documented cluster, healthy, while an operator moves slots faster than the nodes hear of it.
    pub fn resharding(moves: usize) -> Plan {
        Plan { moves, final_failover: false, ..Plan::sized(3, 1, 0) }
    }

    /// The command that repeats a run.
    pub fn command(&self, seed: u64) -> String {
        let Plan { masters, replicas_per_master: replicas, moves, faults, by_meet, .. } = self;
        format!(
            "cargo run -p balas-cluster-bus --example simulate -- --seed {seed} --masters {masters} \
             --replicas {replicas} --moves {moves} --faults {faults} --by-meet {by_meet} --verbose true"
        )
    }
}

/// How a run went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub steps: u64,
    pub virtual_ms: i64,
    pub elections_won: usize,
    /// From the death of a master until everybody agreed on its successor.
    pub failover_ms: Option<i64>,
}

/// Runs one seed.
pub fn run(seed: u64, plan: &Plan) -> Result<Outcome, Violation> {
    Run::new(seed, plan).play()
}

/// Runs many seeds; on the first violation, says how to repeat it.
pub fn run_many(seeds: Range<u64>, plan: impl Fn(u64) -> Plan) -> Result<Vec<Outcome>, String> {
    let one = |seed| {
        let plan = plan(seed);
        run(seed, &plan)
            .map_err(|violation| format!("seed {seed}: {violation}\nto repeat: {}", plan.command(seed)))
    };
    seeds.map(one).collect()
}

/// Something broken, and how to mend it.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Down(Host),
    Cut(Host, Host),
    Isolated(Host),
}

struct Run<'a> {
    world: World,
    plan: &'a Plan,
    faults: Vec<Fault>,
    start_ms: i64,
}

impl<'a> Run<'a> {
    fn new(seed: u64, plan: &'a Plan) -> Run<'a> {
        let mut rng = fastrand::Rng::with_seed(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let min_ms = rng.i64(0..3);
        let config = WorldConfig {
            hosts: plan.masters * (1 + plan.replicas_per_master),
            node_timeout_ms: rng.i64(800..3000),
            tick_ms: 100,
            delays: Delays { min_ms, max_ms: min_ms + rng.i64(1..80) },
            breaks_per_million: rng.choice([0, 100, 3000]).unwrap_or(0),
            duplicates_per_million: rng.choice([0, 1000]).unwrap_or(0),
            refusal_evidence: rng.bool(),
            validity_factor: rng.choice([0, 10]).unwrap_or(0),
            verbose: plan.verbose,
        };
        let world = World::new(rng.u64(..), config);
        let start_ms = world.now_ms;
        Run { world, plan, faults: Vec::new(), start_ms }
    }

    fn hosts(&self) -> usize {
        self.world.config.hosts
    }

    fn play(mut self) -> Result<Outcome, Violation> {
        if self.plan.by_meet {
            self.form_by_meet()?
        } else {
            self.form_from_files()
        }
        self.converge("formed")?;
        self.reshard()?;
        self.suffer()?;
        self.heal_all();
        self.converge("healed")?;
        let failover_ms = if self.plan.final_failover { self.kill_a_master()? } else { None };
        Ok(Outcome {
            steps: self.world.steps,
            virtual_ms: self.world.now_ms - self.start_ms,
            elections_won: self.world.checker.elections_won,
            failover_ms,
        })
    }

    fn slots_of(&self, master: Host) -> Vec<Slot> {
        let cut = |n: usize| (n * SLOT_COUNT / self.plan.masters) as u16;
        (cut(master)..cut(master + 1)).filter_map(Slot::new).collect()
    }

    /// As redis-cli --cluster create does it.
    fn form_by_meet(&mut self) -> Result<(), Violation> {
        let ip = self.world.ip(0);
        for host in 0..self.hosts() {
            let slots = if host < self.plan.masters { self.slots_of(host) } else { Vec::new() };
            let epoch = Epoch(host as u64 + 1);
            self.world.call(host, |machine, cx| machine.set_config_epoch(cx, epoch).is_ok());
            self.world.call(host, |machine, cx| machine.add_slots(cx, &slots).is_ok());
            if host > 0 {
                self.world.call(host, |machine, cx| machine.meet(cx, ip.as_str(), 6379, 16379).is_ok());
            }
        }
        for host in self.plan.masters..self.hosts() {
            let master = self.world.nodes[host % self.plan.masters].id;
            let deadline_ms = self.world.now_ms + CONVERGE_MS;
            loop {
                self.world.run_for(200)?;
                let told =
                    self.world.call(host, |machine, cx| machine.replicate(cx, master.as_bytes(), true));
                if matches!(told, Some(Ok(()))) {
                    break;
                }
                if self.world.now_ms > deadline_ms {
                    return Err(self.violation("meet", format!("node {host} does not hear of {master}")));
                }
                // A lost link may have cost the handshake: the operator tries again.
                if self.world.now_ms % 5000 < 200 {
                    self.world.call(host, |machine, cx| machine.meet(cx, ip.as_str(), 6379, 16379).is_ok());
                }
            }
        }
        Ok(())
    }

    fn form_from_files(&mut self) {
        let ids: Vec<NodeId> = self.world.nodes.iter().map(|node| node.id).collect();
        let shards: Vec<ShardId> =
            (0..self.plan.masters).map(|_| ShardId::random(&mut self.world.rng)).collect();
        let records: Vec<NodeRecord> =
            (0..self.hosts()).map(|host| self.record(host, &ids, &shards)).collect();
        for host in 0..self.hosts() {
            let mut nodes = records.clone();
            nodes[host].flags.insert(NodeFlags::MYSELF);
            let conf = NodesConf {
                nodes,
                current_epoch: Epoch(self.plan.masters as u64),
                last_vote_epoch: Epoch(0),
                saw_vars: true,
            };
            self.world.impose(host, &conf);
        }
    }

    fn record(&self, host: Host, ids: &[NodeId], shards: &[ShardId]) -> NodeRecord {
        let masters = self.plan.masters;
        let is_master = host < masters;
        let ip = self.world.ip(host);
        NodeRecord {
            id: ids[host],
            address: Address { ip, tcp_port: 6379, tls_port: 0, bus_port: 16379 },
            hostname: String::new(),
            human_nodename: String::new(),
            shard: Some(shards[host % masters]),
            flags: if is_master { NodeFlags::MASTER } else { NodeFlags::REPLICA },
            master: (!is_master).then(|| ids[host % masters]),
            ping_sent_ms: 0,
            pong_received_ms: 0,
            config_epoch: Epoch(if is_master { host as u64 + 1 } else { 0 }),
            connected: false,
            slots: if is_master { self.slots_of(host).into_iter().collect() } else { SlotSet::default() },
            migrating: Vec::new(),
            importing: Vec::new(),
        }
    }

    /// Waits until all running nodes agree and stay agreed for a moment.
    fn converge(&mut self, stage: &'static str) -> Result<(), Violation> {
        let deadline_ms = self.world.now_ms + CONVERGE_MS;
        loop {
            self.world.run_for(500)?;
            match self.world.agreement() {
                Ok(()) => return Ok(()),
                Err(why) if self.world.now_ms > deadline_ms => {
                    let views = self.describe();
                    return Err(self.violation("views-converge", format!("{stage}: {why}\n{views}")));
                }
                Err(_) => {}
            }
        }
    }

    fn violation(&self, checker: &'static str, detail: String) -> Violation {
        Violation { checker, at_ms: self.world.now_ms - self.start_ms, detail }
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for host in 0..self.hosts().min(12) {
            text.push_str(&format!("node {host} ({:?})\n", self.world.nodes[host].power));
            let Some(machine) = self.world.machine(host) else { continue };
            for record in machine.nodes_conf().nodes {
                text.push_str("  ");
                record.write_line(&mut text, LineFor::Client, false);
                text.push('\n');
            }
        }
        text
    }

    /// Moves slots between healthy masters as redis-cli does: the new owner is told, then the old one. What
    /// the operator ordered must be what all agree on afterwards.
    fn reshard(&mut self) -> Result<(), Violation> {
        if self.plan.moves == 0 {
            return Ok(());
        }
        let masters = self.plan.masters;
        let mut ordered: BTreeMap<Slot, Host> = BTreeMap::new();
        for _ in 0..self.plan.moves {
            // A few slots, so that some move more than once.
            let nth = self.world.rng.usize(..16) * (SLOT_COUNT / 16);
            let laid_out = |slot: &Slot| (0..masters).find(|host| self.slots_of(*host).contains(slot));
            let Some(slot) = Slot::all().nth(nth) else { continue };
            let Some(from) = ordered.get(&slot).copied().or_else(|| laid_out(&slot)) else { continue };
            let to = (from + self.world.rng.usize(1..masters)) % masters;
            self.move_slot(slot, from, to)?;
            ordered.insert(slot, to);
        }
        self.converge("resharded")?;
        for (slot, host) in ordered {
            let id = self.world.nodes[host].id;
            let owns = self.world.machine(host).is_some_and(|machine| machine.routing().is_mine(slot));
            if !owns {
                let detail = format!("slot {slot} was ordered to go to node {host} {id}, and is elsewhere");
                return Err(self.violation("moved-as-ordered", detail));
            }
        }
        Ok(())
    }

    fn move_slot(&mut self, slot: Slot, from: Host, to: Host) -> Result<(), Violation> {
        let (from_id, to_id) = (self.world.nodes[from].id, self.world.nodes[to].id);
        type Order<'a> = &'a dyn Fn(&mut Machine, &mut Cx<'_>) -> Result<(), CommandError>;
        let orders: [(Host, Order<'_>); 4] = [
            (to, &|machine, cx| machine.set_slot_importing(cx, slot, from_id.as_bytes())),
            (from, &|machine, cx| machine.set_slot_migrating(cx, slot, to_id.as_bytes())),
            (to, &|machine, cx| machine.set_slot_node(cx, slot, to_id.as_bytes(), 0)),
            (from, &|machine, cx| machine.set_slot_node(cx, slot, to_id.as_bytes(), 0)),
        ];
        for (step, (host, order)) in orders.into_iter().enumerate() {
            if let Some(Err(error)) = self.world.call(host, order) {
                let detail = format!("slot {slot} from {from} to {to}, step {step}: {error}");
                return Err(self.violation("orders-are-followed", detail));
            }
            let pause_ms = self.world.rng.i64(0..10);
            self.world.run_for(pause_ms)?;
        }
        Ok(())
    }

    fn suffer(&mut self) -> Result<(), Violation> {
        for _ in 0..self.plan.faults {
            let pause_ms = self.world.rng.i64(50..self.world.config.node_timeout_ms * 3);
            self.world.run_for(pause_ms)?;
            if self.world.rng.u8(..100) < 40 && !self.faults.is_empty() {
                let at = self.world.rng.usize(..self.faults.len());
                let fault = self.faults.swap_remove(at);
                self.heal(fault);
            } else {
                self.strike();
            }
        }
        Ok(())
    }

    fn strike(&mut self) {
        let hosts = self.hosts();
        let rng = &mut self.world.rng;
        let (host, other, dice) = (rng.usize(..hosts), rng.usize(..hosts), rng.u8(..100));
        let stall_ms = rng.i64(100..self.world.config.node_timeout_ms * 3);
        match dice {
            0..20 => self.take_down(host, Power::Crashed),
            20..25 => self.decapitate(),
            25..40 => self.take_down(host, Power::Dark),
            40..55 if host != other => {
                self.world.network.blocked.insert((host, other));
                self.faults.push(Fault::Cut(host, other));
            }
            55..65 => {
                self.isolate(host);
                self.faults.push(Fault::Isolated(host));
            }
            65..80 => self.world.nodes[host].stalled_until_ms = self.world.now_ms + stall_ms,
            80..90 => self.fail_over_by_hand(host),
            _ => self.migrate_a_slot(host, other),
        }
    }

    fn take_down(&mut self, host: Host, how: Power) {
        if self.world.is_running(host) {
            self.world.crash(host, how);
            self.faults.push(Fault::Down(host));
        }
    }

    /// As many masters as a majority can spare die at once: their replicas compete for votes.
    fn decapitate(&mut self) {
        let is_master = |host: &Host| self.world.machine(*host).is_some_and(crate::Machine::is_master);
        let mut masters: Vec<Host> = (0..self.hosts()).filter(is_master).collect();
        self.world.rng.shuffle(&mut masters);
        for host in masters.into_iter().take(self.plan.masters.saturating_sub(1) / 2) {
            self.take_down(host, Power::Crashed);
        }
    }

    fn isolate(&mut self, host: Host) {
        for other in (0..self.hosts()).filter(|other| *other != host) {
            self.world.network.blocked.insert((host, other));
            self.world.network.blocked.insert((other, host));
        }
    }

    fn fail_over_by_hand(&mut self, host: Host) {
        let mode = match self.world.rng.u8(..4) {
            0 => FailoverMode::Takeover,
            1 => FailoverMode::Force,
            _ => FailoverMode::Graceful,
        };
        self.world.call(host, |machine, cx| machine.failover(cx, mode).is_ok());
    }

    /// What redis-cli does at the end of a slot's migration: the new owner first. Like redis-cli it refuses
    /// unless both nodes see each other as healthy masters: a deposed master would take the slot along.
    fn migrate_a_slot(&mut self, from: Host, to: Host) {
        let (from_id, to_id) = (self.world.nodes[from].id, self.world.nodes[to].id);
        let slot = self.world.machine(from).and_then(|machine| {
            let routing = machine.routing();
            Slot::all().find(|slot| routing.is_mine(*slot))
        });
        let sees_healthy_master = |a: Host, b: Host| {
            self.world.machine(a).is_some_and(|machine| {
                let other = machine.node(&self.world.nodes[b].id);
                machine.is_state_ok()
                    && machine.is_master()
                    && other.is_some_and(|n| n.is_master() && !n.flags.any(NodeFlags::FAILING))
            })
        };
        let sane = from != to && sees_healthy_master(from, to) && sees_healthy_master(to, from);
        let Some(slot) = slot.filter(|_| sane) else { return };
        let from_name = from_id.as_bytes();
        self.world.call(to, |machine, cx| machine.set_slot_importing(cx, slot, from_name).is_ok());
        let taken =
            self.world.call(to, |machine, cx| machine.set_slot_node(cx, slot, to_id.as_bytes(), 0).is_ok());
        if taken == Some(true) {
            self.world.call(from, |machine, cx| machine.set_slot_node(cx, slot, to_id.as_bytes(), 0).is_ok());
        } else {
            self.world.call(to, |machine, cx| machine.set_slot_stable(cx, slot).is_ok());
        }
    }

    fn heal(&mut self, fault: Fault) {
        match fault {
            Fault::Down(host) => {
                // Some come back under another address. Nodes that all moved while apart would never find each
                // other again, so only one moves at a time.
                let others_run = (0..self.hosts()).all(|other| other == host || self.world.is_running(other));
                if others_run && self.world.rng.bool() {
                    self.world.move_host(host);
                }
                self.world.boot(host);
            }
            Fault::Cut(from, to) => {
                self.world.network.blocked.remove(&(from, to));
            }
            Fault::Isolated(host) => {
                self.world.network.blocked.retain(|(from, to)| *from != host && *to != host);
            }
        }
    }

    fn heal_all(&mut self) {
        for fault in std::mem::take(&mut self.faults) {
            self.heal(fault);
        }
        self.world.network.blocked.clear();
        self.world.config.breaks_per_million = self.world.config.breaks_per_million.min(100);
    }

    /// A master with a healthy replica dies for good: somebody must take its slots. Then it comes back.
    fn kill_a_master(&mut self) -> Result<Option<i64>, Violation> {
        // Replicas get the time to synchronize, or their data is too old to be promoted.
        self.world.run_for(2000)?;
        let has_replica = |host: &Host| {
            let Some(machine) = self.world.machine(*host) else { return false };
            let shards = machine.shards();
            let mine = shards.iter().find(|shard| shard.nodes[0].id == machine.my_id());
            mine.is_some_and(|shard| shard.nodes.len() > 1 && !shard.slots.is_empty())
        };
        let candidates: Vec<Host> = (0..self.hosts()).filter(has_replica).collect();
        let voters = self
            .world
            .machine(0)
            .map_or(0, |machine| machine.shards().iter().filter(|shard| !shard.slots.is_empty()).count());
        // Two voters cannot outvote a dead one.
        if candidates.is_empty() || voters < 3 {
            return Ok(None);
        }
        let victim = candidates[self.world.rng.usize(..candidates.len())];
        let how = if self.world.rng.bool() { Power::Crashed } else { Power::Dark };
        let died_ms = self.world.now_ms;
        self.world.crash(victim, how);
        self.converge("failed over")?;
        let failover_ms = self.world.now_ms - died_ms;
        self.world.boot(victim);
        self.converge("came back")?;
        Ok(Some(failover_ms))
    }
}

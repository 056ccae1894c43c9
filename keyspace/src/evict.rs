//! Eviction: which key goes when memory is short.
//!
//! As in stock Redis, exact order would cost more than it is worth: a handful of keys is sampled, the best of
//! all samples so far wait in a small pool, and the best of these goes. Keys are sampled across slots by the
//! slots' shares of the keys, each in the time of a few lookups.

use std::str::FromStr;

use crate::access::{LfuKnobs, lfu_counter, lru_idle_ms};
use crate::census::Census;
use crate::db::{Db, Keyspace};
use crate::entry::Entry;
use crate::slot::SlotData;
use crate::table::Item;

/// `maxmemory-policy`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    VolatileLru,
    VolatileLfu,
    VolatileRandom,
    VolatileTtl,
    AllkeysLru,
    AllkeysLfu,
    AllkeysRandom,
    #[default]
    NoEviction,
}

impl Policy {
    /// In the order of stock's table.
    pub const ALL: [Policy; 8] = [
        Policy::VolatileLru,
        Policy::VolatileLfu,
        Policy::VolatileRandom,
        Policy::VolatileTtl,
        Policy::AllkeysLru,
        Policy::AllkeysLfu,
        Policy::AllkeysRandom,
        Policy::NoEviction,
    ];

    /// As redis.conf spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Policy::VolatileLru => "volatile-lru",
            Policy::VolatileLfu => "volatile-lfu",
            Policy::VolatileRandom => "volatile-random",
            Policy::VolatileTtl => "volatile-ttl",
            Policy::AllkeysLru => "allkeys-lru",
            Policy::AllkeysLfu => "allkeys-lfu",
            Policy::AllkeysRandom => "allkeys-random",
            Policy::NoEviction => "noeviction",
        }
    }

    /// Whether it is about when, or how often, a key was used.
    pub const fn goes_by_access(self) -> bool {
        matches!(self, Policy::VolatileLru | Policy::VolatileLfu | Policy::AllkeysLru | Policy::AllkeysLfu)
    }

    /// Whether only keys with an expiry may go.
    pub const fn is_volatile(self) -> bool {
        use Policy::*;
        matches!(self, VolatileLru | VolatileLfu | VolatileRandom | VolatileTtl)
    }

    /// Whether entries' access bits count uses, not time.
    pub const fn is_lfu(self) -> bool {
        matches!(self, Policy::VolatileLfu | Policy::AllkeysLfu)
    }

    const fn is_random(self) -> bool {
        matches!(self, Policy::VolatileRandom | Policy::AllkeysRandom)
    }

    /// The higher, the sooner an entry goes.
    fn score(self, entry: &Entry, now_ms: i64, lfu: LfuKnobs) -> u64 {
        match self {
            Policy::VolatileTtl => {
                u64::MAX - entry.expire_at_ms().map_or(u64::MAX, |at_ms| at_ms.max(0) as u64)
            }
            Policy::VolatileLfu | Policy::AllkeysLfu => {
                (u8::MAX - lfu_counter(entry.access(), now_ms, lfu)) as u64
            }
            _ => lru_idle_ms(entry.access(), now_ms),
        }
    }
}

/// No policy has that name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownPolicy;

impl FromStr for Policy {
    type Err = UnknownPolicy;

    /// Without regard to case, as everywhere in redis.conf.
    fn from_str(name: &str) -> Result<Policy, UnknownPolicy> {
        Policy::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name)).ok_or(UnknownPolicy)
    }
}

/// What redis.conf says of eviction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Knobs {
    pub policy: Policy,
    /// `maxmemory-samples`: keys looked at for each that goes.
    pub samples: usize,
    pub lfu: LfuKnobs,
}

impl Default for Knobs {
    fn default() -> Knobs {
        Knobs { policy: Policy::default(), samples: 5, lfu: LfuKnobs::default() }
    }
}

/// A key that may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Victim {
    pub db: usize,
    pub key: Box<[u8]>,
}

/// Chooses victims. Remembers good candidates from one time to the next.
#[derive(Default)]
pub struct Evictor {
    policy: Policy,
    /// At most [`POOL`] candidates, the best one last.
    pool: Vec<Candidate>,
}

struct Candidate {
    score: u64,
    victim: Victim,
}

const POOL: usize = 16;
/// Times that a chosen key may turn out to be gone before a pick gives up.
const ROUNDS: usize = 16;

impl Evictor {
    /// The key to delete next; `None` if the policy allows none, or no key is left that it allows.
    ///
    /// Locks slots one at a time: the caller must not hold one. The key may be gone by the time the caller
    /// locks its slot; then it picks again.
    pub fn pick(
        &mut self,
        keyspace: &Keyspace,
        knobs: Knobs,
        now_ms: i64,
        rng: &mut fastrand::Rng,
    ) -> Option<Victim> {
        if knobs.policy == Policy::NoEviction {
            return None;
        }
        if self.policy != knobs.policy {
            // Scores of different policies do not compare.
            self.pool.clear();
            self.policy = knobs.policy;
        }
        let urn = Urn::new(keyspace, knobs.policy.is_volatile());
        for _ in 0..ROUNDS {
            if knobs.policy.is_random() {
                if let Some(victim) = urn.draw(rng, Victim::of) {
                    return Some(victim);
                }
                continue;
            }
            for _ in 0..knobs.samples.max(1) {
                urn.draw(rng, |db, entry| {
                    self.offer(knobs.policy.score(entry, now_ms, knobs.lfu), db, entry);
                });
            }
            while let Some(Candidate { victim, .. }) = self.pool.pop() {
                if victim.is_still_there(keyspace, knobs.policy) {
                    return Some(victim);
                }
            }
        }
        None
    }

    fn offer(&mut self, score: u64, db: usize, entry: &Entry) {
        let is_known = |known: &Candidate| known.victim.db == db && *known.victim.key == *entry.key();
        if self.pool.iter().any(is_known) {
            return;
        }
        if self.pool.len() == POOL {
            if self.pool[0].score >= score {
                return;
            }
            self.pool.remove(0);
        }
        let at = self.pool.partition_point(|candidate| candidate.score < score);
        self.pool.insert(at, Candidate { score, victim: Victim::of(db, entry) });
    }
}

impl Victim {
    fn of(db: usize, entry: &Entry) -> Victim {
        Victim { db, key: entry.key().into() }
    }

    fn is_still_there(&self, keyspace: &Keyspace, policy: Policy) -> bool {
        let Some(db) = keyspace.db(self.db) else { return false };
        let guard = db.lock(protocol::slot::slot_of(&self.key));
        let is_allowed = |entry: &Entry| !policy.is_volatile() || entry.expire_at_ms().is_some();
        guard.get(&self.key).is_some_and(is_allowed)
    }
}

/// All keys, or all that expire, to draw from.
struct Urn<'a> {
    dbs: Vec<(&'a Db, &'a Census, usize)>,
    total: usize,
    is_volatile: bool,
}

impl<'a> Urn<'a> {
    fn new(keyspace: &'a Keyspace, is_volatile: bool) -> Urn<'a> {
        let census = |db: &'a Db| {
            let census = if is_volatile { db.expires_census() } else { db.keys_census() }?;
            Some((db, census, census.total()))
        };
        let dbs: Vec<_> = keyspace.dbs().iter().filter_map(census).filter(|&(_, _, keys)| keys > 0).collect();
        let total = dbs.iter().map(|&(_, _, keys)| keys).sum();
        Urn { dbs, total, is_volatile }
    }

    fn draw<R>(&self, rng: &mut fastrand::Rng, visit: impl FnOnce(usize, &Entry) -> R) -> Option<R> {
        if self.total == 0 {
            return None;
        }
        let mut left = rng.usize(..self.total);
        let &(db, census, _) = self.dbs.iter().find(|&&(_, _, keys)| {
            let is_here = left < keys;
            left = left.saturating_sub(keys);
            is_here
        })?;
        let guard = db.lock(census.pick(rng)?);
        let draw = if self.is_volatile { SlotData::random_expiring } else { SlotData::random };
        draw(&guard, rng).map(|entry| visit(db.index(), entry))
    }
}

#[cfg(test)]
#[path = "evict_tests.rs"]
mod tests;

use protocol::slot::Slot;

use super::*;
use crate::access::{lfu_with, lru};
use crate::entry::NewValue;

const NOW_MS: i64 = 1_700_000_000_000;
const KEYS: i64 = 1_000;

/// Key n of two databases, all slots or one: used n seconds ago, or n / 4 times; every other one expires, the
/// sooner the higher n is.
fn filled(policy: Policy) -> Keyspace {
    let keyspace = Keyspace::new(2);
    for n in 0..KEYS {
        let db = keyspace.db((n % 4 == 0) as usize).unwrap();
        let key = key(n);
        let mut guard = db.lock_write(Slot::of(&key));
        let at_ms = (n % 2 == 0).then_some(NOW_MS + (KEYS - n) * 1_000);
        let (mut entry, _) = guard.upsert(&key, NewValue::Int(n), at_ms);
        let counter = (n / 4) as u8;
        entry.set_access(if policy.is_lfu() { lfu_with(counter, NOW_MS) } else { lru(NOW_MS - n * 1_000) });
    }
    keyspace
}

fn key(n: i64) -> Vec<u8> {
    if n % 3 == 0 { format!("{{tag}}:{n}") } else { format!("key:{n}") }.into_bytes()
}

fn number(victim: &Victim) -> i64 {
    let digits = victim.key.rsplit(|&byte| byte == b':').next().unwrap();
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

fn delete(keyspace: &Keyspace, victim: &Victim) {
    let mut guard = keyspace.db(victim.db).unwrap().lock_write(Slot::of(&victim.key));
    assert!(guard.remove(&victim.key).is_some());
}

/// The numbers of the keys in the order they go.
fn order(policy: Policy, samples: usize) -> Vec<i64> {
    let keyspace = filled(policy);
    let knobs = Knobs { policy, samples, ..Knobs::default() };
    let (mut evictor, mut rng) = (Evictor::default(), fastrand::Rng::with_seed(1));
    let mut order = Vec::new();
    while let Some(victim) = evictor.pick(&keyspace, knobs, NOW_MS, &mut rng) {
        delete(&keyspace, &victim);
        order.push(number(&victim));
    }
    let left = if policy.is_volatile() { KEYS as usize / 2 } else { 0 };
    assert_eq!(keyspace.len(), if policy == Policy::NoEviction { KEYS as usize } else { left });
    order
}

#[test]
fn policies_have_the_names_of_stock() {
    for policy in Policy::ALL {
        assert_eq!(policy.name().to_uppercase().parse(), Ok(policy));
    }
    assert_eq!("allkeys-lr".parse::<Policy>(), Err(UnknownPolicy));
}

#[test]
fn all_that_may_go_does_and_nothing_else() {
    for policy in Policy::ALL {
        let order = order(policy, 5);
        let expected = match policy {
            Policy::NoEviction => 0,
            policy if policy.is_volatile() => KEYS / 2,
            _ => KEYS,
        };
        assert_eq!(order.len() as i64, expected, "{}", policy.name());
        assert!(!policy.is_volatile() || order.iter().all(|n| n % 2 == 0));
    }
}

#[test]
fn the_worst_go_first() {
    // High numbers are idle for long or expire soon, low ones are used seldom.
    for (policy, high_first) in [
        (Policy::AllkeysLru, true),
        (Policy::VolatileLru, true),
        (Policy::VolatileTtl, true),
        (Policy::AllkeysLfu, false),
        (Policy::VolatileLfu, false),
    ] {
        let order = order(policy, 10);
        let half = &order[..order.len() / 2];
        let good = half.iter().filter(|&&n| (n >= KEYS / 2) == high_first).count();
        assert!(good * 100 >= half.len() * 93, "{}: {good} of {}", policy.name(), half.len());
    }
}

#[test]
fn random_is_random() {
    let order = order(Policy::AllkeysRandom, 5);
    let high = order[..500].iter().filter(|&&n| n >= KEYS / 2).count();
    assert!((200..=300).contains(&high), "{high}");
}

#[test]
fn a_stale_candidate_is_passed_over() {
    let keyspace = filled(Policy::AllkeysLru);
    let knobs = Knobs { policy: Policy::AllkeysLru, ..Knobs::default() };
    let (mut evictor, mut rng) = (Evictor::default(), fastrand::Rng::with_seed(2));
    evictor.pick(&keyspace, knobs, NOW_MS, &mut rng).unwrap();
    keyspace.dbs().iter().for_each(|db| drop(db.take_all()));
    assert_eq!(evictor.pick(&keyspace, knobs, NOW_MS, &mut rng), None);
    keyspace.db(0).unwrap().lock_write(Slot::of(b"only:1")).upsert(b"only:1", NewValue::Int(1), None);
    assert_eq!(&*evictor.pick(&keyspace, knobs, NOW_MS, &mut rng).unwrap().key, b"only:1");
}

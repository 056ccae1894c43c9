//! The 24 bits of an entry that tell when, or how often, it was accessed. The figures are those of stock
//! Redis, so that OBJECT IDLETIME and OBJECT FREQ and the knobs mean the same.
//!
//! ```text
//!  LRU   │ seconds since the epoch, modulo 2^24 (194 days)     │
//!  LFU   │ minutes since the epoch, modulo 2^16 │ counter, 0…255 │
//! ```
//!
//! The LFU counter is logarithmic: the more it shows, the less likely an access raises it. It falls by one
//! for each `lfu-decay-time` minutes without an access.

const LRU_MAX: u32 = (1 << 24) - 1;
const MINUTES_MAX: u32 = (1 << 16) - 1;
/// What a new key starts with, so that it is not evicted before it had a chance to be read.
const LFU_INITIAL: u8 = 5;

/// `lfu-log-factor` and `lfu-decay-time`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LfuKnobs {
    pub log_factor: u32,
    /// 0 means that counters never fall.
    pub decay_time_min: u32,
}

impl Default for LfuKnobs {
    fn default() -> LfuKnobs {
        LfuKnobs { log_factor: 10, decay_time_min: 1 }
    }
}

/// The access bits of an entry used now, under an LRU policy (and under all that are not LFU).
#[inline]
pub fn lru(now_ms: i64) -> u32 {
    (now_ms / 1_000) as u32 & LRU_MAX
}

/// The access bits of an entry last used `idle_s` seconds ago.
pub fn lru_idle_for(idle_s: u32, now_ms: i64) -> u32 {
    let (now, idle) = (lru(now_ms), idle_s.min(LRU_MAX));
    if now >= idle { now - idle } else { now + (LRU_MAX - idle) }
}

/// Milliseconds, in steps of a second, since the entry was used.
#[inline]
pub fn lru_idle_ms(access: u32, now_ms: i64) -> u64 {
    let now = lru(now_ms);
    let idle_s = if now >= access { now - access } else { now + (LRU_MAX - access) };
    idle_s as u64 * 1_000
}

/// The access bits of a new entry, under an LFU policy.
pub fn lfu_new(now_ms: i64) -> u32 {
    lfu_with(LFU_INITIAL, now_ms)
}

/// The access bits of an entry with this counter.
pub fn lfu_with(counter: u8, now_ms: i64) -> u32 {
    minutes(now_ms) << 8 | counter as u32
}

/// The counter as it has fallen until now.
#[inline]
pub fn lfu_counter(access: u32, now_ms: i64, knobs: LfuKnobs) -> u8 {
    let (since, now, counter) = (access >> 8, minutes(now_ms), access as u8);
    let elapsed = if now >= since { now - since } else { MINUTES_MAX - since + now };
    let fallen = elapsed.checked_div(knobs.decay_time_min).unwrap_or(0);
    (counter as u32).saturating_sub(fallen) as u8
}

/// The access bits after one more use.
#[inline]
pub fn lfu_touch(access: u32, now_ms: i64, knobs: LfuKnobs, rng: &mut fastrand::Rng) -> u32 {
    let counter = lfu_counter(access, now_ms, knobs);
    let above = counter.saturating_sub(LFU_INITIAL) as f64;
    let is_raised = counter < u8::MAX && rng.f64() < 1.0 / (above * knobs.log_factor as f64 + 1.0);
    lfu_with(counter + is_raised as u8, now_ms)
}

fn minutes(now_ms: i64) -> u32 {
    (now_ms / 60_000) as u32 & MINUTES_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;
    const NOW_MS: i64 = 1_700_000_000_000;

    #[test]
    fn idle_time_is_in_seconds_and_wraps() {
        assert_eq!(lru_idle_ms(lru(NOW_MS), NOW_MS + 999), 0);
        assert_eq!(lru_idle_ms(lru(NOW_MS), NOW_MS + 5_000), 5_000);
        let wrap_ms = (LRU_MAX as i64 + 1) * 1_000;
        // Stock loses one second where the clock wraps.
        assert_eq!(lru_idle_ms(lru(wrap_ms - 3_000), wrap_ms + 2_000), 4_000);
        for idle_s in [0, 1, 1_000, 10_000_000] {
            assert_eq!(lru_idle_ms(lru_idle_for(idle_s, NOW_MS), NOW_MS), idle_s as u64 * 1_000);
        }
        assert!(lru_idle_for(u32::MAX, 5_000) <= LRU_MAX);
    }

    #[test]
    fn counters_fall_by_the_minute() {
        let knobs = LfuKnobs::default();
        let access = lfu_with(20, NOW_MS);
        for (minutes, counter) in [(0, 20), (1, 19), (19, 1), (20, 0), (500, 0)] {
            assert_eq!(lfu_counter(access, NOW_MS + minutes * MINUTE_MS, knobs), counter);
        }
        let slow = LfuKnobs { decay_time_min: 10, ..knobs };
        assert_eq!(lfu_counter(access, NOW_MS + 25 * MINUTE_MS, slow), 18);
        let never = LfuKnobs { decay_time_min: 0, ..knobs };
        assert_eq!(lfu_counter(access, NOW_MS + 500 * MINUTE_MS, never), 20);
    }

    #[test]
    fn counters_rise_as_the_redis_conf_of_stock_tabulates() {
        // From the comment of `lfu-log-factor`: factor, hits, counter; rounded there, hence the tolerance.
        let table = [(0, 100, 104), (1, 1_000, 49), (10, 1_000, 18), (10, 100_000, 142), (100, 100_000, 49)];
        let mut rng = fastrand::Rng::with_seed(9);
        for (log_factor, hits, expected) in table {
            let knobs = LfuKnobs { log_factor, decay_time_min: 1 };
            let access =
                (0..hits).fold(lfu_new(NOW_MS), |access, _| lfu_touch(access, NOW_MS, knobs, &mut rng));
            let counter = lfu_counter(access, NOW_MS, knobs) as i32;
            assert!((counter - expected).abs() <= 3 + expected / 6, "{log_factor} {hits}: {counter}");
        }
        assert_eq!(lfu_touch(lfu_with(255, NOW_MS), NOW_MS, LfuKnobs::default(), &mut rng) as u8, 255);
    }
}

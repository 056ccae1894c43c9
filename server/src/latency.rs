//! Latency monitoring: events that took longer than `latency-monitor-threshold`, one sample a second of each.

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Samples kept of an event.
const SAMPLES_MAX: usize = 160;

/// What took long.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Event {
    Command,
    FastCommand,
    ExpireCycle,
    EvictionCycle,
    /// One key of it.
    EvictionDel,
}

impl Event {
    const ALL: [Event; 5] =
        [Event::Command, Event::FastCommand, Event::ExpireCycle, Event::EvictionCycle, Event::EvictionDel];

    pub fn name(self) -> &'static str {
        match self {
            Event::Command => "command",
            Event::FastCommand => "fast-command",
            Event::ExpireCycle => "expire-cycle",
            Event::EvictionCycle => "eviction-cycle",
            Event::EvictionDel => "eviction-del",
        }
    }

    pub fn named(name: &[u8]) -> Option<Event> {
        Event::ALL.into_iter().find(|event| event.name().as_bytes() == name)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    pub unix_seconds: i64,
    pub millis: u64,
}

/// The samples of an event, the oldest first.
#[derive(Clone, Default)]
pub struct Series {
    pub samples: VecDeque<Sample>,
    /// The longest since the start, or since they were forgotten.
    pub max_millis: u64,
}

impl Series {
    fn add(&mut self, unix_seconds: i64, millis: u64) {
        self.max_millis = self.max_millis.max(millis);
        match self.samples.back_mut() {
            Some(last) if last.unix_seconds == unix_seconds => last.millis = last.millis.max(millis),
            _ => {
                if self.samples.len() == SAMPLES_MAX {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample { unix_seconds, millis });
            }
        }
    }
}

#[derive(Default)]
pub struct Latency {
    events: Mutex<BTreeMap<Event, Series>>,
}

impl Latency {
    /// Notes what took so long, if that is at or above the threshold; 0 means that nothing is noted.
    #[inline]
    pub fn note(&self, threshold_ms: u64, event: Event, micros: u64) {
        if threshold_ms > 0 && micros / 1000 >= threshold_ms {
            self.add(event, micros / 1000);
        }
    }

    #[cold]
    fn add(&self, event: Event, millis: u64) {
        let unix_seconds = crate::clock::now_ms() / 1000;
        self.events.lock().entry(event).or_default().add(unix_seconds, millis);
    }

    pub fn of(&self, event: Event) -> Option<Series> {
        self.events.lock().get(&event).cloned()
    }

    pub fn all(&self) -> Vec<(Event, Series)> {
        self.events.lock().iter().map(|(event, series)| (*event, series.clone())).collect()
    }

    /// Forgets the samples of an event, or all. Returns of how many events there were some.
    pub fn reset(&self, event: Option<Event>) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|known, _| event.is_some_and(|event| event != *known));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_keeps_its_longest_sample_and_old_ones_go() {
        let mut series = Series::default();
        for (second, millis) in [(1, 5), (1, 9), (1, 2), (2, 7)] {
            series.add(second, millis);
        }
        let samples: Vec<_> = series.samples.iter().map(|s| (s.unix_seconds, s.millis)).collect();
        assert_eq!((samples, series.max_millis), (vec![(1, 9), (2, 7)], 9));
        (3..200).for_each(|second| series.add(second, 1));
        assert_eq!((series.samples.len(), series.max_millis), (SAMPLES_MAX, 9));
    }
}

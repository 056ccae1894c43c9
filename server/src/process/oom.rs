//! `oom-score-adj`: how likely the kernel is to end this process when memory runs out, by the node's role.

use crate::config::{OomScore, Settings};
use crate::log;
use parking_lot::Mutex;
use std::io;

const FILE: &str = "/proc/self/oom_score_adj";

/// What the kernel takes.
const RANGE: std::ops::RangeInclusive<i32> = -1000..=1000;

/// The score the process had before it was first adjusted; `None` while it is not.
static BASE: Mutex<Option<i32>> = Mutex::new(None);

/// Gives the process the score its settings and role ask for, or the one it had before.
pub fn adjust(settings: &Settings, is_replica: bool) -> io::Result<()> {
    let mut base = BASE.lock();
    let score = match settings.oom_score_adj {
        OomScore::Untouched => match base.take() {
            None => return Ok(()),
            Some(before) => before,
        },
        wanted => {
            let before = match *base {
                Some(before) => before,
                None => *base.insert(read().inspect_err(|error| complain("read", error))?),
            };
            let value = settings.oom_score_adj_values[usize::from(is_replica)];
            if wanted == OomScore::Relative { before.saturating_add(value) } else { value }
        }
    };
    let score = score.clamp(*RANGE.start(), *RANGE.end());
    std::fs::write(FILE, format!("{score}\n")).inspect_err(|error| complain("write", error))
}

fn read() -> io::Result<i32> {
    let text = std::fs::read_to_string(FILE)?;
    text.trim().parse().map_err(io::Error::other)
}

fn complain(doing: &str, error: &io::Error) {
    log::warning(&format!("Unable to {doing} oom_score_adj: {}", crate::config::strerror(error)));
}

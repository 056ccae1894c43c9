//! The log, in stock's format: `PID:ROLE DD Mon YYYY HH:MM:SS.mmm LEVEL message`.
//!
//! Operators and tools match on these lines, so the format and many of the texts are stock's.

use crate::clock;
use parking_lot::RwLock;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

/// How important a line is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Level {
    Debug,
    Verbose,
    Notice,
    Warning,
}

impl Level {
    /// The number by which scripts name it.
    pub fn from_number(n: i64) -> Option<Level> {
        [Level::Debug, Level::Verbose, Level::Notice, Level::Warning]
            .into_iter()
            .find(|level| *level as i64 == n)
    }
}

/// What the process is, as the letter of each line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Master = b'M' as isize,
    Replica = b'S' as isize,
    Sentinel = b'X' as isize,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Notice as u8);
static ROLE: AtomicU8 = AtomicU8::new(b'M');
static SINK: RwLock<Option<Sink>> = RwLock::new(None);

/// A file is opened for each line: whoever rotates logs renames it, tells nobody, and expects the next line under the
/// old name.
struct Sink {
    path: PathBuf,
    /// As it was found at first: it takes the lines for which no file can be opened.
    fallback: File,
}

impl Sink {
    fn open(path: &Path) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(path)
    }

    fn write(&self, text: &[u8]) -> io::Result<()> {
        match Sink::open(&self.path) {
            Ok(mut file) => file.write_all(text),
            Err(_) => (&self.fallback).write_all(text),
        }
    }
}

/// Lines less important than this are dropped. Unknown names mean `nothing`.
pub fn set_level(name: &str) {
    let level = match name {
        "debug" => Level::Debug as u8,
        "verbose" => Level::Verbose as u8,
        "notice" => Level::Notice as u8,
        "warning" => Level::Warning as u8,
        _ => u8::MAX,
    };
    LEVEL.store(level, Ordering::Relaxed);
}

pub fn set_role(role: Role) {
    ROLE.store(role as isize as u8, Ordering::Relaxed);
}

/// Logs to a file from now on, or to standard output when `path` is empty.
pub fn open(path: &Path) -> io::Result<()> {
    *SINK.write() = if path.as_os_str().is_empty() {
        None
    } else {
        Some(Sink { path: path.to_owned(), fallback: Sink::open(path)? })
    };
    Ok(())
}

pub fn debug(message: &str) {
    line(Level::Debug, message);
}

pub fn verbose(message: &str) {
    line(Level::Verbose, message);
}

pub fn notice(message: &str) {
    line(Level::Notice, message);
}

pub fn warning(message: &str) {
    line(Level::Warning, message);
}

/// Writes one line. Failing to log is nobody's fault who could do something about it.
pub fn line(level: Level, message: &str) {
    if (level as u8) < LEVEL.load(Ordering::Relaxed) {
        return;
    }
    let mark = [".", "-", "*", "#"][level as usize];
    let role = ROLE.load(Ordering::Relaxed) as char;
    let text = format!("{}:{role} {} {mark} {message}\n", std::process::id(), timestamp(clock::now_ms()));
    raw(&text);
}

/// Writes text as it is.
pub fn raw(text: &str) {
    let sink = SINK.read();
    let _ = match &*sink {
        Some(sink) => sink.write(text.as_bytes()),
        None => io::stdout().write_all(text.as_bytes()),
    };
}

/// `20 Nov 2026 10:04:06.123`, in UTC: the log says the same wherever it is read.
fn timestamp(now_ms: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (seconds, ms) = (now_ms.div_euclid(1000), now_ms.rem_euclid(1000));
    let (days, second_of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
    let month = MONTHS[month as usize - 1];
    format!("{day:02} {month} {year} {hour:02}:{minute:02}:{second:02}.{ms:03}")
}

/// Year, month and day of a day counted from 1 January 1970, in the proleptic Gregorian calendar
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_read_like_stock_lines() {
        assert_eq!(timestamp(0), "01 Jan 1970 00:00:00.000");
        assert_eq!(timestamp(1_709_210_096_789), "29 Feb 2024 12:34:56.789");
        assert_eq!(timestamp(4_102_444_799_001), "31 Dec 2099 23:59:59.001");
    }
}

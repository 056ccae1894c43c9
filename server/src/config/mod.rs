//! Configuration: one row per parameter, from which file parsing, CONFIG GET, SET and REWRITE follow.
//!
//! Three layers, each an immutable value:
//! - [`params::PARAMS`], the table: what parameters exist, their types, ranges and defaults;
//! - [`Values`]: one value per row, as read from the file, the command line or CONFIG SET;
//! - [`Settings`]: the values the server works with, projected from `Values` into typed fields.
//!
//! A batch of commands loads the `Settings` once. CONFIG SET makes new `Values`, projects them, and swaps
//! both, or neither.

mod custom;
pub mod file;
mod params;
mod rewrite;
mod settings;
mod value;

pub use custom::strerror;
pub use params::PARAMS;
pub use rewrite::{replace_file, rewrite};
pub use settings::{Access, AppendFsync, BufferLimit, DisklessLoad, Endpoint, OomScore, Save, Settings};
pub use value::memory as memory_bytes;
pub use value::{Kind, Param, Value};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

/// One value per row of [`PARAMS`], in the table's order.
#[derive(Clone)]
pub struct Values(Vec<Value>);

impl Default for Values {
    fn default() -> Values {
        Values(PARAMS.iter().map(Param::default_value).collect())
    }
}

impl Values {
    pub fn get(&self, row: usize) -> &Value {
        &self.0[row]
    }

    /// Sets a row from text. The error says what the text should have been.
    pub fn set(&mut self, row: usize, words: &[String]) -> Result<(), String> {
        self.0[row] = PARAMS[row].parse(words, &self.0[row])?;
        Ok(())
    }

    /// Brings values that are allowed but not used as they stand to those that are.
    pub fn normalise(&mut self) {
        const USED: [(&str, RangeInclusive<i64>); 2] =
            [("hz", 1..=500), ("repl-backlog-size", 16384..=i64::MAX)];
        for (name, range) in USED {
            let row = row_of(name).expect("in the table");
            if let Value::Int(n) = &mut self.0[row] {
                *n = (*n).clamp(*range.start(), *range.end());
            }
        }
    }

    pub fn int(&self, name: &str) -> i64 {
        match self.by_name(name) {
            Value::Int(n) => *n,
            other => unreachable!("{name} is no integer: {other:?}"),
        }
    }

    pub fn bool(&self, name: &str) -> bool {
        match self.by_name(name) {
            Value::Bool(b) => *b,
            other => unreachable!("{name} is no boolean: {other:?}"),
        }
    }

    pub fn text(&self, name: &str) -> &str {
        match self.by_name(name) {
            Value::Text(text) => text,
            other => unreachable!("{name} is no text: {other:?}"),
        }
    }

    fn by_name(&self, name: &str) -> &Value {
        &self.0[row_of(name).unwrap_or_else(|| panic!("no parameter named {name}"))]
    }
}

/// The row of a parameter by its name or its alias, in any case.
pub fn row_of(name: &str) -> Option<usize> {
    PARAMS.iter().position(|param| param.is_named(name))
}

/// The server's configuration as it stands.
pub struct Config {
    settings: ArcSwap<Settings>,
    values: Mutex<Values>,
    /// The file the server was started with, for CONFIG REWRITE.
    pub file: Option<PathBuf>,
}

impl Config {
    pub fn new(values: Values, file: Option<PathBuf>) -> Config {
        let settings = ArcSwap::from_pointee(Settings::project(&values));
        Config { settings, values: Mutex::new(values), file }
    }

    /// The settings in force.
    pub fn settings(&self) -> Guard<Arc<Settings>> {
        self.settings.load()
    }

    /// As [`Config::settings`], to keep for a while.
    pub fn settings_shared(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    pub fn values(&self) -> Values {
        self.values.lock().clone()
    }

    /// Notes whom this node follows now, for CONFIG GET and CONFIG REWRITE. The world is at rest.
    pub fn note_master(&self, master: Option<(&str, u16)>) {
        let text = master.map_or_else(String::new, |(host, port)| format!("{host} {port}"));
        let mut values = self.values();
        let row = row_of("replicaof").expect("in the table");
        // A host that is no word of the file's cannot be kept there.
        if values.set(row, &[text]).is_ok() {
            self.replace(values);
        }
    }

    /// Puts `values` in force.
    pub fn replace(&self, values: Values) {
        let settings = Arc::new(Settings::project(&values));
        let mut current = self.values.lock();
        *current = values;
        self.settings.store(settings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_valid() {
        let mut names: Vec<&str> =
            PARAMS.iter().flat_map(|p| [Some(p.name), p.alias].into_iter().flatten()).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        // `dir` is made absolute when it is set.
        for param in PARAMS.iter().filter(|param| param.name != "dir") {
            let text = param.default_value().to_text(param);
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let words = if param.flags.multi { words } else { vec![text.clone()] };
            let back =
                param.parse(&words, &param.default_value()).unwrap_or_else(|e| panic!("{}: {e}", param.name));
            assert_eq!(back, param.default_value(), "{}", param.name);
        }
    }

    #[test]
    fn settings_follow_values() {
        let config = Config::new(Values::default(), None);
        let mut values = config.values();
        values.set(row_of("SLAVE-PRIORITY").unwrap(), &["7".into()]).unwrap();
        values.set(row_of("maxmemory").unwrap(), &["2mb".into()]).unwrap();
        config.replace(values);
        assert_eq!(config.settings().replica_priority, 7);
        assert_eq!(config.settings().maxmemory_bytes, 2 << 20);
    }
}

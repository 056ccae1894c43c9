//! Reading redis.conf, and the command line, which spells the same directives.

use super::{PARAMS, Values, row_of};
use protocol::request::split_quoted;
use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// How deep `include` may nest.
const INCLUDE_DEPTH_MAX: usize = 16;

/// What the sources of configuration say, beside the values of the table.
#[derive(Default)]
pub struct Loaded {
    pub values: Values,
    /// `rename-command old new`; an empty new name removes the command.
    pub renamed: Vec<(String, String)>,
    /// `user` lines, each without that word.
    pub users: Vec<Vec<String>>,
    /// Where each of them stands.
    user_places: Vec<Place>,
    /// Rows set before; the first `save` line replaces the default points, later ones add to them.
    seen: HashSet<usize>,
}

/// What makes no sense in a configuration, with the place it stands.
#[derive(Debug)]
pub struct ConfigError {
    place: Place,
    reason: String,
}

#[derive(Clone, Debug)]
enum Place {
    /// A source that could not be read at all.
    Source(String),
    Line {
        source: String,
        /// From 1.
        number: usize,
        line: String,
    },
    /// Each line is right, but not all of them together, or not on this machine.
    Whole,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Place::Source(source) = &self.place {
            return write!(f, "Fatal error, can't open config file '{source}': {}", self.reason);
        }
        writeln!(f, "\n*** FATAL CONFIG FILE ERROR (Redis {}) ***", crate::REDIS_VERSION)?;
        if let Place::Line { source, number, line } = &self.place {
            writeln!(f, "Reading the configuration file {source}, at line {number}")?;
            writeln!(f, ">>> '{line}'")?;
        }
        write!(f, "{}", self.reason)
    }
}

impl std::error::Error for ConfigError {}

impl Loaded {
    /// Reads a file, `include`d ones at their place.
    pub fn read_file(&mut self, path: &Path) -> Result<(), ConfigError> {
        self.read_nested(path, 0)
    }

    fn read_nested(&mut self, path: &Path, depth: usize) -> Result<(), ConfigError> {
        let source = path.display().to_string();
        let fault = |reason| ConfigError { place: Place::Source(source.clone()), reason };
        if depth > INCLUDE_DEPTH_MAX {
            return Err(fault("include nests too deep".into()));
        }
        let text = std::fs::read(path).map_err(|error| fault(super::strerror(&error)))?;
        self.read_lines(&String::from_utf8_lossy(&text), &source, depth)
    }

    /// Reads the text of a configuration; `source` is its name in errors.
    pub fn read_text(&mut self, text: &str, source: &str) -> Result<(), ConfigError> {
        self.read_lines(text, source, 0)
    }

    fn read_lines(&mut self, text: &str, source: &str, depth: usize) -> Result<(), ConfigError> {
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = Place::Line { source: source.to_owned(), number: i + 1, line: line.to_owned() };
            let fault = |reason: String| ConfigError { place: place.clone(), reason };
            let words = split_quoted(line.as_bytes())
                .ok_or_else(|| fault("Unbalanced quotes in configuration line".into()))?;
            let words: Vec<String> =
                words.as_argv().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            if words.is_empty() {
                continue;
            }
            if words[0].eq_ignore_ascii_case("include") && words.len() == 2 {
                for path in include_paths(&words[1]).map_err(&fault)? {
                    self.read_nested(&path, depth + 1)?;
                }
                continue;
            }
            self.apply_at(&words, place)?;
        }
        Ok(())
    }

    fn apply_at(&mut self, words: &[String], place: Place) -> Result<(), ConfigError> {
        if let Err(reason) = self.apply(words) {
            return Err(ConfigError { place, reason });
        }
        if self.users.len() > self.user_places.len() {
            self.user_places.push(place);
        }
        Ok(())
    }

    /// Puts one directive in force.
    pub fn apply(&mut self, words: &[String]) -> Result<(), String> {
        const BAD: &str = "Bad directive or wrong number of arguments";
        let (name, args) = words.split_first().ok_or(BAD)?;
        match name.to_ascii_lowercase().as_str() {
            "rename-command" if args.len() == 2 => {
                self.renamed.push((args[0].to_ascii_lowercase(), args[1].to_ascii_lowercase()));
                crate::exec::table::check_renames(&self.renamed)?;
            }
            // Directives of older versions, without effect since.
            "list-max-ziplist-entries" | "list-max-ziplist-value" | "lua-replicate-commands"
                if args.len() == 1 => {}
            "user" if !args.is_empty() => {
                if self.users.iter().any(|known| known[0] == args[0]) {
                    return Err(format!(
                        "Error in user declaration '{}': {}",
                        args[0],
                        crate::acl::DUPLICATE
                    ));
                }
                self.users.push(args.to_vec());
            }
            // Of roles and parts that are not there.
            "sentinel" | "loadmodule" => {}
            _ => {
                let row = row_of(name).ok_or(BAD)?;
                let param = &PARAMS[row];
                if args.len() != 1 && !param.flags.multi {
                    return Err("wrong number of arguments".into());
                }
                let first = self.seen.insert(row);
                // `save` alone is `save ""`.
                let mut args = if args.is_empty() { vec![String::new()] } else { args.to_vec() };
                if param.flags.multi && args.len() == 1 {
                    args = split_again(&args[0]);
                }
                if param.name == "save" && !first && args.iter().any(|word| !word.is_empty()) {
                    args.insert(0, self.values.text("save").to_owned());
                }
                self.values.set(row, &args)?;
            }
        }
        Ok(())
    }

    /// Reads `--name value… --name value…` as given to the process.
    pub fn read_args(&mut self, args: &[String]) -> Result<(), ConfigError> {
        for (i, directive) in directives(args).into_iter().enumerate() {
            let (source, line) = ("(command line)".into(), quote_line(&directive));
            self.apply_at(&directive, Place::Line { source, number: i + 1, line })?;
        }
        Ok(())
    }

    /// Gives commands their new names, and looks at what all sources say together. To be called once.
    pub fn settle(&self) -> Result<(), ConfigError> {
        let fault = |reason| Err(ConfigError { place: Place::Whole, reason });
        if let Err(reason) = crate::exec::table::rename(&self.renamed) {
            return fault(reason);
        }
        // Rules name commands, and who looks for one by its name makes the table, so the new names come first.
        for (user, place) in self.users.iter().zip(&self.user_places) {
            crate::acl::check_declaration(&user[1..])
                .map_err(|reason| ConfigError { place: place.clone(), reason })?;
        }
        let values = &self.values;
        // Once the process is a daemon there would be nobody to tell.
        if let Err(error) = open_log(values) {
            return fault(format!("Can't open the log file: {}", super::strerror(&error)));
        }
        if values.bool("cluster-enabled") && !values.text("replicaof").is_empty() {
            return fault("replicaof directive not allowed in cluster mode".into());
        }
        Ok(())
    }
}

/// Opens the log file as the process will, and leaves it as it is.
fn open_log(values: &Values) -> std::io::Result<()> {
    let name = values.text("logfile");
    if name.is_empty() {
        return Ok(());
    }
    let path = Path::new(values.text("dir")).join(name);
    std::fs::OpenOptions::new().create(true).append(true).open(path).map(|_| ())
}

/// All words of a directive given in one argument, which may quote them once more: `--save "''"` clears save points.
fn split_again(arg: &str) -> Vec<String> {
    match split_quoted(arg.as_bytes()) {
        Some(words) if !words.is_empty() => {
            words.as_argv().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
        }
        _ => vec![arg.to_owned()],
    }
}

/// Splits the command line into directives. An argument that starts with `--` begins one; it may hold
/// the whole directive, as in `"--port 6380"`.
fn directives(args: &[String]) -> Vec<Vec<String>> {
    let mut out: Vec<Vec<String>> = Vec::new();
    for (i, arg) in args.iter().enumerate() {
        let mut words: Vec<String> = match split_quoted(arg.as_bytes()) {
            Some(words) if arg.starts_with("--") => {
                words.as_argv().iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect()
            }
            _ => vec![arg.clone()],
        };
        // A directive always takes a value, so what follows a bare name is one even if it starts with `--`.
        let expects_value = out.last().is_some_and(|last| last.len() == 1 && last[0] != "sentinel");
        if arg.starts_with("--") && arg.len() > 2 && !expects_value {
            words[0] = words[0][2..].to_owned();
            // `--save` alone, or before another directive, means no save points.
            if words.len() == 1
                && words[0] == "save"
                && args.get(i + 1).is_none_or(|next| next.starts_with("--"))
            {
                words.push(String::new());
            }
            out.push(words);
        } else {
            match out.last_mut() {
                Some(last) => last.append(&mut words),
                None => out.push(words),
            }
        }
    }
    out
}

fn quote_line(words: &[String]) -> String {
    let mut line = words[0].clone();
    for word in &words[1..] {
        line.push_str(&format!(" \"{word}\""));
    }
    line
}

/// The files an `include` names; the last part may hold `*`.
fn include_paths(pattern: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some((prefix, suffix)) = name.split_once('*') else { return Ok(vec![path.to_owned()]) };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.len() >= prefix.len() + suffix.len() && name.starts_with(prefix) && name.ends_with(suffix)
        })
        .collect();
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Result<Loaded, String> {
        let mut loaded = Loaded::default();
        loaded.read_text(text, "test.conf").map_err(|error| error.to_string())?;
        Ok(loaded)
    }

    #[test]
    fn old_names_quotes_comments_and_several_saves() {
        let loaded =
            loaded("# comment\n\n slave-read-only no\nsave 900 1\nsave 300 10\nrequirepass \"a b\"\n")
                .unwrap();
        assert!(!loaded.values.bool("replica-read-only"));
        assert_eq!(loaded.values.text("save"), "900 1 300 10");
        assert_eq!(loaded.values.text("requirepass"), "a b");
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = loaded("port 1\nnonsense 3\n").err().unwrap();
        assert!(error.contains("at line 2") && error.contains("'nonsense 3'"), "{error}");
        assert!(error.ends_with("Bad directive or wrong number of arguments"), "{error}");
    }

    #[test]
    fn the_command_line_spells_directives() {
        let words = |line: &[&str]| directives(&line.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(words(&["--port", "1", "--bind", "a", "b"]), [vec!["port", "1"], vec!["bind", "a", "b"]]);
        assert_eq!(
            words(&["--port 1", "--save", "--appendonly", "yes"]),
            [vec!["port", "1"], vec!["save", ""], vec!["appendonly", "yes"]]
        );
        assert_eq!(words(&["--requirepass", "--x"]), [vec!["requirepass", "--x"]]);
        assert_eq!(words(&["--port", "--loglevel", "verbose"]), [vec!["port", "--loglevel", "verbose"]]);
    }
}

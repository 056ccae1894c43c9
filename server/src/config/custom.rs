//! Parameters with a grammar of their own. Each function turns words into the canonical text CONFIG GET shows.

use super::value::memory;
use protocol::number::parse_i64;
use std::path::Path;

type Parsed = Result<String, String>;

/// Words given one by one, or all in one argument as CONFIG SET does.
fn split(words: &[String]) -> Vec<&str> {
    words.iter().flat_map(|word| word.split_ascii_whitespace()).collect()
}

/// Something was given, but no word.
fn is_blank(words: &[String]) -> bool {
    split(words).is_empty() && words.iter().any(|word| !word.is_empty())
}

/// Pairs of seconds and changes. A line adds its pairs to those of lines before it; `""` clears them.
pub fn save(words: &[String], _old: &str) -> Parsed {
    let is_blank = is_blank(words);
    let words = split(words);
    let fault = || "Invalid save parameters".to_owned();
    if is_blank || !words.len().is_multiple_of(2) {
        return Err(fault());
    }
    for pair in words.chunks(2) {
        let (seconds, changes) = (parse_i64(pair[0].as_bytes()), parse_i64(pair[1].as_bytes()));
        if !(seconds.is_some_and(|s| s >= 1) && changes.is_some_and(|c| c >= 0)) {
            return Err(fault());
        }
    }
    Ok(words.join(" "))
}

/// One or more of class, hard limit, soft limit, soft seconds; classes not named keep theirs.
pub fn client_output_buffer_limit(words: &[String], old: &str) -> Parsed {
    const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];
    if words == [String::new()] {
        return Ok(old.to_owned());
    }
    let words = split(words);
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut limits: Vec<String> = old.split(' ').map(str::to_owned).collect();
    for quad in words.chunks(4) {
        let class = if quad[0].eq_ignore_ascii_case("replica") { "slave" } else { quad[0] };
        let Some(class) = CLASSES.iter().position(|name| name.eq_ignore_ascii_case(class)) else {
            return Err("Invalid client class specified in buffer limit configuration.".into());
        };
        let fault =
            || "Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned();
        let hard = memory(quad[1]).ok_or_else(fault)?;
        let soft = memory(quad[2]).ok_or_else(fault)?;
        let seconds = parse_i64(quad[3].as_bytes()).filter(|&s| s >= 0).ok_or_else(fault)?;
        for (i, n) in [hard, soft, seconds].into_iter().enumerate() {
            limits[class * 4 + 1 + i] = n.to_string();
        }
    }
    Ok(limits.join(" "))
}

pub fn oom_score_adj_values(words: &[String], _old: &str) -> Parsed {
    let words = split(words);
    if words.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    for word in &words {
        if !parse_i64(word.as_bytes()).is_some_and(|n| (-2000..=2000).contains(&n)) {
            return Err("Invalid oom-score-adj-values, elements must be between -2000 and 2000.".into());
        }
    }
    Ok(words.join(" "))
}

/// Event classes, `A` standing for all but `K`, `E`, `m` and `n`.
pub fn notify_keyspace_events(words: &[String], _old: &str) -> Parsed {
    let text = words.concat();
    crate::notify::Classes::parse(&text)
        .map(|classes| classes.to_string())
        .ok_or_else(|| "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned())
}

pub fn bind(words: &[String], _old: &str) -> Parsed {
    let words = split(words);
    if words.len() > 16 {
        return Err("Too many bind addresses specified.".into());
    }
    Ok(words.join(" "))
}

/// `host port`, or nothing, or `no one`.
pub fn replicaof(words: &[String], _old: &str) -> Parsed {
    let words = split(words);
    match words[..] {
        [] => Ok(String::new()),
        [no, one] if no.eq_ignore_ascii_case("no") && one.eq_ignore_ascii_case("one") => Ok(String::new()),
        [host, port] => match parse_i64(port.as_bytes()) {
            Some(0..=65535) => Ok(format!("{host} {port}")),
            _ => Err("Invalid master port".into()),
        },
        _ => Err("wrong number of arguments".into()),
    }
}

pub fn dir(words: &[String], _old: &str) -> Parsed {
    let [dir] = words else { return Err("wrong number of arguments".into()) };
    let path = Path::new(dir).canonicalize().map_err(|error| strerror(&error))?;
    if !path.is_dir() {
        return Err("Not a directory".into());
    }
    Ok(path.to_string_lossy().into_owned())
}

/// A file's name without a directory; `what` is the parameter, `kind` what it names.
fn file_name(words: &[String], what: &str, kind: &str, may_be_empty: bool) -> Parsed {
    let [name] = words else { return Err("wrong number of arguments".into()) };
    if name.is_empty() && !may_be_empty {
        return Err(format!("{what} can't be empty"));
    }
    if name.contains('/') {
        return Err(format!("{what} can't be a path, just a {kind}"));
    }
    Ok(name.clone())
}

pub fn dbfilename(words: &[String], _old: &str) -> Parsed {
    file_name(words, "dbfilename", "filename", true)
}

pub fn appendfilename(words: &[String], _old: &str) -> Parsed {
    file_name(words, "appendfilename", "filename", false)
}

pub fn appenddirname(words: &[String], _old: &str) -> Parsed {
    file_name(words, "appenddirname", "dirname", false)
}

pub fn hostname(words: &[String], _old: &str) -> Parsed {
    const LEN_MAX: usize = 256;
    let [name] = words else { return Err("wrong number of arguments".into()) };
    if name.len() >= LEN_MAX {
        return Err(format!("Hostnames must be less than {LEN_MAX} characters"));
    }
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into());
    }
    Ok(name.clone())
}

/// Graphic characters, without those that separate fields of nodes.conf.
pub fn nodename(words: &[String], _old: &str) -> Parsed {
    let [name] = words else { return Err("wrong number of arguments".into()) };
    const SEPARATORS: &[u8] = b"!#$%&()*+:;<>?@[]^{|}~, ";
    if !name.bytes().all(|b| !b.is_ascii_control() && !SEPARATORS.contains(&b)) {
        return Err("Announced human node name contained invalid character".into());
    }
    Ok(name.clone())
}

pub fn proc_title_template(words: &[String], _old: &str) -> Parsed {
    const NAMES: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    let [template] = words else { return Err("wrong number of arguments".into()) };
    const INVALID: &str = "template format is invalid or contains unknown variables";
    if template.trim().is_empty() {
        return Err(INVALID.into());
    }
    let mut rest = template.as_str();
    while let Some((_, after)) = rest.split_once('{') {
        let known = after.split_once('}').filter(|(name, _)| NAMES.contains(name));
        let Some((_, after)) = known else {
            return Err(INVALID.into());
        };
        rest = after;
    }
    Ok(template.clone())
}

/// The system's words for an error, without Rust's `(os error N)`.
pub fn strerror(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

pub fn shutdown_flags(words: &[String], _old: &str) -> Parsed {
    const CHOICES: [&str; 5] = ["default", "save", "nosave", "now", "force"];
    let words: Vec<String> = split(words).into_iter().map(str::to_ascii_lowercase).collect();
    if words.is_empty() || words.iter().any(|word| !CHOICES.contains(&word.as_str())) {
        return Err(format!("argument(s) must be one of the following: {}", CHOICES.join(", ")));
    }
    let has = |word: &str| words.iter().any(|w| w == word);
    if has("save") && has("nosave") {
        return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
    }
    let named: Vec<&str> = CHOICES[1..].iter().copied().filter(|choice| has(choice)).collect();
    Ok(if named.is_empty() { "default".to_owned() } else { named.join(" ") })
}

pub fn latency_tracking_info_percentiles(words: &[String], _old: &str) -> Parsed {
    if is_blank(words) {
        return Err("Invalid latency-tracking-info-percentiles parameters".into());
    }
    let words = split(words);
    let mut canonical = Vec::new();
    for word in &words {
        match word.parse::<f64>() {
            Ok(percentile) if (0.0..=100.0).contains(&percentile) => canonical.push(percentile.to_string()),
            Ok(_) => {
                return Err(
                    "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into()
                );
            }
            Err(_) => return Err("Invalid latency-tracking-info-percentiles parameters".into()),
        }
    }
    Ok(canonical.join(" "))
}

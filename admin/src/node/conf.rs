//! The redis.conf of a node that `up` makes.

use protocol::request::split_quoted;
use std::fmt::Write;
use std::path::Path;

/// The settings of the documented developers' cluster (`configs/developers`), less what differs by node.
const DEVELOPERS: &str = "\
bind 127.0.0.1
protected-mode yes

cluster-enabled yes
cluster-node-timeout 5000
cluster-require-full-coverage yes

maxmemory 256mb
maxmemory-policy allkeys-lru

appendonly yes
appendfsync everysec
save 900 1
save 300 10
save 60 10000
";

/// The text of a node's redis.conf. The user's settings, if any, come first and unchanged, so that the line numbers
/// in the server's complaints are those of the user's file; what must differ by node comes after, where it wins.
pub fn text(
    settings: Option<&str>,
    port: u16,
    dir: &Path,
    pid_file: &Path,
    password: Option<&str>,
) -> String {
    let settings = settings.unwrap_or(DEVELOPERS);
    let mut text = settings.to_owned();
    if !text.ends_with('\n') {
        text.push('\n');
    }
    let mut directive = |name: &str, value: &str| {
        writeln!(text, "{name} {}", quoted(value)).expect("a String takes any text");
    };
    directive("port", &port.to_string());
    directive("daemonize", "no");
    directive("cluster-enabled", "yes");
    directive("cluster-config-file", "nodes.conf");
    directive("dir", &dir.display().to_string());
    directive("logfile", "node.log");
    directive("pidfile", &pid_file.display().to_string());
    if value(settings, "bind").is_none() {
        directive("bind", "127.0.0.1");
    }
    if let Some(password) = password {
        directive("requirepass", password);
        directive("masterauth", password);
    }
    text
}

/// The value of the last line that sets a directive of one argument; an empty value counts as none.
pub fn value(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().filter_map(|line| {
        let words = split_quoted(line.trim().as_bytes())?;
        let words = words.as_argv();
        (words.len() >= 2 && words.get(0).eq_ignore_ascii_case(name.as_bytes()))
            .then(|| String::from_utf8_lossy(words.get(1)).into_owned())
    });
    lines.next_back().filter(|value| !value.is_empty())
}

/// A word as redis.conf spells it: in quotes where it needs them.
fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./:".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    let mut text = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            _ => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(settings: Option<&str>, password: Option<&str>) -> String {
        text(
            settings,
            7003,
            Path::new("/data/my dir/7003"),
            Path::new("/data/my dir/7003/node.pid"),
            password,
        )
    }

    #[test]
    fn what_differs_by_node_wins_and_keeps_line_numbers() {
        let mine = "# mine\nport 1\nmaxmemory 1gb";
        let text = text_of(Some(mine), None);
        assert!(text.starts_with("# mine\nport 1\nmaxmemory 1gb\nport 7003\n"));
        assert_eq!(value(&text, "port").as_deref(), Some("7003"));
        assert_eq!(value(&text, "maxmemory").as_deref(), Some("1gb"));
        assert_eq!(value(&text, "dir").as_deref(), Some("/data/my dir/7003"));
        assert_eq!(value(&text, "bind").as_deref(), Some("127.0.0.1"));
        assert_eq!(value(&text, "requirepass"), None);
    }

    #[test]
    fn the_built_in_settings_are_those_of_the_developers_files() {
        let directives = |text: &str| -> Vec<String> {
            let by_node = ["port", "cluster-config-file"];
            let set = |line: &&str| line.split(' ').next().is_some_and(|name| !by_node.contains(&name));
            let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            lines.filter(set).map(str::to_owned).collect()
        };
        for port in 7000..7006 {
            let path = format!("{}/../configs/developers/redis-{port}.conf", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read_to_string(path).unwrap();
            assert_eq!(directives(&file), directives(DEVELOPERS));
            assert_eq!(value(&file, "port"), Some(port.to_string()));
        }
    }

    #[test]
    fn an_own_bind_stays() {
        assert_eq!(value(&text_of(Some("bind 10.0.0.1 ::1"), None), "bind").as_deref(), Some("10.0.0.1"));
    }

    #[test]
    fn any_password_survives_the_file() {
        for password in ["simple", "with space", r#"quo"te\ "#, "#hash", "é'"] {
            let text = text_of(None, Some(password));
            assert_eq!(value(&text, "requirepass").as_deref(), Some(password));
            assert_eq!(value(&text, "masterauth").as_deref(), Some(password));
        }
    }

    #[test]
    fn the_last_line_wins_and_an_empty_value_is_none() {
        assert_eq!(value("requirepass a\nRequirePass b\n", "requirepass").as_deref(), Some("b"));
        assert_eq!(value("requirepass a\nrequirepass \"\"\n", "requirepass"), None);
        assert_eq!(value("# requirepass a\n", "requirepass"), None);
    }
}

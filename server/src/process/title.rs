//! The process's title, as `ps` shows it (`proc-title-template`).
//!
//! ```text
//!   arg_start                    arg_end
//!      │ balas\0/etc/redis.conf\0   │ environment …
//!      │ balas *:6379 [cluster]\0\0 │
//! ```
//!
//! The system shows the memory in which it has put the command line, so the title is written there; by way of
//! /proc/self/mem, as any debugger would. Nobody reads the command line again by then.
//!
//! But what if the title is longer? Behind the command line lies the environment, which libraries read at any time. So
//! the title is cut.

use crate::config::Settings;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::OnceLock;

/// The command line as it was, once it has been asked for.
static COMMAND_LINE: OnceLock<Option<CommandLine>> = OnceLock::new();

struct CommandLine {
    /// What the process was called by.
    name: String,
    /// Its first address, and how many bytes it takes.
    start: u64,
    len: usize,
}

impl CommandLine {
    fn find() -> Option<CommandLine> {
        let mut stat = String::new();
        File::open("/proc/self/stat").ok()?.read_to_string(&mut stat).ok()?;
        let (start, end) = bounds(&stat)?;
        let name = std::env::args_os().next()?.to_string_lossy().into_owned();
        Some(CommandLine { name, start, len: usize::try_from(end.checked_sub(start)?).ok()? })
    }
}

/// Fields 48 and 49 of /proc/PID/stat; the second field, a name in brackets, may hold blanks.
fn bounds(stat: &str) -> Option<(u64, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(48 - 3).map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// Gives the process the title that the settings ask for. Where that cannot be done it keeps the one it has.
pub fn set(settings: &Settings, config_file: Option<&Path>) {
    let Some(line) = COMMAND_LINE.get_or_init(CommandLine::find) else { return };
    let title = expand(&line.name, settings, config_file);
    // The last byte stays zero: otherwise the system looks for the end in the environment.
    let mut bytes = title.into_bytes();
    bytes.truncate(line.len.saturating_sub(1));
    bytes.resize(line.len, 0);
    let _ = overwrite(line.start, &bytes);
}

fn overwrite(address: u64, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).open("/proc/self/mem")?.write_all_at(bytes, address)
}

/// The template with its variables replaced; which there are was checked when it was set.
fn expand(name: &str, settings: &Settings, config_file: Option<&Path>) -> String {
    let address = settings.bind.first().map_or("*", String::as_str);
    let listens_at = match settings.port {
        0 => format!("unixsocket:{}", settings.unixsocket),
        port => format!("{address}:{port}"),
    };
    let variables = [
        ("{title}", name.to_owned()),
        ("{listen-addr}", listens_at),
        ("{server-mode}", if settings.cluster_enabled { "[cluster]" } else { "" }.to_owned()),
        ("{port}", settings.port.to_string()),
        ("{tls-port}", "0".to_owned()),
        ("{unixsocket}", settings.unixsocket.clone()),
        ("{config-file}", config_file.map_or("-".into(), |file| file.display().to_string())),
    ];
    let expanded = variables
        .iter()
        .fold(settings.proc_title_template.clone(), |text, (variable, value)| text.replace(variable, value));
    expanded.trim_matches(' ').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Values;

    #[test]
    fn a_name_with_blanks_and_brackets_shifts_no_field() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        let stat = format!("17 (a ) b) {}", fields.join(" "));
        assert_eq!(bounds(&stat), Some((48, 49)));
        assert_eq!(bounds("17 (short) S 1"), None);
    }

    #[test]
    fn the_template_is_filled_in() {
        let mut settings =
            crate::config::Config::new(Values::default(), None).settings_shared().as_ref().clone();
        assert_eq!(expand("balas", &settings, None), "balas *:6379");
        settings.cluster_enabled = true;
        assert_eq!(expand("balas", &settings, None), "balas *:6379 [cluster]");
        settings.proc_title_template = "{port} {tls-port} {config-file}".into();
        assert_eq!(expand("balas", &settings, Some(Path::new("/a/b.conf"))), "6379 0 /a/b.conf");
    }
}

//! INFO: sections and fields as tools read them, in stock's order. Where there is no such thing here, the field
//! says so with the value it has in an idle stock server.

mod clients;
mod memory;
mod persistence;
mod replication;
mod server;
mod stats;

use crate::exec::Cx;
use std::fmt::{Display, Write};

pub use memory::{Usage, functions_bytes};

/// One section: its names in a request, whether it is shown unasked, its writer.
struct Section {
    names: &'static [&'static str],
    is_default: bool,
    title: &'static str,
    write: fn(&mut Text, &Cx<'_>),
}

const SECTIONS: &[Section] = &[
    Section { names: &["server"], is_default: true, title: "Server", write: server::server },
    Section { names: &["clients"], is_default: true, title: "Clients", write: clients::clients },
    Section { names: &["memory"], is_default: true, title: "Memory", write: memory::memory },
    Section {
        names: &["persistence"],
        is_default: true,
        title: "Persistence",
        write: persistence::persistence,
    },
    Section { names: &["stats"], is_default: true, title: "Stats", write: stats::stats },
    Section {
        names: &["replication"],
        is_default: true,
        title: "Replication",
        write: replication::replication,
    },
    Section { names: &["cpu"], is_default: true, title: "CPU", write: server::cpu },
    Section { names: &["modules", "module_list"], is_default: true, title: "Modules", write: |_, _| {} },
    Section { names: &["commandstats"], is_default: false, title: "Commandstats", write: stats::commands },
    Section { names: &["errorstats"], is_default: true, title: "Errorstats", write: stats::errors },
    Section { names: &["latencystats"], is_default: false, title: "Latencystats", write: stats::latencies },
    Section { names: &["cluster"], is_default: true, title: "Cluster", write: server::cluster },
    Section { names: &["keyspace"], is_default: true, title: "Keyspace", write: server::keyspace },
    Section { names: &["debug"], is_default: false, title: "Debug", write: stats::debug },
];

/// The reply's text, made line by line.
#[derive(Default)]
pub struct Text(String);

impl Text {
    fn title(&mut self, title: &str) {
        if !self.0.is_empty() {
            self.0.push_str("\r\n");
        }
        let _ = write!(self.0, "# {title}\r\n");
    }

    fn field(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.0, "{name}:{value}\r\n");
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.field(name, u8::from(value));
    }

    /// A number with so many decimals.
    fn decimals(&mut self, name: &str, value: f64, decimals: usize) {
        self.field(name, format_args!("{value:.decimals$}"));
    }

    /// Several fields that have no meaning here.
    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.field(name, 0));
    }

    fn ok_or_err(&mut self, name: &str, ok: bool) {
        self.field(name, if ok { "ok" } else { "err" });
    }
}

/// The text of INFO for the sections asked for; none means the usual ones.
pub fn info<'a>(cx: &Cx<'_>, asked: impl Iterator<Item = &'a [u8]>) -> String {
    let asked: Vec<Vec<u8>> = asked.map(<[u8]>::to_ascii_lowercase).collect();
    let is_asked = |name: &str| asked.iter().any(|word| word == name.as_bytes());
    // Debug is not part of it.
    let all = is_asked("all") || is_asked("everything");
    let default = asked.is_empty() || is_asked("default");
    let mut text = Text::default();
    for section in SECTIONS {
        let named = section.names.iter().any(|name| is_asked(name));
        if all && section.names != ["debug"] || named || default && section.is_default {
            text.title(section.title);
            (section.write)(&mut text, cx);
        }
    }
    text.0
}

//! LATENCY: what took long in the server.

use super::help::{container, help};
use super::prelude::*;
use crate::exec::table::{Command, table};
use crate::latency::{Event, Sample, Series};
use std::collections::VecDeque;

/// Columns of LATENCY GRAPH, and rows above its labels.
const COLUMNS: usize = 80;
const ROWS: usize = 4;
/// A row's height, from nothing to full.
const HEIGHTS: &[u8] = b"_o#";

fn latest(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let events = cx.server.latency.all();
    cx.reply.array(events.len());
    for (event, series) in events {
        let last = series.samples.back().copied().unwrap_or(Sample { unix_seconds: 0, millis: 0 });
        cx.reply.array(4);
        cx.reply.text(event.name());
        cx.reply.integer(last.unix_seconds);
        cx.reply.integer(last.millis as i64);
        cx.reply.integer(series.max_millis as i64);
    }
    Ok(())
}

fn history(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let series = Event::named(args.bytes()?).and_then(|event| cx.server.latency.of(event));
    let samples = series.map_or(VecDeque::new(), |series| series.samples);
    cx.reply.array(samples.len());
    for sample in samples {
        cx.reply.array(2);
        cx.reply.integer(sample.unix_seconds);
        cx.reply.integer(sample.millis as i64);
    }
    Ok(())
}

fn reset(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let latency = &cx.server.latency;
    let count = match args.is_empty() {
        true => latency.reset(None),
        false => args.rest().filter_map(Event::named).map(|event| latency.reset(Some(event))).sum(),
    };
    cx.reply.integer(count as i64);
    Ok(())
}

fn graph(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let name = args.bytes()?;
    let found = Event::named(name).and_then(|event| Some((event, cx.server.latency.of(event)?)));
    let Some((event, series)) = found else {
        return Err(ReplyError::new([b"ERR No samples available for event '", name, b"'"].concat()));
    };
    let text = draw(event, &series, cx.now_ms / 1000);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn draw(event: Event, series: &Series, now_seconds: i64) -> String {
    let millis = || series.samples.iter().map(|sample| sample.millis);
    let (low, high) = (millis().min().unwrap_or(0), millis().max().unwrap_or(0));
    let mut text = format!(
        "{} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        event.name(),
        series.max_millis,
        "-".repeat(COLUMNS)
    );
    let samples: Vec<Sample> = series.samples.iter().copied().collect();
    let parts: Vec<String> =
        samples.chunks(COLUMNS).map(|part| draw_part(part, low, high, now_seconds)).collect();
    text.push_str(&parts.join("\n"));
    text
}

/// As many samples as fit beside each other, with how long ago they were written below them from top to bottom.
fn draw_part(samples: &[Sample], low: u64, high: u64, now_seconds: i64) -> String {
    let steps = HEIGHTS.len() * ROWS;
    let range = (high - low).max(1);
    let step = |sample: &Sample| ((sample.millis - low) as usize * steps / range as usize).min(steps - 1);
    let mut lines: Vec<String> = Vec::new();
    for row in (0..ROWS).rev() {
        let column = |sample: &Sample| match step(sample).checked_sub(row * HEIGHTS.len()) {
            None => ' ',
            Some(over) => HEIGHTS.get(over).map_or('|', |&height| char::from(height)),
        };
        lines.push(samples.iter().map(column).collect());
    }
    let labels: Vec<String> = samples.iter().map(|sample| ago(now_seconds - sample.unix_seconds)).collect();
    let longest = labels.iter().map(String::len).max().unwrap_or(0);
    lines.push(" ".repeat(samples.len()));
    for at in 0..longest {
        lines.push(labels.iter().map(|label| label.chars().nth(at).unwrap_or(' ')).collect());
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn ago(seconds: i64) -> String {
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn doctor(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    let threshold_ms = cx.settings.latency_monitor_threshold_ms;
    let events = cx.server.latency.all();
    let mut text = match (threshold_ms, events.is_empty()) {
        (0, _) => "Nothing is sampled: latency-monitor-threshold is 0. CONFIG SET it to the milliseconds from which on \
                   something is slow.\n"
            .to_owned(),
        (_, true) => format!("Nothing has taken {threshold_ms} ms or longer.\n"),
        _ => String::new(),
    };
    for (event, series) in events {
        let count = series.samples.len() as u64;
        let sum: u64 = series.samples.iter().map(|sample| sample.millis).sum();
        text.push_str(&format!(
            "{}: {count} slow seconds, {} ms on average, {} ms at worst.\n",
            event.name(),
            sum / count.max(1),
            series.max_millis
        ));
    }
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// How the running times of commands are distributed: of those named, with their subcommands, or of all.
fn histogram(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let mut commands: Vec<&'static Command> = Vec::new();
    if args.is_empty() {
        commands.extend(table().each());
    }
    for command in args.rest().filter_map(|name| table().find_full(name)) {
        commands.push(command);
        commands.extend(&command.subcommands);
    }
    let times = |command: &&'static Command| Some((*command, cx.server.stats.times(command.id)?));
    let rows: Vec<_> = commands.iter().filter_map(times).collect();
    cx.reply.map(rows.len());
    for (command, times) in rows {
        cx.reply.text(&command.full_name);
        cx.reply.map(2);
        cx.reply.text("calls");
        cx.reply.integer(times.total() as i64);
        cx.reply.text("histogram_usec");
        let doublings = times.by_doublings();
        cx.reply.map(doublings.len());
        for (micros, calls) in doublings {
            cx.reply.integer(micros as i64);
            cx.reply.integer(calls as i64);
        }
    }
    Ok(())
}

fn latency_help(cx: &mut Cx<'_>, _: &mut Args<'_>) -> Done {
    help(
        cx,
        &[
            "DOCTOR",
            "    Says what is known about latency.",
            "GRAPH <event>",
            "    Draws the samples of an event.",
            "HISTORY <event>",
            "    Shows the samples of an event.",
            "LATEST",
            "    Shows the latest sample of every event.",
            "RESET [<event> ...]",
            "    Forgets the samples.",
            "HISTOGRAM [COMMAND ...]",
            "    Shows how the commands' running times are distributed.",
        ],
    )
}

#[rustfmt::skip]
const LATENCY: &[CommandSpec] = &[
    CommandSpec::new("latest", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE), latest).group(Group::Server).since("2.8.13"),
    CommandSpec::new("reset", -2, flags!(ADMIN | NOSCRIPT | LOADING | STALE), reset).group(Group::Server).since("2.8.13"),
    CommandSpec::new("history", 3, flags!(ADMIN | NOSCRIPT | LOADING | STALE), history).group(Group::Server).since("2.8.13"),
    CommandSpec::new("graph", 3, flags!(ADMIN | NOSCRIPT | LOADING | STALE), graph).group(Group::Server).since("2.8.13"),
    CommandSpec::new("histogram", -2, flags!(ADMIN | NOSCRIPT | LOADING | STALE), histogram).group(Group::Server).since("7.0.0"),
    CommandSpec::new("doctor", 2, flags!(ADMIN | NOSCRIPT | LOADING | STALE), doctor).group(Group::Server).since("2.8.13"),
    CommandSpec::new("help", 2, flags!(LOADING | STALE), latency_help).group(Group::Server).since("2.8.13"),
];

#[rustfmt::skip]
pub const COMMANDS: &[CommandSpec] = &[
    CommandSpec::new("latency", -2, flags!(), container).subcommands(LATENCY).group(Group::Server).since("2.8.13"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_a_column_for_each_sample() {
        let samples = [(100, 10), (130, 40), (159, 25)];
        let samples = samples.map(|(unix_seconds, millis)| Sample { unix_seconds, millis });
        let series = Series { samples: samples.into(), max_millis: 50 };
        let text = draw(Event::Command, &series, 160);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 40 ms, low 10 ms (all time high 50 ms)");
        assert_eq!(lines[2..], [" # ", " |_", " ||", "_||", "   ", "131", "m0s", " s "]);
    }
}

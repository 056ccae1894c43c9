//! LCS: the longest common subsequence of two strings.

use super::prelude::*;
use keyspace::types::number::parse_i64;
use protocol::Reply;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: i64,
}

impl Options {
    fn parse(args: &mut Args<'_>) -> Result<Options, ReplyError> {
        let mut options = Options::default();
        while !args.is_empty() {
            if args.flag("IDX") {
                options.idx = true;
            } else if args.flag("LEN") {
                options.len = true;
            } else if args.flag("WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.left() >= 2 && args.flag("MINMATCHLEN") {
                let least = parse_i64(args.bytes()?).ok_or(ReplyError::NOT_INTEGER)?;
                options.min_match_len = least.max(0);
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        if options.len && options.idx {
            return Err(ReplyError::fixed(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// The lengths of the longest common subsequences of all prefixes of two strings.
struct Lengths {
    cells: Vec<u32>,
    width: usize,
}

impl Lengths {
    fn of(a: &[u8], b: &[u8]) -> Lengths {
        let width = b.len() + 1;
        let mut cells = vec![0u32; (a.len() + 1) * width];
        for (i, x) in a.iter().enumerate() {
            let (above, row) = cells[i * width..(i + 2) * width].split_at_mut(width);
            for (j, y) in b.iter().enumerate() {
                row[j + 1] = if x == y { above[j] + 1 } else { above[j + 1].max(row[j]) };
            }
        }
        Lengths { cells, width }
    }

    /// Of the first `i` bytes of one string and the first `j` of the other.
    fn at(&self, i: usize, j: usize) -> u32 {
        self.cells[i * self.width + j]
    }
}

/// A run of bytes both strings have: where it starts in each, and how long it is.
#[derive(Clone, Copy)]
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

/// The runs that make up the longest common subsequence, from the last to the first.
fn runs(a: &[u8], b: &[u8], lengths: &Lengths) -> Vec<Run> {
    let (mut i, mut j) = (a.len(), b.len());
    let mut runs: Vec<Run> = Vec::new();
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            (i, j) = (i - 1, j - 1);
            match runs.last_mut() {
                Some(run) if (run.a, run.b) == (i + 1, j + 1) => *run = Run { a: i, b: j, len: run.len + 1 },
                _ => runs.push(Run { a: i, b: j, len: 1 }),
            }
        } else if lengths.at(i - 1, j) > lengths.at(i, j - 1) {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    runs
}

pub fn lcs(cx: &mut Cx<'_>, args: &mut Args<'_>) -> Done {
    let mut strings = Vec::new();
    let mut all_strings = true;
    for key in [args.key()?, args.key()?] {
        match super::string::with_bytes(cx.keys.get(key).map(Entry::value), <[u8]>::to_vec) {
            Ok(bytes) => strings.push(bytes),
            Err(_) => all_strings = false,
        }
    }
    if !all_strings {
        return Err(ReplyError::fixed("ERR The specified keys must contain string values"));
    }
    let options = Options::parse(args)?;
    let (a, b) = (&strings[0][..], &strings[1][..]);
    if a.len().max(b.len()) >= u32::MAX as usize - 1 {
        return Err(ReplyError::fixed("ERR String too long for LCS"));
    }
    let table_bytes = (a.len() as u128 + 1) * (b.len() as u128 + 1) * size_of::<u32>() as u128;
    if table_bytes > cx.settings.proto_max_bulk_len as u128 {
        return Err(ReplyError::fixed(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let lengths = Lengths::of(a, b);
    let len = lengths.at(a.len(), b.len());
    if options.len {
        cx.reply.integer(i64::from(len));
    } else if options.idx {
        reply_matches(&mut cx.reply, &runs(a, b, &lengths), len, &options);
    } else {
        let runs = runs(a, b, &lengths);
        cx.reply
            .bulk(&runs.iter().rev().flat_map(|run| &a[run.a..run.a + run.len]).copied().collect::<Vec<_>>());
    }
    Ok(())
}

fn reply_matches(reply: &mut Reply<'_>, runs: &[Run], len: u32, options: &Options) {
    let long_enough = |run: &&Run| run.len as i64 >= options.min_match_len;
    reply.map(2);
    reply.text("matches");
    reply.array(runs.iter().filter(long_enough).count());
    for run in runs.iter().filter(long_enough) {
        reply.array(if options.with_match_len { 3 } else { 2 });
        for start in [run.a, run.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + run.len - 1) as i64);
        }
        if options.with_match_len {
            reply.integer(run.len as i64);
        }
    }
    reply.text("len");
    reply.integer(i64::from(len));
}

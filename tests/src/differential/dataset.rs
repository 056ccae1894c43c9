//! Everything that is stored, read back from both servers.

use super::lots::flat;
use super::{Argv, Pair, words};
use crate::compare::Compare;
use crate::generate::DATABASES;
use crate::known;
use crate::resp::Value;

impl Pair {
    /// Reads back everything, in all databases. After a restart (`live` is false) not what has a history:
    /// encodings, and how values are cut into nodes.
    pub(super) fn check_everything(&mut self, live: bool) {
        for db in 0..DATABASES {
            self.both(&words(&["SELECT", &db.to_string()]));
            let all = words(&["KEYS", "*"]);
            let (stock, balas) = self.both(&all);
            self.expect(Compare::AnyOrder, &all, &stock, &balas);
            let size = words(&["DBSIZE"]);
            let (of_stock, of_balas) = self.both(&size);
            self.expect(Compare::Exactly, &size, &of_stock, &of_balas);
            for key in flat(balas.items()) {
                self.check_key(key, live);
            }
        }
        self.both(&words(&["SELECT", "0"]));
    }

    fn check_key(&mut self, key: &[u8], live: bool) {
        let (_, kind) = self.both(&about(key, &["TYPE", "KEY"]));
        let kind = kind.text().unwrap_or_default();
        let (read, how): (&[&str], Compare) = match kind {
            b"string" => (&["GET", "KEY"], Compare::Exactly),
            b"list" => (&["LRANGE", "KEY", "0", "-1"], Compare::Exactly),
            b"hash" => (&["HGETALL", "KEY"], Compare::PairsInAnyOrder),
            b"set" => (&["SMEMBERS", "KEY"], Compare::AnyOrder),
            b"stream" if live => (&["XINFO", "STREAM", "KEY", "FULL", "COUNT", "0"], Compare::ButForTimes),
            // How often an entry was read again is not logged, nor how many entries a group has read.
            b"stream" => (&["XINFO", "STREAM", "KEY"], Compare::ButForTimes),
            _ => (&["ZRANGE", "KEY", "0", "-1", "WITHSCORES"], Compare::Exactly),
        };
        let encoding = if live { Compare::Exactly } else { Compare::Kind };
        let mut checks: Vec<(&[&str], Compare)> = vec![
            (&["TYPE", "KEY"], Compare::Exactly),
            (&["OBJECT", "ENCODING", "KEY"], encoding),
            (&["PEXPIRETIME", "KEY"], Compare::Near(10_000)),
            (read, how),
        ];
        if kind == b"stream" {
            checks.push((&["XPENDING", "KEY", "g1"], Compare::Exactly));
            checks.push((&["XPENDING", "KEY", "g2"], Compare::Exactly));
        }
        let mut same_texts = false;
        for (words, how) in checks {
            let argv = about(key, words);
            let (stock, balas) = self.both(&argv);
            self.expect(how, &argv, &stock, &balas);
            same_texts |= words == read && stock == balas;
        }
        if live && self.has_same_bytes(key, kind, same_texts) {
            self.counts.keys_by_bytes += 1;
        } else {
            self.counts.keys_by_reads += 1;
        }
    }

    /// Whether a value's bytes are decided by its history alone, and so were the same.
    /// Those of a sorted set only if its scores have the `same_texts`.
    fn has_same_bytes(&mut self, key: &[u8], kind: &[u8], same_texts: bool) -> bool {
        let dump = about(key, &["DUMP", "KEY"]);
        let (stock, balas) = self.both(&dump);
        // Groups keep times.
        let has_times = kind == b"stream" && {
            let (_, groups) = self.both(&about(key, &["XINFO", "GROUPS", "KEY"]));
            !groups.items().is_empty()
        };
        let is_known = match kind {
            b"zset" if same_texts => known::is_larger_zset(&stock, &balas),
            _ => !known::has_one_payload(&stock, &balas),
        };
        let strict = !has_times && !is_known || stock == balas;
        self.expect(if strict { Compare::Exactly } else { Compare::Payload }, &dump, &stock, &balas);
        strict && matches!(stock, Value::Blob(..))
    }
}

/// A command about this key, which is called `KEY` in it.
fn about(key: &[u8], words: &[&str]) -> Argv {
    let word = |&word: &&str| if word == "KEY" { key.to_vec() } else { word.as_bytes().to_vec() };
    words.iter().map(word).collect()
}

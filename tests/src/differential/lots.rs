//! Commands whose replies differ by definition: those that draw lots, and those that go on from a cursor.

use super::{Argv, Pair, words};
use crate::compare::{Compare, Lots, sorted};
use crate::resp::{Client, Value};
use std::collections::{BTreeMap, BTreeSet};

impl Pair {
    /// A whole scan: the first reply decides about errors, the union of all is compared.
    pub(super) fn scan(&mut self, argv: &Argv, pairs: bool) {
        let (stock, balas) = self.both(argv);
        if stock.is_error() || balas.is_error() {
            return self.expect(Compare::Exactly, argv, &stock, &balas);
        }
        let stock = collect(&mut self.stock, argv, stock, pairs);
        let balas = collect(&mut self.balas, argv, balas, pairs);
        self.expect(Compare::Exactly, argv, &stock, &balas);
    }

    pub(super) fn draw(&mut self, lots: Lots, argv: &Argv) {
        let key = argv.get(1).cloned().unwrap_or_default();
        let source = match lots {
            Lots::Keys => words(&["KEYS", "*"]),
            Lots::Pop | Lots::SetMembers => vec![b"SMEMBERS".to_vec(), key.clone()],
            Lots::HashFields => vec![b"HGETALL".to_vec(), key.clone()],
            Lots::ZSetMembers => {
                vec![b"ZRANGE".to_vec(), key.clone(), b"0".to_vec(), b"-1".to_vec(), b"WITHSCORES".to_vec()]
            }
        };
        let (before, _) = self.both(&source);
        let (stock, balas) = self.both(argv);
        if stock.is_error() || balas.is_error() {
            return self.expect(Compare::Exactly, argv, &stock, &balas);
        }
        self.expect(Compare::Kind, argv, &stock, &balas);
        let (Value::List(_, drawn), Value::List(_, of_balas)) = (&stock, &balas) else {
            return self.check_drawn(lots, argv, &key, &before, &[balas]);
        };
        if drawn.len() != of_balas.len() {
            self.fail(argv, &format!("stock: {stock:?}\nbalas: {balas:?}"));
        }
        self.check_drawn(lots, argv, &key, &before, of_balas);
    }

    /// What Balas has drawn comes from what was there; after a pop, the rest is what is left.
    fn check_drawn(&mut self, lots: Lots, argv: &Argv, key: &[u8], before: &Value, drawn: &[Value]) {
        let members = flat(before.items());
        let drawn = flat(drawn);
        let with_pairs = argv.len() > 3;
        // Stock may spell scores in another way: of them the replies are compared elsewhere.
        let is_map = matches!(lots, Lots::HashFields | Lots::ZSetMembers);
        let whole = lots == Lots::HashFields && with_pairs;
        let known: BTreeSet<&[&[u8]]> = members
            .chunks(if is_map { 2 } else { 1 })
            .map(|group| if whole { group } else { &group[..1] })
            .collect();
        let size = if with_pairs { 2 } else { 1 };
        let is_foreign = |group: &&[&[u8]]| !known.contains(if whole { *group } else { &group[..1] });
        if let Some(foreign) = drawn.chunks(size).find(is_foreign) {
            self.fail(argv, &format!("drawn from nowhere: {foreign:?} of {before:?}"));
        }
        let repeats = argv.get(2).is_some_and(|count| count.starts_with(b"-"));
        let distinct: BTreeSet<_> = drawn.chunks(size).collect();
        if !repeats && distinct.len() != drawn.len() / size {
            self.fail(argv, &format!("drawn twice: {drawn:?}"));
        }
        if lots == Lots::Pop {
            self.after_pop(argv, key, &members, &drawn);
        }
    }

    fn after_pop(&mut self, argv: &Argv, key: &[u8], before: &[&[u8]], drawn: &[&[u8]]) {
        let (_, left) = self.both(&vec![b"SMEMBERS".to_vec(), key.to_vec()]);
        let left: BTreeSet<Vec<u8>> = flat(left.items()).iter().map(|member| member.to_vec()).collect();
        let gone: BTreeSet<_> = drawn.iter().collect();
        let expected: BTreeSet<Vec<u8>> =
            before.iter().filter(|member| !gone.contains(member)).map(|member| member.to_vec()).collect();
        if left != expected {
            self.fail(argv, &format!("left: {left:?}, expected: {expected:?}"));
        }
        // The two have drawn differently: from here on both have what Balas has left.
        let (stock, balas) = self.both(&vec![b"TYPE".to_vec(), key.to_vec()]);
        self.expect(Compare::Exactly, argv, &stock, &balas);
        if balas.text() == Some(b"set") {
            self.both(&vec![b"DEL".to_vec(), key.to_vec()]);
            self.both(&[b"SADD".to_vec(), key.to_vec()].into_iter().chain(left).collect());
        }
    }
}

/// Goes on with a scan until its cursor is 0. Returns what was found, in order, each once.
fn collect(client: &mut Client, argv: &Argv, first: Value, pairs: bool) -> Value {
    let at = usize::from(!argv[0].eq_ignore_ascii_case(b"scan")) + 1;
    let size = if pairs { 2 } else { 1 };
    let mut found: BTreeMap<Vec<Value>, ()> = BTreeMap::new();
    let mut reply = first;
    // A cursor that never ends is a difference too: it is cut off, and something will be missing or too much.
    for _ in 0..10_000 {
        let [cursor, items] = reply.items() else { return reply };
        sorted(items.items(), size).into_iter().for_each(|group| {
            found.insert(group.to_vec(), ());
        });
        if cursor.text() == Some(b"0") {
            break;
        }
        let mut next = argv.clone();
        next[at] = cursor.text().unwrap_or_default().to_vec();
        match client.call(&next) {
            Ok(value) => reply = value,
            Err(_) => break,
        }
    }
    Value::List(b'*', found.into_keys().map(|group| Value::List(b'*', group)).collect())
}

/// The texts of a reply, those of nested arrays included.
pub(super) fn flat(items: &[Value]) -> Vec<&[u8]> {
    let texts = items.iter().flat_map(|item| match item {
        Value::List(_, items) => flat(items),
        item => item.text().into_iter().collect(),
    });
    texts.collect()
}

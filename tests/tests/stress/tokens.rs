//! Tokens that go from key to key, in every way there is. Whoever looks at all keys at once sees all of them, or
//! none after FLUSHALL.

use super::{Connection, Stage, text};
use balas_tests::resp::Value;
use std::io;
use std::thread::{Scope, ScopedJoinHandle};

/// Keys of each kind. They are in different slots.
const KEYS: usize = 6;
const TOKENS: i64 = 60;
/// Connections that move tokens of one kind.
const MOVERS: usize = 3;

/// A kind of value, with commands that make, move and count its tokens.
struct Kind {
    name: &'static str,
    mover: fn(&mut Connection, &mut fastrand::Rng, &str, &str) -> io::Result<()>,
    /// A script that makes the tokens when there are none.
    mint: &'static str,
    /// The command that tells how many a key has.
    count: &'static str,
    /// Members are names, and none is there twice: the command that lists them.
    list: Option<fn(&str) -> Vec<String>>,
}

const KINDS: &[Kind] = &[
    Kind {
        name: "counter",
        mover: move_count,
        mint: "for i = 1, ARGV[1] do redis.call('INCR', KEYS[i % #KEYS + 1]) end",
        count: "GET",
        list: None,
    },
    Kind {
        name: "list",
        mover: move_element,
        mint: "for i = 1, ARGV[1] do redis.call('RPUSH', KEYS[i % #KEYS + 1], i) end",
        count: "LLEN",
        list: Some(|key| ["LRANGE", key, "0", "-1"].map(str::to_owned).to_vec()),
    },
    Kind {
        name: "set",
        mover: move_set_member,
        mint: "for i = 1, ARGV[1] do redis.call('SADD', KEYS[i % #KEYS + 1], i) end",
        count: "SCARD",
        list: Some(|key| ["SMEMBERS", key].map(str::to_owned).to_vec()),
    },
    Kind {
        name: "zset",
        mover: move_zset_member,
        mint: "for i = 1, ARGV[1] do redis.call('ZADD', KEYS[i % #KEYS + 1], i, 'm' .. i) end",
        count: "ZCARD",
        list: Some(|key| ["ZRANGE", key, "0", "-1"].map(str::to_owned).to_vec()),
    },
    Kind {
        name: "hash",
        mover: move_field,
        mint: "for i = 1, ARGV[1] do redis.call('HSET', KEYS[i % #KEYS + 1], 'f' .. i, i) end",
        count: "HLEN",
        list: Some(|key| ["HKEYS", key].map(str::to_owned).to_vec()),
    },
    Kind {
        name: "stream",
        mover: move_entry,
        mint: "for i = 1, ARGV[1] do redis.call('XADD', KEYS[i % #KEYS + 1], '*', 'token', i) end",
        count: "XLEN",
        list: None,
    },
];

impl Kind {
    fn keys(&self) -> Vec<String> {
        (0..KEYS).map(|n| format!("{}:{n}", self.name)).collect()
    }
}

/// One of the counter's tokens, by a transaction with WATCH, one without, or a script.
fn move_count(c: &mut Connection, rng: &mut fastrand::Rng, from: &str, to: &str) -> io::Result<()> {
    match rng.u8(..3) {
        0 => {
            c.call(&["WATCH", from, to])?;
            let [has, gets] = [c.call(&["GET", from])?, c.call(&["GET", to])?];
            let number = |value: &Value| text(value).parse::<i64>().unwrap_or(0);
            if number(&has) == 0 || from == to {
                return c.call(&["UNWATCH"]).map(drop);
            }
            let (less, more) = ((number(&has) - 1).to_string(), (number(&gets) + 1).to_string());
            c.transaction(&[&["SET", from, &less], &["SET", to, &more]]).map(drop)
        }
        1 => c.transaction(&[&["DECR", from], &["INCR", to]]).map(drop),
        _ => c
            .script(
                "redis.call('DECRBY', KEYS[1], ARGV[1]) return redis.call('INCRBY', KEYS[2], ARGV[1])",
                "c4df2b8e32a7a6d4ea0e8dfa8f4b0d6d9b8a4c11",
                &[from, to],
                &["2"],
            )
            .map(drop),
    }
}

fn move_element(c: &mut Connection, rng: &mut fastrand::Rng, from: &str, to: &str) -> io::Result<()> {
    let ends = ["LEFT", "RIGHT"];
    let [one, other] = [ends[rng.usize(..2)], ends[rng.usize(..2)]];
    match rng.u8(..5) {
        0 => c.call(&["RPOPLPUSH", from, to]),
        1 => c.call(&["LMOVE", from, to, one, other]),
        2 => c.call(&["BLMOVE", from, to, one, other, "0.01"]),
        3 => c.call(&["BRPOPLPUSH", from, to, "0.01"]),
        _ => c.script(
            "local v = redis.call('LPOP', KEYS[1], ARGV[1])
             if v then return redis.call('RPUSH', KEYS[2], unpack(v)) end",
            "3b1e7f4f0d3c0a8f4ad9cbb1d3b24b5f7a5cf1aa",
            &[from, to],
            &["3"],
        ),
    }
    .map(drop)
}

fn move_set_member(c: &mut Connection, rng: &mut fastrand::Rng, from: &str, to: &str) -> io::Result<()> {
    if rng.bool() {
        let member = rng.i64(1..=TOKENS).to_string();
        return c.call(&["SMOVE", from, to, &member]).map(drop);
    }
    c.script(
        "local v = redis.call('SPOP', KEYS[1]) if v then redis.call('SADD', KEYS[2], v) end",
        "6f0c0e0b1b3b4c8e9d6f1c5a2e7d8f9a0b1c2d3e",
        &[from, to],
        &[],
    )
    .map(drop)
}

fn move_zset_member(c: &mut Connection, rng: &mut fastrand::Rng, from: &str, to: &str) -> io::Result<()> {
    let pop = ["ZPOPMIN", "ZPOPMAX"][rng.usize(..2)];
    c.script(
        "local v = redis.call(ARGV[1], KEYS[1]) if v[1] then redis.call('ZADD', KEYS[2], v[2], v[1]) end",
        "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
        &[from, to],
        &[pop],
    )
    .map(drop)
}

fn move_field(c: &mut Connection, rng: &mut fastrand::Rng, from: &str, to: &str) -> io::Result<()> {
    let field = format!("f{}", rng.i64(1..=TOKENS));
    if rng.bool() {
        c.call(&["WATCH", from])?;
        let value = c.call(&["HGET", from, &field])?;
        let Some(value) = value.text().map(|value| String::from_utf8_lossy(value).into_owned()) else {
            return c.call(&["UNWATCH"]).map(drop);
        };
        return c.transaction(&[&["HDEL", from, &field], &["HSET", to, &field, &value]]).map(drop);
    }
    c.script(
        "local v = redis.call('HGET', KEYS[1], ARGV[1])
         if v then redis.call('HDEL', KEYS[1], ARGV[1]) redis.call('HSET', KEYS[2], ARGV[1], v) end",
        "ffffffffffffffffffffffffffffffffffffffff",
        &[from, to],
        &[&field],
    )
    .map(drop)
}

fn move_entry(c: &mut Connection, _: &mut fastrand::Rng, from: &str, to: &str) -> io::Result<()> {
    c.script(
        "local e = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
         if e then redis.call('XDEL', KEYS[1], e[1]) redis.call('XADD', KEYS[2], '*', unpack(e[2])) end",
        "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee",
        &[from, to],
        &[],
    )
    .map(drop)
}

pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    stage: &'scope Stage,
) -> Vec<ScopedJoinHandle<'scope, ()>> {
    let mut threads = Vec::new();
    for kind in KINDS {
        stage.did(kind.name, 0);
        for mover in 0..MOVERS {
            threads.push(scope.spawn(move || {
                let (keys, mut rng) = (kind.keys(), stage.rng(kind.name, mover));
                stage.while_killed(|connection| {
                    let [from, to] = [&keys[rng.usize(..KEYS)], &keys[rng.usize(..KEYS)]];
                    (kind.mover)(connection, &mut rng, from, to)?;
                    stage.did(kind.name, 1);
                    Ok(())
                });
            }));
        }
    }
    threads.push(scope.spawn(move || {
        let mut connection = stage.connect();
        while stage.goes_on() {
            KINDS.iter().for_each(|kind| look_and_mint(stage, &mut connection, kind));
        }
    }));
    threads
}

/// Checks a kind's tokens, and makes them if they are gone.
fn look_and_mint(stage: &Stage, connection: &mut Connection, kind: &Kind) {
    let keys = kind.keys();
    look(stage, connection, kind);
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let count = format!(
        "local sum = 0
         for _, key in ipairs(KEYS) do sum = sum + (tonumber(redis.call('{}', key)) or 0) end
         if sum == 0 then {} end
         return sum",
        kind.count, kind.mint
    );
    // A script nobody has: the whole text is sent.
    let sum = connection.script(&count, &"d".repeat(40), &names, &[&TOKENS.to_string()]);
    let sum = sum.expect("nobody kills this one").as_i64().expect("a sum");
    assert!(sum == 0 || sum == TOKENS, "seed {}: a script sees {sum} of {}", stage.seed, kind.name);
}

/// Looks at all keys of a kind at once, by a transaction.
fn look(stage: &Stage, connection: &mut Connection, kind: &Kind) {
    let keys = kind.keys();
    let counts: Vec<[&str; 2]> = keys.iter().map(|key| [kind.count, key]).collect();
    let lists: Vec<Vec<String>> =
        kind.list.iter().flat_map(|list| keys.iter().map(|key| list(key))).collect();
    let lists: Vec<Vec<&str>> = lists.iter().map(|argv| argv.iter().map(String::as_str).collect()).collect();
    let commands: Vec<&[&str]> =
        counts.iter().map(<[_; 2]>::as_slice).chain(lists.iter().map(Vec::as_slice)).collect();
    let replies = connection.transaction(&commands).expect("nobody kills this one").expect("nothing watched");
    let number = |reply: &Value| reply.as_i64().or_else(|| text(reply).parse().ok()).unwrap_or(0);
    let sum: i64 = replies[..KEYS].iter().map(number).sum();
    let seed = stage.seed;
    assert!(sum == TOKENS || sum == 0, "seed {seed}: {sum} of {}: {replies:?}", kind.name);
    if kind.list.is_some() {
        let mut members: Vec<String> =
            replies[KEYS..].iter().flat_map(|reply| reply.items().iter().map(text)).collect();
        let all = members.len();
        members.sort();
        members.dedup();
        assert_eq!((members.len(), all), (sum as usize, sum as usize), "seed {seed}: {}", kind.name);
    }
}

/// Everything is at rest: the tokens are all there, unless they were flushed.
pub fn check(stage: &Stage) {
    let mut connection = stage.connect();
    KINDS.iter().for_each(|kind| look(stage, &mut connection, kind));
}

//! Scripts that take their time, scripts that want out of their sandbox, and scripts that touch what they did not declare.

#[allow(dead_code)] // Other tests use the rest of it.
mod node;

use node::{Node, Value};
use std::time::Duration;

const FOREVER: &str = "while true do end";
/// Catches every error, the one that is to end it too.
const STUBBORN: &str = "while true do pcall(function() while true do end end) end";

fn eval(node: &mut Node, script: &str) -> Value {
    node.ask(&["EVAL", script, "0"])
}

fn is_busy(reply: &Value) -> bool {
    matches!(reply, Value::Text(text) if text.starts_with("BUSY "))
}

/// Starts a script that does not end, and waits until it is known to be slow.
fn run_slow(server: &Node, args: &[&str]) -> (Node, Node) {
    let (mut runner, mut other) = (server.another(), server.another());
    other.ask(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
    runner.send(args);
    for _ in 0..1000 {
        if other.ask(&["PING"]).text().starts_with("BUSY ")
            || other.ask(&["DBSIZE"]).text().starts_with("BUSY ")
        {
            return (runner, other);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("nobody is told that {args:?} is slow");
}

#[test]
fn a_slow_script_can_be_killed_whatever_the_number_of_threads() {
    for threads in ["1", "4"] {
        for script in [FOREVER, STUBBORN] {
            let mut server = Node::ours(&["--io-threads", threads]);
            let (mut runner, mut other) = run_slow(&server, &["EVAL", script, "0"]);
            // Somebody new can help too.
            let mut newcomer = server.another();
            assert_eq!(newcomer.ask(&["FUNCTION", "KILL"]).text(), other.ask(&["GET", "x"]).text());
            assert_eq!(newcomer.ask(&["SCRIPT", "KILL"]).text(), "OK");
            let error = runner.read().text();
            assert!(error.starts_with("ERR Script killed by user with SCRIPT KILL... script: "), "{error}");
            assert_eq!(server.ask(&["PING"]).text(), "PONG");
            assert_eq!(other.ask(&["SCRIPT", "KILL"]).text(), "NOTBUSY No scripts in execution right now.");
            assert!(server.log().contains("Slow script detected: still in execution after "));
        }
    }
}

#[test]
fn a_slow_script_with_a_declared_key_holds_up_its_slot_only() {
    let server = Node::ours(&["--io-threads", "4"]);
    let mut first = server.another();
    // It is known not to stray after a first run.
    let script = "if ARGV[1] == 'slow' then while true do end end return 1";
    assert_eq!(first.ask(&["EVAL", script, "1", "k", "fast"]).text(), "1");
    first.ask(&["CONFIG", "SET", "busy-reply-threshold", "20"]);
    let mut clients: Vec<Node> = (0..8).map(|_| server.another()).collect();
    let mut runner = server.another();
    runner.send(&["EVAL", script, "1", "k", "slow"]);
    let refused = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        clients.iter_mut().all(|client| is_busy(&client.ask(&["GET", "k"])))
    });
    assert!(refused, "whoever wants the slot is told BUSY");
    // Three threads of four go on serving other slots.
    let served = clients.iter_mut().map(|client| client.ask(&["SET", "other", "1"]).text());
    let served = served.filter(|reply| reply == "OK").count();
    assert!(served >= 4, "{served}");
    assert_eq!(clients[0].ask(&["SCRIPT", "KILL"]).text(), "OK");
    assert!(runner.read().text().starts_with("ERR Script killed"));
}

#[test]
fn what_has_written_cannot_be_killed_but_ends_with_the_process() {
    for threads in ["1", "4"] {
        let mut server = Node::ours(&["--io-threads", threads]);
        let script = "redis.call('SET', KEYS[1], 'x') while true do end";
        let (_runner, mut other) = run_slow(&server, &["EVAL", script, "1", "k"]);
        assert!(other.ask(&["SCRIPT", "KILL"]).text().starts_with("UNKILLABLE "));
        assert!(other.ask(&["SHUTDOWN"]).text().starts_with("BUSY "));
        other.send(&["SHUTDOWN", "NOSAVE"]);
        assert_eq!(server.exit_code(), Some(0));
    }
}

#[test]
fn a_slow_function_is_shown_and_killed_by_its_own_commands() {
    let mut server = Node::ours(&[]);
    let library = "#!lua name=slow\nredis.register_function('forever', function() while true do end end)";
    assert_eq!(server.ask(&["FUNCTION", "LOAD", library]).text(), "slow");
    let (mut runner, mut other) = run_slow(&server, &["FCALL", "forever", "0"]);
    assert!(
        other.ask(&["SCRIPT", "KILL"]).text().contains("You can only call FUNCTION KILL or SHUTDOWN NOSAVE.")
    );
    let stats = other.ask(&["FUNCTION", "STATS"]);
    assert_eq!(stats.list()[1].list()[1].text(), "forever");
    assert_eq!(other.ask(&["FUNCTION", "KILL"]).text(), "OK");
    assert!(runner.read().text().starts_with("ERR Script killed by user"));
    assert_eq!(server.ask(&["FCALL", "forever", "x"]).text(), "ERR Bad number of keys provided");
}

#[test]
fn a_transaction_meets_a_slow_script() {
    let server = Node::ours(&[]);
    let mut queueing = server.another();
    assert_eq!(queueing.ask(&["MULTI"]).text(), "OK");
    let (mut runner, mut other) = run_slow(&server, &["EVAL", FOREVER, "0"]);
    assert!(queueing.ask(&["INCR", "k"]).text().starts_with("BUSY "));
    assert_eq!(other.ask(&["SCRIPT", "KILL"]).text(), "OK");
    runner.read();
    assert!(queueing.ask(&["EXEC"]).text().starts_with("EXECABORT "));
}

#[test]
fn undeclared_keys_are_safe_from_other_threads() {
    const CLIENTS: usize = 4;
    const RUNS: usize = 300;
    let mut server = Node::ours(&["--io-threads", "4"]);
    // Reads and writes what it does not declare, in two orders, before and after it has written.
    let script = "local a, b = 'total', 'copy'
        if tonumber(ARGV[1]) % 2 == 0 then a, b = b, a end
        redis.call('INCR', KEYS[1])
        redis.call('INCR', a) redis.call('INCR', b)
        return redis.call('GET', 'total')";
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut node = server.another();
            scope.spawn(move || {
                for run in 0..RUNS {
                    let key = format!("own{}", (client * 7 + run) % 13);
                    let reply = node.ask(&["EVAL", script, "1", &key, &run.to_string()]).text();
                    assert!(reply.parse::<u64>().is_ok(), "{reply}");
                }
            });
        }
    });
    let total = (CLIENTS * RUNS).to_string();
    assert_eq!(
        server.ask(&["MGET", "total", "copy"]).list(),
        [Value::Text(total.clone()), Value::Text(total)]
    );
}

#[test]
fn a_script_may_flush_and_scan_whatever_it_has_done_before() {
    for threads in ["1", "3"] {
        let mut server = Node::ours(&["--io-threads", threads]);
        let script = "redis.call('SET', KEYS[1], '1') redis.call('SET', 'other', '2')
            local keys = redis.call('KEYS', '*') redis.call('FLUSHALL') redis.call('SET', 'left', '1')
            return {#keys, redis.call('DBSIZE')}";
        for _ in 0..3 {
            server.ask(&["FLUSHALL"]);
            let reply = server.ask(&["EVAL", script, "1", "k"]);
            assert_eq!(reply, Value::List(vec![Value::Text("2".into()), Value::Text("1".into())]));
        }
        assert_eq!(server.ask(&["GET", "left"]).text(), "1");
    }
}

#[test]
fn nothing_passes_from_one_script_to_the_next() {
    let mut server = Node::ours(&[]);
    for leak in [
        "leak = 1",
        "_G.leak = 1",
        "rawset(_G, 'leak', 1)",
        "rawset(getfenv(1), 'leak', 1)",
        "getfenv(0).leak = 1",
        "getfenv(redis.call).leak = 1",
        "getfenv(pcall).leak = 1",
        "setfenv(0, {leak = 1})",
        "pcall(function() setfenv(2, {leak = 1}) end)",
        "setfenv(pcall, {leak = 1})",
        "table.insert(_G, 'leak')",
        "table.insert(redis, 'leak')",
        "table.insert(string, 'leak')",
        "redis.leak = 1",
        "string.leak = 1",
        "rawset(string, 'leak', 1)",
        "cjson.leak = 1",
        "math.random = function() return 4 end",
        "getmetatable('').leak = 1",
        "getmetatable('').__index.leak = 1",
        "getmetatable('').__index = function() return 'leak' end",
        "getmetatable(_G).__index = function() return 'leak' end",
        "setmetatable(_G, {__index = function() return 'leak' end})",
        "setmetatable(redis, {__index = function() return 'leak' end})",
        "for _, library in pairs(_G) do if type(library) == 'table' then library.leak = 1 end end",
        "local _, real = next(getmetatable(_G) or {}) real.leak = 1",
        "for k, v in pairs(redis) do if type(v) == 'function' then setfenv(v, {leak = 1}) end end",
        "collectgarbage('stop')",
        "coroutine.wrap(function() leak = 1 end)()",
        "loadstring('leak = 1')()",
        "load(function() return nil end) leak = 1",
        "xpcall(function() leak = 1 end, function() leak = 2 end)",
    ] {
        // Some are refused, some do nothing; none may be seen afterwards.
        server.ask(&["EVAL", leak, "0"]);
        let seen = eval(
            &mut server,
            "return {tostring(pcall(function() return leak end)), tostring(rawget(_G, 'leak')), tostring(redis.leak),
              tostring(('x').leak), tostring(string.leak), tostring(cjson.leak), tostring(rawget(_G, 1)),
              tostring(redis[1]), tostring(string[1]), tostring(getfenv(pcall).pcall == pcall),
              tostring(math.random() <= 1), tostring(#_G)}",
        );
        let text: Vec<String> = seen.list().iter().map(Value::text).collect();
        let nil = "nil";
        assert_eq!(text, ["false", nil, nil, nil, nil, nil, nil, nil, nil, "true", "true", "0"], "{leak}");
    }
}

/// The error of a script that has to fail and leave the server alive.
fn error_of(server: &mut Node, script: &str) -> String {
    let error = eval(server, script).text();
    assert_eq!(server.ask(&["PING"]).text(), "PONG", "{script}");
    error
}

#[test]
fn cve_2025_49844_the_parser_and_the_collector() {
    let mut server = Node::ours(&[]);
    let script = "local kept = {}
        for i = 1, 300 do
          local name = string.rep('n', i) .. i
          kept[#kept + 1] = loadstring('return \"' .. string.rep('x', i * 10) .. i .. '\"', name)
          load(function() collectgarbage('collect') return nil end, name)
        end
        local total = 0
        for _, f in ipairs(kept) do total = total + #f() end
        return total";
    assert!(eval(&mut server, script).text().parse::<u64>().is_ok_and(|total| total > 300 * 10));
}

#[test]
fn cve_2025_46817_unpack_beyond_the_stack() {
    let mut server = Node::ours(&[]);
    for range in [
        "-2, 2147483647",
        "0, 2147483647",
        "-2147483648, 2147483647",
        "1, 1e300",
        "0/0, 5",
        "1, 0/0",
        "1, 8001",
    ] {
        let error = error_of(&mut server, &format!("return {{unpack({{1, 2, 3}}, {range})}}"));
        assert!(error.contains("too many results to unpack"), "{range}: {error}");
    }
}

#[test]
fn cve_2025_46818_metatables_of_basic_types() {
    let mut server = Node::ours(&[]);
    let error = error_of(&mut server, "getmetatable('').__index = function() return 1 end");
    assert!(error.contains("Attempt to modify a readonly table"), "{error}");
    let error = error_of(&mut server, "getmetatable('').__index.upper = function() return 1 end");
    assert!(error.contains("Attempt to modify a readonly table"), "{error}");
    assert_eq!(eval(&mut server, "return ('x'):upper()").text(), "X");
}

#[test]
fn cve_2024_46981_and_2022_0543_no_finalizers_no_packages() {
    let mut server = Node::ours(&[]);
    for name in
        ["newproxy", "package", "require", "module", "io", "os", "debug", "dofile", "loadfile", "print"]
    {
        let error = error_of(&mut server, &format!("return {name}"));
        assert!(error.contains(&format!("nonexistent global variable '{name}'")), "{error}");
    }
}

#[test]
fn cve_2024_31449_tohex_of_the_least_integer() {
    let mut server = Node::ours(&[]);
    assert_eq!(eval(&mut server, "return bit.tohex(255, -2147483648)").text(), "000000FF");
}

#[test]
fn cve_2018_11218_2018_11219_and_2020_14147_lengths_in_struct_and_cmsgpack() {
    let mut server = Node::ours(&[]);
    for script in [
        "return struct.pack('i2147483648', 1)",
        "return struct.unpack('c2147483647', 'x')",
        "return struct.unpack('I99999999999999', 'x')",
        "return struct.unpack('i', 'abcd', 9223372036854775807)",
        "return struct.unpack('i', 'abcd', -1)",
        "return cmsgpack.unpack('\\219\\255\\255\\255\\255x')",
        "return cmsgpack.unpack('\\221\\255\\255\\255\\255')",
        "return cmsgpack.unpack('\\223\\255\\255\\255\\255')",
        "return cmsgpack.unpack(string.rep('\\145', 100000))",
        "return cjson.decode(string.rep('[', 100000))",
    ] {
        let error = error_of(&mut server, script);
        assert!(error.starts_with("ERR "), "{script}: {error}");
    }
}

#[test]
fn bytecode_is_refused() {
    let mut server = Node::ours(&[]);
    let script = "local f, e = loadstring(string.dump(function() return 1 end)) return tostring(f)";
    assert_eq!(eval(&mut server, script).text(), "nil");
    assert!(error_of(&mut server, "\u{1b}Lua").starts_with("ERR Error compiling script"));
}

#[test]
fn amplifiers_are_bounded() {
    let mut server = Node::ours(&[]);
    for script in ["return #string.rep('x', 2^40)", "return #('x'):rep(1e18)"] {
        let error = error_of(&mut server, script);
        assert!(error.contains("resulting string too large"), "{error}");
    }
    let deep = "local t = {} for i = 1, 100000 do t = {t} end return t";
    server.send(&["EVAL", deep, "0"]);
    let mut reply = server.read();
    while let Value::List(inner) = reply {
        reply = inner.into_iter().next().unwrap_or(Value::Null);
    }
    assert_eq!(reply.text(), "ERR reached lua stack limit");
    assert_eq!(server.ask(&["PING"]).text(), "PONG");
}

/// What a session says is compared with stock's, but for the texts of its help.
#[test]
fn a_script_is_debugged_line_by_line_as_in_stock() {
    const SCRIPT: &str = "local a = redis.call('SET', KEYS[1], ARGV[1])\nredis.debug(a, 7)\nif a then\n  redis.breakpoint()\n  a = \
                          redis.call('GET', KEYS[1])\nend\nreturn a";
    const SESSION: [&[&str]; 17] = [
        &["list"],
        &["step"],
        &["step"],
        &["break"],
        &["break", "5", "99", "x"],
        &["whole"],
        &["print", "ARGV"],
        &["eval", "1 + 1"],
        &["eval", "return {1, 'two', {x = 3}}"],
        &["eval", "this is no Lua"],
        &["redis", "LRANGE", "none", "0", "-1"],
        &["redis", "nonsense"],
        &["maxlen"],
        &["nothing of the kind"],
        &["continue"],
        &["break", "-5"],
        &["continue"],
    ];
    let run = |mut node: Node| {
        assert_eq!(node.ask(&["SCRIPT", "DEBUG", "SYNC"]).text(), "OK");
        let mut said = vec![node.ask(&["EVAL", SCRIPT, "1", "key", "value"])];
        said.extend(SESSION.iter().map(|words| node.ask(words)));
        said.push(node.read());
        assert!(node.is_closed(), "by that the client knows that it is over");
        (said, node.another().ask(&["GET", "key"]).text())
    };
    for threads in ["1", "4"] {
        let ours = run(Node::ours(&["--io-threads", threads]));
        let Some(stock) = Node::stock(&[]) else { return };
        let stock = run(stock);
        for (at, (ours, stock)) in ours.0.iter().zip(&stock.0).enumerate() {
            let asked = at.checked_sub(1).and_then(|at| SESSION.get(at));
            assert_eq!(ours, stock, "{asked:?}");
        }
        assert_eq!(ours, stock);
    }
}

#[test]
fn a_debugged_script_can_be_aborted_or_left_alone() {
    let server = Node::ours(&[]);
    let mut client = server.another();
    client.ask(&["SCRIPT", "DEBUG", "SYNC"]);
    client.ask(&["EVAL", "redis.call('SET', 'a', '1') return redis.call('SET', 'b', '2')", "2", "a", "b"]);
    let ended = client.ask(&["abort"]);
    assert!(format!("{ended:?}").contains("<endsession>"), "{ended:?}");
    assert!(client.read().text().contains("script aborted for user request"));
    // Somebody who goes away does not keep the server waiting.
    let mut client = server.another();
    client.ask(&["SCRIPT", "DEBUG", "SYNC"]);
    client.ask(&["EVAL", "redis.call('SET', 'a', '1')\nreturn redis.call('SET', 'b', '2')", "2", "a", "b"]);
    drop(client);
    let mut other = server.another();
    assert_eq!(other.ask(&["GET", "b"]).text(), "2");
    assert_eq!(other.ask(&["SCRIPT", "DEBUG", "NO"]).text(), "OK");
    assert_eq!(other.ask(&["EVAL", "return 'plain'", "0"]).text(), "plain");
}

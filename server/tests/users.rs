//! Users and their rights, monitors, and clients that cache: with one thread and with four.

#[allow(dead_code)] // Other tests use the rest of it.
mod node;

use node::{Node, Value};

const THREADS: [&str; 2] = ["1", "4"];

fn texts(value: &Value) -> Vec<String> {
    value.list().iter().map(Value::text).collect()
}

#[test]
fn rights_hold_everywhere_and_change_at_once() {
    for threads in THREADS {
        let mut admin = Node::ours(&["--io-threads", threads]);
        let mut user = admin.another();
        let set = |admin: &mut Node, rules: &str| {
            let words: Vec<&str> = ["ACL", "SETUSER", "u"].into_iter().chain(rules.split(' ')).collect();
            assert_eq!(admin.ask(&words).text(), "OK", "{rules}");
        };
        set(&mut admin, "on >pw ~a* &c* +@all -del");
        assert!(user.ask(&["AUTH", "u", "wrong"]).text().starts_with("WRONGPASS "));
        assert_eq!(user.ask(&["AUTH", "u", "pw"]).text(), "OK");
        assert_eq!(user.ask(&["SET", "a1", "1"]).text(), "OK");
        assert_eq!(user.ask(&["SET", "b1", "1"]).text(), "NOPERM No permissions to access a key");
        assert_eq!(
            user.ask(&["DEL", "a1"]).text(),
            "NOPERM User u has no permissions to run the 'del' command"
        );
        let script = "return redis.pcall('del', KEYS[1])";
        assert_eq!(
            user.ask(&["EVAL", script, "1", "a1"]).text(),
            "ERR ACL failure in script: User u has no permissions to run the 'del' command"
        );
        let check = "return {redis.acl_check_cmd('get', 'a'), redis.acl_check_cmd('get', 'b')}";
        assert_eq!(user.ask(&["EVAL", check, "0"]).list()[0].text(), "1");
        // What was queued while it was allowed is not run when it is not any more.
        user.ask(&["MULTI"]);
        assert_eq!(user.ask(&["SET", "a1", "2"]).text(), "QUEUED");
        set(&mut admin, "resetkeys ~x");
        let replies = user.ask(&["EXEC"]);
        assert!(replies.list()[0].text().starts_with("NOPERM ACLs rules changed"), "{replies:?}");
        // Who listens to what it may not hear any more is cut off.
        let mut listener = admin.another();
        listener.ask(&["AUTH", "u", "pw"]);
        listener.ask(&["SUBSCRIBE", "c1"]);
        set(&mut admin, "resetchannels");
        assert!(listener.is_closed());
        assert_eq!(admin.ask(&["ACL", "DELUSER", "u"]).text(), "1");
        assert!(user.is_closed());
        let log = admin.ask(&["ACL", "LOG"]);
        let first = texts(&log.list()[0]);
        assert_eq!(first[..8], ["count", "1", "reason", "key", "context", "multi", "object", "a1"]);
    }
}

#[test]
fn monitors_see_commands_of_all_threads_without_secrets() {
    for threads in THREADS {
        let mut monitor = Node::ours(&["--io-threads", threads]);
        let mut clients: Vec<Node> = (0..4).map(|_| monitor.another()).collect();
        assert_eq!(monitor.ask(&["MONITOR"]).text(), "OK");
        for (i, client) in clients.iter_mut().enumerate() {
            client.ask(&["SET", &format!("k{i}"), "a\n"]);
            let line = monitor.read().text();
            assert!(line.ends_with(&format!("\"SET\" \"k{i}\" \"a\\n\"")), "{line}");
        }
        clients[0].ask(&["AUTH", "default", "secret"]);
        let line = monitor.read().text();
        assert!(line.ends_with("\"AUTH\" \"(redacted)\" \"(redacted)\""), "{line}");
        assert_eq!(monitor.ask(&["GET", "k0"]).text(), "ERR Replica can't interact with the keyspace");
    }
}

#[test]
fn whoever_has_read_a_key_is_told_when_it_changes() {
    for threads in THREADS {
        let mut writer = Node::ours(&["--io-threads", threads]);
        let (mut reader, mut hearer) = (writer.another(), writer.another());
        let id = hearer.ask(&["CLIENT", "ID"]).text();
        hearer.ask(&["SUBSCRIBE", "__redis__:invalidate"]);
        assert_eq!(reader.ask(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id]).text(), "OK");
        writer.ask(&["MSET", "a", "1", "b", "1"]);
        reader.ask(&["GET", "a"]);
        writer.ask(&["SET", "b", "2"]);
        writer.ask(&["SET", "a", "2"]);
        let told = hearer.read();
        assert_eq!(texts(&told.list()[2]), ["a"]);
        // By prefix, whatever was read.
        reader.ask(&["CLIENT", "TRACKING", "OFF"]);
        reader.ask(&["CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "p:", "REDIRECT", &id]);
        writer.ask(&["MSET", "p:1", "1", "q:1", "1", "p:2", "1"]);
        assert_eq!(texts(&hearer.read().list()[2]), ["p:1", "p:2"]);
    }
}

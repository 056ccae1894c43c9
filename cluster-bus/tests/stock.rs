//! The machine next to stock Redis, over real sockets. Skipped where no stock server is installed.

mod common;

use balas_cluster_bus::{Action, Epoch, FailoverMode, NodesConf};
use common::{Live, Stock, drive_until, stock_is_here};
use protocol::Slot;
use std::ops::Range;

fn slots(range: Range<u16>) -> Vec<Slot> {
    range.filter_map(Slot::new).collect()
}

fn meet(node: &mut Live, port: u16) {
    let bus_port = i64::from(port) + 10_000;
    node.call(|machine, cx| machine.meet(cx, "127.0.0.1", i64::from(port), bus_port)).unwrap();
}

/// The line of a node in somebody's CLUSTER NODES.
fn line<'a>(text: &'a str, id: &str) -> Option<&'a str> {
    text.lines().find(|line| line.starts_with(id))
}

/// `id` is listed with exactly these flags and a link.
fn lists(text: &str, id: &str, flags: &str) -> bool {
    line(text, id).is_some_and(|line| line.contains(&format!(" {flags} ")) && line.contains(" connected"))
}

/// Two stock masters and two machines: all see each other and the cluster is up. The first machine owns a
/// third of the slots, the second none.
fn mixed_cluster(extra: &[&str]) -> (Stock, Stock, Vec<Live>) {
    let (first, second) = (Stock::start(extra), Stock::start(extra));
    let mut live = vec![Live::start(1), Live::start(2)];
    first.ok("CLUSTER ADDSLOTSRANGE 0 5460");
    second.ok("CLUSTER ADDSLOTSRANGE 5461 10922");
    live[0].call(|machine, cx| machine.add_slots(cx, &slots(10923..16384))).unwrap();
    first.ok(&format!("CLUSTER MEET 127.0.0.1 {}", second.port));
    first.ok(&format!("CLUSTER MEET 127.0.0.1 {}", live[1].port));
    meet(&mut live[0], first.port);
    drive_until("everybody knows everybody", &mut live, |live| {
        let ids = [first.id(), second.id(), live[0].id(), live[1].id()];
        let flags = |me: usize, other: usize| if me == other { "myself,master" } else { "master" };
        let mut views = vec![first.run("CLUSTER NODES"), second.run("CLUSTER NODES")];
        views.extend(live.iter().map(|node| node.machine.nodes_text(false)));
        let all_listed = views.iter().enumerate().all(|(me, view)| {
            view.lines().count() == 4
                && ids.iter().enumerate().all(|(other, id)| lists(view, id, flags(me, other)))
        });
        let up = |stock: &Stock| stock.run("CLUSTER INFO").contains("cluster_state:ok");
        all_listed && up(&first) && up(&second) && live.iter().all(|node| node.machine.is_state_ok())
    });
    (first, second, live)
}

#[test]
fn a_mixed_cluster_forms_and_stays() {
    if !stock_is_here() {
        return;
    }
    let (first, second, mut live) = mixed_cluster(&["--cluster-announce-hostname", "stock.example"]);
    let name = |live: &[Live], id: &str| {
        live[0].machine.nodes_text(false).lines().any(|l| l.starts_with(id) && l.contains(",stock.example "))
    };
    drive_until("the host name arrived", &mut live, |live| name(live, &first.id()));
    // Epochs collide at the start (all are 0) and must end distinct.
    drive_until("epochs are distinct", &mut live, |live| {
        let epoch = |id: &str| {
            let text = first.run("CLUSTER NODES");
            line(&text, id).and_then(|line| line.split(' ').nth(6)).map(str::to_owned)
        };
        let mut epochs =
            vec![epoch(&first.id()), epoch(&second.id()), epoch(&live[0].id()), epoch(&live[1].id())];
        epochs.sort();
        epochs.dedup();
        epochs.len() == 4
    });
    // 7.0 warns of every extension it does not know, and learns of ours at most once per link.
    let log = first.log();
    let complaints = log.lines().filter(|line| line.contains("Received unknown")).count();
    assert!(complaints <= 4, "{log}");
    let conf = std::fs::read(first.dir.join("nodes.conf")).unwrap();
    let conf = NodesConf::parse(&conf, false).unwrap();
    assert_eq!((conf.nodes.len(), conf.saw_vars), (4, true));
    if let Ok(path) = std::env::var("BALAS_CAPTURE") {
        let frames = &live[0].frames;
        let of_type = |n: u8| frames.iter().rev().find(|frame| frame[13] == n).unwrap().clone();
        std::fs::write(path, [of_type(0), of_type(1)].concat()).unwrap();
    }
}

#[test]
fn a_replica_of_ours_replaces_a_stock_master() {
    if !stock_is_here() {
        return;
    }
    let (mut first, second, mut live) = mixed_cluster(&[]);
    let (master, replica) = (first.id(), live[1].id());
    live[1].call(|machine, cx| machine.replicate(cx, master.as_bytes(), true)).unwrap();
    drive_until("the replica is known", &mut live, |_| {
        lists(&second.run("CLUSTER NODES"), &replica, "slave")
    });
    first.kill();
    drive_until("the replica is master", &mut live, |live| {
        let view = second.run("CLUSTER NODES");
        lists(&view, &replica, "master")
            && line(&view, &replica).is_some_and(|line| line.ends_with(" 0-5460"))
            && second.run("CLUSTER INFO").contains("cluster_state:ok")
            && live[0].machine.is_state_ok()
    });
    assert!(live[1].seen.contains(&Action::BecomeMaster));
}

#[test]
fn a_stock_replica_replaces_a_master_of_ours() {
    if !stock_is_here() {
        return;
    }
    let (first, second, mut live) = mixed_cluster(&[]);
    let stock = Stock::start(&[]);
    first.ok(&format!("CLUSTER MEET 127.0.0.1 {}", stock.port));
    let (master, replica) = (live[0].id(), stock.id());
    drive_until("the newcomer knows its master", &mut live, |_| {
        stock.run(&format!("CLUSTER REPLICATE {master}")) == "+OK"
    });
    drive_until("the replica is known", &mut live, |live| {
        lists(&second.run("CLUSTER NODES"), &replica, "slave")
            && lists(&live[1].machine.nodes_text(false), &replica, "slave")
    });
    let dead = live.remove(0);
    drop(dead);
    drive_until("the stock replica is master", &mut live, |live| {
        let view = live[0].machine.nodes_text(false);
        lists(&view, &replica, "master")
            && line(&view, &replica).is_some_and(|line| line.ends_with(" 10923-16383"))
    });
}

#[test]
fn manual_failover_both_ways() {
    if !stock_is_here() {
        return;
    }
    let (first, second, mut live) = mixed_cluster(&[]);
    // Ours takes over from stock, with its help.
    let (master, replica) = (first.id(), live[1].id());
    live[1].call(|machine, cx| machine.replicate(cx, master.as_bytes(), true)).unwrap();
    drive_until("the replica is known", &mut live, |_| {
        lists(&first.run("CLUSTER NODES"), &replica, "slave")
            && lists(&second.run("CLUSTER NODES"), &replica, "slave")
    });
    live[1].call(|machine, cx| machine.failover(cx, FailoverMode::Graceful)).unwrap();
    drive_until("ours is master, stock its replica", &mut live, |live| {
        lists(&second.run("CLUSTER NODES"), &replica, "master")
            && lists(&first.run("CLUSTER NODES"), &master, "myself,slave")
            && live.iter().all(|node| lists(&node.machine.nodes_text(false), &master, "slave"))
    });
    // And back: stock asks ours to step down. It asks once, over a link that may be down just then, and gives
    // up after five seconds: whoever wants the failover asks again.
    const LOOKS_BETWEEN: u32 = 120;
    let mut looks = 0..;
    drive_until("stock is master again", &mut live, |live| {
        if looks.next().is_some_and(|look: u32| look.is_multiple_of(LOOKS_BETWEEN)) {
            first.run("CLUSTER FAILOVER");
        }
        lists(&second.run("CLUSTER NODES"), &master, "master") && !live[1].machine.is_master()
    });
    assert!(live[1].seen.contains(&Action::ResumeWrites));
}

#[test]
fn slots_migrate_both_ways() {
    if !stock_is_here() {
        return;
    }
    let (first, second, mut live) = mixed_cluster(&[]);
    let (stock, ours) = (first.id(), live[0].id());
    let (to_ours, to_stock) = (Slot::new(7).unwrap(), Slot::new(16000).unwrap());
    // As redis-cli does it: importing, migrating, then NODE on the new owner and the old one.
    live[0].call(|machine, cx| machine.set_slot_importing(cx, to_ours, stock.as_bytes())).unwrap();
    first.ok(&format!("CLUSTER SETSLOT 7 MIGRATING {ours}"));
    live[0].call(|machine, cx| machine.set_slot_node(cx, to_ours, ours.as_bytes(), 0)).unwrap();
    first.ok(&format!("CLUSTER SETSLOT 7 NODE {ours}"));
    first.ok(&format!("CLUSTER SETSLOT 16000 IMPORTING {ours}"));
    live[0].call(|machine, cx| machine.set_slot_migrating(cx, to_stock, stock.as_bytes())).unwrap();
    first.ok(&format!("CLUSTER SETSLOT 16000 NODE {stock}"));
    live[0].call(|machine, cx| machine.set_slot_node(cx, to_stock, stock.as_bytes(), 0)).unwrap();
    drive_until("everybody agrees", &mut live, |live| {
        let agrees = |view: &str| {
            line(view, &stock).is_some_and(|line| line.ends_with("0-6 8-5460 16000"))
                && line(view, &ours).is_some_and(|line| line.ends_with(" 7 10923-15999 16001-16383"))
        };
        agrees(&first.run("CLUSTER NODES"))
            && agrees(&second.run("CLUSTER NODES"))
            && live.iter().all(|node| agrees(&node.machine.nodes_text(false)))
    });
}

#[test]
fn stock_starts_from_our_nodes_conf() {
    if !stock_is_here() {
        return;
    }
    let (first, _second, mut live) = mixed_cluster(&[]);
    let dir = std::env::temp_dir().join(format!("balas-bus-conf-{}-{}", std::process::id(), live[0].port));
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("nodes.conf"), live[0].machine.nodes_conf_text()).unwrap();
    let ours = live.remove(0);
    let (id, port) = (ours.id(), ours.port);
    drop(ours);
    let stock = Stock::start_in(dir, port, &[]);
    assert_eq!(stock.id(), id);
    drive_until("stock stands in for ours", &mut live, |live| {
        let view = stock.run("CLUSTER NODES");
        // A 7.0 server reads the aux fields as host names and forgets them with the first heartbeats.
        view.lines().count() == 4
            && !view.contains("shard-id")
            && lists(&view, &first.id(), "master")
            && lists(&first.run("CLUSTER NODES"), &id, "master")
            && lists(&live[0].machine.nodes_text(false), &id, "master")
    });
}

/// What our machine says to a command, as RESP.
fn reply<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    match result {
        Ok(_) => "+OK".to_owned(),
        Err(error) => format!("-ERR {error}"),
    }
}

#[test]
fn commands_are_refused_in_stock_words() {
    if !stock_is_here() {
        return;
    }
    let (stock, mut ours) = (Stock::start(&[]), Live::start(3));
    let nobody = "a".repeat(40);
    let one = |n: u16| vec![Slot::new(n).unwrap()];
    let check = |command: &str, said: String| assert_eq!(stock.run(command), said, "{command}");
    macro_rules! same {
        ($command:expr, |$machine:ident, $cx:ident| $call:expr) => {
            check(&$command, ours.call(|$machine, $cx| reply($call)))
        };
    }
    same!("CLUSTER ADDSLOTS 1", |m, cx| m.add_slots(cx, &one(1)));
    same!("CLUSTER ADDSLOTS 1", |m, cx| m.add_slots(cx, &one(1)));
    same!("CLUSTER ADDSLOTS 2 2", |m, cx| m.add_slots(cx, &[one(2), one(2)].concat()));
    same!("CLUSTER DELSLOTS 3", |m, cx| m.del_slots(cx, &one(3)));
    same!("CLUSTER DELSLOTS 1 1", |m, cx| m.del_slots(cx, &[one(1), one(1)].concat()));
    let (first, second) = (one(1)[0], one(2)[0]);
    same!(format!("CLUSTER SETSLOT 1 MIGRATING {nobody}"), |m, cx| {
        m.set_slot_migrating(cx, first, nobody.as_bytes())
    });
    same!(format!("CLUSTER SETSLOT 2 MIGRATING {nobody}"), |m, cx| {
        m.set_slot_migrating(cx, second, nobody.as_bytes())
    });
    same!(format!("CLUSTER SETSLOT 1 IMPORTING {nobody}"), |m, cx| {
        m.set_slot_importing(cx, first, nobody.as_bytes())
    });
    same!(format!("CLUSTER SETSLOT 2 IMPORTING {nobody}"), |m, cx| {
        m.set_slot_importing(cx, second, nobody.as_bytes())
    });
    same!(format!("CLUSTER SETSLOT 1 NODE {nobody}"), |m, cx| {
        m.set_slot_node(cx, first, nobody.as_bytes(), 0)
    });
    same!("CLUSTER SETSLOT 1 STABLE", |m, cx| m.set_slot_stable(cx, first));
    same!(format!("CLUSTER FORGET {nobody}"), |m, cx| m.forget(cx, nobody.as_bytes()));
    same!("CLUSTER REPLICATE short", |m, cx| m.replicate(cx, b"short", true));
    same!("CLUSTER MEET nowhere 7000", |m, cx| m.meet(cx, "nowhere", 7000, 17000));
    same!("CLUSTER MEET 127.0.0.1 99999", |m, cx| m.meet(cx, "127.0.0.1", 99999, 109_999));
    same!("CLUSTER FAILOVER", |m, cx| m.failover(cx, FailoverMode::Graceful));
    same!("CLUSTER SET-CONFIG-EPOCH 5", |m, cx| m.set_config_epoch(cx, Epoch(5)));
    same!("CLUSTER SET-CONFIG-EPOCH 6", |m, cx| m.set_config_epoch(cx, Epoch(6)));
    same!(format!("CLUSTER REPLICAS {nobody}"), |m, _cx| m.replica_lines(nobody.as_bytes(), false));
    same!(format!("CLUSTER COUNT-FAILURE-REPORTS {nobody}"), |m, cx| {
        m.count_failure_reports(cx.now_ms, nobody.as_bytes())
    });
    check("CLUSTER BUMPEPOCH", ours.call(|m, cx| format!("+{}", m.bump_epoch(cx))));
    let own = |ours: &Live| ours.id();
    check(&format!("CLUSTER FORGET {}", stock.id()), {
        let id = own(&ours);
        ours.call(|m, cx| reply(m.forget(cx, id.as_bytes())))
    });
    check(&format!("CLUSTER REPLICATE {}", stock.id()), {
        let id = own(&ours);
        ours.call(|m, cx| reply(m.replicate(cx, id.as_bytes(), true)))
    });
    // The views of a lone node are the same but for its name and port.
    let lone = ours.machine.nodes_text(false).replace(&ours.id(), &stock.id());
    let endpoint = |port: u16| format!(":{port}@{}", port + 10_000);
    let lone = lone.replace(&endpoint(ours.port), &endpoint(stock.port));
    assert_eq!(stock.run("CLUSTER NODES"), lone.trim_end());
    // Stock counts masters only after its first two seconds.
    let info = |text: &str| text.lines().filter(|line| !line.contains("_size")).collect::<Vec<_>>().join(";");
    assert_eq!(info(&stock.run("CLUSTER INFO")), info(&ours.machine.info_text()));
}

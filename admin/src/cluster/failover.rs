//! `failover-test`: the documented scenario. Write keys, kill a master, measure, verify, bring it back.
//!
//! ```text
//!  write 100 keys ─▶ replicas have them ─▶ kill -9 ─▶ marked failed, replica promoted ─▶ state ok, data there
//!                                             │                                                   │
//!                                             └── whatever happens: start it again ◀──────────────┘
//!                                                          │
//!                                                          └─▶ it is a replica, state ok, data there
//! ```

use super::check::{self, Survey};
use crate::address::Address;
use crate::args::FailoverTest;
use crate::client::{Auth, Client};
use crate::clock::{Stopwatch, wait_for};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::node::folder::{ClusterFolder, NodeFolder};
use crate::node::process::{self, Launcher};
use crate::resp::Value;
use crate::router::Router;
use crate::topology::{Node, View};

const KEYS: usize = 100;

/// Within this a dead master must have been noticed, replaced, and be back as a replica.
const STEP_TIMEOUT_MS: u64 = 30_000;

struct Test<'a> {
    folder: &'a ClusterFolder,
    auth: &'a Auth,
    interrupt: &'a Interrupt,
    victim: &'a NodeFolder,
    /// The victim as the cluster knew it.
    node: Node,
    replicas: Vec<Address>,
    prefix: String,
}

/// What the kill cost.
struct Outage {
    detected_ms: u64,
    writable_ms: u64,
    promoted: Address,
}

pub fn run(words: &FailoverTest, interrupt: &Interrupt) -> Result<(), Error> {
    let folder = ClusterFolder::open(&words.folder.dir)?;
    let launcher = Launcher::new(words.program.server.as_deref())?;
    let auth = words.password.auth(folder.password());
    let survey = Survey::take(&folder.nodes[0].address(), &auth)?;
    check::report(&survey.problems())?;

    let test = Test::plan(&folder, &survey, &auth, interrupt)?;
    test.write(&survey.view)?;
    say!("Wrote {KEYS} keys; the replicas have them.");
    let outcome = test.kill_and_verify();
    // Failed or not, the cluster gets its node back.
    let restarted = launcher
        .start(test.victim)
        .and_then(|mut started| started.wait_ready(&auth, &Interrupt::default()).map(|()| started));
    let outage = outcome?;
    restarted?;
    test.verify_return()?;
    test.clean_up();
    say!("Restarted {}: a replica of {}, state ok, the data is there.", test.node.address, outage.promoted);
    say!(
        "\nThe failover test passed. Writes to {} were out for {} ms.",
        slots_of(&test.node),
        outage.writable_ms
    );
    Ok(())
}

fn slots_of(node: &Node) -> String {
    format!("slots {}", node.slots_text())
}

impl<'a> Test<'a> {
    /// The victim is the first master that owns slots and has a replica.
    fn plan(
        folder: &'a ClusterFolder,
        survey: &Survey,
        auth: &'a Auth,
        interrupt: &'a Interrupt,
    ) -> Result<Test<'a>, Error> {
        let replicas = |node: &Node| -> Vec<Address> {
            survey.view.replicas_of(&node.id).map(|replica| replica.address.clone()).collect()
        };
        let found = folder.nodes.iter().find_map(|victim| {
            let node = survey.view.nodes.iter().find(|node| node.address.port == victim.port)?;
            (node.slot_count() > 0 && !replicas(node).is_empty()).then_some((victim, node.clone()))
        });
        let (victim, node) = found.ok_or_else(|| Error::Usage("no master here has a replica".into()))?;
        let prefix = format!("balas:failover:{}", std::process::id());
        Ok(Test { folder, auth, interrupt, victim, replicas: replicas(&node), node, prefix })
    }

    fn key(&self, i: usize) -> String {
        format!("{}:{i}", self.prefix)
    }

    /// A key of the victim's that is none of the hundred.
    fn probe_key(&self) -> String {
        let keys = (KEYS..).map(|i| self.key(i));
        let mut owned = keys.filter(|key| self.node.owns(protocol::slot_of(key.as_bytes()).get()));
        owned.next().expect("the victim owns slots, and keys fall into every slot")
    }

    fn router(&self) -> Router {
        Router::new(&self.replicas[0], self.auth)
    }

    /// Writes the keys and waits until the victim's replicas have applied them: replication is asynchronous, and a
    /// write that only the dead master had is lost by design.
    fn write(&self, view: &View) -> Result<(), Error> {
        let mut router = self.router();
        router.learn(view);
        for i in 0..KEYS {
            router.call(&self.key(i), &["SET", &self.key(i), &i.to_string()])?;
        }
        let written = self.offset(&self.node.address, "master_repl_offset")?;
        wait_for("the replicas to catch up", STEP_TIMEOUT_MS, self.interrupt, || {
            for replica in &self.replicas {
                if self.offset(replica, "slave_repl_offset")? < written {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    fn offset(&self, address: &Address, field: &str) -> Result<u64, Error> {
        let mut client = Client::connect(address, self.auth).map_err(|error| error.at(address))?;
        Ok(client.info()?.number(field).unwrap_or(0))
    }

    fn kill_and_verify(&self) -> Result<Outage, Error> {
        let outage = self.kill_and_wait()?;
        say!(
            "Killed {}: marked failed after {} ms, {} took its slots over after {} ms.",
            self.node.address,
            outage.detected_ms,
            outage.promoted,
            outage.writable_ms
        );
        let survivors: Vec<Address> =
            self.folder.addresses().into_iter().filter(|address| address.port != self.victim.port).collect();
        wait_for("state ok on all other nodes", STEP_TIMEOUT_MS, self.interrupt, || {
            for address in &survivors {
                let mut client = Client::connect(address, self.auth).map_err(|error| error.at(address))?;
                if client.cluster_info()?.text("cluster_state") != "ok" {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        self.verify_keys()?;
        say!("State ok, all {KEYS} keys are there.");
        Ok(outage)
    }

    /// Kills the victim, then asks its replicas for a write, and another master for its opinion, until both are
    /// there.
    fn kill_and_wait(&self) -> Result<Outage, Error> {
        let key = self.probe_key();
        let connect =
            |address: &Address| Client::connect(address, self.auth).map_err(|error| error.at(address));
        let mut replicas: Vec<Client> = self.replicas.iter().map(connect).collect::<Result<_, _>>()?;
        let watch = Stopwatch::start();
        process::kill(self.victim)?;
        let (mut detected_ms, mut written) = (None, None);
        wait_for("a replica to be promoted", STEP_TIMEOUT_MS, self.interrupt, || {
            for client in &mut replicas {
                if written.is_none() && client.call(&["SET", &key, "probe", "EX", "60"]).is_ok() {
                    written = Some((watch.elapsed_ms(), client.address().clone()));
                }
            }
            if detected_ms.is_none() && self.is_marked_failed(&mut replicas[0])? {
                detected_ms = Some(watch.elapsed_ms());
            }
            Ok(detected_ms.zip(written.clone()))
        })
        .map(|(detected_ms, (writable_ms, promoted))| Outage { detected_ms, writable_ms, promoted })
    }

    fn is_marked_failed(&self, client: &mut Client) -> Result<bool, Error> {
        let view = View::of(client)?;
        Ok(view.by_id(&self.node.id).is_some_and(|node| node.is("fail")))
    }

    fn verify_keys(&self) -> Result<(), Error> {
        let mut router = self.router();
        let mut missing = 0;
        for i in 0..KEYS {
            let value = router.call(&self.key(i), &["GET", &self.key(i)])?;
            missing += usize::from(value != Value::Bulk(i.to_string().into_bytes()));
        }
        if missing == 0 { Ok(()) } else { Err(Error::Unwell(format!("{missing} of {KEYS} keys are lost"))) }
    }

    /// The old master must come back as a replica of a whole cluster.
    fn verify_return(&self) -> Result<(), Error> {
        let back = &self.node.address;
        wait_for(&format!("{back} to be a replica"), STEP_TIMEOUT_MS, self.interrupt, || {
            let mut client = Client::connect(back, self.auth).map_err(|error| error.at(back))?;
            let is_replica = View::of(&mut client)?.myself().is_some_and(|node| !node.is_master());
            Ok(is_replica.then_some(()))
        })?;
        check::wait_healthy(&self.folder.addresses(), self.auth, STEP_TIMEOUT_MS, self.interrupt)?;
        self.verify_keys()
    }

    fn clean_up(&self) {
        let mut router = self.router();
        for key in (0..KEYS).map(|i| self.key(i)).chain([self.probe_key()]) {
            // A key that stays hurts nobody.
            let _ = router.call(&key, &["DEL", &key]);
        }
    }
}

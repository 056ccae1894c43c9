//! A small cluster client: sends each command to its slot's owner and follows MOVED and ASK.

use crate::address::Address;
use crate::client::{Auth, Client, ClientError};
use crate::error::Error;
use crate::resp::Value;
use crate::topology::View;
use protocol::{SLOT_COUNT, Slot};
use std::collections::HashMap;

/// Redirects of one command before the cluster counts as confused.
const HOPS_MAX: usize = 5;

pub struct Router {
    auth: Auth,
    /// Where to go with a slot nothing is known about.
    seed: Address,
    owners: Vec<Option<Address>>,
    connections: HashMap<Address, Client>,
}

impl Router {
    pub fn new(seed: &Address, auth: &Auth) -> Router {
        Router {
            auth: auth.clone(),
            seed: seed.clone(),
            owners: vec![None; SLOT_COUNT],
            connections: HashMap::new(),
        }
    }

    /// Learns the owners of all slots at once.
    pub fn learn(&mut self, view: &View) {
        for node in &view.nodes {
            for slot in node.slots.iter().flat_map(|range| range.slots()) {
                self.owners[usize::from(slot)] = Some(node.address.clone());
            }
        }
    }

    /// Runs a command on the owner of `key`.
    pub fn call(&mut self, key: &str, args: &[&str]) -> Result<Value, Error> {
        let slot = Slot::of(key.as_bytes());
        let mut target = self.owners[slot.index()].clone().unwrap_or_else(|| self.seed.clone());
        let mut asking = false;
        for _ in 0..HOPS_MAX {
            match self.send(&target, args, asking) {
                Ok(value) => return Ok(value),
                Err(ClientError::Reply(text)) => match Redirect::parse(&text, &target) {
                    Some(redirect) => {
                        asking = redirect.ask;
                        if !asking {
                            self.owners[slot.index()] = Some(redirect.target.clone());
                        }
                        target = redirect.target;
                    }
                    None => return Err(ClientError::Reply(text).at(&target)),
                },
                Err(error) => {
                    self.connections.remove(&target);
                    self.owners[slot.index()] = None;
                    return Err(error.at(&target));
                }
            }
        }
        Err(Error::refused(&target, format!("and others redirect slot {slot} in a circle")))
    }

    fn send(&mut self, target: &Address, args: &[&str], asking: bool) -> Result<Value, ClientError> {
        if !self.connections.contains_key(target) {
            self.connections.insert(target.clone(), Client::connect(target, &self.auth)?);
        }
        let client = self.connections.get_mut(target).expect("just put there");
        if asking {
            client.call(&["ASKING"])?;
        }
        client.call(args)
    }
}

struct Redirect {
    ask: bool,
    target: Address,
}

impl Redirect {
    /// `MOVED 3999 127.0.0.1:6381` or `ASK …`; without a host it is the host that said so.
    fn parse(text: &str, from: &Address) -> Option<Redirect> {
        let mut words = text.split(' ');
        let ask = match words.next()? {
            "MOVED" => false,
            "ASK" => true,
            _ => return None,
        };
        let (host, port) = words.nth(1)?.rsplit_once(':')?;
        let host = if host.is_empty() || host == "?" { &from.host } else { host };
        Some(Redirect { ask, target: Address::new(host, port.parse().ok()?) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_are_read() {
        let from = Address::new("10.0.0.1", 7000);
        let target =
            |text| Redirect::parse(text, &from).map(|redirect| (redirect.ask, redirect.target.to_string()));
        assert_eq!(target("MOVED 3999 127.0.0.1:6381"), Some((false, "127.0.0.1:6381".into())));
        assert_eq!(target("ASK 3999 ::1:6381"), Some((true, "[::1]:6381".into())));
        assert_eq!(target("MOVED 3999 :7001"), Some((false, "10.0.0.1:7001".into())));
        assert_eq!(target("CLUSTERDOWN The cluster is down"), None);
        assert_eq!(target("MOVED 3999"), None);
    }
}

//! `check`: are all slots covered, and do all nodes agree?

use crate::address::Address;
use crate::client::{Auth, Client};
use crate::clock::wait_for;
use crate::error::Error;
use crate::info::Info;
use crate::interrupt::Interrupt;
use crate::topology::{Node, View};
use protocol::SLOT_COUNT;

/// One member as it answered, or why it did not.
pub struct Member {
    /// As the seed sees it.
    pub node: Node,
    pub answer: Result<Answer, Error>,
}

pub struct Answer {
    pub view: View,
    pub cluster: Info,
    pub info: Info,
}

/// A cluster, asked member by member.
pub struct Survey {
    /// The seed's own view.
    pub view: View,
    pub members: Vec<Member>,
}

impl Survey {
    /// Asks the seed who belongs to the cluster, then each of those.
    pub fn take(seed: &Address, auth: &Auth) -> Result<Survey, Error> {
        let mut client = Client::connect(seed, auth).map_err(|error| error.at(seed))?;
        let view = View::of(&mut client)?;
        let members = view
            .members()
            .map(|node| Member { node: node.clone(), answer: ask(&node.address, auth) })
            .collect();
        Ok(Survey { view, members })
    }

    /// Everything that is not as it must be, worded for people; empty when the cluster is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for member in &self.members {
            let address = &member.node.address;
            match &member.answer {
                Err(error) => problems.push(error.to_string()),
                Ok(answer) => answer_problems(address, answer, &self.view, &mut problems),
            }
        }
        for node in self.view.nodes.iter().filter(|node| node.is("fail") || node.is("fail?")) {
            let doubt = if node.is("fail") { "has failed" } else { "may have failed" };
            problems.push(format!("{} {doubt}, says {}", node.address, self.speaker()));
        }
        let covered = self.view.covered();
        if covered != SLOT_COUNT {
            problems.push(format!("{} of {SLOT_COUNT} slots have no owner", SLOT_COUNT - covered));
        }
        problems
    }

    fn speaker(&self) -> String {
        self.view.myself().map_or("the node asked".into(), |node| node.address.to_string())
    }
}

fn ask(address: &Address, auth: &Auth) -> Result<Answer, Error> {
    let mut client = Client::connect(address, auth).map_err(|error| error.at(address))?;
    Ok(Answer { view: View::of(&mut client)?, cluster: client.cluster_info()?, info: client.info()? })
}

fn answer_problems(address: &Address, answer: &Answer, seed: &View, problems: &mut Vec<String>) {
    let state = answer.cluster.text("cluster_state");
    if state != "ok" {
        problems.push(format!("{address} says the state is {state}"));
    }
    if answer.view.signature() != seed.signature() {
        problems.push(format!("{address} has another view of nodes, roles or slots than the node asked"));
    }
    let Some(myself) = answer.view.myself() else { return };
    for moving in &myself.moving {
        problems.push(format!("{address} has a slot left open by a move: {moving}"));
    }
    if !myself.is_master() && answer.info.text("master_link_status") != "up" {
        problems.push(format!("{address} has no link to its master"));
    }
}

/// Waits until these nodes, and no others, are one healthy cluster.
pub fn wait_healthy(
    addresses: &[Address],
    auth: &Auth,
    timeout_ms: u64,
    interrupt: &Interrupt,
) -> Result<Survey, Error> {
    let mut last = String::new();
    let waited =
        wait_for("the cluster to be healthy", timeout_ms, interrupt, || match healthy(addresses, auth)? {
            Ok(survey) => Ok(Some(survey)),
            Err(problem) => {
                last = problem;
                Ok(None)
            }
        });
    waited.map_err(|error| match error {
        Error::TimedOut { waited_for, waited_s } => {
            Error::TimedOut { waited_for: format!("{waited_for} ({last})"), waited_s }
        }
        other => other,
    })
}

/// The survey of a healthy cluster, or the first problem.
fn healthy(addresses: &[Address], auth: &Auth) -> Result<Result<Survey, String>, Error> {
    let survey = match Survey::take(&addresses[0], auth) {
        Ok(survey) => survey,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if survey.members.len() != addresses.len() {
        let (have, want) = (survey.members.len(), addresses.len());
        return Ok(Err(format!("{} knows {have} of {want} nodes", addresses[0])));
    }
    let problem = survey.problems().into_iter().next();
    Ok(problem.map_or(Ok(survey), Err))
}

/// Prints what is wrong; an error when anything is.
pub fn report(problems: &[String]) -> Result<(), Error> {
    for problem in problems {
        say!("  PROBLEM: {problem}");
    }
    match problems.len() {
        0 => Ok(()),
        1 => Err(Error::Unwell("the cluster has a problem".into())),
        n => Err(Error::Unwell(format!("the cluster has {n} problems"))),
    }
}

pub fn run(seed: &Address, auth: &Auth) -> Result<(), Error> {
    let survey = Survey::take(seed, auth)?;
    let masters = survey.members.iter().filter(|member| member.node.is_master()).count();
    say!(
        "{} nodes: {masters} masters, {} replicas; {} of {SLOT_COUNT} slots covered",
        survey.members.len(),
        survey.members.len() - masters,
        survey.view.covered()
    );
    report(&survey.problems())?;
    say!("All nodes agree, the cluster is healthy.");
    Ok(())
}

//! The choice between a thread and an agent.

use std::path::Path;

use super::agent::{PATIENCE, run_agent};
use super::here::{is_for_a_process, run_here};
use super::request::{Job, Outcome};
use crate::fault::{Fault, Stage};
use crate::ns::{self, Namespace};

/// The namespaces that a job is done in.
#[derive(Debug, Default)]
pub struct Namespaces {
    /// The namespaces to join.
    pub needed: Vec<Namespace>,
    /// The user namespace that gives the privilege to join the others, for a caller without it.
    pub owner: Option<Namespace>,
    /// The user namespace of a mount's mapping. It is not joined.
    pub idmap: Option<Namespace>,
}

/// Does `job` on the calling thread, which must end afterwards: its namespaces, root and working
/// directory may have changed. `agent` is the agent's path.
pub fn run_on_this_thread(
    agent: &Path,
    namespaces: Namespaces,
    job: &Job,
) -> Result<Outcome, Fault> {
    ns::unshare_fs()?;
    attempt(agent, namespaces, job)
}

fn attempt(agent: &Path, namespaces: Namespaces, job: &Job) -> Result<Outcome, Fault> {
    let needed = others(namespaces.needed)?;
    let idmap = namespaces.idmap;
    // The mapping of a mount needs privileges over its file system, with which a thread can join
    // the namespaces without the agent.
    let owner = others(namespaces.owner.filter(|_| idmap.is_none()))?.pop();
    if needed.iter().any(is_for_a_process) {
        return match run_agent(agent, needed.iter(), job, PATIENCE) {
            Err(fault) if is_refusal(fault) && owner.is_some() => {
                run_agent(agent, owner.iter().chain(&needed), job, PATIENCE)
            }
            other => other,
        };
    }
    match run_here(&needed, job, idmap.as_ref()) {
        Err(fault) if is_refusal(fault) && owner.is_some() => {
            run_agent(agent, owner.iter().chain(&needed), job, PATIENCE)
        }
        other => other,
    }
}

/// The namespaces that the calling thread is not in.
fn others(namespaces: impl IntoIterator<Item = Namespace>) -> Result<Vec<Namespace>, Fault> {
    let mut others = Vec::new();
    for namespace in namespaces {
        if !namespace.is_ours()? {
            others.push(namespace);
        }
    }
    Ok(others)
}

fn is_refusal(fault: Fault) -> bool {
    matches!(fault.stage, Stage::Setns | Stage::SetnsPid) && fault.errno == libc::EPERM
}

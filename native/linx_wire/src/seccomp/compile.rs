//! Compiles a policy to a program.
//!
//! The system call numbers are divided into intervals with one outcome each, and a binary search
//! finds the interval. The x32 calls of x86_64 are ordinary intervals, so the check for them costs
//! at most one further comparison.

use std::collections::{BTreeMap, HashMap};

use super::arch::Arch;
use super::assembler::{Assembler, Label};
use super::insn::{Insn, JEQ, JGE, LD, MAX_INSNS, OFFSET_ARCH, OFFSET_NR, RET};
use super::policy::{Condition, Policy, Rule};
use super::prefix::PREFIX_LEN;

/// The error of a program that exceeds the kernel's limit with the prefix of `exec_prefix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the filter would need more than {} instructions", MAX_INSNS - PREFIX_LEN)]
pub struct TooLong;

/// The outcome of one number: the conditional rules in order, and the action if none matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Outcome {
    conditional: Vec<(Vec<Condition>, u32)>,
    otherwise: u32,
}

impl Outcome {
    fn always(action: u32) -> Outcome {
        Outcome {
            conditional: Vec::new(),
            otherwise: action,
        }
    }
}

/// Compiles the policy. Calls of a foreign architecture kill the process.
pub fn compile(policy: &Policy) -> Result<Vec<Insn>, TooLong> {
    let mut code = Code::default();
    let intervals: Vec<(u32, Label)> = intervals(policy)
        .iter()
        .map(|(start, outcome)| Ok((*start, code.outcome(policy.arch, outcome)?)))
        .collect::<Result<_, _>>()?;

    let native = match intervals[..] {
        [(_, only)] => only,
        _ => {
            code.search(&intervals)?;
            code.asm.push(Insn::stmt(LD, OFFSET_NR))
        }
    };
    let foreign = code.action(libc::SECCOMP_RET_KILL_PROCESS);
    code.asm.branch(JEQ, policy.arch.audit(), native, foreign);
    code.asm.push(Insn::stmt(LD, OFFSET_ARCH));
    code.check()?;
    Ok(code.asm.finish())
}

/// The numbers at which the outcome changes, from 0 on.
fn intervals(policy: &Policy) -> Vec<(u32, Outcome)> {
    let unruled = |number| Outcome::always(policy.unruled(number));
    let mut starts = BTreeMap::from([(0, unruled(0))]);
    for range in policy.arch.foreign_numbers() {
        starts.insert(range.start, unruled(range.start));
        starts.insert(range.end, unruled(range.end));
    }

    for (number, outcome) in outcomes(policy) {
        if let Some(next) = number.checked_add(1) {
            starts.entry(next).or_insert_with(|| unruled(next));
        }
        starts.insert(number, outcome);
    }

    let mut merged: Vec<(u32, Outcome)> = Vec::with_capacity(starts.len());
    for (start, outcome) in starts {
        if merged.last().is_none_or(|(_, last)| *last != outcome) {
            merged.push((start, outcome));
        }
    }
    merged
}

/// The outcome of each number with rules. Rules after an unconditional one are never reached.
fn outcomes(policy: &Policy) -> BTreeMap<u32, Outcome> {
    let mut by_number: BTreeMap<u32, Vec<&Rule>> = BTreeMap::new();
    for rule in &policy.rules {
        by_number.entry(rule.number).or_default().push(rule);
    }
    by_number
        .into_iter()
        .map(|(number, rules)| {
            let last = rules.iter().position(|rule| rule.conditions.is_empty());
            let conditional = rules[..last.unwrap_or(rules.len())]
                .iter()
                .map(|rule| (rule.conditions.clone(), rule.action))
                .collect();
            let otherwise = last.map_or_else(|| policy.unruled(number), |at| rules[at].action);
            (
                number,
                Outcome {
                    conditional,
                    otherwise,
                },
            )
        })
        .collect()
}

#[derive(Debug, Default)]
struct Code {
    asm: Assembler,
    actions: HashMap<u32, Label>,
    outcomes: HashMap<Outcome, Label>,
}

impl Code {
    fn check(&self) -> Result<(), TooLong> {
        if self.asm.len() > MAX_INSNS - PREFIX_LEN {
            Err(TooLong)
        } else {
            Ok(())
        }
    }

    /// The return instruction of an action.
    fn action(&mut self, action: u32) -> Label {
        match self.actions.get(&action) {
            Some(label) => *label,
            None => {
                let label = self.asm.push(Insn::stmt(RET, action));
                self.actions.insert(action, label);
                label
            }
        }
    }

    /// The code of an outcome; numbers with equal rules share it.
    fn outcome(&mut self, arch: Arch, outcome: &Outcome) -> Result<Label, TooLong> {
        if let Some(label) = self.outcomes.get(outcome) {
            return Ok(*label);
        }
        let mut label = self.action(outcome.otherwise);
        for (conditions, action) in outcome.conditional.iter().rev() {
            let no = label;
            label = self.action(*action);
            for condition in conditions.iter().rev() {
                label = condition.emit(arch, &mut self.asm, label, no);
                self.check()?;
            }
        }
        self.outcomes.insert(outcome.clone(), label);
        Ok(label)
    }

    /// The search tree over intervals, each given by its start; the number is in the accumulator.
    fn search(&mut self, intervals: &[(u32, Label)]) -> Result<Label, TooLong> {
        if let [(_, only)] = intervals {
            return Ok(*only);
        }
        self.check()?;
        let (low, high) = intervals.split_at(intervals.len() / 2);
        let start = high[0].0;
        let high = self.search(high)?;
        let low = self.search(low)?;
        Ok(self.asm.branch(JGE, start, high, low))
    }
}

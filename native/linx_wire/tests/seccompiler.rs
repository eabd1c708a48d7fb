//! The BPF compiler of linx_wire compared with seccompiler's: one policy, two programs, one
//! interpreter, the same verdicts.
//!
//! seccompiler knows one action for a match and one for a mismatch, and does not tell the x32 calls
//! of x86_64 from the others. The policies and calls here are those that both compilers can
//! express; tests/seccomp.rs compares the rest (several actions, x32) with a reading of the policy.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bpf;

use std::cell::Cell;
use std::collections::BTreeMap;

use bpf::{Call, run};
use linx_wire::seccomp::insn::{JEQ, JGE, JGT};
use linx_wire::seccomp::{Arch, Condition, Insn, Op, Policy, Rule, compile};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

const POLICIES: u32 = 1000;
const CALLS: usize = 20;

/// Numbers below this get rules; few, so that several rules meet at one number.
const NUMBERS: u32 = 12;

/// An action in both languages.
type Action = (u32, SeccompAction);

/// A comparison in both languages. seccompiler's 32-bit equality is our equality under a mask of
/// the low half.
#[derive(Clone, Debug)]
struct Comparison {
    arg: u8,
    ours: Op,
    theirs: SeccompCmpOp,
    length: SeccompCmpArgLen,
    value: u64,
}

/// Alternatives for one number: any of them matches, each when all of its comparisons hold. No
/// alternative at all matches every call of the number.
type Chains = BTreeMap<u32, Vec<Vec<Comparison>>>;

#[derive(Clone, Debug)]
struct Filter {
    arch: Arch,
    matched: Action,
    default: Action,
    chains: Chains,
}

impl Filter {
    fn ours(&self) -> Vec<Insn> {
        let rule = |number, conditions| Rule {
            number,
            action: self.matched.0,
            conditions,
        };
        let rules = self.chains.iter().flat_map(|(number, alternatives)| {
            if alternatives.is_empty() {
                return vec![rule(*number, Vec::new())];
            }
            let conditions = |all: &Vec<Comparison>| all.iter().map(Comparison::ours).collect();
            let alternative = |all| rule(*number, conditions(all));
            alternatives.iter().map(alternative).collect()
        });
        compile(&Policy {
            arch: self.arch,
            default: self.default.0,
            rules: rules.collect(),
        })
        .unwrap()
    }

    fn theirs(&self) -> Vec<Insn> {
        let rules = self.chains.iter().map(|(number, alternatives)| {
            let conditions = |all: &Vec<Comparison>| all.iter().map(Comparison::theirs).collect();
            let rule = |all| SeccompRule::new(conditions(all)).unwrap();
            (i64::from(*number), alternatives.iter().map(rule).collect())
        });
        let arch = match self.arch {
            Arch::X86_64 => TargetArch::x86_64,
            Arch::Aarch64 => TargetArch::aarch64,
            Arch::Riscv64 => TargetArch::riscv64,
            Arch::Arm => unreachable!("seccompiler has 64-bit architectures alone"),
        };
        let (default, matched) = (self.default.1.clone(), self.matched.1.clone());
        let filter = SeccompFilter::new(rules.collect(), default, matched, arch).unwrap();
        let program = BpfProgram::try_from(filter).unwrap();
        let insns = program.iter().map(|insn| Insn {
            code: insn.code,
            jt: insn.jt,
            jf: insn.jf,
            k: insn.k,
        });
        insns.collect()
    }
}

impl Comparison {
    fn ours(&self) -> Condition {
        let value = match self.ours {
            Op::MaskedEq(mask) => self.value & mask,
            _ => self.value,
        };
        Condition {
            arg: self.arg,
            op: self.ours,
            value,
        }
    }

    fn theirs(&self) -> SeccompCondition {
        let (length, op) = (self.length.clone(), self.theirs.clone());
        SeccompCondition::new(self.arg, length, op, self.value).unwrap()
    }
}

fn actions() -> impl Strategy<Value = (Action, Action)> {
    let all: [Action; 7] = [
        (libc::SECCOMP_RET_ALLOW, SeccompAction::Allow),
        (libc::SECCOMP_RET_ERRNO | 1, SeccompAction::Errno(1)),
        (libc::SECCOMP_RET_ERRNO | 4095, SeccompAction::Errno(4095)),
        (libc::SECCOMP_RET_KILL_THREAD, SeccompAction::KillThread),
        (libc::SECCOMP_RET_KILL_PROCESS, SeccompAction::KillProcess),
        (libc::SECCOMP_RET_LOG, SeccompAction::Log),
        (libc::SECCOMP_RET_TRAP, SeccompAction::Trap),
    ];
    // seccompiler refuses one action for both.
    (0..all.len(), 1..all.len()).prop_map(move |(first, distance)| {
        let second = (first + distance) % all.len();
        (all[first].clone(), all[second].clone())
    })
}

/// Numbers that differ in one half, in one bit, or at the borders of a half.
fn values() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..4,
        any::<u64>(),
        (0u32..64).prop_map(|bit| 1 << bit),
        Just(u64::MAX),
        Just(u64::from(u32::MAX)),
        (0u64..3, 0u64..3).prop_map(|(high, low)| high << 32 | low),
    ]
}

fn comparisons() -> impl Strategy<Value = Comparison> {
    (0u8..6, 0u8..8, values(), values()).prop_map(|(arg, op, value, mask)| {
        use SeccompCmpArgLen::{Dword, Qword};
        let low = u64::from(u32::MAX);
        let (ours, theirs, length) = match op {
            0 => (Op::Eq, SeccompCmpOp::Eq, Qword),
            1 => (Op::Ne, SeccompCmpOp::Ne, Qword),
            2 => (Op::Lt, SeccompCmpOp::Lt, Qword),
            3 => (Op::Le, SeccompCmpOp::Le, Qword),
            4 => (Op::Gt, SeccompCmpOp::Gt, Qword),
            5 => (Op::Ge, SeccompCmpOp::Ge, Qword),
            6 => (Op::MaskedEq(mask), SeccompCmpOp::MaskedEq(mask), Qword),
            _ => (Op::MaskedEq(low), SeccompCmpOp::Eq, Dword),
        };
        Comparison {
            arg,
            ours,
            theirs,
            length,
            value,
        }
    })
}

fn filters() -> impl Strategy<Value = Filter> {
    let alternative = prop::collection::vec(comparisons(), 1..3);
    let alternatives = prop::collection::vec(alternative, 0..4);
    let chains = prop::collection::btree_map(0..NUMBERS, alternatives, 0..NUMBERS as usize);
    let arch = prop::sample::select(&[Arch::X86_64, Arch::Aarch64, Arch::Riscv64][..]);
    (arch, actions(), chains).prop_map(|(arch, (matched, default), chains)| Filter {
        arch,
        matched,
        default,
        chains,
    })
}

/// The recipe of a call: a number, and for each argument the choice of a compared value and its
/// distance from it.
type Seed = (u32, [(usize, i64, u32); 6]);

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    let args = prop::array::uniform6((any::<usize>(), -1i64..2, 0u32..256));
    prop::collection::vec((0..NUMBERS + 1, args), CALLS)
}

/// A call whose arguments lie at, beside, and one bit from the values that the filter compares them
/// with.
fn call(filter: &Filter, (number, choices): &Seed) -> Call {
    let mut args = [0; 6];
    for (arg, (choice, distance, bit)) in choices.iter().enumerate() {
        let compared: Vec<u64> = filter
            .chains
            .get(number)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|comparison| usize::from(comparison.arg) == arg)
            .map(|comparison| comparison.value)
            .collect();
        let value = match compared.len() {
            0 => *choice as u64,
            count => compared[choice % count],
        };
        // Three of four bits are past the end: no bit is flipped then.
        args[arg] = value.wrapping_add_signed(*distance) ^ 1u64.checked_shl(*bit).unwrap_or(0);
    }
    Call {
        number: *number,
        arch: filter.arch.audit(),
        args,
    }
}

/// Two programs of one filter, and the calls that both are asked.
fn cases() -> impl Strategy<Value = (Filter, Vec<Seed>)> {
    (filters(), seeds())
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(POLICIES)
    })
}

#[test]
fn seccompilers_programs_give_the_same_verdicts() {
    let count = Cell::new((0, 0));
    runner()
        .run(&cases(), |(filter, seeds)| {
            let (ours, theirs) = (filter.ours(), filter.theirs());
            for seed in &seeds {
                let call = call(&filter, seed);
                let verdict = run(&ours, &call).0;
                prop_assert_eq!(verdict, run(&theirs, &call).0, "{:?}", call);
                let (calls, matched) = count.get();
                count.set((calls + 1, matched + u32::from(verdict == filter.matched.0)));
            }
            let foreign = Call {
                arch: 0x4000_0003,
                ..call(&filter, &seeds[0])
            };
            prop_assert_eq!(run(&ours, &foreign).0, run(&theirs, &foreign).0);
            Ok(())
        })
        .unwrap();
    // Calls that only ever miss would prove little.
    let (calls, matched) = count.get();
    assert!(
        calls >= 10_000 && matched * 10 >= calls && matched * 10 <= calls * 9,
        "{matched} of {calls}"
    );
}

/// A fault of a compiler: the change of one instruction.
type Fault = fn(&mut Insn);

/// The faults that a compiler of 64-bit comparisons is likely to have, put into a finished program.
fn faults() -> [(&'static str, Fault); 4] {
    [
        ("a border on the wrong side", |insn| match insn.code {
            JGT => insn.code = JGE,
            JGE => insn.code = JGT,
            _ => {}
        }),
        ("the two ways of a branch exchanged", |insn| {
            if insn.code == JEQ {
                std::mem::swap(&mut insn.jt, &mut insn.jf);
            }
        }),
        ("the halves of an argument exchanged", |insn| {
            if insn.code == linx_wire::seccomp::insn::LD && insn.k >= 16 {
                insn.k ^= 4;
            }
        }),
        ("one bit lost of a compared value", |insn| {
            if insn.code == JEQ {
                insn.k &= !1;
            }
        }),
    ]
}

#[test]
fn a_compiler_with_a_fault_is_found_out() {
    for (name, fault) in faults() {
        let found = runner().run(&cases(), |(filter, seeds)| {
            let (mut ours, theirs) = (filter.ours(), filter.theirs());
            // The first two instructions check the architecture.
            ours.iter_mut().skip(2).for_each(fault);
            for seed in &seeds {
                let call = call(&filter, seed);
                prop_assert_eq!(run(&ours, &call).0, run(&theirs, &call).0);
            }
            Ok(())
        });
        assert!(found.is_err(), "not found: {name}");
    }
}

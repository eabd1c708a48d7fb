//! Compiled filters, run by an interpreter and compared with an evaluation of the policy without
//! BPF.

mod bpf;

use bpf::{Call, run};
use linx_wire::seccomp::insn::{JA, LD, RET};
use linx_wire::seccomp::{
    Arch, Condition, INSN_SIZE, Insn, MAX_INSNS, Op, PREFIX_LEN, Policy, Rule, TooLong, compile,
    exec_prefix,
};
use proptest::prelude::*;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const LOG: u32 = libc::SECCOMP_RET_LOG;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const TRAP: u32 = libc::SECCOMP_RET_TRAP;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;

const X32: u32 = 0x4000_0000;
/// i386's and big-endian arm's, and nobody's.
const FOREIGN: [u32; 3] = [0x4000_0003, 0x0000_0028, 0];

fn holds(condition: &Condition, args: &[u64; 6]) -> bool {
    let arg = args[usize::from(condition.arg)];
    match condition.op {
        Op::Eq => arg == condition.value,
        Op::Ne => arg != condition.value,
        Op::Lt => arg < condition.value,
        Op::Le => arg <= condition.value,
        Op::Gt => arg > condition.value,
        Op::Ge => arg >= condition.value,
        Op::MaskedEq(mask) => arg & mask == condition.value,
    }
}

/// Evaluates the policy rule by rule.
fn reference(policy: &Policy, call: &Call) -> u32 {
    if call.arch != policy.arch.audit() {
        return KILL;
    }
    for rule in &policy.rules {
        if rule.number == call.number && rule.conditions.iter().all(|c| holds(c, &call.args)) {
            return rule.action;
        }
    }
    let other_abi = policy.arch == Arch::X86_64
        && ((512..548).contains(&call.number) || (X32..u32::MAX).contains(&call.number));
    match policy.default {
        ALLOW | LOG if other_abi => KILL,
        default => default,
    }
}

fn assert_agrees(policy: &Policy, program: &[Insn], call: Call) {
    let (got, steps) = run(program, &call);
    assert_eq!(
        got,
        reference(policy, &call),
        "{call:?} under {policy:?}, after {steps} instructions"
    );
}

/// Every number that a rule may name, its neighbours, and the extremes.
fn all_numbers() -> impl Iterator<Item = u32> {
    let ends = [
        X32 - 1,
        X32,
        X32 + 1,
        X32 + 59,
        X32 + 520,
        1 << 31,
        u32::MAX - 1,
        u32::MAX,
    ];
    (0..1100).chain(ends)
}

fn allow(number: u32) -> Rule {
    Rule {
        number,
        action: ALLOW,
        conditions: Vec::new(),
    }
}

fn policy(arch: Arch, default: u32, rules: Vec<Rule>) -> Policy {
    Policy {
        arch,
        default,
        rules,
    }
}

fn arb_action() -> impl Strategy<Value = u32> {
    prop_oneof![
        Just(ALLOW),
        Just(LOG),
        Just(KILL),
        Just(TRAP),
        Just(libc::SECCOMP_RET_KILL_THREAD),
        (0u32..4096).prop_map(|errno| libc::SECCOMP_RET_ERRNO | errno),
    ]
}

/// Numbers that differ in one half, in one bit, or at the borders of a half.
fn arb_value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..4,
        any::<u64>(),
        (0u32..64).prop_map(|bit| 1 << bit),
        Just(u64::MAX),
        Just(u64::from(u32::MAX)),
        Just(1 << 32),
        (0u64..3, 0u64..3).prop_map(|(high, low)| high << 32 | low),
    ]
}

fn arb_condition() -> impl Strategy<Value = Condition> {
    (0u8..6, 0u8..7, arb_value(), arb_value()).prop_map(|(arg, op, value, mask)| {
        let op = [
            Op::Eq,
            Op::Ne,
            Op::Lt,
            Op::Le,
            Op::Gt,
            Op::Ge,
            Op::MaskedEq(mask),
        ][usize::from(op)];
        let value = if matches!(op, Op::MaskedEq(_)) {
            value & mask
        } else {
            value
        };
        Condition { arg, op, value }
    })
}

fn arb_rule() -> impl Strategy<Value = Rule> {
    let conditions =
        prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(arb_condition(), 1..4)];
    (0u32..600, arb_action(), conditions).prop_map(|(number, action, conditions)| Rule {
        number,
        action,
        conditions,
    })
}

fn arb_policy(rules: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Policy> {
    (
        arb_arch(),
        arb_action(),
        prop::collection::vec(arb_rule(), rules),
    )
        .prop_map(|(arch, default, rules)| policy(arch, default, rules))
}

fn arb_arch() -> impl Strategy<Value = Arch> {
    prop::sample::select(&Arch::ALL[..])
}

/// Arguments as the kernel fills them in: those of a 32-bit architecture are extended with zeros.
fn narrowed(arch: Arch, args: [u64; 6]) -> [u64; 6] {
    args.map(|arg| arg & u64::MAX >> (64 - arch.argument_bits()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_number_gets_what_the_policy_says(
        policy in arb_policy(0..400),
        args in prop::array::uniform6(arb_value()),
    ) {
        let program = compile(&policy).expect("short enough");
        let args = narrowed(policy.arch, args);
        for number in all_numbers() {
            assert_agrees(&policy, &program, Call { number, arch: policy.arch.audit(), args });
        }
        for arch in FOREIGN.into_iter().chain(Arch::ALL.map(Arch::audit)) {
            assert_agrees(&policy, &program, Call { number: 1, arch, args });
        }
    }

    // Arguments taken from the conditions' own values, so that equality is met and missed by one
    // bit.
    #[test]
    fn arguments_beside_the_compared_value(
        arch in arb_arch(),
        rule in arb_rule(),
        condition in arb_condition(),
        flip in 0u32..64,
        off in -1i64..2,
    ) {
        let rule = Rule { conditions: vec![condition], ..rule };
        let policy = policy(arch, TRAP, vec![rule.clone()]);
        let program = compile(&policy).expect("short enough");
        for value in [
            condition.value,
            condition.value ^ (1 << flip),
            condition.value.wrapping_add_signed(off),
            condition.value.rotate_left(32),
        ] {
            let mut args = [0; 6];
            args[usize::from(condition.arg)] = value;
            let args = narrowed(arch, args);
            let call = Call { number: rule.number, arch: policy.arch.audit(), args };
            assert_agrees(&policy, &program, call);
        }
    }

    #[test]
    fn behind_the_prefix_only_calls_with_the_cookie_are_let_through(
        policy in arb_policy(0..100),
        cookie: u64,
        other: u64,
        args in prop::array::uniform6(arb_value()),
    ) {
        let [a, b, c, d, e, _] = args;
        let last = |last| narrowed(policy.arch, [a, b, c, d, e, last]);
        let call = |number, arch, cookie| Call { number, arch, args: last(cookie) };
        let cookie = narrowed(policy.arch, [cookie; 6])[0];
        let mut program = exec_prefix(policy.arch, cookie).to_vec();
        program.extend(compile(&policy).expect("short enough"));
        let arch = policy.arch.audit();
        let starters = [policy.arch.execveat(), policy.arch.seccomp()];

        for number in starters {
            prop_assert_eq!(run(&program, &call(number, arch, cookie)).0, ALLOW);
            let low = u64::from(cookie as u32);
            for wrong in [other, cookie ^ 1, cookie ^ (1 << 32), cookie ^ (1 << 63), low, 0] {
                if narrowed(policy.arch, [wrong; 6])[0] != cookie {
                    assert_agrees(&policy, &program, call(number, arch, wrong));
                }
            }
            for foreign in FOREIGN {
                assert_agrees(&policy, &program, call(number, foreign, cookie));
            }
        }
        for number in all_numbers().filter(|number| !starters.contains(number)) {
            assert_agrees(&policy, &program, call(number, arch, cookie));
        }
    }
}

fn longest(program: &[Insn], arch: Arch) -> usize {
    all_numbers()
        .map(|number| {
            run(
                program,
                &Call {
                    number,
                    arch: arch.audit(),
                    args: [0; 6],
                },
            )
            .1
        })
        .max()
        .expect("some")
}

#[test]
fn the_search_is_logarithmic() {
    // Every other number, so that nothing merges: 600 intervals.
    let rules = (0..300).map(|n| allow(2 * n)).collect();
    let program = compile(&policy(Arch::Aarch64, KILL, rules)).expect("short enough");
    // Three for the architecture and the number, ten to find one in 601, one to return, and
    // trampolines.
    assert!(
        longest(&program, Arch::Aarch64) <= 17,
        "{}",
        longest(&program, Arch::Aarch64)
    );
}

#[test]
fn each_action_returns_in_one_place() {
    let rules = (0..300)
        .map(|n| Rule {
            number: 2 * n,
            action: [ALLOW, EPERM, TRAP][n as usize % 3],
            conditions: Vec::new(),
        })
        .collect();
    let program = compile(&policy(Arch::Aarch64, KILL, rules)).expect("short enough");
    assert_eq!(program.iter().filter(|insn| insn.code == RET).count(), 4);
}

#[test]
fn neighbours_share_a_comparison() {
    let rules = (0..300).map(allow).collect();
    let program = compile(&policy(Arch::Aarch64, KILL, rules)).expect("short enough");
    // Architecture, number, one comparison, two returns.
    assert_eq!(program.len(), 6);
}

#[test]
fn a_deny_list_does_not_let_x32_calls_through() {
    let rules = vec![Rule {
        number: 101,
        action: EPERM,
        conditions: Vec::new(),
    }];
    let program = compile(&policy(Arch::X86_64, ALLOW, rules)).expect("short enough");
    let verdict = |number| {
        run(
            &program,
            &Call {
                number,
                arch: Arch::X86_64.audit(),
                args: [0; 6],
            },
        )
        .0
    };
    assert_eq!(verdict(101), EPERM);
    assert_eq!(verdict(0), ALLOW);
    assert_eq!(verdict(X32 | 101), KILL);
    assert_eq!(verdict(X32 | 521), KILL);
    assert_eq!(verdict(521), KILL);
    assert_eq!(verdict(548), ALLOW);
    assert_eq!(verdict(u32::MAX), ALLOW);
}

#[test]
fn x32_calls_meet_a_default_that_denies() {
    let program = compile(&policy(Arch::X86_64, EPERM, vec![allow(1)])).expect("short enough");
    let verdict = |number| {
        run(
            &program,
            &Call {
                number,
                arch: Arch::X86_64.audit(),
                args: [0; 6],
            },
        )
        .0
    };
    assert_eq!(verdict(X32 | 1), EPERM);
}

// linux/audit.h and the tables of the kernel at Linux 7.2.
#[test]
fn each_architecture_has_the_kernels_numbers() {
    let numbers = |arch: Arch| (arch.audit(), arch.execveat(), arch.seccomp());
    assert_eq!(numbers(Arch::X86_64), (0xC000_003E, 322, 317));
    assert_eq!(numbers(Arch::Aarch64), (0xC000_00B7, 281, 277));
    assert_eq!(numbers(Arch::Arm), (0x4000_0028, 387, 383));
    assert_eq!(numbers(Arch::Riscv64), (0xC000_00F3, 281, 277));
}

#[test]
fn a_32_bit_argument_is_compared_without_its_high_half() {
    const BEYOND: u64 = 1 << 32 | 5;
    for (op, value, holds) in [
        (Op::Eq, 5, true),
        (Op::Eq, BEYOND, false),
        (Op::Ne, BEYOND, true),
        (Op::Lt, BEYOND, true),
        (Op::Le, BEYOND, true),
        (Op::Gt, BEYOND, false),
        (Op::Ge, BEYOND, false),
        (Op::Ge, 5, true),
        (Op::Gt, 5, false),
        (Op::MaskedEq(u64::MAX), BEYOND, false),
        (Op::MaskedEq(u64::MAX), 5, true),
        (Op::MaskedEq(7 << 32), 0, true),
    ] {
        let condition = Condition { arg: 0, op, value };
        let rule = Rule {
            number: 1,
            action: EPERM,
            conditions: vec![condition],
        };
        let program = compile(&policy(Arch::Arm, ALLOW, vec![rule])).expect("short enough");
        let high = |insn: &Insn| insn.code == LD && insn.k >= 16 && !insn.k.is_multiple_of(8);
        assert!(!program.iter().any(high), "{condition:?}: {program:?}");
        let call = Call {
            number: 1,
            arch: Arch::Arm.audit(),
            args: [5, 0, 0, 0, 0, 0],
        };
        let expected = if holds { EPERM } else { ALLOW };
        assert_eq!(run(&program, &call).0, expected, "{condition:?}");
    }
}

#[test]
fn no_rules_at_all() {
    for arch in Arch::ALL {
        for default in [ALLOW, KILL] {
            let policy = policy(arch, default, Vec::new());
            let program = compile(&policy).expect("short enough");
            for number in all_numbers() {
                assert_agrees(
                    &policy,
                    &program,
                    Call {
                        number,
                        arch: arch.audit(),
                        args: [0; 6],
                    },
                );
            }
        }
    }
}

/// `count` rules for one number, each with its own value.
fn many_conditions(count: u64) -> Policy {
    let rules = (0..count)
        .map(|value| Rule {
            number: 1,
            action: EPERM,
            conditions: vec![Condition {
                arg: 0,
                op: Op::Eq,
                value: value << 20,
            }],
        })
        .collect();
    policy(Arch::X86_64, ALLOW, rules)
}

#[test]
fn programs_beyond_a_jumps_reach() {
    let policy = many_conditions(900);
    let program = compile(&policy).expect("short enough");
    assert!(program.len() > 3000);
    assert!(program.iter().any(|insn| insn.code == JA));
    for value in 0..901 {
        let args = [value << 20, 0, 0, 0, 0, 0];
        assert_agrees(
            &policy,
            &program,
            Call {
                number: 1,
                arch: policy.arch.audit(),
                args,
            },
        );
    }
}

#[test]
fn the_kernels_limit_holds_with_the_prefix_in_front() {
    let longest = (0..2000)
        .take_while(|count| compile(&many_conditions(*count)).is_ok())
        .last()
        .expect("some");
    let len = compile(&many_conditions(longest))
        .expect("short enough")
        .len();
    assert!(
        len + PREFIX_LEN <= MAX_INSNS && len + PREFIX_LEN > MAX_INSNS - 8,
        "{len}"
    );
    assert_eq!(compile(&many_conditions(longest + 1)), Err(TooLong));
    assert_eq!(compile(&many_conditions(100_000)), Err(TooLong));
}

#[test]
fn instructions_have_the_kernels_layout() {
    let insn = Insn {
        code: LD,
        jt: 1,
        jf: 2,
        k: 0xC000_003E,
    };
    assert_eq!(insn.to_bytes().len(), INSN_SIZE);
    assert_eq!(Insn::from_bytes(insn.to_bytes()), insn);
    if cfg!(target_endian = "little") {
        assert_eq!(insn.to_bytes(), [0x20, 0, 1, 2, 0x3E, 0, 0, 0xC0]);
    }
}

//! A policy made of the input: its program decides each probed call as the policy does.
#![no_main]

use libfuzzer_sys::fuzz_target;
use linx_wire::seccomp::{Arch, Condition, INSN_SIZE, Insn, MAX_INSNS, Op, Policy, Rule, compile};

const ACTIONS: [u32; 5] = [0x7fff_0000, 0x0005_0001, 0x0003_0000, 0x8000_0000, 0];

fuzz_target!(|bytes: &[u8]| {
    let policy = policy(bytes);
    if let Ok(insns) = compile(&policy) {
        assert!(insns.len() <= MAX_INSNS);
        for insn in insns {
            let bytes: [u8; INSN_SIZE] = insn.to_bytes();
            assert_eq!(Insn::from_bytes(bytes), insn);
        }
    }
});

fn policy(bytes: &[u8]) -> Policy {
    let (arch, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let arch = if arch & 1 == 0 {
        Arch::X86_64
    } else {
        Arch::Aarch64
    };
    let rules = rest.chunks_exact(16).map(rule).collect();
    Policy {
        arch,
        default: ACTIONS[usize::from(arch as u8 % 5)],
        rules,
    }
}

fn rule(chunk: &[u8]) -> Rule {
    let number = u32::from(u16::from_ne_bytes([chunk[0], chunk[1]]) % 1024);
    let value = u64::from_ne_bytes([
        chunk[8], chunk[9], chunk[10], chunk[11], chunk[12], chunk[13], chunk[14], chunk[15],
    ]);
    let op = match chunk[4] % 7 {
        0 => Op::Eq,
        1 => Op::Ne,
        2 => Op::Lt,
        3 => Op::Le,
        4 => Op::Gt,
        5 => Op::Ge,
        _ => Op::MaskedEq(u64::from(chunk[5]) << (chunk[6] % 57)),
    };
    let condition = Condition {
        arg: chunk[3] % 6,
        op,
        value,
    };
    let conditions = if chunk[7] & 1 == 0 {
        vec![]
    } else {
        vec![condition]
    };
    Rule {
        number,
        action: ACTIONS[usize::from(chunk[2] % 5)],
        conditions,
    }
}

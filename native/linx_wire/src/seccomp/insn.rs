//! `struct sock_filter`, and the instructions that a seccomp filter may have.
//!
//! The kernel checks a program once, at installation (`seccomp_check_filter`): 32-bit aligned loads
//! inside `struct seccomp_data` only, forward jumps only, a return at the end.

/// linux/bpf_common.h.
pub const BPF_MAXINSNS: usize = 4096;

/// The bytes of one instruction.
pub const INSN_SIZE: usize = 8;

/// The kernel's limit of instructions in one program.
pub const MAX_INSNS: usize = BPF_MAXINSNS;

// Instruction classes with their modifiers already or-ed in (linux/bpf_common.h).
/// `BPF_LD | BPF_W | BPF_ABS`
pub const LD: u16 = 0x20;
/// `BPF_ALU | BPF_AND | BPF_K`
pub const AND: u16 = 0x54;
/// `BPF_JMP | BPF_JA`
pub const JA: u16 = 0x05;
/// `BPF_JMP | BPF_JEQ | BPF_K`
pub const JEQ: u16 = 0x15;
/// `BPF_JMP | BPF_JGT | BPF_K`
pub const JGT: u16 = 0x25;
/// `BPF_JMP | BPF_JGE | BPF_K`
pub const JGE: u16 = 0x35;
/// `BPF_RET | BPF_K`
pub const RET: u16 = 0x06;

// Offsets in
// `struct seccomp_data { int nr; __u32 arch; __u64 instruction_pointer; __u64 args[6]; }`.
pub const OFFSET_NR: u32 = 0;
pub const OFFSET_ARCH: u32 = 4;

/// The offset of the low half of argument `index`. Both architectures are little-endian.
pub const fn offset_arg_low(index: u8) -> u32 {
    16 + 8 * index as u32
}

/// The offset of the high half of argument `index`.
pub const fn offset_arg_high(index: u8) -> u32 {
    offset_arg_low(index) + 4
}

/// One instruction, laid out as `struct sock_filter`: a jump skips `jt` or `jf` instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Insn {
    pub code: u16,
    pub jt: u8,
    pub jf: u8,
    pub k: u32,
}

impl Insn {
    pub const fn stmt(code: u16, k: u32) -> Insn {
        Insn {
            code,
            jt: 0,
            jf: 0,
            k,
        }
    }

    pub const fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Insn {
        Insn { code, jt, jf, k }
    }

    /// The kernel reads the fields in native byte order.
    pub fn to_bytes(self) -> [u8; INSN_SIZE] {
        let [c0, c1] = self.code.to_ne_bytes();
        let [k0, k1, k2, k3] = self.k.to_ne_bytes();
        [c0, c1, self.jt, self.jf, k0, k1, k2, k3]
    }

    pub fn from_bytes(bytes: [u8; INSN_SIZE]) -> Insn {
        let [c0, c1, jt, jf, k0, k1, k2, k3] = bytes;
        Insn {
            code: u16::from_ne_bytes([c0, c1]),
            jt,
            jf,
            k: u32::from_ne_bytes([k0, k1, k2, k3]),
        }
    }
}

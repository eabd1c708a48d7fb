//! The architectures that filters are built for.

use std::ops::Range;

/// linux/audit.h: the ELF machine number, whether 64 bits, whether little-endian.
const AUDIT_ARCH_64BIT: u32 = 0x8000_0000;
const AUDIT_ARCH_LE: u32 = 0x4000_0000;

/// linux/elf-em.h.
const EM_ARM: u32 = 40;
const EM_X86_64: u32 = 62;
const EM_AARCH64: u32 = 183;
const EM_RISCV: u32 = 243;

/// An architecture that filters are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
    /// The 32-bit EABI, little-endian. A kernel that also has the old ABI (CONFIG_OABI_COMPAT) has
    /// no filters (arch/arm/Kconfig).
    Arm,
    Riscv64,
}

impl Arch {
    pub const ALL: [Arch; 4] = [Arch::X86_64, Arch::Aarch64, Arch::Arm, Arch::Riscv64];

    /// The architecture of this build, if it is in the table.
    pub const HOST: Option<Arch> = if cfg!(all(target_arch = "x86_64", target_pointer_width = "64"))
    {
        Some(Arch::X86_64)
    } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        Some(Arch::Aarch64)
    } else if cfg!(all(target_arch = "arm", target_endian = "little")) {
        Some(Arch::Arm)
    } else if cfg!(target_arch = "riscv64") {
        Some(Arch::Riscv64)
    } else {
        None
    };

    /// The value of `seccomp_data.arch`.
    pub const fn audit(self) -> u32 {
        AUDIT_ARCH_LE
            | match self {
                Arch::X86_64 => AUDIT_ARCH_64BIT | EM_X86_64,
                Arch::Aarch64 => AUDIT_ARCH_64BIT | EM_AARCH64,
                Arch::Arm => EM_ARM,
                Arch::Riscv64 => AUDIT_ARCH_64BIT | EM_RISCV,
            }
    }

    /// The width of an argument register. The kernel extends a 32-bit one with zeros in
    /// `seccomp_data.args`.
    pub const fn argument_bits(self) -> u32 {
        match self {
            Arch::Arm => 32,
            Arch::X86_64 | Arch::Aarch64 | Arch::Riscv64 => 64,
        }
    }

    /// The number of `execveat(2)`.
    pub const fn execveat(self) -> u32 {
        match self {
            Arch::X86_64 => 322,
            Arch::Arm => 387,
            Arch::Aarch64 | Arch::Riscv64 => 281,
        }
    }

    /// The number of `seccomp(2)`.
    pub const fn seccomp(self) -> u32 {
        match self {
            Arch::X86_64 => 317,
            Arch::Arm => 383,
            Arch::Aarch64 | Arch::Riscv64 => 277,
        }
    }

    /// The architecture with that value.
    pub fn from_audit(audit: u32) -> Option<Arch> {
        Arch::ALL.into_iter().find(|arch| arch.audit() == audit)
    }

    /// The numbers that share the architecture's value but belong to another ABI: on x86_64 those
    /// of x32, which sets bit
    /// 30. Its calls 512 to 547 also worked without the bit before Linux 5.4
    ///     (arch/x86/entry/syscalls/syscall_64.tbl). A
    /// number of -1 is no call at all: the kernel answers ENOSYS.
    pub const fn foreign_numbers(self) -> &'static [Range<u32>] {
        const X32_SYSCALL_BIT: u32 = 0x4000_0000;
        match self {
            Arch::X86_64 => &[512..548, X32_SYSCALL_BIT..u32::MAX],
            Arch::Aarch64 | Arch::Arm | Arch::Riscv64 => &[],
        }
    }
}

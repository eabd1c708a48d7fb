//! The filters of a parked child: stored until the last step, and installed directly before the
//! exec.

use std::os::fd::BorrowedFd;

use linx_wire::seccomp::insn::{
    JEQ, LD, OFFSET_ARCH, OFFSET_NR, RET, offset_arg_high, offset_arg_low,
};
use linx_wire::seccomp::{Arch, INSN_SIZE, Insn, MAX_INSNS, PREFIX_LEN, exec_prefix};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::checkpoint;
use crate::clone::last_errno;
use crate::stage::{Fault, Stage};

/// The size limit of one filter's instructions, so that the prefix still fits.
pub const MAX_FILTER: usize = (MAX_INSNS - PREFIX_LEN) * INSN_SIZE;

#[derive(Debug, Default)]
pub struct Filters {
    programs: Vec<Vec<Insn>>,
}

impl Filters {
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// Receives one filter from the checkpoint socket and leaves room for its prefix.
    pub fn recv(&mut self, length: u64, socket: BorrowedFd<'_>) -> Result<(), Fault> {
        let length = length as usize;
        if length > MAX_FILTER {
            return Err(Stage::SeccompInstall.fault(libc::EINVAL));
        }
        let mut bytes = vec![0; length];
        if !checkpoint::recv_bytes(socket, &mut bytes) {
            return Err(Stage::SeccompInstall.fault(libc::EIO));
        }
        let mut program = Vec::with_capacity(PREFIX_LEN + length / INSN_SIZE);
        program.resize(PREFIX_LEN, Insn::stmt(0, 0));
        let instructions = bytes.chunks_exact(INSN_SIZE);
        program
            .extend(instructions.filter_map(|insn| Some(Insn::from_bytes(insn.try_into().ok()?))));
        self.programs.push(program);
        Ok(())
    }

    /// Writes the prefixes and returns the cookie that execveat passes as its sixth argument. Only
    /// this process knows the cookie, and its memory ends with the exec. Nothing may be allocated
    /// after the first filter, so all programs are complete here.
    pub fn prepare(&mut self) -> Result<usize, Fault> {
        if self.programs.is_empty() {
            return Ok(0);
        }
        // As wide as an argument register.
        let mut cookie = [0; size_of::<usize>()];
        getrandom(&mut cookie[..], GetRandomFlags::empty())
            .map_err(Stage::SeccompInstall.errno())?;
        let cookie = usize::from_ne_bytes(cookie);
        if let Some(prefix) = Arch::HOST.map(|arch| exec_prefix(arch, cookie as u64)) {
            for program in &mut self.programs {
                program[..PREFIX_LEN].copy_from_slice(&prefix);
            }
        }
        Ok(cookie)
    }

    /// Installs all filters with the cookie of [`Filters::prepare`].
    pub fn install(&self, cookie: usize) -> Result<(), Fault> {
        // Without a table for this architecture the filter has no prefix.
        let start = if Arch::HOST.is_some() { 0 } else { PREFIX_LEN };
        for program in &self.programs {
            install(&program[start..], cookie).map_err(Stage::SeccompInstall.errno())?;
        }
        Ok(())
    }
}

/// Installs a filter without a prefix, for a process that never calls exec.
pub fn install_plain(program: &[Insn]) -> Result<(), Errno> {
    install(program, 0)
}

/// A filter that allows the calls of `numbers`, and `kill(2)` of the process `target`. On an
/// architecture without a table the audit arch is not checked.
///
/// Written as instructions: the policy compiler needs hash maps, which a reaper would keep in
/// memory for the whole session.
pub fn allow_list(numbers: &[u32], target: u32, refusal: u32) -> Vec<Insn> {
    let mut program = Vec::with_capacity(numbers.len() + 12);
    if let Some(arch) = Arch::HOST {
        program.push(Insn::stmt(LD, OFFSET_ARCH));
        program.push(Insn::jump(JEQ, arch.audit(), 1, 0));
        program.push(Insn::stmt(RET, refusal));
    }
    program.push(Insn::stmt(LD, OFFSET_NR));
    for (at, &number) in numbers.iter().enumerate() {
        // Jumps over the rest of the list, the test of kill(2) and the refusal.
        program.push(Insn::jump(JEQ, number, (numbers.len() - at + 5) as u8, 0));
    }
    program.push(Insn::jump(JEQ, libc::SYS_kill as u32, 0, 4));
    program.push(Insn::stmt(LD, offset_arg_low(0)));
    program.push(Insn::jump(JEQ, target, 0, 2));
    program.push(Insn::stmt(LD, offset_arg_high(0)));
    program.push(Insn::jump(JEQ, 0, 1, 0));
    program.push(Insn::stmt(RET, refusal));
    program.push(Insn::stmt(RET, libc::SECCOMP_RET_ALLOW));
    program
}

// `struct sock_fprog` and `struct sock_filter` (linux/filter.h).
const _: () = assert!(size_of::<libc::sock_fprog>() == 2 * size_of::<usize>());
const _: () = assert!(size_of::<Insn>() == 8 && align_of::<Insn>() == 4);

#[expect(
    unsafe_code,
    reason = "no crate wraps seccomp(2) with further arguments"
)]
fn install(program: &[Insn], cookie: usize) -> Result<(), Errno> {
    let fprog = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: `Insn` has the layout of `struct sock_filter`; the kernel copies `len` of them before
    // it returns and checks every jump and load. What the filter then forbids concerns this process
    // alone, which is about to exec.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0usize,
            &raw const fprog,
            0usize,
            0usize,
            cookie,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

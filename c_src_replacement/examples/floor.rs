//! The cost of the kernel's own work, for bench/process: the lower bound of any program with the
//! same result.
//!
//!     floor posix_spawn COUNT        posix_spawn(3) of /bin/true, and its end
//!     floor clone3 COUNT NAMESPACES  clone3 with CLONE_NEW* bits, parked on a pipe, let go,
//!                                    exec of /bin/true, its end
//!     floor pty MEGABYTES            a plain loop that reads what dd writes to a terminal
//!     floor relay MEGABYTES          the same loop in a process that hands on what it reads,
//!                                    and one that reads that
//!
//! Prints microseconds, one line a start, or megabytes a second.

use std::error::Error;
use std::ffi::CStr;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::ptr;
use std::time::Instant;

use linx_process::clone::{Exit, Side, clone3};
use linx_process::request::PtyOptions;
use linx_process::{pty, wait};
use rustix::pipe::{PipeFlags, pipe_with};

const TRUE: &CStr = c"/bin/true";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize| {
        arguments
            .get(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(1)
    };
    match arguments.get(1).map(String::as_str) {
        Some("posix_spawn") => repeat(number(2), posix_spawn),
        Some("clone3") => {
            let namespaces = number(3);
            repeat(number(2), || clone_and_park(namespaces))
        }
        Some("pty") => plain_read(number(2)),
        Some("relay") => relay(number(2)),
        _ => Err("posix_spawn, clone3, pty or relay".into()),
    }
}

fn repeat(
    count: u64,
    mut start: impl FnMut() -> Result<(), Box<dyn Error>>,
) -> Result<(), Box<dyn Error>> {
    for _ in 0..count {
        let before = Instant::now();
        start()?;
        println!("{}", before.elapsed().as_nanos() as f64 / 1000.0);
    }
    Ok(())
}

fn posix_spawn() -> Result<(), Box<dyn Error>> {
    let argv = [TRUE.as_ptr().cast_mut(), ptr::null_mut()];
    let envp = [ptr::null_mut()];
    let mut pid = 0;
    // SAFETY: null terminated arrays of strings that outlive the call; no attributes and no file
    // actions.
    let result = unsafe {
        libc::posix_spawn(
            &mut pid,
            TRUE.as_ptr(),
            ptr::null(),
            ptr::null(),
            argv.as_ptr(),
            envp.as_ptr(),
        )
    };
    if result != 0 {
        return Err("posix_spawn".into());
    }
    // SAFETY: no status is asked for.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    Ok(())
}

fn clone_and_park(namespaces: u64) -> Result<(), Box<dyn Error>> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    match clone3(namespaces, None, Exit::Sigchld)? {
        Side::Child => {
            drop(write);
            let _ = rustix::io::read(&read, &mut [0; 1]);
            let argv = [TRUE.as_ptr(), ptr::null()];
            // SAFETY: null terminated arrays of strings that outlive the call.
            unsafe { libc::execve(TRUE.as_ptr(), argv.as_ptr(), argv[1..].as_ptr()) };
            linx_process::last_words::leave(127)
        }
        Side::Parent { pid, pidfd } => {
            drop(read);
            rustix::io::write(&write, &[1])?;
            wait::reap(pidfd.as_fd(), pid)?;
            Ok(())
        }
    }
}

fn plain_read(megabytes: u64) -> Result<(), Box<dyn Error>> {
    let (master, slave) = terminal()?;
    let mut writer = dd(megabytes, slave)?;
    let before = Instant::now();
    let total = read_all(master, |_| Ok(()))?;
    writer.wait()?;
    report(megabytes, total, before)
}

/// The lower bound for a program whose bytes end in another process, as the agent's do.
fn relay(megabytes: u64) -> Result<(), Box<dyn Error>> {
    let (master, slave) = terminal()?;
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    let mut writer = dd(megabytes, slave)?;
    let before = Instant::now();
    match clone3(0, None, Exit::Sigchld)? {
        Side::Child => {
            drop(read);
            let mut pipe = File::from(write);
            let done = read_all(master, |bytes| pipe.write_all(bytes));
            linx_process::last_words::leave(i32::from(done.is_err()))
        }
        Side::Parent { pid, pidfd } => {
            drop((master, write));
            let total = read_all(File::from(read), |_| Ok(()))?;
            wait::reap(pidfd.as_fd(), pid)?;
            writer.wait()?;
            report(megabytes, total, before)
        }
    }
}

/// Reads block, as in a plain program.
fn terminal() -> Result<(File, OwnedFd), Box<dyn Error>> {
    let (master, slave) = pty::open(PtyOptions::default()).map_err(|fault| fault.stage.name())?;
    let flags = rustix::fs::fcntl_getfl(&master)? - rustix::fs::OFlags::NONBLOCK;
    rustix::fs::fcntl_setfl(&master, flags)?;
    Ok((File::from(master), slave))
}

/// A terminal ends with an error.
fn read_all(
    mut source: File,
    mut each: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> std::io::Result<usize> {
    let mut buffer = vec![0; 65_536];
    let mut total = 0;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                total += count;
                each(&buffer[..count])?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Ok(total),
        }
    }
}

fn report(megabytes: u64, total: usize, before: Instant) -> Result<(), Box<dyn Error>> {
    let seconds = before.elapsed().as_secs_f64();
    if total as u64 != megabytes << 20 {
        return Err(format!("{total} bytes").into());
    }
    writeln!(std::io::stdout(), "{}", megabytes as f64 / seconds)?;
    Ok(())
}

fn dd(megabytes: u64, terminal: OwnedFd) -> Result<std::process::Child, Box<dyn Error>> {
    Ok(Command::new("/bin/dd")
        .args(["if=/dev/zero", "bs=65536", "status=none"])
        .arg(format!("count={}", megabytes * 16))
        .stdin(Stdio::null())
        .stdout(Stdio::from(terminal))
        .spawn()?)
}

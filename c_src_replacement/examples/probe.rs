//! Prints the state that a program starts with: descriptors, signals, ids, capabilities, limits,
//! environment, terminal.
//!
//! The output is one `key value` line each, for the tests. With `dirty COMMAND...` the program
//! first spoils that state and executes the command: the parent of children that must start clean.
//! With `hold` it waits for a signal after the output. With `push TEXT` it types TEXT into every
//! terminal that it can reach (TIOCSTI) and prints the results. With `traced` a child of its own
//! traces it and never waits for it; `traced hold` stays.
//!
//! It has no main of the standard library, which would ignore SIGPIPE first.
#![no_main]

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::ptr;

use rustix::fs::Mode;
use rustix::process::{getpgid, getpid, getsid, umask};

/// asm-generic/signal.h.
const SIGUSR1: u64 = 10;

#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    let arguments: Vec<Vec<u8>> = std::env::args_os()
        .map(|argument| argument.into_vec())
        .collect();
    match arguments.get(1).map(Vec::as_slice) {
        Some(b"dirty") => dirty(&arguments[2..]),
        Some(b"push") => {
            push(arguments.get(2).map_or(b"", Vec::as_slice));
            0
        }
        Some(b"traced") => {
            traced();
            match arguments.get(2) {
                Some(_) => loop {
                    std::thread::park();
                },
                None => 3,
            }
        }
        Some(b"hold") => {
            report(&arguments);
            loop {
                std::thread::park();
            }
        }
        _ => {
            report(&arguments);
            0
        }
    }
}

/// Prints the result.
fn traced() {
    let parent = getpid().as_raw_nonzero().get();
    let (read, write) = rustix::pipe::pipe().expect("a pipe");
    // SAFETY: Yama's leave for any process; without Yama an error that changes nothing.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY) };
    // SAFETY: one thread runs, so the child may run any code.
    if unsafe { libc::fork() } == 0 {
        // SAFETY: seizing reads and writes no memory of ours.
        let seized = unsafe { libc::ptrace(libc::PTRACE_SEIZE, parent, 0, 0) };
        let _ = rustix::io::write(&write, &[u8::from(seized != 0)]);
        loop {
            std::thread::park();
        }
    }
    let mut refused = [1];
    let _ = rustix::io::read(&read, &mut refused);
    println!("traced {}", refused[0] == 0);
}

/// A line for each of the terminals: the errno of the first byte that was refused, or 0.
fn push(text: &[u8]) {
    let own = File::options().read(true).write(true).open("/dev/tty");
    let terminals = [(0, "stdin"), (1, "stdout"), (2, "stderr")]
        .into_iter()
        .chain(own.as_ref().ok().map(|own| (own.as_raw_fd(), "own")));
    let mut out = String::new();
    for (fd, name) in terminals {
        let refused = |byte: &&u8| {
            // SAFETY: the kernel reads one byte, which outlives the call.
            (unsafe { libc::ioctl(fd, libc::TIOCSTI, ptr::from_ref::<u8>(byte)) }) != 0
        };
        let errno = match text.iter().find(refused) {
            Some(_) => std::io::Error::last_os_error().raw_os_error(),
            None => Some(0),
        };
        out.push_str(&format!("push {name} {}\n", errno.unwrap_or(-1)));
    }
    print!("{out}");
}

fn report(arguments: &[Vec<u8>]) {
    let mut out = String::new();
    let mut say = |key: &str, value: &str| out.push_str(&format!("{key} {value}\n"));
    let pid = getpid();
    say("session_leader", &(getsid(None) == Ok(pid)).to_string());
    say("group_leader", &(getpgid(None) == Ok(pid)).to_string());
    let foreground = rustix::termios::tcgetpgrp(rustix::stdio::stdin());
    say("ctty_group", &(foreground == Ok(pid)).to_string());
    for entry in fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
    {
        let target = fs::read_link(entry.path()).unwrap_or_default();
        let target = target.to_string_lossy();
        // The directory that is being read.
        if !target.ends_with(&format!("/proc/{pid}/fd")) {
            say(
                "fd",
                &format!("{} {target}", entry.file_name().to_string_lossy()),
            );
        }
    }
    for (key, file) in [
        ("status", "status"),
        ("limit", "limits"),
        ("oom_score_adj", "oom_score_adj"),
    ] {
        let text = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
        text.lines().for_each(|line| say(key, line));
    }
    let cwd = fs::read_link("/proc/self/cwd").unwrap_or_default();
    say("cwd", &cwd.to_string_lossy());
    let environment = fs::read("/proc/self/environ").unwrap_or_default();
    for entry in environment
        .split(|&byte| byte == 0)
        .filter(|entry| !entry.is_empty())
    {
        say("env", &String::from_utf8_lossy(entry).replace('\n', " "));
    }
    for argument in arguments {
        say("arg", &String::from_utf8_lossy(argument));
    }
    let _ = rustix::io::write(rustix::stdio::stdout(), out.as_bytes());
}

fn dirty(command: &[Vec<u8>]) -> i32 {
    // The test runner may ignore some signals, as nohup(1) does and a shell's `&`.
    (1..=64).for_each(default);
    ignore(libc::SIGPIPE);
    ignore(libc::SIGFPE);
    block(SIGUSR1);
    umask(Mode::from_raw_mode(0o077));
    if let Ok(etc) = File::open("/etc") {
        leak(&etc, 57);
        leak(&etc, 900);
    }
    execute(command);
    127
}

fn default(signal: i32) {
    // SAFETY: the default action runs no code of ours; SIGKILL, SIGSTOP and those of the C library
    // are refused.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

fn ignore(signal: i32) {
    // SAFETY: ignoring runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Blocks this signal only.
fn block(signal: u64) {
    let set = 1u64 << (signal - 1);
    let (how, none, size) = (libc::SIG_SETMASK, 0usize, 8usize);
    // SAFETY: the kernel reads eight bytes of `set`.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, none, size) };
}

/// Without CLOEXEC, as careless programs do.
fn leak(file: &File, number: i32) {
    use std::os::fd::AsRawFd;
    // SAFETY: nothing here has a descriptor of that number.
    unsafe { libc::dup2(file.as_raw_fd(), number) };
}

/// execve(2) itself: the standard library's exec would unblock the signals.
fn execute(command: &[Vec<u8>]) {
    let mut environment = vec![c"RELEASE_COOKIE=secret".to_owned()];
    for (name, value) in std::env::vars_os() {
        let entry = [name.into_vec(), value.into_vec()].join(&b'=');
        environment.extend(CString::new(entry));
    }
    let command: Vec<CString> = command
        .iter()
        .flat_map(|argument| CString::new(argument.as_slice()))
        .collect();
    let pointers = |strings: &[CString]| -> Vec<_> {
        strings
            .iter()
            .map(|string| string.as_ptr())
            .chain([ptr::null()])
            .collect()
    };
    let (argv, envp) = (pointers(&command), pointers(&environment));
    // SAFETY: both are null terminated arrays of strings that outlive the call.
    unsafe { libc::execve(argv[0], argv.as_ptr(), envp.as_ptr()) };
}

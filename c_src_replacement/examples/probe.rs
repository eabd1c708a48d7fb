//! What a program finds when it starts: descriptors, signals, ids, capabilities, limits, environment, terminal.
//!
//! Prints one `key value` line each, for the tests. With `dirty COMMAND...` it spoils what it can first and executes the
//! command: a parent whose children must be clean all the same. With `hold` it waits for a signal after it has printed.
//!
//! It has no main of the standard library's, which would ignore SIGPIPE before anything could be seen.
#![no_main]

use std::ffi::{CStr, CString, c_char, c_int};
use std::fs;

#[unsafe(no_mangle)]
pub extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let arguments: Vec<&CStr> = (0..argc as usize)
        // SAFETY: the kernel gives argc strings, which live as long as the program.
        .map(|at| unsafe { CStr::from_ptr(*argv.add(at)) })
        .collect();
    match arguments.get(1).map(|argument| argument.to_bytes()) {
        Some(b"dirty") => dirty(&arguments[2..]),
        Some(b"hold") => {
            report(&arguments);
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        }
        _ => {
            report(&arguments);
            0
        }
    }
}

fn report(arguments: &[&CStr]) {
    let mut out = String::new();
    let mut say = |key: &str, value: &str| out.push_str(&format!("{key} {value}\n"));
    // SAFETY: these ask for numbers.
    let (pid, sid, pgid) = unsafe { (libc::getpid(), libc::getsid(0), libc::getpgid(0)) };
    say("session_leader", &(pid == sid).to_string());
    say("group_leader", &(pid == pgid).to_string());
    // SAFETY: as above.
    say(
        "ctty_group",
        &unsafe { libc::tcgetpgrp(0) == pgid }.to_string(),
    );
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
        say("arg", &argument.to_string_lossy());
    }
    // SAFETY: writes the bytes of a string that outlives the call.
    unsafe { libc::write(1, out.as_ptr().cast(), out.len()) };
}

fn dirty(command: &[&CStr]) -> c_int {
    // SAFETY: this program has one thread and does nothing else; every call changes only what the exec hands on.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        libc::signal(libc::SIGFPE, libc::SIG_IGN);
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGUSR1);
        libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        libc::umask(0o077);
        libc::dup2(libc::open(c"/etc".as_ptr(), libc::O_RDONLY), 57);
        libc::dup2(57, 900);
        libc::setenv(c"RELEASE_COOKIE".as_ptr(), c"secret".as_ptr(), 1);
        let command: Vec<CString> = command.iter().map(|&argument| argument.into()).collect();
        let mut pointers: Vec<_> = command.iter().map(|argument| argument.as_ptr()).collect();
        pointers.push(std::ptr::null());
        libc::execv(pointers[0], pointers.as_ptr());
    }
    127
}
